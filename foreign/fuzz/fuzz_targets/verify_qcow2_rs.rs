#![no_main]

blk_harness::fuzz_target!(foreign::testing::QCOW2_RS_SUITES[0]);
