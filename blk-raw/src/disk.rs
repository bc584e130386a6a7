//! The driver: adds the window's start to every offset, and nothing else.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blk_core::storage::SyncGroup;
use blk_core::sync::Mutex;
use blk_core::{
    BlockDriver, BlockStatus, DiscardFlags, Error, Extent, ImageInfo, Info, Limits, NativeFlags,
    Preallocation, Resize, Result, Storage, WriteFlags, ZeroFlags, refuse_compressed,
};

use crate::allocate::allocate;
use crate::steps;

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
    /// A discard, and zeroes that may unmap, give space back.
    discard_frees: bool,
    resizing: Mutex<()>,
    /// Other handles on the file may write at the same time: no byte is written back that was only read.
    is_shareable: bool,
    syncs: SyncGroup,
    /// Something was written after the last flush: only then it tells of its second step, as QEMU's does.
    is_written: AtomicBool,
}

impl RawDisk {
    pub(crate) fn new(storage: Arc<dyn Storage>, window: Window, discard_frees: bool) -> Self {
        assert!(window.start.checked_add(window.size).is_some(), "a window lies in a file: {window:?}");
        let size = AtomicU64::new(window.size);
        Self {
            storage,
            window,
            size,
            discard_frees,
            resizing: Mutex::new(()),
            is_shareable: true,
            syncs: SyncGroup::new(),
            is_written: AtomicBool::new(false),
        }
    }

    /// For a host that takes whole units only: what is not aligned is read, changed and written back.
    pub(crate) fn unshareable(self) -> Self {
        Self { is_shareable: false, ..self }
    }

    fn in_file(&self, extent: Extent) -> Extent {
        Extent::new(self.window.start + extent.offset, extent.length)
    }

    /// Writes data by `write`.
    #[inline]
    fn write_by(&self, flags: WriteFlags, write: impl FnOnce() -> Result<()>) -> Result<()> {
        refuse_compressed(flags)?;
        self.storage.step(&steps::WRITE_AIO);
        let written = write();
        // A write that failed may have written something.
        self.is_written.store(true, Ordering::Relaxed);
        written?;
        // A durable write is one step for those who follow the steps.
        if flags.fua { self.syncs.sync(&*self.storage) } else { Ok(()) }
    }
}

impl BlockDriver for RawDisk {
    #[inline]
    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn limits(&self) -> Limits {
        Limits {
            zero_bytes_max: Limits::ANY_LENGTH,
            discard_bytes_max: Limits::ANY_LENGTH,
            native: NativeFlags::ALL,
            multi_conn: self.is_shareable,
            ..Limits::default()
        }
    }

