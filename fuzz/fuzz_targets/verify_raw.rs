//! Random request sequences on a raw image in a real file, verified against a raw disk in memory.
#![no_main]

blk_fuzz::scenario_target!("verify_raw", blk_harness::generate::Limits::sequential());
