//! Image specifications, opened where only a few files in memory exist. Nothing may panic, hang or grow without bound.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus { blk_fuzz::specification(data) });
