//! Requests in flight together on a qcow2 image in memory, under a deterministic scheduler; each answer is
//! judged.
#![no_main]

blk_fuzz::scenario_target!("verify_race", blk_harness::generate::Limits::racing());
