//! Drivers with planted bugs: they prove that the machinery can find something.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::sync::RwLock;
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, Limits, NativeFlags, Resize, Result,
    WriteFlags, ZeroFlags,
};

/// Largest disk that these drivers hold: they keep it in memory whole.
const SIZE_BYTES_MAX: u64 = 64 << 20;

/// A bug that is planted in [`Flat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bug {
    /// None: the driver is right.
    #[default]
    None,
    /// A write that crosses a 64 KiB boundary after any discard loses what lies behind the boundary.
    LostTailAfterDiscard,
    /// A write lands one sector too far.
    Shifted,
    /// Zeroes written to less than a sector do nothing.
    SmallZeroesIgnored,
    /// A discard leaves bytes that were never there.
    DiscardGarbage,
    /// The block status says zero everywhere.
    StatusLies,
    /// A resize keeps what lies behind the old end.
    ResizeShowsOld,
    /// A write of exactly 3 sectors panics.
    Panics,
    /// A read at the last sector fails.
    ReadFails,
    /// Zeroes that may be refused are written, and then refused.
    FastZeroesRefusedLate,
}

/// A disk that is a vector of bytes, right but for its planted bug.
pub struct Flat {
    bytes: RwLock<Vec<u8>>,
    bug: Bug,
    discarded: AtomicBool,
}

impl fmt::Debug for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the content: that is up to 64 MiB.
        f.debug_struct("Flat").field("bug", &self.bug).finish_non_exhaustive()
    }
}

const BOUNDARY_BYTES: u64 = 64 << 10;
const SECTOR_BYTES: usize = 512;

impl Flat {
    /// A disk of `size` zero bytes.
    ///
    /// # Errors
    /// [`Error::NoSpace`] above 64 MiB.
    pub fn new(size: u64, bug: Bug) -> Result<Self> {
        if size > SIZE_BYTES_MAX {
            return Err(Error::NoSpace { what: "this driver holds at most 64 MiB".into() });
        }
        let bytes = RwLock::new(vec![0; size as usize]);
        Ok(Self { bytes, bug, discarded: AtomicBool::new(false) })
    }

    /// The disk behind its front door.
    pub fn open(size: u64, bug: Bug) -> Result<Arc<Disk>> {
        Ok(Arc::new(Disk::new(Self::new(size, bug)?, Access::ReadWrite)))
    }

    fn fill(&self, extent: Extent, byte: u8) {
        self.bytes.write()[extent.offset as usize..extent.end() as usize].fill(byte);
    }
}

impl BlockDriver for Flat {
    fn size(&self) -> u64 {
        self.bytes.read().len() as u64
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.bytes.read();
        let end = offset as usize + buf.len();
        if self.bug == Bug::ReadFails && end + SECTOR_BYTES > bytes.len() {
            return Err(Error::corrupt("planted bug", offset, "the last sector cannot be read"));
        }
        buf.copy_from_slice(&bytes[offset as usize..end]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        blk_core::refuse_compressed(flags)?;
        assert!(!(self.bug == Bug::Panics && buf.len() == 3 * SECTOR_BYTES), "planted panic at {offset}");
        let mut bytes = self.bytes.write();
        let mut start = offset as usize;
        let mut length = buf.len();
        let boundary = (offset + 1).next_multiple_of(BOUNDARY_BYTES) as usize;
        if self.bug == Bug::LostTailAfterDiscard && self.discarded.load(Ordering::Relaxed) {
            length = length.min(boundary - start);
        }
        if self.bug == Bug::Shifted && start + length + SECTOR_BYTES <= bytes.len() {
            start += SECTOR_BYTES;
        }
        bytes[start..start + length].copy_from_slice(&buf[..length]);
        Ok(())
    }

    fn limits(&self) -> Limits {
        let fast_zero = self.bug == Bug::FastZeroesRefusedLate;
        Limits { native: NativeFlags { fast_zero, ..NativeFlags::default() }, ..Limits::default() }
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        if self.bug == Bug::FastZeroesRefusedLate && flags.may_be_refused() {
            self.fill(extent, 0);
            return Err(Error::unsupported("zeroes without writing them"));
        }
        if self.bug != Bug::SmallZeroesIgnored || extent.length >= SECTOR_BYTES as u64 {
            self.fill(extent, 0);
        }
        Ok(())
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.discarded.store(true, Ordering::Relaxed);
        self.fill(extent, if self.bug == Bug::DiscardGarbage { 0xdb } else { 0 });
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let zero = self.bug == Bug::StatusLies;
        Ok(BlockStatus { length: extent.length, allocated: true, zero, compressed: false, host_offset: None })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }
}

impl Resize for Flat {
    fn resize(&self, size: u64) -> Result<()> {
        if size > SIZE_BYTES_MAX {
            return Err(Error::NoSpace { what: "this driver holds at most 64 MiB".into() });
        }
        let byte = if self.bug == Bug::ResizeShowsOld { 0x0d } else { 0 };
        self.bytes.write().resize(size as usize, byte);
        Ok(())
    }
}
