//! What was written to a storage and not synced since: what a flush that succeeds must not leave behind.

use std::collections::VecDeque;

use blk_core::{Extent, Result, Storage};

use crate::SECTOR_BYTES;

/// More extents are not remembered: the oldest are forgotten first.
const EXTENTS_MAX: usize = 1 << 12;
/// What is compared at a time, bytes.
const PIECE_BYTES: usize = 4096;
/// Of longer writes it is not looked at what they change: they are not remembered.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// More bytes are not searched for a copy.
const SEARCH_BYTES_MAX: u64 = 64 << 20;
const SEARCH_PIECE_BYTES: u64 = 1 << 20;

/// Changes of a storage that no sync covers. A sync covers what had completed before it was issued.
#[derive(Debug, Default)]
pub struct Unsynced {
    /// How many changes have completed.
    count: u64,
    /// So many of them are covered.
    synced: u64,
    /// Sectors that have other bytes since a write, each with the number of the write.
    extents: VecDeque<(u64, Extent)>,
}

impl Unsynced {
    /// How many changes have completed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them are covered by a sync that has succeeded.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// A change has completed that has given these sectors other bytes ([`changed`]); none if it was no
    /// write.
    pub fn completed(&mut self, sectors: &[Extent]) {
        self.count += 1;
        for extent in sectors {
            self.remember(*extent);
        }
    }

    fn remember(&mut self, extent: Extent) {
        if self.extents.len() == EXTENTS_MAX {
            self.extents.pop_front();
        }
        self.extents.push_back((self.count, extent));
    }

    /// A sync has succeeded, which was issued after `count` changes had completed.
    pub fn covered(&mut self, count: u64) {
        assert!(count <= self.count, "a sync covers what has completed");
        self.synced = self.synced.max(count);
        while self.extents.front().is_some_and(|(number, _)| *number <= count) {
            self.extents.pop_front();
        }
    }

    /// A sync of a part of the storage has succeeded, which was issued after `count` changes had completed.
    pub fn covered_part(&mut self, count: u64, part: Extent) {
        assert!(count <= self.count, "a sync covers what has completed");
        self.extents.retain(|(number, extent)| *number > count || !part.overlaps(*extent));
        // The first change that another part waits for: so many before it are durable, and no more.
        let waits = self.extents.iter().map(|(number, _)| number - 1).find(|before| *before < count);
        self.synced = self.synced.max(waits.unwrap_or(count));
    }

    /// Where bytes lie that no sync covers.
    pub fn extents(&self) -> Vec<Extent> {
        self.extents.iter().map(|(_, extent)| *extent).collect()
    }
}

/// The parts of sectors that a write of `bytes` at `offset` gives other bytes than `storage` has. What is
/// written as it was stays as durable as it was.
pub fn changed(storage: &dyn Storage, offset: u64, bytes: &[u8]) -> Vec<Extent> {
    let mut found: Vec<Extent> = Vec::new();
    let is_anywhere = offset.checked_add(bytes.len() as u64).is_some();
    if bytes.len() > WRITE_BYTES_MAX || !is_anywhere {
        return found;
    }
    let mut old = [0; PIECE_BYTES];
    for piece in Extent::new(offset, bytes.len() as u64).parts(PIECE_BYTES as u64) {
        let old = &mut old[..piece.length as usize];
        if storage.read_at(piece.offset, old).is_err() {
            return Vec::new();
        }
        for part in piece.parts(SECTOR_BYTES) {
            let (in_piece, in_bytes) = (part.offset - piece.offset, part.offset - offset);
            let length = part.length as usize;
            let (old, new) = (&old[in_piece as usize..][..length], &bytes[in_bytes as usize..][..length]);
            if differ(old, new) {
                match found.last_mut() {
                    Some(last) if last.end() == part.offset => last.length += part.length,
                    _ => found.push(part),
                }
            }
        }
    }
    found
}

/// Whether two parts of the same length differ. Most that do differ at their beginning, and under libFuzzer
/// each call of `memcmp` whose result is not 0 costs as much as the comparison of a whole cluster.
fn differ(old: &[u8], new: &[u8]) -> bool {
    old.first_chunk::<8>() != new.first_chunk() || old.last_chunk::<8>() != new.last_chunk() || old != new
}

