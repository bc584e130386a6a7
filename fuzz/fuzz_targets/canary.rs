//! A driver with a planted bug: if this target finds nothing within seconds, the machinery is broken.
#![no_main]

blk_harness::fuzz_target!(blk_fuzz::canary::SUITE);
