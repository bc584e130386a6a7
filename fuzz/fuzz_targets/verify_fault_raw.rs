//! Random request sequences on a raw image, with operations of the storage failing.
#![no_main]

blk_fuzz::scenario_target!("verify_fault_raw");