/// The first sector of `extents` that `is_required` to be durable and of which `storage` has no other copy.
/// What is written to no whole sector of the storage is not looked at.
///
/// # Errors
/// Those of the storage.
pub fn missing(
    storage: &dyn Storage,
    extents: &[Extent],
    is_required: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Option<u64>> {
    let mut sector = vec![0; SECTOR_BYTES as usize];
    for extent in extents {
        let mut at = extent.offset.next_multiple_of(SECTOR_BYTES);
        while at + SECTOR_BYTES <= extent.end() {
            storage.read_at(at, &mut sector)?;
            if is_required(&sector) && !has_copy(storage, extents, &sector)? {
                return Ok(Some(at));
            }
            at += SECTOR_BYTES;
        }
    }
    Ok(None)
}

/// Whether the bytes of a sector lie anywhere outside of `extents`, at any offset: a journal need not keep
/// them at a sector.
fn has_copy(storage: &dyn Storage, extents: &[Extent], sector: &[u8]) -> Result<bool> {
    let (mut at, mut searched) = (0, 0);
    while let Some(run) = storage.run_at(at)? {
        let end = Extent::new(at, run.length).end();
        while run.data && at < end {
            // Pieces overlap, so that none cuts a copy in two.
            let length = (end - at).min(SEARCH_PIECE_BYTES + SECTOR_BYTES - 1);
            searched += length;
            if searched > SEARCH_BYTES_MAX {
                return Ok(true);
            }
            let mut bytes = vec![0; length as usize];
            storage.read_at(at, &mut bytes)?;
            let is_copy = |from: usize| {
                let found = Extent::new(at + from as u64, SECTOR_BYTES);
                !extents.iter().any(|extent| extent.overlaps(found))
            };
            if positions(&bytes, sector).any(is_copy) {
                return Ok(true);
            }
            at += length.min(SEARCH_PIECE_BYTES);
        }
        at = end;
    }
    Ok(false)
}

/// Where `sector` begins in `bytes`.
fn positions<'a>(bytes: &'a [u8], sector: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let starts = bytes.len().saturating_sub(sector.len() - 1);
    (0..starts).filter(move |at| bytes[*at] == sector[0] && bytes[*at..*at + sector.len()] == *sector)
}

#[cfg(test)]
mod tests {
    use blk_core::MemoryStorage;

    use super::*;

    #[test]
    fn what_is_written_is_unsynced_until_a_sync_that_came_after_it() {
        let storage = MemoryStorage::from_bytes(&vec![0; 8 << 10]);
        let mut unsynced = Unsynced::default();
        let write = |unsynced: &mut Unsynced, offset: u64, bytes: &[u8]| {
            unsynced.completed(&changed(&storage, offset, bytes));
            storage.write_at(offset, bytes).unwrap();
        };
        write(&mut unsynced, 512, &[7; 1024]);
        let issued = unsynced.count();
        write(&mut unsynced, 4096, &[8; 512]);
        unsynced.covered(issued);
        assert_eq!(unsynced.extents(), [Extent::new(4096, 512)]);
        // The same bytes once more are as durable as before, and a sector in the middle is not.
        let mut bytes = vec![7; 1024];
        write(&mut unsynced, 512, &bytes);
        assert_eq!(unsynced.extents().len(), 1);
        bytes[700] = 9;
        write(&mut unsynced, 512, &bytes);
        assert_eq!(unsynced.extents()[1], Extent::new(1024, 512));
        unsynced.covered(unsynced.count());
        assert!(unsynced.extents().is_empty());
        assert_eq!((unsynced.count(), unsynced.synced()), (4, 4));
    }

