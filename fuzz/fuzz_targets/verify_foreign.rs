//! Random request sequences on a driver in another process, which the arguments name: `--driver NAME`.
#![no_main]

blk_harness::fuzz_target!(*blk_fuzz::foreign::suite());
