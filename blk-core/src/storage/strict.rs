//! A storage that refuses what is unaligned, as a host does that is opened past its page cache.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::{PassThrough, Storage, StorageLimits};
use crate::buffer::is_aligned;
use crate::{Error, Extent, Result};

/// A storage over another one that has [`StorageLimits`] and keeps to them: a request of another alignment
/// fails with
/// [`Error::Misaligned`] and does nothing. For tests of drivers.
#[derive(Debug)]
pub struct StrictStorage {
    inner: Arc<dyn Storage>,
    limits: StorageLimits,
}

impl StrictStorage {
    /// Demands `limits` of all that reaches `inner`.
    ///
    /// # Panics
    /// If an alignment is no power of two.
    pub fn new(inner: Arc<dyn Storage>, limits: StorageLimits) -> Self {
        let StorageLimits { alignment, memory_alignment } = limits;
        assert!(alignment.is_power_of_two() && memory_alignment.is_power_of_two(), "{limits:?}");
        Self { inner, limits }
    }

    fn check(&self, extent: Extent) -> Result<()> {
        let (Extent { offset, length }, alignment) = (extent, self.limits.alignment);
        if (offset | length) & (alignment - 1) == 0 {
            return Ok(());
        }
        Err(Error::Misaligned { offset, length, alignment })
    }

    fn check_buf(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.check(Extent::new(offset, buf.len() as u64))?;
        let alignment = self.limits.memory_alignment;
        if is_aligned(buf, alignment) {
            return Ok(());
        }
        Err(Error::invalid_option("buffer", format!("it does not start at a multiple of {alignment} bytes")))
    }
}

impl PassThrough for StrictStorage {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn limits(&self) -> StorageLimits {
        self.limits
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check_buf(offset, buf)?;
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.check_buf(offset, buf)?;
        self.inner.write_at(offset, buf)
    }

    /// Each piece has to be aligned, as a kernel demands it.
    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        bufs.iter().try_for_each(|buf| self.check_buf(offset, buf))?;
        self.inner.read_vectored_at(offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        bufs.iter().try_for_each(|buf| self.check_buf(offset, buf))?;
        self.inner.write_vectored_at(offset, bufs)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.check(extent)?;
        self.inner.write_zeroes_at(extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.check(extent)?;
        self.inner.punch_hole(extent)
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        self.check(extent)?;
        self.inner.zero_fast(extent, unmap)
    }

    fn sync_extent(&self, extent: Extent) -> Result<()> {
        self.inner.sync_extent(extent)
    }
}
