//! Filters: drivers over one disk that change some of its requests.
//!
//! A filter implements [`PassThrough`] and is a [`BlockDriver`] by that. What it does not change goes to the
//! inner disk, through the inner disk's own front door. A method that [`BlockDriver`] gains is forwarded
//! here, once for all filters: clippy's `missing_trait_methods` refuses an implementation that leaves it to
//! the trait's default.

use std::fmt::Debug;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use crate::{
    Amend, Bitmaps, BlockDriver, BlockStatus, Check, Compress, DiscardFlags, Disk, Extent, Info, Limits,
    NativeFlags, Overlay, Preallocation, Queue, Resize, Result, Snapshots, StorageRun, VmState, WriteFlags,
    ZeroFlags, driver::status_runs, vectored,
};

/// A driver over one disk. Every method does what [`BlockDriver`] and [`Resize`] say, and is the inner disk's
/// by default.
///
/// Abilities that work on the image rather than on the disk (check, info, overlay, snapshots, bitmaps), and a
/// queue, would leave the filter out, so there are none by default; compressed and vectored writes go
/// through [`PassThrough::write`]. A filter that does not mind hands on the inner disk's:
/// `self.inner().as_check()`.
pub trait PassThrough: Debug + Send + Sync {
    /// The disk that gets what this filter does not change.
    fn inner(&self) -> &Disk;

    /// As [`BlockDriver::size`].
    #[inline]
    fn size(&self) -> u64 {
        self.inner().size()
    }

    /// As [`BlockDriver::limits`]. The inner disk emulates what its driver lacks: zeroes can always be
    /// written, every request be made durable, and buffers lie anywhere.
    fn limits(&self) -> Limits {
        let inner = self.inner().limits();
        let native = NativeFlags { fast_zero: inner.native.fast_zero, ..NativeFlags::FUA };
        Limits { can_write_zeroes: true, memory_alignment: 1, native, ..*inner }
    }

    /// As [`BlockDriver::read`].
    #[inline]
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner().read(offset, buf)
    }

    /// As [`BlockDriver::write`].
    #[inline]
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.inner().write(offset, buf, flags)
    }

    /// As [`BlockDriver::read_vectored`]. It is the filter's own [`PassThrough::read`] of one buffer by
    /// default, so that no filter is left out; one that changes no reads hands it on:
    /// `self.inner().read_vectored(offset, bufs)`.
    fn read_vectored(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        vectored::read_joined(bufs, |buf| PassThrough::read(self, offset, buf))
    }

    /// As [`BlockDriver::write_vectored`], by [`PassThrough::write`] as for reads.
    fn write_vectored(&self, offset: u64, bufs: &[IoSlice<'_>], flags: WriteFlags) -> Result<()> {
        vectored::write_joined(bufs, |buf| PassThrough::write(self, offset, buf, flags))
    }

    /// As [`BlockDriver::write_zeroes`].
    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.inner().write_zeroes(extent, flags)
    }

    /// As [`BlockDriver::discard`].
    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        self.inner().discard(extent, flags)
    }

    /// As [`BlockDriver::flush`].
    fn flush(&self) -> Result<()> {
        self.inner().flush()
    }

    /// As [`BlockDriver::block_status`].
    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        self.inner().block_status(extent)
    }

    /// As [`BlockDriver::block_status_runs`], by [`PassThrough::block_status`]: a filter that changes one
    /// changes both.
    fn block_status_runs(&self, extent: Extent, runs_max: usize) -> Result<Vec<BlockStatus>> {
        status_runs(extent, runs_max, |rest| PassThrough::block_status(self, rest))
    }

    /// As [`BlockDriver::prefetch`].
    fn prefetch(&self, extent: Extent) -> Result<()> {
        self.inner().prefetch(extent)
    }

    /// As [`BlockDriver::host_run`]. A filter may show other bytes than the host has, so nobody knows by
    /// default.
    fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        let _ = extent;
        Ok(None)
    }

    /// As [`BlockDriver::backing`].
    fn backing(&self) -> Option<&Arc<Disk>> {
        self.inner().backing()
    }

    /// As [`BlockDriver::close`].
    fn close(&self) -> Result<()> {
        self.inner().close()
    }

    /// As [`Resize::resize`]; called only if the inner disk can change its size.
    fn resize(&self, size: u64) -> Result<()> {
        self.inner().resize(size)
    }

    /// As [`Resize::grow`]; called only if the inner disk can change its size.
    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        self.inner().grow(size, preallocation)
    }

    /// As [`BlockDriver::as_check`].
    fn as_check(&self) -> Option<&dyn Check> {
        None
    }

    /// As [`BlockDriver::as_compress`].
    fn as_compress(&self) -> Option<&dyn Compress> {
        None
    }

    /// As [`BlockDriver::as_info`].
    fn as_info(&self) -> Option<&dyn Info> {
        None
    }

    /// As [`BlockDriver::as_amend`].
    fn as_amend(&self) -> Option<&dyn Amend> {
        None
    }

    /// As [`BlockDriver::as_overlay`].
    fn as_overlay(&self) -> Option<&dyn Overlay> {
        None
    }

    /// As [`BlockDriver::as_snapshots`].
    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// As [`BlockDriver::as_bitmaps`].
    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        None
    }

    /// As [`BlockDriver::as_vm_state`].
    fn as_vm_state(&self) -> Option<&dyn VmState> {
        None
    }

    /// As [`BlockDriver::as_queue`].
    fn as_queue(&self) -> Option<&dyn Queue> {
        None
    }
}

