//! A table of 64-bit pointers that is held in memory whole: the L1 table and the refcount table.
//!
//! ```text
//! host offset + 8 * index: big-endian entry
//! ```
//!
//! Changes stay in memory until they are written sector by sector. Write order: what an entry points to is
//! durable before the entry is written, and an entry never spans two sectors.

use std::collections::BTreeSet;

use blk_core::{Result, Storage};

use crate::offset::HostOffset;

const SECTOR_BYTES: usize = 512;
const ENTRIES_PER_SECTOR: usize = SECTOR_BYTES / 8;

/// A table is read in pieces of this size, so that its bytes and its entries are not in memory at once.
const READ_BYTES: usize = 64 << 10;

/// The table, and which of its sectors differ from the image.
#[derive(Debug)]
pub(crate) struct PointerTable {
    host_offset: HostOffset,
    entries: Vec<u64>,
    dirty_sectors: BTreeSet<usize>,
}

impl PointerTable {
    /// Reads `count` entries, which the caller has bounded. What lies past the end of the file is 0, and
    /// takes no time.
    pub(crate) fn read(storage: &dyn Storage, host_offset: HostOffset, count: usize) -> Result<Self> {
        let mut entries = vec![0; count];
        let stored = storage.len()?.saturating_sub(host_offset.get()).div_ceil(8).min(count as u64) as usize;
        let mut bytes = vec![0; (stored * 8).min(READ_BYTES)];
        let mut at = host_offset;
        for part in entries[..stored].chunks_mut(READ_BYTES / 8) {
            let bytes = &mut bytes[..part.len() * 8];
            storage.read_at(at.get(), bytes)?;
            at = at + bytes.len() as u64;
            for (entry, raw) in part.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *entry = u64::from_be_bytes(*raw);
            }
        }
        Ok(Self { host_offset, entries, dirty_sectors: BTreeSet::new() })
    }

    /// A table that is on the storage already, with these entries.
    pub(crate) fn written(host_offset: HostOffset, entries: Vec<u64>) -> Self {
        Self { host_offset, entries, dirty_sectors: BTreeSet::new() }
    }

    pub(crate) fn host_offset(&self) -> HostOffset {
        self.host_offset
    }

    /// Where entry `index` is stored.
    pub(crate) fn offset_of_entry(&self, index: u64) -> HostOffset {
        self.host_offset + index * 8
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn entries(&self) -> &[u64] {
        &self.entries
    }

    pub(crate) fn into_entries(self) -> Vec<u64> {
        self.entries
    }

    /// Entry `index`; 0, which means "nothing there", past the end.
    #[inline]
    pub(crate) fn get(&self, index: u64) -> u64 {
        usize::try_from(index).ok().and_then(|index| self.entries.get(index)).copied().unwrap_or(0)
    }

    pub(crate) fn set(&mut self, index: usize, entry: u64) {
        debug_assert!(index < self.entries.len(), "entry {index} is past the end of the table");
        self.entries[index] = entry;
        self.dirty_sectors.insert(index / ENTRIES_PER_SECTOR);
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty_sectors.is_empty()
    }

    /// Where the sectors lie that changed.
    pub(crate) fn dirty_offsets(&self) -> Vec<HostOffset> {
        let sectors = self.dirty_sectors.iter();
        sectors.map(|sector| self.offset_of_entry((sector * ENTRIES_PER_SECTOR) as u64)).collect()
    }

    /// Writes the sectors that changed.
    pub(crate) fn write_dirty(&mut self, storage: &dyn Storage) -> Result<()> {
        while let Some(&sector) = self.dirty_sectors.first() {
            let first = sector * ENTRIES_PER_SECTOR;
            let last = (first + ENTRIES_PER_SECTOR).min(self.entries.len());
            let mut bytes = encode(&self.entries[first..last]);
            // A whole sector is what the host writes in one piece; what follows the last entry is unused.
            bytes.resize(SECTOR_BYTES, 0);
            storage.write_at(self.offset_of_entry(first as u64).get(), &bytes)?;
            self.dirty_sectors.remove(&sector);
        }
        Ok(())
    }
}

/// Entries as they are on disk.
pub(crate) fn encode(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_core::MemoryStorage;

    #[test]
    fn only_changed_sectors_are_written() {
        let storage = MemoryStorage::from_bytes(&[0xff; 2048]);
        let mut table = PointerTable::written(HostOffset::default(), vec![0; 200]);
        table.set(70, 5);
        table.write_dirty(&storage).unwrap();
        assert!(!table.is_dirty());
        let read = PointerTable::read(&storage, HostOffset::default(), 200).unwrap();
        assert_eq!((read.get(63), read.get(64), read.get(70), read.get(128)), (u64::MAX, 0, 5, u64::MAX));
        assert_eq!(read.get(200), 0);
    }

    #[test]
    fn a_table_longer_than_a_piece_is_read_whole_and_nothing_behind_it() {
        let storage = MemoryStorage::new();
        let entries: Vec<u64> = (1..=20_001).collect();
        storage.write_at(512, &encode(&entries)).unwrap();
        for count in [1, 8191, 8192, 8193, 20_000] {
            let read = PointerTable::read(&storage, HostOffset::new(512), count).unwrap();
            assert!(read.entries() == &entries[..count], "{count}");
        }
    }
}
