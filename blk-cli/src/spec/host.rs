//! What the cache mode and the discard mode change about a file: flushes that do nothing, space that is kept.

use std::sync::Arc;

use blk_core::storage::Event;
use blk_core::{Extent, Result, Storage, StorageRun};

/// A storage over another one that leaves some requests out.
#[derive(Debug)]
pub(crate) struct HostStorage {
    below: Arc<dyn Storage>,
    /// Nothing is put on stable storage: faster, and lost with the host.
    no_flush: bool,
    /// Ranges are zeroed, but never given back.
    keep_space: bool,
}

impl HostStorage {
    /// `below` itself where nothing is to be changed about it.
    pub(crate) fn over(below: Arc<dyn Storage>, no_flush: bool, keep_space: bool) -> Arc<dyn Storage> {
        if no_flush || keep_space { Arc::new(Self { below, no_flush, keep_space }) } else { below }
    }

    /// The part of an extent that lies inside the storage.
    fn inside(&self, extent: Extent) -> Result<Extent> {
        let length = self.below.len()?;
        let start = extent.offset.min(length);
        Ok(Extent::between(start, extent.checked_end().unwrap_or(u64::MAX).clamp(start, length)))
    }
}

impl Storage for HostStorage {
    fn len(&self) -> Result<u64> {
        self.below.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.below.set_len(length)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.below.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.below.write_at(offset, buf)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.below.write_zeroes_at(extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        if !self.keep_space {
            return self.below.punch_hole(extent);
        }
        let inside = self.inside(extent)?;
        if inside.is_empty() { Ok(()) } else { self.below.write_zeroes_at(inside) }
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        if !unmap || !self.keep_space {
            return self.below.zero_fast(extent, unmap);
        }
        let inside = self.inside(extent)?;
        if inside.is_empty() { Ok(()) } else { self.below.zero_fast(inside, false) }
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.below.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        if self.no_flush { Ok(()) } else { self.below.sync() }
    }

    fn event(&self, event: Event) {
        self.below.event(event);
    }
}

#[cfg(test)]
mod tests {
    use blk_core::MemoryStorage;
    use blk_core::storage::{FaultRule, FaultStorage, Operation};

    use super::*;

    #[test]
    fn flushes_and_holes_are_left_out() {
        let fault = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::from_bytes(&[1; 100]))));
        fault.add_rule(FaultRule::fail(5).on(Operation::PunchHole).sticky());
        fault.add_rule(FaultRule::fail(5).on(Operation::Sync).sticky());
        let host = HostStorage::over(Arc::clone(&fault) as Arc<dyn Storage>, true, true);
        host.sync().unwrap();
        host.punch_hole(Extent::new(90, 1000)).unwrap();
        host.punch_hole(Extent::new(u64::MAX, u64::MAX)).unwrap();
        host.zero_fast(Extent::new(0, 10), true).unwrap();
        let mut read = [9; 100];
        host.read_at(0, &mut read).unwrap();
        assert!(read[..10] == [0; 10] && read[10..90] == [1; 80] && read[90..] == [0; 10]);
        assert_eq!(host.len().unwrap(), 100);
        let plain = HostStorage::over(fault, false, false);
        assert!(plain.sync().is_err() && plain.punch_hole(Extent::new(0, 1)).is_err());
    }
}
