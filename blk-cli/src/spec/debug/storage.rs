//! A storage whose operations fail as rules say. The steps of a request are told by the limits that lie
//! before it.

use std::sync::Arc;

use blk_core::storage::{PassThrough, Step};
use blk_core::{Extent, Result, Storage, StorageRun};

use super::Engine;
use crate::spec::rules::IoType;

/// A storage with rules over another one.
#[derive(Debug)]
pub(super) struct DebugStorage {
    inner: Arc<dyn Storage>,
    engine: Arc<Engine>,
}

impl DebugStorage {
    /// Puts the rules of `engine` before `inner`.
    pub(super) fn new(inner: Arc<dyn Storage>, engine: Arc<Engine>) -> Self {
        Self { inner, engine }
    }

    /// A request that writes, after the rules have let it through or not.
    fn change(
        &self,
        operation: &'static str,
        io_type: IoType,
        extent: Extent,
        run: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let done = self.check(operation, io_type, extent).and_then(|()| run());
        self.engine.wrote();
        done
    }

    fn check(&self, operation: &'static str, io_type: IoType, extent: Extent) -> Result<()> {
        self.engine.check(operation, io_type, extent)
    }
}

impl PassThrough for DebugStorage {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let done = self.inner.set_len(length);
        self.engine.wrote();
        done
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check("read", IoType::Read, Extent::new(offset, buf.len() as u64))?;
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.change("write", IoType::Write, extent, || self.inner.write_at(offset, buf))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.change("zero", IoType::WriteZeroes, extent, || self.inner.write_zeroes_at(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.change("punch", IoType::Discard, extent, || self.inner.punch_hole(extent))
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        self.change("zero", IoType::WriteZeroes, extent, || self.inner.zero_fast(extent, unmap))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.check("block status", IoType::BlockStatus, Extent::new(offset, 1))?;
        self.inner.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        self.engine.check_flush(self.engine.written())?;
        self.inner.sync()
    }

    fn step(&self, step: &'static Step) {
        self.engine.step(step);
    }
}
