//! A disk that is its storage, with one planted bug.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blk_core::sync::Mutex;
use blk_core::{
    BlockDriver, BlockStatus, DiscardFlags, Error, Extent, NativeFlags, Result, Storage, WriteFlags,
    ZeroFlags,
};

/// What is wrong with [`Plain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Nothing, and it syncs when it is opened.
    OpenSyncs,
    /// The last byte of a read of more than 512 bytes is wrong.
    LastByteOfReads,
    /// Every second read of 4 KiB leaves the buffer as it was.
    ReadsLeaveTheBuffer,
    /// Zeroes change nothing and succeed.
    ZeroesAreIgnored,
    /// A discard puts a byte that was never there into the middle of a sector.
    DiscardsLeaveAByte,
    /// A write of 1 KiB writes one byte too many.
    WritesOneByteTooMany,
    /// The status says zero everywhere.
    StatusLies,
    /// A close does nothing.
    CloseIsForgotten,
    /// A flush does nothing.
    FlushIsForgotten,
    /// A flush syncs, and then writes what a write of 512 bytes has left in memory.
    FlushSyncsTooEarly,
    /// A flush leaves a hole to be punched after it, at the disk's end.
    FlushPunchesLate,
    /// A handle that was closed writes once more when it is dropped.
    DropWritesAfterClose,
    /// A write with FUA is not forced.
    FuaIsForgotten,
    /// A sync that fails is tried once more, and counts then.
    FailedSyncIsRepeated,
    /// A write that fails leaves a disk that cannot be read, and does not say that it is poisoned.
    FailedWriteBreaksReads,
    /// A write that fails is reported as done.
    FailedWriteIsDone,
    /// A write that fails leaves zeroes in the sector after it.
    FailedWriteReachesFurther,
}

/// A disk that is its storage, byte for byte, but for its bug.
#[derive(Debug)]
pub(crate) struct Plain {
    storage: Arc<dyn Storage>,
    size: u64,
    bug: Bug,
    reads: AtomicU64,
    failed: AtomicU64,
    /// What [`Bug::FlushSyncsTooEarly`] keeps back.
    waiting: Mutex<Option<(u64, Vec<u8>)>>,
    is_late: AtomicBool,
}

impl Drop for Plain {
    fn drop(&mut self) {
        let mut byte = [0];
        if self.bug == Bug::DropWritesAfterClose && self.storage.read_at(0, &mut byte).is_ok() {
            let _ = self.storage.write_at(0, &byte);
        }
    }
}

impl Plain {
    pub(crate) fn open(storage: Arc<dyn Storage>, bug: Bug) -> Result<Self> {
        let size = storage.len()?;
        if bug == Bug::OpenSyncs {
            storage.sync()?;
        }
        let (reads, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self {
            size,
            storage,
            bug,
            reads,
            failed,
            waiting: Mutex::default(),
            is_late: AtomicBool::new(false),
        })
    }

    /// Writes what was kept back.
    fn write_waiting(&self) -> Result<()> {
        let waiting = self.waiting.lock().take();
        waiting.map_or(Ok(()), |(offset, bytes)| self.storage.write_at(offset, &bytes))
    }

    fn write_all(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.write_waiting()?;
        if self.bug == Bug::FlushSyncsTooEarly && buf.len() == 512 {
            *self.waiting.lock() = Some((offset, buf.to_vec()));
            return Ok(());
        }
        self.storage.write_at(offset, buf)?;
        let end = offset + buf.len() as u64;
        if self.bug == Bug::WritesOneByteTooMany && buf.len() == 1024 && end < self.size() {
            self.storage.write_at(end, &[0xdb])?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        if self.failed.load(Ordering::Relaxed) > 0 {
            return Err(Error::Poisoned { cause: "an earlier sync failed".to_owned() });
        }
        let synced = match self.bug {
            Bug::FailedSyncIsRepeated => self.storage.sync().or_else(|_| self.storage.sync()),
            _ => self.storage.sync(),
        };
        if synced.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        synced
    }
}

impl BlockDriver for Plain {
    fn size(&self) -> u64 {
        // Somebody asks, which is no request; no thread is needed to be late.
        if self.is_late.swap(false, Ordering::Relaxed) {
            let _ = self.storage.punch_hole(Extent::new(self.size, 512));
        }
        self.size
    }

    fn limits(&self) -> blk_core::Limits {
        blk_core::Limits { native: NativeFlags::FUA, ..blk_core::Limits::default() }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let is_second = buf.len() == 4096 && self.reads.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        if self.bug == Bug::ReadsLeaveTheBuffer && is_second {
            return Ok(());
        }
        self.write_waiting()?;
        if self.bug == Bug::FailedWriteBreaksReads && self.failed.load(Ordering::Relaxed) > 0 {
            return Err(Error::io("read", offset, std::io::Error::from_raw_os_error(5)));
        }
        self.storage.read_at(offset, buf)?;
        if let (Bug::LastByteOfReads, true, Some(last)) = (self.bug, buf.len() > 512, buf.last_mut()) {
            *last ^= 1;
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        blk_core::refuse_compressed(flags)?;
        let written = self.write_all(offset, buf);
        let end = offset + buf.len() as u64;
        match self.bug {
            Bug::FailedWriteIsDone => {}
            Bug::FailedWriteBreaksReads if written.is_err() => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                written?;
            }
            Bug::FailedWriteReachesFurther if written.is_err() && end + 512 <= self.size() => {
                self.storage.write_at(end, &[0; 512])?;
                written?;
            }
            _ => written?,
        }
        if flags.fua && self.bug != Bug::FuaIsForgotten { self.sync() } else { Ok(()) }
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        if self.bug != Bug::ZeroesAreIgnored {
            self.storage.write_zeroes_at(extent)?;
        }
        if flags.fua { self.sync() } else { Ok(()) }
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.storage.punch_hole(extent)?;
        if self.bug == Bug::DiscardsLeaveAByte {
            self.storage.write_at(extent.offset + 100, &[0xdb])
        } else {
            Ok(())
        }
    }

    fn flush(&self) -> Result<()> {
        match self.bug {
            Bug::FlushIsForgotten => Ok(()),
            Bug::FlushPunchesLate => self.sync().map(|()| self.is_late.store(true, Ordering::Relaxed)),
            Bug::FlushSyncsTooEarly => self.sync().and_then(|()| self.write_waiting()),
            _ => self.sync(),
        }
    }

    fn close(&self) -> Result<()> {
        if self.bug == Bug::CloseIsForgotten { Ok(()) } else { self.flush() }
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let (length, zero) = (extent.length, self.bug == Bug::StatusLies);
        Ok(BlockStatus { length, allocated: true, zero, compressed: false, host_offset: None })
    }
}
