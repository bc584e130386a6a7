//! Random request sequences on a qcow2 image in memory, verified against a raw disk.
#![no_main]

blk_fuzz::scenario_target!("verify_qcow2", blk_harness::generate::Limits::sequential());
