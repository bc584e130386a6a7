//! Hostile LUKS images: opened, read, written, key slots added and erased. Nothing may panic, hang or grow
//! without bound.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: blk_harness::fuzzing::begin_with(blk_fuzz::reproduce_luks), |data: &[u8]| -> Corpus {
    blk_fuzz::luks(data)
});
