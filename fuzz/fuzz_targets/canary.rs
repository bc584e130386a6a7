//! A driver with a planted bug: if this target finds nothing within seconds, the machinery is broken.
#![no_main]

blk_fuzz::scenario_target!("canary");
