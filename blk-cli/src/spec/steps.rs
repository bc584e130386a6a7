//! Storages that keep steps of the driver above from those who listen to them.

use std::sync::Arc;

use blk_core::Storage;
use blk_core::storage::{PassThrough, Step};

use super::events::FLUSH_TO_DISK;

/// Bytes that are a disk without a format: nobody tells of the steps of one.
#[derive(Debug)]
pub(super) struct WithoutSteps(pub(super) Arc<dyn Storage>);

impl PassThrough for WithoutSteps {
    fn inner(&self) -> &dyn Storage {
        &*self.0
    }

    fn step(&self, _step: &'static Step) {}
}

/// Bytes under a format that does not ask the host to put anything on stable storage.
#[derive(Debug)]
pub(super) struct WithoutFlushes(pub(super) Arc<dyn Storage>);

impl PassThrough for WithoutFlushes {
    fn inner(&self) -> &dyn Storage {
        &*self.0
    }

    fn step(&self, step: &'static Step) {
        if step.name != FLUSH_TO_DISK {
            self.0.step(step);
        }
    }
}
