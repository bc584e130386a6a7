//! The host below a disk whose requests race: each operation is issued, happens, and completes, and others may go on in between.

use std::fmt;

use blk_core::sync::model::in_one_step;
use blk_core::sync::point;
use blk_core::{Extent, MemoryStorage, Result, Storage, StorageRun};

use crate::report::SECTOR_BYTES;

/// Storage in memory. Where an operation is issued and where it completes are points of the scheduler, so that a write or a
/// hole can land late; a write of several sectors happens in two parts, with a point between them.
pub(super) struct Host {
    memory: MemoryStorage,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_one_step(|| self.memory.fmt(f))
    }
}

impl Host {
    /// A host that holds `image`.
    pub(super) fn new(image: MemoryStorage) -> Self {
        Self { memory: image }
    }

    /// Issues an operation, lets it happen, completes it.
    fn operate<R>(&self, operation: impl FnOnce(&MemoryStorage) -> R) -> R {
        point();
        let result = in_one_step(|| operation(&self.memory));
        point();
        result
    }
}

/// Where a write from `offset` on is torn in two: at the sector boundary nearest to its middle.
fn torn_at(offset: u64, length: u64) -> u64 {
    let middle = (offset + length / 2).next_multiple_of(SECTOR_BYTES);
    middle.saturating_sub(offset).min(length)
}

impl Storage for Host {
    fn len(&self) -> Result<u64> {
        in_one_step(|| self.memory.len())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.operate(|memory| memory.set_len(length))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.operate(|memory| memory.read_at(offset, buf))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let (first, second) = buf.split_at(torn_at(offset, buf.len() as u64) as usize);
        if second.is_empty() {
            return self.operate(|memory| memory.write_at(offset, first));
        }
        point();
        in_one_step(|| self.memory.write_at(offset, first))?;
        self.operate(|memory| memory.write_at(offset + first.len() as u64, second))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.operate(|memory| memory.write_zeroes_at(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.operate(|memory| memory.punch_hole(extent))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        in_one_step(|| self.memory.run_at(offset))
    }

    fn sync(&self) -> Result<()> {
        self.operate(MemoryStorage::sync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_torn_between_sectors() {
        for (offset, length, first) in [
            (0, 512, 512),
            (0, 1024, 512),
            (256, 512, 256),
            (0, 100, 100),
            (512, 1536, 1024),
            (300, 2048, 1236),
        ] {
            assert_eq!(torn_at(offset, length), first, "{offset} {length}");
        }
        let host = Host::new(MemoryStorage::new());
        let data: Vec<u8> = (0..=255).cycle().take(3000).collect();
        host.write_at(300, &data).unwrap();
        let mut found = vec![0; 3000];
        host.read_at(300, &mut found).unwrap();
        assert!(found == data && host.len().unwrap() == 3300);
    }
}
