//! Storages that keep steps of the driver above from those who listen to them.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use blk_core::storage::{PassThrough, Step};
use blk_core::{Result, Storage};

use super::events::FLUSH_TO_DISK;

/// Bytes that are a disk without a format: nobody tells of the steps of one.
#[derive(Debug)]
pub(super) struct WithoutSteps(pub(super) Arc<dyn Storage>);

impl PassThrough for WithoutSteps {
    fn inner(&self) -> &dyn Storage {
        &*self.0
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.0.read_vectored_at(offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        self.0.write_vectored_at(offset, bufs)
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

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.0.read_vectored_at(offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        self.0.write_vectored_at(offset, bufs)
    }

    fn step(&self, step: &'static Step) {
        if step.name != FLUSH_TO_DISK {
            self.0.step(step);
        }
    }
}
