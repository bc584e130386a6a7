//! Layers: storages over another one that change some of its operations.

use std::fmt::Debug;
use std::io::{IoSlice, IoSliceMut};

use super::{Step, Storage, StorageLimits, StorageRun};
use crate::{Extent, Result, vectored};

/// A storage over another one. Every method does what [`Storage`] says, and is the inner storage's by
/// default.
///
/// A layer implements this trait and is a [`Storage`] by that. A method that [`Storage`] gains is forwarded
/// here, once for all layers: clippy's `missing_trait_methods` refuses an implementation that leaves it to
/// the trait's default.
#[expect(clippy::len_without_is_empty, reason = "as for Storage")]
pub trait PassThrough: Debug + Send + Sync {
    /// The storage that gets what this layer does not change.
    fn inner(&self) -> &dyn Storage;

    /// As [`Storage::len`].
    fn len(&self) -> Result<u64> {
        self.inner().len()
    }

    /// As [`Storage::set_len`].
    fn set_len(&self, length: u64) -> Result<()> {
        self.inner().set_len(length)
    }

    /// As [`Storage::read_at`].
    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner().read_at(offset, buf)
    }

    /// As [`Storage::write_at`].
    #[inline]
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.inner().write_at(offset, buf)
    }

    /// As [`Storage::read_vectored_at`]. It is the layer's own [`PassThrough::read_at`] of one buffer by
    /// default, so that no layer is left out; one that changes no reads hands it on:
    /// `self.inner().read_vectored_at(offset, bufs)`.
    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        vectored::read_joined(bufs, |buf| PassThrough::read_at(self, offset, buf))
    }

    /// As [`Storage::write_vectored_at`], by [`PassThrough::write_at`] as for reads.
    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        vectored::write_joined(bufs, |buf| PassThrough::write_at(self, offset, buf))
    }

    /// As [`Storage::write_zeroes_at`].
    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.inner().write_zeroes_at(extent)
    }

    /// As [`Storage::punch_hole`].
    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.inner().punch_hole(extent)
    }

    /// As [`Storage::discard_at`]. It is the layer's own [`PassThrough::punch_hole`] by default, so that no
    /// layer is left out; one that changes nothing there hands it on: `self.inner().discard_at(extent)`.
    fn discard_at(&self, extent: Extent) -> Result<()> {
        PassThrough::punch_hole(self, extent)
    }

    /// As [`Storage::zero_fast`]. It asks the inner storage, not the layer's own [`PassThrough::punch_hole`]:
    /// a layer that changes one of the two mostly has to change both.
    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        self.inner().zero_fast(extent, unmap)
    }

    /// As [`Storage::run_at`].
    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.inner().run_at(offset)
    }

    /// As [`Storage::allocated_bytes`].
    fn allocated_bytes(&self) -> Result<Option<u64>> {
        self.inner().allocated_bytes()
    }

    /// As [`Storage::limits`]. A layer that joins its inner storage's bytes in another way keeps to them
    /// itself.
    fn limits(&self) -> StorageLimits {
        self.inner().limits()
    }

    /// As [`Storage::prefetch_at`].
    fn prefetch_at(&self, extent: Extent) {
        self.inner().prefetch_at(extent);
    }

    /// As [`Storage::sync`].
    fn sync(&self) -> Result<()> {
        self.inner().sync()
    }

    /// As [`Storage::sync_extent`]. It is the layer's own [`PassThrough::sync`] by default, so that no layer
    /// is left out; one that changes nothing there hands it on: `self.inner().sync_extent(extent)`.
    fn sync_extent(&self, extent: Extent) -> Result<()> {
        let _ = extent;
        PassThrough::sync(self)
    }

    /// As [`Storage::step`].
    #[inline]
    fn step(&self, step: &'static Step) {
        self.inner().step(step);
    }
}

#[deny(clippy::missing_trait_methods)]
impl<T: PassThrough> Storage for T {
    fn len(&self) -> Result<u64> {
        PassThrough::len(self)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        PassThrough::set_len(self, length)
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        PassThrough::read_at(self, offset, buf)
    }

    #[inline]
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        PassThrough::write_at(self, offset, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        PassThrough::read_vectored_at(self, offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        PassThrough::write_vectored_at(self, offset, bufs)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        PassThrough::write_zeroes_at(self, extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        PassThrough::punch_hole(self, extent)
    }

    fn discard_at(&self, extent: Extent) -> Result<()> {
        PassThrough::discard_at(self, extent)
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        PassThrough::zero_fast(self, extent, unmap)
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        PassThrough::run_at(self, offset)
    }

    fn allocated_bytes(&self) -> Result<Option<u64>> {
        PassThrough::allocated_bytes(self)
    }

    fn limits(&self) -> StorageLimits {
        PassThrough::limits(self)
    }

    fn prefetch_at(&self, extent: Extent) {
        PassThrough::prefetch_at(self, extent);
    }

    fn sync(&self) -> Result<()> {
        PassThrough::sync(self)
    }

    fn sync_extent(&self, extent: Extent) -> Result<()> {
        PassThrough::sync_extent(self, extent)
    }

    #[inline]
    fn step(&self, step: &'static Step) {
        PassThrough::step(self, step);
    }
}
