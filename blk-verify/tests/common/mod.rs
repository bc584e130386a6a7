//! A driver over another disk that misbehaves in one chosen way, for the tests of the verifier.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::{
    Access, BlockDriver, BlockStatus, Check, CheckReport, DiscardFlags, Disk, Error, Extent, Limits,
    RepairMode, Resize, Result, Severity, WriteFlags, ZeroFlags,
};

/// What a [`Rough`] disk does otherwise than the disk under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Way {
    /// Nothing.
    #[default]
    Plain,
    /// Every write fails with an I/O error once it has written this many of its bytes, of these values if
    /// there are any.
    WriteFails(usize, Option<u8>),
    /// As [`Way::WriteFails`], but only the first write.
    FirstWriteFails(usize),
    /// Every write fails because the image is corrupt.
    WriteFindsCorruption,
    /// Every read that touches this byte fails with an I/O error.
    BadByteAt(u64),
    /// Requests are multiples of this.
    Aligned(u64),
    /// All of it shows the backing file.
    ShowsBelow,
    /// A resize is refused as unsupported, and done nevertheless.
    ResizesSecretly,
    /// A resize fails with an I/O error, done or not.
    ResizeFails(bool),
    /// A check finds this.
    CheckFinds(Severity),
}

/// A disk that is rough in one way.
#[derive(Debug)]
pub(crate) struct Rough {
    inner: Arc<Disk>,
    way: Way,
    written: AtomicBool,
}

/// The disk `inner`, rough in one way.
pub(crate) fn rough(inner: Arc<Disk>, way: Way) -> Arc<Disk> {
    Arc::new(Disk::new(Rough { inner, way, written: AtomicBool::new(false) }, Access::ReadWrite))
}

fn host_failure(operation: &'static str, offset: u64) -> Error {
    Error::io(operation, offset, std::io::Error::from_raw_os_error(5))
}

impl BlockDriver for Rough {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn limits(&self) -> Limits {
        let request_alignment = if let Way::Aligned(bytes) = self.way { bytes } else { 1 };
        Limits { request_alignment, ..*self.inner.limits() }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self.way {
            Way::BadByteAt(bad) if Extent::new(offset, buf.len() as u64).range().contains(&bad) => {
                Err(host_failure("read", bad))
            }
            _ => self.inner.read(offset, buf),
        }
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let first = !self.written.swap(true, Ordering::Relaxed);
        let way = match self.way {
            Way::FirstWriteFails(count) if first => Way::WriteFails(count, None),
            way => way,
        };
        match way {
            Way::WriteFails(count, byte) => {
                let mut part = buf[..count.min(buf.len())].to_vec();
                if let Some(byte) = byte {
                    part.fill(byte);
                }
                self.inner.write(offset, &part, flags)?;
                Err(host_failure("write", offset))
            }
            Way::WriteFindsCorruption => Err(Error::corrupt("table", offset, "planted")),
            _ => self.inner.write(offset, buf, flags),
        }
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.inner.write_zeroes(extent, flags)
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        self.inner.discard(extent, flags)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let status = self.inner.block_status(extent)?;
        Ok(BlockStatus { allocated: self.way != Way::ShowsBelow && status.allocated, ..status })
    }

    fn backing(&self) -> Option<&Arc<Disk>> {
        (self.way == Way::ShowsBelow).then_some(&self.inner)
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        matches!(self.way, Way::CheckFinds(_)).then_some(self as &dyn Check)
    }
}

impl Resize for Rough {
    fn resize(&self, size: u64) -> Result<()> {
        if self.way != Way::ResizeFails(false) {
            self.inner.resize(size)?;
        }
        match self.way {
            Way::ResizesSecretly => Err(Error::unsupported("resize")),
            Way::ResizeFails(_) => Err(host_failure("resize", size)),
            _ => Ok(()),
        }
    }
}

impl Check for Rough {
    fn check(&self, _repair: RepairMode) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        if let Way::CheckFinds(severity) = self.way {
            let message = "cluster 7 has refcount 1, and 0 references".to_owned();
            report.add(blk_core::Finding { severity, offset: 7 << 16, message, repaired: false });
        }
        Ok(report)
    }
}
