//! Random request sequences on a qcow2 image, crashed at every operation of the storage.
#![no_main]

blk_fuzz::scenario_target!("verify_crash");
