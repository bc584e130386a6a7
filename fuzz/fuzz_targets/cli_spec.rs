//! Image specifications, opened where only a few files in memory exist. Nothing may panic, hang or grow
//! without bound.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: blk_harness::fuzzing::begin_with(|input, out| blk_fuzz::reproduce_specification(input, out, reach)), |data: &[u8]| -> Corpus {
    blk_fuzz::specification(data, reach)
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    blk_cli::spec::fuzzing::mutate(data, size, max_size, seed, fuzzer_mutate)
});

/// How far a specification got: refused, parsed, opened.
fn reach(data: &[u8]) -> usize {
    blk_cli::spec::fuzzing::specification(data) as usize
}
