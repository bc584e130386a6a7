//! Random request sequences on a LUKS disk in memory, verified against a raw disk.
#![no_main]

blk_fuzz::scenario_target!("verify_luks", blk_harness::generate::Limits::sequential());
