//! The front door to every driver.
//!
//! Callers talk to a [`Disk`], never to a driver. It checks each request once (range, overflow, alignment,
//! access), splits what is too large, emulates what the driver lacks (zeroes by writing them, FUA by
//! flushing), and asserts what the driver owes.

mod abilities;
mod transfer;

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::sync::{Arc, Weak};

use crate::sync::Mutex;
use crate::sync::atomic::AtomicBool;
use crate::{
    BlockDriver, BlockStatus, DiscardFlags, Error, Extent, Limits, Result, StorageRun, WriteFlags, ZeroFlags,
    vectored,
};

/// Whether a disk may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Requests that write are refused, and opening changes nothing.
    ReadOnly,
    /// All requests.
    #[default]
    ReadWrite,
}

/// Is called when the size of a disk has changed, with the size that it has now. See [`Disk::watch_size`].
pub type SizeWatcher = dyn Fn(u64) + Send + Sync;

/// An open disk: a driver behind the checks that all drivers share.
pub struct Disk {
    driver: Box<dyn BlockDriver>,
    access: Access,
    limits: Limits,
    /// Reads and writes up to this size go to the driver as they are; 0 where every buffer has to be looked
    /// at. Bytes.
    direct_bytes_max: u64,
    /// Held while the size changes: what the driver reports afterwards is compared with what was asked.
    resizing: Mutex<()>,
    watchers: Mutex<Vec<Weak<SizeWatcher>>>,
    /// Somebody has asked to be told of another size. Without that the lock is not taken: it is a point of a
    /// model's schedule.
    is_watched: AtomicBool,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { driver, access, limits, .. } = self;
        f.debug_struct("Disk")
            .field("driver", driver)
            .field("access", access)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// Puts the front door before `driver`.
    ///
    /// # Panics
    /// If the driver's limits contradict themselves.
    pub fn new(driver: impl BlockDriver + 'static, access: Access) -> Self {
        Self::from_box(Box::new(driver), access)
    }

    /// As [`Disk::new`], for a driver that is boxed already.
    pub fn from_box(driver: Box<dyn BlockDriver>, access: Access) -> Self {
        let mut limits = driver.limits();
        if let Some(contradiction) = limits.contradiction() {
            panic!("{contradiction}: {limits:?}");
        }
        limits.preferred_bytes = limits.preferred_bytes.max(limits.request_alignment);
        let direct_bytes_max = if limits.memory_alignment == 1 { limits.transfer_bytes_max } else { 0 };
        let watchers = Mutex::default();
        let is_watched = AtomicBool::new(false);
        let resizing = Mutex::new(());
        Self { driver, access, limits, direct_bytes_max, resizing, watchers, is_watched }
    }

