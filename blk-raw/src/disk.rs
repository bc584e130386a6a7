//! The driver: adds the window's start to every offset, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blk_core::{
    BlockDriver, BlockStatus, Error, Extent, Resize, Result, Storage, WriteFlags, ZeroFlags,
    refuse_compressed,
};

/// The part of the file that is the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Where it starts in the file, bytes.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// The size was asked for, so it does not change.
    pub(crate) fixed: bool,
}

/// An open raw image.
#[derive(Debug)]
pub(crate) struct RawDisk {
    storage: Arc<dyn Storage>,
    window: Window,
    size: AtomicU64,
    discard_frees: bool,
}

impl RawDisk {
    pub(crate) fn new(storage: Arc<dyn Storage>, window: Window, discard_frees: bool) -> Self {
        Self { storage, window, size: AtomicU64::new(window.size), discard_frees }
    }

    fn in_file(&self, extent: Extent) -> Extent {
        Extent::new(self.window.start + extent.offset, extent.length)
    }
}

impl BlockDriver for RawDisk {
    #[inline]
    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    #[inline]
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.storage.read_at(self.window.start + offset, buf)
    }

    #[inline]
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        self.storage.write_at(self.window.start + offset, buf)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let extent = self.in_file(extent);
        if flags.may_unmap { self.storage.punch_hole(extent) } else { self.storage.write_zeroes_at(extent) }
    }

    fn discard(&self, extent: Extent) -> Result<()> {
        if self.discard_frees { self.storage.punch_hole(self.in_file(extent)) } else { Ok(()) }
    }

    fn flush(&self) -> Result<()> {
        self.storage.sync()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let in_file = self.in_file(extent);
        // A file that somebody has cut short reads as zeroes.
        let run = self.storage.run_at(in_file.offset)?;
        let (length, data) =
            run.map_or((extent.length, false), |run| (run.length.min(extent.length), run.data));
        let host_offset = Some(in_file.offset);
        Ok(BlockStatus { length, allocated: true, zero: !data, compressed: false, host_offset })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }
}

impl Resize for RawDisk {
    fn resize(&self, size: u64) -> Result<()> {
        if self.window.fixed {
            return Err(Error::unsupported("resizing a window of fixed size"));
        }
        let Some(length) = self.window.start.checked_add(size) else {
            return Err(Error::OutOfRange { offset: self.window.start, length: size, size: u64::MAX });
        };
        self.storage.set_len(length)?;
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }
}
