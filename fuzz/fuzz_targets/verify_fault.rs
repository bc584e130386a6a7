//! Random request sequences on a qcow2 image, with operations of the storage failing.
#![no_main]

blk_fuzz::scenario_target!("verify_fault");
