//! A bounded cache of metadata slices: parts of L2 tables and of refcount blocks.
//!
//! A slice is found by its host offset. Looking one up needs only `&self`, so that readers share the metadata
//! lock; loading, changing and evicting need `&mut self`. The victim is chosen by the clock algorithm among
//! clean slices. A dirty slice is never dropped: when there is no clean one, [`SliceCache::has_room`] says
//! no, and the owner writes back in the order that the format requires, which cleans all of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::{Error, Result, Storage};
use rustc_hash::FxHashMap;

use crate::offset::{HostExtent, HostOffset};

/// A cached part of a table, as it is on disk.
#[derive(Debug)]
pub(crate) struct Slice {
    host_offset: HostOffset,
    bytes: Box<[u8]>,
    dirty: bool,
    /// Looked up since the clock's hand last passed.
    used: AtomicBool,
}

/// The cache ran out of clean slices: its owner has to write back first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeedsWriteBack;

/// Slices by host offset. All have the same size, and start at a multiple of it.
#[derive(Debug)]
pub(crate) struct SliceCache {
    slice_bytes: usize,
    capacity: usize,
    slices: Vec<Slice>,
    index: FxHashMap<HostOffset, usize>,
    hand: usize,
    /// Host offsets of dirty slices, so that a write-back need not look at all of a large cache.
    dirty: BTreeSet<HostOffset>,
}

impl Slice {
    /// The big-endian 64-bit entry `index`.
    #[cfg(test)]
    pub(crate) fn entry(&self, index: usize) -> u64 {
        let at = index * 8;
        u64::from_be_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[cfg(test)]
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }
}

impl SliceCache {
    /// A cache of up to `capacity` slices, at least 1, of `slice_bytes` bytes (a power of two).
    pub(crate) fn new(slice_bytes: u64, capacity: usize) -> Self {
        assert!(slice_bytes.is_power_of_two());
        Self {
            slice_bytes: slice_bytes as usize,
            capacity: capacity.max(1),
            slices: Vec::new(),
            index: FxHashMap::default(),
            hand: 0,
            dirty: BTreeSet::new(),
        }
    }

