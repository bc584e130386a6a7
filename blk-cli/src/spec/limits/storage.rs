//! A storage behind limits.

use std::sync::Arc;

use blk_core::storage::{PassThrough, Step};
use blk_core::{Extent, Result, Storage};

use super::{Bytes, Limited};

impl Bytes for Arc<dyn Storage> {
    fn size(&self) -> Result<u64> {
        (**self).len()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_at(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.write_at(offset, buf)
    }

    fn step(&self, step: &'static Step) {
        (**self).step(step);
    }
}

/// A storage behind limits.
#[derive(Debug)]
pub(super) struct LimitedStorage(pub(super) Limited<Arc<dyn Storage>>);

impl PassThrough for LimitedStorage {
    fn inner(&self) -> &dyn Storage {
        &**self.0.inner()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let _alone = self.0.alone();
        self.inner().set_len(length)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.0.write(offset, buf)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.0.write_zeroes(extent, &|whole| self.inner().write_zeroes_at(whole))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        let length = self.inner().len()?;
        let start = extent.offset.min(length);
        let inside = Extent::between(start, extent.checked_end().unwrap_or(u64::MAX).clamp(start, length));
        self.0.punch(inside, &|whole| self.inner().punch_hole(whole))
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        self.0.check_zero_units(extent)?;
        self.0.write_zeroes(extent, &|whole| self.inner().zero_fast(whole, unmap))
    }
}