    #[inline]
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.storage.step(&steps::READ_AIO);
        self.storage.read_at(self.window.start + offset, buf)
    }

    #[inline]
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.write_by(flags, || self.storage.write_at(self.window.start + offset, buf))
    }

    fn read_vectored(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.storage.step(&steps::READ_AIO);
        self.storage.read_vectored_at(self.window.start + offset, bufs)
    }

    fn write_vectored(&self, offset: u64, bufs: &[IoSlice<'_>], flags: WriteFlags) -> Result<()> {
        self.write_by(flags, || self.storage.write_vectored_at(self.window.start + offset, bufs))
    }

    fn prefetch(&self, extent: Extent) -> Result<()> {
        self.storage.prefetch_at(self.in_file(extent));
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let extent = self.in_file(extent);
        let unmap = flags.may_unmap && self.discard_frees;
        let zeroed = if flags.may_be_refused() {
            self.storage.zero_fast(extent, unmap)
        } else if unmap {
            self.storage.punch_hole(extent)
        } else {
            self.storage.write_zeroes_at(extent)
        };
        let done = zeroed.and_then(|()| if flags.fua { self.flush() } else { Ok(()) });
        self.is_written.store(true, Ordering::Relaxed);
        done
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        self.is_written.store(true, Ordering::Relaxed);
        if self.discard_frees {
            self.storage.discard_at(self.in_file(extent))?;
        }
        if flags.fua { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<()> {
        self.storage.step(&steps::FLUSH_TO_OS);
        if self.is_written.swap(false, Ordering::Relaxed) {
            self.storage.step(&steps::FLUSH_TO_DISK);
        }
        self.syncs.sync(&*self.storage)
    }

    fn close(&self) -> Result<()> {
        // A flush that failed has nothing more to write, and yet not all is well.
        if self.is_written.load(Ordering::Relaxed) { self.flush() } else { self.syncs.check() }
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let in_file = self.in_file(extent);
        // A file that somebody has cut short reads as zeroes.
        let run = self.storage.run_at(in_file.offset)?;
        let (length, data) =
            run.map_or((extent.length, false), |run| (run.length.min(extent.length), run.data));
        assert!(length > 0, "a run has a byte: {in_file:?} is {run:?}");
        let host_offset = Some(in_file.offset);
        Ok(BlockStatus { length, allocated: true, zero: !data, compressed: false, host_offset })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_info(&self) -> Option<&dyn Info> {
        Some(self)
    }
}

impl Info for RawDisk {
    fn info(&self) -> Result<ImageInfo> {
        Ok(ImageInfo { format: "raw", ..ImageInfo::default() })
    }
}

impl Resize for RawDisk {
    fn resize(&self, size: u64) -> Result<()> {
        self.is_written.store(true, Ordering::Relaxed);
        self.grow(size, Preallocation::Off)
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        self.is_written.store(true, Ordering::Relaxed);
        if self.window.fixed {
            return Err(Error::unsupported("resizing a window of fixed size"));
        }
        if preallocation == Preallocation::Metadata {
            return Err(Error::unsupported("preallocation mode 'metadata' for raw images"));
        }
        let Some(length) = self.window.start.checked_add(size) else {
            return Err(Error::OutOfRange { offset: self.window.start, length: size, size: u64::MAX });
        };
        let _alone = self.resizing.lock();
        self.clear_behind_the_end()?;
        let before = self.window.start + self.size();
        assert!(preallocation == Preallocation::Off || before <= length, "only a larger disk allocates");
        let resized = self.storage.set_len(length);
        // A host may say that it failed and have done it: the size is what the next open will find.
        if resized.is_ok() || self.storage.len().is_ok_and(|found| found == length) {
            self.size.store(size, Ordering::Relaxed);
        }
        resized?;
        let gained = Extent::between(before.min(length), length);
        if let Err(error) = allocate(&*self.storage, gained, preallocation) {
            // The size is what the next open will find: a storage that cannot shrink keeps the new one.
            if self.storage.set_len(before).is_ok() {
                self.size.store(before - self.window.start, Ordering::Relaxed);
            }
            return Err(error);
        }
        Ok(())
    }
}

impl RawDisk {
    /// A write that was under way while the disk became smaller may have made the file longer again; a larger
    /// disk must not show it.
    fn clear_behind_the_end(&self) -> Result<()> {
        let end = self.window.start + self.size();
        let length = self.storage.len()?;
        if length > end { self.storage.punch_hole(Extent::between(end, length)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use blk_core::storage::{FaultRule, FaultStorage, Operation, PassThrough};
    use blk_core::{Access, Disk, MemoryStorage};

    use super::*;

    #[test]
    fn what_lies_behind_the_end_does_not_show_after_growing() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&[1; 2000]));
        let disk = RawDisk::new(Arc::clone(&storage), Window { start: 0, size: 2000, fixed: false }, true);
        disk.resize(1000).unwrap();
        // As a write does that has passed the front door before the disk became smaller.
        disk.write(1500, &[2; 100], WriteFlags::default()).unwrap();
        disk.resize(2000).unwrap();
        let mut bytes = [9; 2000];
        disk.read(0, &mut bytes).unwrap();
        assert!(bytes[..1000] == [1; 1000] && bytes[1000..] == [0; 1000]);
    }

    /// A storage that can only grow.
    #[derive(Debug)]
    struct Growing(MemoryStorage);

    impl PassThrough for Growing {
        fn inner(&self) -> &dyn Storage {
            &self.0
        }

        fn set_len(&self, length: u64) -> Result<()> {
            if length < self.0.len()? { Err(Error::unsupported("shrinking")) } else { self.0.set_len(length) }
        }
    }

    #[test]
    fn a_refusal_to_grow_changes_nothing_on_a_storage_that_cannot_shrink() {
        let storage = Arc::new(Growing(MemoryStorage::from_bytes(&[1; 1000])));
        let window = Window { start: 0, size: 1000, fixed: false };
        let raw = RawDisk::new(Arc::clone(&storage) as Arc<dyn Storage>, window, true);
        let disk = Disk::new(raw, Access::ReadWrite);
        assert!(matches!(disk.grow(2000, Preallocation::Metadata), Err(Error::Unsupported { .. })));
        assert!(matches!(disk.resize(500), Err(Error::Unsupported { .. })));
        assert_eq!((disk.size(), storage.0.len().unwrap()), (1000, 1000));
        disk.grow(2000, Preallocation::Full).unwrap();
        assert_eq!((disk.size(), storage.0.len().unwrap()), (2000, 2000));
    }

    #[test]
    fn a_disk_that_cannot_go_back_after_a_failure_says_the_size_that_it_has() {
        let fault = Arc::new(FaultStorage::new(Arc::new(Growing(MemoryStorage::from_bytes(&[1; 1000])))));
        fault.add_rule(FaultRule::fail(5).on(Operation::Write));
        let window = Window { start: 0, size: 1000, fixed: false };
        let raw = RawDisk::new(Arc::clone(&fault) as Arc<dyn Storage>, window, true);
        let disk = Disk::new(raw, Access::ReadWrite);
        assert_eq!(disk.grow(2000, Preallocation::Full).unwrap_err().errno(), 5);
        assert_eq!((disk.size(), Storage::len(&*fault).unwrap()), (2000, 2000));
    }

    #[test]
    fn a_file_that_somebody_cut_short_reads_as_zeroes() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&[1; 2000]));
        let disk = RawDisk::new(Arc::clone(&storage), Window { start: 0, size: 2000, fixed: false }, true);
        storage.set_len(500).unwrap();
        let mut bytes = [9; 1000];
        disk.read(0, &mut bytes).unwrap();
        assert!(bytes[..500] == [1; 500] && bytes[500..] == [0; 500]);
        let status = disk.block_status(Extent::new(600, 1400)).unwrap();
        assert_eq!((status.length, status.zero), (1400, true));
    }
}