    /// Size in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.driver.size()
    }

    /// Whether it may be written.
    pub fn access(&self) -> Access {
        self.access
    }

    /// What the driver takes in one request; this type splits larger ones.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The driver itself, without the checks.
    pub(crate) fn driver(&self) -> &dyn BlockDriver {
        &*self.driver
    }

    /// The disk of the backing file, which shows where this one has nothing.
    pub fn backing(&self) -> Option<&Arc<Self>> {
        self.driver.backing()
    }

    /// Fills `buf` with the bytes from `offset` on.
    #[inline]
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check_range(offset, buf.len() as u64)?;
        if buf.len() as u64 <= self.direct_bytes_max && !buf.is_empty() {
            return self.driver.read(offset, buf);
        }
        self.read_parts(offset, buf)
    }

    /// Writes `buf` at `offset`.
    #[inline]
    pub fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.check_write(offset, buf.len() as u64)?;
        if !flags.fua && buf.len() as u64 <= self.direct_bytes_max && !buf.is_empty() {
            return self.driver.write(offset, buf, flags);
        }
        self.write_parts(offset, buf, flags)
    }

    /// Fills the pieces of `bufs`, in order, with the bytes from `offset` on: as [`Disk::read`] into one
    /// buffer.
    pub fn read_vectored(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        let length = vectored::bytes_of_mut(bufs)?;
        self.check_range(offset, length)?;
        if length > 0 && length <= self.direct_bytes_max {
            return self.driver.read_vectored(offset, bufs);
        }
        vectored::read_joined(bufs, |buf| self.read_parts(offset, buf))
    }

    /// Writes the pieces of `bufs`, in order, from `offset` on: as [`Disk::write`] of one buffer.
    pub fn write_vectored(&self, offset: u64, bufs: &[IoSlice<'_>], flags: WriteFlags) -> Result<()> {
        let length = vectored::bytes_of(bufs)?;
        self.check_write(offset, length)?;
        if length == 0 || length > self.direct_bytes_max {
            return vectored::write_joined(bufs, |buf| self.write_parts(offset, buf, flags));
        }
        let native = self.limits.native.write_fua;
        let passed = WriteFlags { fua: flags.fua && native, ..flags };
        self.driver.write_vectored(offset, bufs, passed)?;
        self.flush_for_fua(flags.fua, native)
    }

    /// Makes `extent` read as zeroes.
    pub fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.check_write(extent.offset, extent.length)?;
        let native = self.limits.native;
        if flags.fast_only && !native.fast_zero {
            return Err(Error::unsupported("zeroes that are faster than a write"));
        }
        // Zeroes may end up as a write, which has to be able to do it too.
        let is_native = native.zero_fua && native.write_fua;
        let passed = ZeroFlags { fua: flags.fua && is_native, ..flags };
        let unit = self.limits.zero_granularity.max(self.limits.request_alignment);
        for part in parts(extent, self.limits.zero_bytes_max, unit) {
            match self.zero_part(part, passed) {
                // A part is done already, so nothing can be refused any more: it only takes longer.
                Err(Error::Unsupported { .. }) if flags.fast_only && part.offset > extent.offset => {
                    self.zero_part(part, ZeroFlags { no_fallback: false, fast_only: false, ..passed })?;
                }
                answered => answered?,
            }
        }
        self.flush_for_fua(flags.fua, is_native)
    }

    /// Tells that the bytes of `extent` are no longer needed; each keeps its value or becomes zero.
    pub fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        self.check_write(extent.offset, extent.length)?;
        if !self.limits.can_discard {
            return Err(Error::unsupported("discard"));
        }
        let native = self.limits.native.discard_fua;
        let passed = DiscardFlags { fua: flags.fua && native };
        let unit = self.limits.discard_granularity.max(self.limits.request_alignment);
        parts(extent, self.limits.discard_bytes_max, unit)
            .try_for_each(|part| self.driver.discard(part, passed))?;
        self.flush_for_fua(flags.fua, native)
    }

    /// Puts everything that completed requests wrote on stable storage.
    pub fn flush(&self) -> Result<()> {
        if self.access == Access::ReadOnly { Ok(()) } else { self.driver.flush() }
    }

    /// Tells that `extent` will be read soon, so that it is kept at hand. Nothing changes, and nothing need
    /// happen.
    pub fn prefetch(&self, extent: Extent) -> Result<()> {
        self.check_range(extent.offset, extent.length)?;
        if extent.is_empty() { Ok(()) } else { self.driver.prefetch(extent) }
    }

    /// What the top layer alone knows about the start of `extent`, which must not be empty.
    pub fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        self.check_status(extent)?;
        let status = self.driver.block_status(extent)?;
        self.assert_coherent(extent, status);
        Ok(status)
    }

    /// What the top layer alone knows about the first runs of `extent`, which must not be empty: at least one
    /// and at most `runs_max`, one after another from the start. They may end before the extent does.
    pub fn block_status_runs(&self, extent: Extent, runs_max: usize) -> Result<Vec<BlockStatus>> {
        self.check_status(extent)?;
        if runs_max == 0 {
            return Err(Error::invalid_option("runs", "block status of 0 runs"));
        }
        let runs = self.driver.block_status_runs(extent, runs_max)?;
        assert!((1..=runs_max).contains(&runs.len()), "{} of {runs_max} runs of {extent:?}", runs.len());
        let mut rest = extent;
        for run in &runs {
            assert!(!rest.is_empty(), "the runs reach past {extent:?}: {runs:?}");
            self.assert_coherent(rest, *run);
            rest = Extent::between(rest.offset + run.length, rest.end());
        }
        Ok(runs)
    }

    /// What the host has for the start of `extent`, which must not be empty and which [`Disk::block_status`]
    /// calls stored as plain bytes: see [`BlockDriver::host_run`].
    pub fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        self.check_status(extent)?;
        let run = self.driver.host_run(extent)?;
        if let Some(StorageRun { length, .. }) = run {
            assert!(length > 0 && length <= extent.length, "the host's run of {extent:?} has {length} bytes");
        }
        Ok(run)
    }

    /// What a driver owes about the block status of `extent`.
    fn assert_coherent(&self, extent: Extent, status: BlockStatus) {
        let BlockStatus { length, allocated, zero, compressed, host_offset } = status;
        let unit = self.limits.request_alignment;
        assert!(length > 0 && length <= extent.length, "block status of {extent:?} covers {length} bytes");
        // The extent is whole units, so whoever asks on from where the status ends asks for whole units
        // again.
        assert!(length.is_multiple_of(unit), "block status of {extent:?} ends inside a unit: {status:?}");
        assert!(!compressed || (allocated && host_offset.is_none()), "compressed, not plain: {status:?}");
        assert!(!(compressed && zero), "what reads as zeroes by a mark is not compressed: {status:?}");
        assert!(
            !zero || allocated || self.backing().is_none(),
            "whether {extent:?} is zero is the backing file's to say: {status:?}"
        );
        if let Some(host) = host_offset {
            assert!(host.checked_add(length).is_some(), "the host's file ends before 2^64: {status:?}");
        }
    }

    fn check_writable(&self) -> Result<()> {
        if self.access == Access::ReadOnly { Err(Error::ReadOnly) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn check_write(&self, offset: u64, length: u64) -> Result<()> {
        self.check_writable()?;
        self.check_range(offset, length)
    }

    fn check_status(&self, extent: Extent) -> Result<()> {
        self.check_range(extent.offset, extent.length)?;
        if extent.is_empty() {
            return Err(Error::invalid_option("length", "block status of 0 bytes"));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn check_range(&self, offset: u64, length: u64) -> Result<()> {
        let alignment = self.limits.request_alignment;
        if (offset | length) & (alignment - 1) != 0 {
            return Err(Error::Misaligned { offset, length, alignment });
        }
        let size = self.driver.size();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::OutOfRange { offset, length, size }),
        }
    }
}

/// `extent` in parts of at most `bytes_max` bytes. They end where units do: a driver is given no unit in two
/// halves, of which it could free neither.
fn parts(extent: Extent, bytes_max: u64, unit: u64) -> impl Iterator<Item = Extent> {
    let mut rest = extent;
    std::iter::from_fn(move || {
        let mut length = rest.length.min(bytes_max);
        let end = (rest.offset + length) / unit * unit;
        if length < rest.length && end > rest.offset {
            length = end - rest.offset;
        }
        let part = Extent::new(rest.offset, length);
        rest = Extent::new(rest.offset + length, rest.length - length);
        (length > 0).then_some(part)
    })
}

#[cfg(test)]
mod tests;