    #[test]
    fn a_sync_of_one_file_is_none_of_the_other() {
        let (one, other) = (Extent::new(0, 4096), Extent::new(4096, 4096));
        for (first, second) in [(one, other), (other, one)] {
            let mut unsynced = Unsynced::default();
            unsynced.completed(&[Extent::new(first.offset, SECTOR_BYTES)]);
            unsynced.completed(&[Extent::new(second.offset, SECTOR_BYTES)]);
            unsynced.covered_part(2, second);
            assert_eq!((unsynced.synced(), unsynced.extents().len()), (0, 1));
            unsynced.covered_part(1, first);
            assert_eq!((unsynced.synced(), unsynced.extents().len()), (1, 0));
            unsynced.covered_part(2, first);
            assert_eq!(unsynced.synced(), 2);
        }
    }

    #[test]
    fn a_copy_at_any_offset_is_found() {
        let sector: Vec<u8> = (0..512_u32).map(|at| (at % 251) as u8).collect();
        for (copy, is_missing) in [(None, true), (Some(1029), false), (Some(7680), false), (Some(600), true)]
        {
            let storage = MemoryStorage::from_bytes(&vec![0; 8 << 10]);
            if let Some(copy) = copy {
                storage.write_at(copy, &sector).unwrap();
            }
            storage.write_at(512, &sector).unwrap();
            let extents = [Extent::new(512, 512)];
            let found = missing(&storage, &extents, &mut |found| found == sector).unwrap();
            assert_eq!(found.is_some(), is_missing, "{copy:?}");
        }
    }

    #[test]
    fn sectors_that_change_side_by_side_are_one_extent() {
        let storage = MemoryStorage::from_bytes(&vec![0; 8 << 10]);
        let mut bytes = vec![0; 5 * 512];
        for at in [0, 300, 700, 2000] {
            bytes[at] = 1;
        }
        // The write begins 100 bytes before the end of a sector.
        let expected = [Extent::new(924, 100 + 512 + 512), Extent::new(924 + 1636, 512)];
        assert_eq!(changed(&storage, 924, &bytes), expected);
    }

    #[test]
    fn the_oldest_of_very_many_changes_is_forgotten() {
        let mut unsynced = Unsynced::default();
        let extent = |at: u64| Extent::new(at * SECTOR_BYTES, SECTOR_BYTES);
        for at in 0..=EXTENTS_MAX as u64 {
            unsynced.completed(&[extent(at)]);
        }
        let extents = unsynced.extents();
        assert_eq!((extents.len(), extents[0]), (EXTENTS_MAX, extent(1)));
    }

    #[test]
    fn what_a_very_long_write_changes_is_not_looked_at() {
        let storage = MemoryStorage::from_bytes(&vec![0; WRITE_BYTES_MAX + 1]);
        let found = |length: usize| changed(&storage, 0, &vec![1; length]);
        assert_eq!(found(WRITE_BYTES_MAX), [Extent::new(0, WRITE_BYTES_MAX as u64)]);
        assert!(found(WRITE_BYTES_MAX + 1).is_empty());
    }

    #[test]
    fn a_copy_is_found_where_two_pieces_of_the_search_meet_and_no_search_is_endless() {
        let sector: Vec<u8> = (0..512_u32).map(|at| (at % 251) as u8).collect();
        let is_missing = |copy: Option<u64>, length: usize| {
            let storage = MemoryStorage::from_bytes(&vec![1; length]);
            for at in copy.into_iter().chain([512]) {
                storage.write_at(at, &sector).unwrap();
            }
            missing(&storage, &[Extent::new(512, 512)], &mut |found| found == sector).unwrap().is_some()
        };
        let piece = SEARCH_PIECE_BYTES as usize;
        for before in [0, 1, 256, 511, 512, 1000] {
            assert!(!is_missing(Some(SEARCH_PIECE_BYTES - before), 2 * piece), "{before}");
        }
        assert!(is_missing(None, 2 * piece));
        // Pieces overlap by a byte less than a sector, but where a run of the storage ends, after 16 pieces:
        // so much is searched of what is as long as that.
        let whole = SEARCH_BYTES_MAX as usize - 60 * (SECTOR_BYTES as usize - 1);
        assert!(is_missing(None, whole));
        assert!(!is_missing(None, whole + 1), "it gives up, in favour of the driver");
    }
}