    pub(crate) fn slice_bytes(&self) -> u64 {
        self.slice_bytes as u64
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The slice at `host_offset`, if it is cached.
    #[inline]
    pub(crate) fn get(&self, host_offset: HostOffset) -> Option<&Slice> {
        let slice = &self.slices[*self.index.get(&host_offset)?];
        if !slice.used.load(Ordering::Relaxed) {
            slice.used.store(true, Ordering::Relaxed);
        }
        Some(slice)
    }

    /// As [`SliceCache::get`], for assertions: it does not count as a look-up, so that debug builds evict the
    /// same slices.
    pub(crate) fn peek(&self, host_offset: HostOffset) -> Option<&Slice> {
        self.index.get(&host_offset).map(|slot| &self.slices[*slot])
    }

    /// The bytes of a cached slice, for a change: it becomes dirty.
    ///
    /// # Panics
    /// If it is not cached.
    pub(crate) fn bytes_mut(&mut self, host_offset: HostOffset) -> &mut [u8] {
        let slot = *self.index.get(&host_offset).expect("a slice is loaded before it is changed");
        let slice = &mut self.slices[slot];
        if !slice.dirty {
            slice.dirty = true;
            self.dirty.insert(host_offset);
        }
        *slice.used.get_mut() = true;
        &mut slice.bytes
    }

    /// Changes the big-endian 64-bit entry `index` of a cached slice.
    pub(crate) fn set_entry(&mut self, host_offset: HostOffset, index: usize, value: u64) {
        debug_assert!(index < self.slice_bytes / 8, "entry {index} is past the end of its slice");
        self.bytes_mut(host_offset)[index * 8..index * 8 + 8].copy_from_slice(&value.to_be_bytes());
    }

    /// Whether a slice can be inserted without a write-back.
    pub(crate) fn has_room(&self) -> bool {
        self.slices.len() < self.capacity || self.dirty.len() < self.slices.len()
    }

    /// Another slice becomes the first that may be evicted.
    #[inline]
    pub(crate) fn turn_hand(&mut self, slots: u64) {
        self.hand = self.hand.wrapping_add(slots as usize);
    }

    /// Reads the slice at `host_offset` from `storage` into the cache.
    pub(crate) fn load(&mut self, storage: &dyn Storage, host_offset: HostOffset) -> Result<()> {
        let slot = self.take_slot(host_offset).map_err(|NeedsWriteBack| no_room())?;
        let read = storage.read_at(host_offset.get(), &mut self.slices[slot].bytes);
        if read.is_err() {
            self.forget(host_offset);
        }
        read
    }

    /// Drops what is cached for `host_offset`, dirty or not: its cluster has become something else.
    pub(crate) fn forget(&mut self, host_offset: HostOffset) {
        if let Some(slot) = self.index.remove(&host_offset) {
            let removed = self.slices.swap_remove(slot);
            assert_eq!(removed.host_offset, host_offset, "the index leads to the slice");
            assert_eq!(self.dirty.remove(&host_offset), removed.dirty, "each dirty slice is known once");
            if let Some(moved) = self.slices.get(slot) {
                self.index.insert(moved.host_offset, slot);
            }
        }
    }

    /// As [`SliceCache::forget`] for every slice of `extent`, which is made of whole slices.
    pub(crate) fn forget_all(&mut self, extent: HostExtent) {
        let mut slice = extent.start;
        while slice < extent.end() {
            self.forget(slice);
            slice = slice + self.slice_bytes();
        }
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Host offsets of all dirty slices, ascending, so that the host sees one sweep.
    pub(crate) fn dirty_offsets(&self) -> Vec<HostOffset> {
        self.dirty.iter().copied().collect()
    }

    /// Writes one dirty slice; it is clean once the storage has taken it.
    pub(crate) fn write_slice(&mut self, storage: &dyn Storage, host_offset: HostOffset) -> Result<()> {
        let slice = &mut self.slices[self.index[&host_offset]];
        assert!(slice.dirty, "only what has changed is written");
        storage.write_at(host_offset.get(), &slice.bytes)?;
        slice.dirty = false;
        self.dirty.remove(&host_offset);
        Ok(())
    }

    /// A slot for `host_offset`: a new one, or that of a clean slice which is evicted.
    fn take_slot(&mut self, host_offset: HostOffset) -> std::result::Result<usize, NeedsWriteBack> {
        assert!(host_offset.get().is_multiple_of(self.slice_bytes as u64), "slices are aligned");
        assert!(!self.index.contains_key(&host_offset), "a slice is cached once");
        let slot = if self.slices.len() < self.capacity {
            let bytes = vec![0; self.slice_bytes].into_boxed_slice();
            self.slices.push(Slice { host_offset, bytes, dirty: false, used: AtomicBool::new(true) });
            self.slices.len() - 1
        } else {
            let slot = self.find_victim().ok_or(NeedsWriteBack)?;
            let slice = &mut self.slices[slot];
            assert!(!slice.dirty, "a dirty slice is never evicted");
            self.index.remove(&slice.host_offset);
            slice.host_offset = host_offset;
            slot
        };
        self.index.insert(host_offset, slot);
        debug_assert_eq!(self.index.len(), self.slices.len(), "each slice is found by one offset");
        Ok(slot)
    }

    /// The clock: the next clean slice that was not looked up since the hand last passed it.
    fn find_victim(&mut self) -> Option<usize> {
        if self.dirty.len() == self.slices.len() {
            return None;
        }
        loop {
            let slot = self.hand % self.slices.len();
            self.hand = slot + 1;
            let slice = &mut self.slices[slot];
            if !slice.dirty && !std::mem::take(slice.used.get_mut()) {
                return Some(slot);
            }
        }
    }
}

fn no_room() -> Error {
    // Owners ask `has_room` and write back first; this is for an owner whose write-back dirtied the cache
    // again.
    Error::NoSpace { what: "the metadata cache holds only unwritten slices".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_core::MemoryStorage;

    const fn at(bytes: u64) -> HostOffset {
        HostOffset::new(bytes)
    }

    #[test]
    fn a_dirty_slice_is_never_evicted() {
        let storage = MemoryStorage::from_bytes(&[1; 4096]);
        let mut cache = SliceCache::new(512, 2);
        cache.load(&storage, at(0)).unwrap();
        cache.load(&storage, at(512)).unwrap();
        cache.set_entry(at(0), 0, 77);
        cache.load(&storage, at(1024)).unwrap();
        assert_eq!(cache.get(at(0)).unwrap().entry(0), 77);
        assert!(cache.get(at(512)).is_none());
        cache.set_entry(at(1024), 1, 78);
        assert!(!cache.has_room());
        assert!(cache.load(&storage, at(2048)).is_err());
        for offset in cache.dirty_offsets() {
            cache.write_slice(&storage, offset).unwrap();
        }
        cache.load(&storage, at(2048)).unwrap();
        let mut entry = [0; 8];
        storage.read_at(0, &mut entry).unwrap();
        assert_eq!(u64::from_be_bytes(entry), 77);
    }

    #[test]
    fn forgetting_keeps_the_others_findable() {
        let storage = MemoryStorage::new();
        let mut cache = SliceCache::new(512, 8);
        for n in 0..4 {
            cache.load(&storage, at(n * 512)).unwrap();
            cache.set_entry(at(n * 512), 3, n + 10);
        }
        cache.forget(at(512));
        assert!(cache.get(at(512)).is_none());
        for n in [0, 2, 3] {
            assert_eq!(cache.get(at(n * 512)).unwrap().entry(3), n + 10);
            assert!(cache.get(at(n * 512)).unwrap().is_dirty());
        }
        assert_eq!(cache.dirty_offsets(), [0, 1024, 1536].map(at));
        cache.write_slice(&storage, at(1024)).unwrap();
        assert_eq!(cache.dirty_offsets(), [0, 1536].map(at));
        assert!(cache.has_dirty());
        cache.forget(at(0));
        cache.forget(at(1536));
        assert!(!cache.has_dirty(), "what was dirty is forgotten");
        cache.set_entry(at(1024), 0, 1);
        assert!(cache.has_dirty());
    }

    /// The slices of a full cache of three, after those of 0, 1, 2 and then 3 were loaded and `looked_up` was
    /// looked up.
    fn cached_after(looked_up: u64, turn: u64) -> Vec<u64> {
        let storage = MemoryStorage::new();
        let mut cache = SliceCache::new(512, 3);
        for n in 0..3 {
            cache.load(&storage, at(n * 512)).unwrap();
        }
        // The hand passes all three, and takes the first.
        cache.load(&storage, at(3 * 512)).unwrap();
        assert!(cache.get(at(looked_up * 512)).is_some());
        cache.turn_hand(turn);
        cache.load(&storage, at(4 * 512)).unwrap();
        (0..5).filter(|n| cache.get(at(n * 512)).is_some()).collect()
    }

    #[test]
    fn what_was_looked_up_since_the_hand_passed_stays() {
        assert_eq!(cached_after(3, 0), [2, 3, 4]);
        assert_eq!(cached_after(1, 0), [1, 3, 4]);
        assert_eq!(cached_after(2, 0), [2, 3, 4]);
        assert_eq!(cached_after(3, 1), [1, 3, 4], "the hand was turned past the second slice");
    }
}
