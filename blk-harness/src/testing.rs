//! Drivers with planted bugs as targets: they prove that the machinery can find something.

use blk_core::Result;

use crate::driver::{Bench, DiskBench, Driver};
use crate::scenario::Config;

pub use blk_verify::testing::{Bug, Flat};

/// [`Flat`] with a planted bug against [`Flat`] without.
#[derive(Debug, Clone, Copy)]
pub struct FlatTarget(pub Bug);

/// The bug of the canary, whose fuzz target has a driver of its own: it needs a discard, then a write that
/// crosses a boundary, then a look at what was lost.
pub const CANARY: FlatTarget = FlatTarget(Bug::LostTailAfterDiscard);

impl Driver for FlatTarget {
    fn name(&self) -> &'static str {
        "canary"
    }

    fn bench(&self, config: &Config) -> Result<Box<dyn Bench>> {
        let reference = Flat::open(config.size_bytes, Bug::None)?;
        let test = Flat::open(config.size_bytes, self.0)?;
        Ok(Box::new(DiskBench { reference, test }))
    }
}
