#![no_main]

blk_harness::fuzz_target!(log_disk::testing::SUITES[0]);
