//! Hostile qcow2 images: opened, read, checked, repaired, checked again. Nothing may panic, hang or grow
//! without bound.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: blk_harness::fuzzing::begin_with(blk_testbed::hostile::reproduce), |data: &[u8]| -> Corpus {
    blk_fuzz::image(data)
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    blk_testbed::hostile::mutate(data, size, max_size, seed, fuzzer_mutate)
});
