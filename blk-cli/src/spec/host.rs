//! What the cache mode and the discard mode change about a file: flushes that do nothing, space that is kept.
//! And how it is zeroed without waiting.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use blk_core::storage::PassThrough;
use blk_core::{Error, Extent, Result, Storage, name};

/// Refuses a file where the driver is one for devices.
pub(super) fn check_is_device(name: &str) -> Result<()> {
    if std::fs::metadata(name::to_path(name)).is_ok_and(|metadata| metadata.is_file()) {
        let reason = "the driver 'host_device' is for block devices; 'file' is the one for files".to_owned();
        return Err(Error::Unresolved { name: name.to_owned(), reason });
    }
    Ok(())
}

/// What a [`HostStorage`] does in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HostWishes {
    /// Nothing is put on stable storage: faster, and lost with the host.
    pub(crate) no_flush: bool,
    /// Ranges are zeroed, but never given back.
    pub(crate) keep_space: bool,
    /// Short ranges are zeroed by writing. A file system that makes a hole, or zeroes a range, first writes
    /// back what it has cached of it: many requests on few places wait for the disk each time.
    pub(crate) writes_short_zeroes: bool,
}

/// A range up to this size is short: it takes less time to write than the file system takes to zero it.
/// Bytes.
const SHORT_BYTES: u64 = 256 << 10;
static ZEROES: [u8; SHORT_BYTES as usize] = [0; SHORT_BYTES as usize];

/// A storage over another one that leaves some requests out.
#[derive(Debug)]
pub(crate) struct HostStorage {
    inner: Arc<dyn Storage>,
    wishes: HostWishes,
}

impl HostStorage {
    /// `inner` itself where nothing is to be changed about it.
    pub(crate) fn over(inner: Arc<dyn Storage>, wishes: HostWishes) -> Arc<dyn Storage> {
        if wishes == HostWishes::default() { inner } else { Arc::new(Self { inner, wishes }) }
    }

    fn zero(&self, extent: Extent) -> Result<()> {
        if self.wishes.writes_short_zeroes && extent.length <= SHORT_BYTES {
            return self.inner.write_at(extent.offset, &ZEROES[..extent.length as usize]);
        }
        self.inner.write_zeroes_at(extent)
    }

    /// The part of an extent that lies inside the storage.
    fn inside(&self, extent: Extent) -> Result<Extent> {
        let length = self.inner.len()?;
        let start = extent.offset.min(length);
        Ok(Extent::between(start, extent.checked_end().unwrap_or(u64::MAX).clamp(start, length)))
    }
}

impl PassThrough for HostStorage {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.inner.read_vectored_at(offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        self.inner.write_vectored_at(offset, bufs)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.zero(extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        let is_short = self.wishes.writes_short_zeroes && extent.length <= SHORT_BYTES;
        if !self.wishes.keep_space && !is_short {
            return self.inner.punch_hole(extent);
        }
        let inside = self.inside(extent)?;
        if inside.is_empty() { Ok(()) } else { self.zero(inside) }
    }

    fn discard_at(&self, extent: Extent) -> Result<()> {
        if self.wishes.keep_space { Ok(()) } else { self.inner.discard_at(extent) }
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        if !unmap || !self.wishes.keep_space {
            return self.inner.zero_fast(extent, unmap);
        }
        let inside = self.inside(extent)?;
        if inside.is_empty() { Ok(()) } else { self.inner.zero_fast(inside, false) }
    }

    fn sync(&self) -> Result<()> {
        if self.wishes.no_flush { Ok(()) } else { self.inner.sync() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::storage::{FaultRule, FaultStorage, Operation};
    use blk_core::{Extent, MemoryStorage, Storage};

    use super::{HostStorage, HostWishes, SHORT_BYTES};

    #[test]
    fn flushes_and_holes_are_left_out() {
        let fault = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::from_bytes(&[1; 100]))));
        fault.add_rule(FaultRule::fail(5).on(Operation::PunchHole).sticky());
        fault.add_rule(FaultRule::fail(5).on(Operation::Sync).sticky());
        let wishes = HostWishes { no_flush: true, keep_space: true, ..HostWishes::default() };
        let host = HostStorage::over(Arc::clone(&fault) as Arc<dyn Storage>, wishes);
        host.sync().unwrap();
        host.punch_hole(Extent::new(90, 1000)).unwrap();
        host.punch_hole(Extent::new(u64::MAX, u64::MAX)).unwrap();
        host.zero_fast(Extent::new(0, 10), true).unwrap();
        let mut read = [9; 100];
        host.read_at(0, &mut read).unwrap();
        assert!(read[..10] == [0; 10] && read[10..90] == [1; 80] && read[90..] == [0; 10]);
        assert_eq!(host.len().unwrap(), 100);
        let plain = HostStorage::over(fault, HostWishes::default());
        assert!(plain.sync().is_err() && plain.punch_hole(Extent::new(0, 1)).is_err());
    }

    #[test]
    fn short_ranges_are_zeroed_by_writing() {
        let counting = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::from_bytes(&vec![1; 1 << 20]))));
        let wishes = HostWishes { writes_short_zeroes: true, ..HostWishes::default() };
        let host = HostStorage::over(Arc::clone(&counting) as Arc<dyn Storage>, wishes);
        host.punch_hole(Extent::new(1000, 4096)).unwrap();
        host.write_zeroes_at(Extent::new(10_000, 4096)).unwrap();
        host.punch_hole(Extent::new((1 << 20) - 10, 4096)).unwrap();
        assert_eq!((counting.count_of(Operation::Write), host.len().unwrap()), (3, 1 << 20));
        host.punch_hole(Extent::new(0, SHORT_BYTES + 1)).unwrap();
        host.write_zeroes_at(Extent::new(0, SHORT_BYTES + 1)).unwrap();
        let count = |operation| counting.count_of(operation);
        assert_eq!(
            (count(Operation::Write), count(Operation::PunchHole), count(Operation::WriteZeroes)),
            (3, 1, 1)
        );
        let mut end = [9; 20];
        host.read_at((1 << 20) - 20, &mut end).unwrap();
        assert_eq!(end[..], [[1; 10], [0; 10]].concat());
    }
}
