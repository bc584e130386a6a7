#![no_main]

blk_harness::fuzz_target!(foreign::testing::IMAGO_SUITES[1]);