#[deny(clippy::missing_trait_methods)]
impl<T: PassThrough> BlockDriver for T {
    #[inline]
    fn size(&self) -> u64 {
        PassThrough::size(self)
    }

    fn limits(&self) -> Limits {
        PassThrough::limits(self)
    }

    #[inline]
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        PassThrough::read(self, offset, buf)
    }

    #[inline]
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        PassThrough::write(self, offset, buf, flags)
    }

    fn read_vectored(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        PassThrough::read_vectored(self, offset, bufs)
    }

    fn write_vectored(&self, offset: u64, bufs: &[IoSlice<'_>], flags: WriteFlags) -> Result<()> {
        PassThrough::write_vectored(self, offset, bufs, flags)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        PassThrough::write_zeroes(self, extent, flags)
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        PassThrough::discard(self, extent, flags)
    }

    fn flush(&self) -> Result<()> {
        PassThrough::flush(self)
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        PassThrough::block_status(self, extent)
    }

    fn block_status_runs(&self, extent: Extent, runs_max: usize) -> Result<Vec<BlockStatus>> {
        PassThrough::block_status_runs(self, extent, runs_max)
    }

    fn prefetch(&self, extent: Extent) -> Result<()> {
        PassThrough::prefetch(self, extent)
    }

    fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        PassThrough::host_run(self, extent)
    }

    fn backing(&self) -> Option<&Arc<Disk>> {
        PassThrough::backing(self)
    }

    fn close(&self) -> Result<()> {
        PassThrough::close(self)
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        self.inner().as_resize().map(|_| self as &dyn Resize)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        PassThrough::as_check(self)
    }

    fn as_compress(&self) -> Option<&dyn Compress> {
        PassThrough::as_compress(self)
    }

    fn as_info(&self) -> Option<&dyn Info> {
        PassThrough::as_info(self)
    }

    fn as_amend(&self) -> Option<&dyn Amend> {
        PassThrough::as_amend(self)
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        PassThrough::as_overlay(self)
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        PassThrough::as_snapshots(self)
    }

    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        PassThrough::as_bitmaps(self)
    }

    fn as_vm_state(&self) -> Option<&dyn VmState> {
        PassThrough::as_vm_state(self)
    }

    fn as_queue(&self) -> Option<&dyn Queue> {
        PassThrough::as_queue(self)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<T: PassThrough> Resize for T {
    fn resize(&self, size: u64) -> Result<()> {
        PassThrough::resize(self, size)
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        PassThrough::grow(self, size, preallocation)
    }
}
