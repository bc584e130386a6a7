//! The L2 tables of an open image: finding, caching, making and copying them.
//!
//! ```text
//! L1 entry -> L2 table (a cluster) = slices; a slice is cached and written as a whole
//! ```
//!
//! Write order: data and counts are durable before the L2 entry that refers to the data is written, and an L2
//! table is durable before the L1 entry that refers to it (see `write_back`).

use blk_core::{Error, Result};

use crate::cache::Slice;
use crate::free_space::FreeReason;
use crate::l2::{self, COPIED, Entry, RESERVED, RawEntry, entry_offset};
use crate::metadata::Metadata;
use crate::offset::{GuestOffset, HostOffset};
use crate::roles::Role;
use crate::steps;

/// Where an L2 entry is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct L2Slot {
    /// Where the slice lies.
    pub(crate) slice: HostOffset,
    /// The entry's index in it.
    pub(crate) index: usize,
}

impl L2Slot {
    /// The entry `number` places after this one, in the same slice.
    pub(crate) const fn after(self, number: usize) -> Self {
        Self { slice: self.slice, index: self.index + number }
    }
}

impl Metadata {
    /// L2 entries in a slice.
    #[inline]
    pub(crate) fn entries_per_slice(&self) -> usize {
        (self.l2.slice_bytes() / self.geometry.l2_entry_bytes()) as usize
    }

    /// Entry number `index` of a slice, for the guest cluster at `guest_offset`.
    #[inline]
    pub(crate) fn entry_in(&self, slice: &Slice, index: usize, guest_offset: GuestOffset) -> Result<Entry> {
        let raw = RawEntry::read(slice.bytes(), index, self.geometry);
        l2::decode(raw, self.geometry, self.header.version, guest_offset)
    }

    /// Where the L2 table for `guest_offset` lies and whether it may be changed; `None` where there is none.
    #[inline]
    pub(crate) fn l2_table(&self, guest_offset: GuestOffset) -> Result<Option<(HostOffset, bool)>> {
        let index = self.geometry.l1_index(guest_offset);
        let entry = self.l1.get(index);
        let table = self.table_of_entry(entry, self.l1.host_offset(), index)?;
        Ok(table.map(|table| (table, entry & COPIED != 0)))
    }

    /// Where the L2 table lies that entry `index` of the L1 table at `l1` refers to; `None` where there is
    /// none.
    #[inline]
    pub(crate) fn table_of_entry(
        &self,
        entry: u64,
        l1: HostOffset,
        index: u64,
    ) -> Result<Option<HostOffset>> {
        if entry == 0 {
            return Ok(None);
        }
        let table = entry_offset(entry);
        let is_aligned = self.geometry.is_cluster_aligned(table) && table != HostOffset::default();
        if entry & RESERVED != 0 || !is_aligned {
            let at = l1.get() + index * 8;
            let reason =
                format!("entry {index} is {entry:#018x}: reserved bits are set or the offset is unaligned");
            return Err(Error::corrupt("L1 table", at, reason));
        }
        self.check_structure_inside("L2 table", table)?;
        Ok(Some(table))
    }

    /// The cached slice for `guest_offset` in the L2 table at `table`, and the entry's index in it.
    #[inline]
    pub(crate) fn l2_slot(&self, table: HostOffset, guest_offset: GuestOffset) -> L2Slot {
        let index = self.geometry.l2_index(guest_offset);
        let entry_bytes = self.geometry.l2_entry_bytes();
        let per_slice = self.l2.slice_bytes() / entry_bytes;
        let slice = table + (index & !(per_slice - 1)) * entry_bytes;
        L2Slot { slice, index: (index & (per_slice - 1)) as usize }
    }

    /// Makes sure that the slice of L2 entries for `guest_offset` is cached, if there is a table.
    pub(crate) fn load_l2(&mut self, guest_offset: GuestOffset) -> Result<()> {
        match self.l2_table(guest_offset)? {
            Some((table, _)) => self.load_slot(self.l2_slot(table, guest_offset)),
            None => Ok(()),
        }
    }

    fn load_slot(&mut self, slot: L2Slot) -> Result<()> {
        if self.l2.get(slot.slice).is_some() {
            return Ok(());
        }
        self.make_room()?;
        self.storage.step(&steps::L2_LOAD);
        self.l2.load(&*self.storage, slot.slice)
    }

    /// The place of an entry in a table that may be changed, in the cache, making or copying the table as
    /// needed.
    pub(crate) fn l2_for_write(&mut self, guest_offset: GuestOffset) -> Result<L2Slot> {
        let table = match self.l2_table(guest_offset)? {
            Some((table, true)) => table,
            Some((shared, false)) => self.copy_l2_table(guest_offset, shared)?,
            None => self.new_l2_table(guest_offset)?,
        };
        let slot = self.l2_slot(table, guest_offset);
        self.load_slot(slot)?;
        Ok(slot)
    }

    /// Writes an L2 entry at a place that [`Metadata::l2_for_write`] has returned.
    pub(crate) fn set_l2_entry(&mut self, slot: L2Slot, entry: Entry) {
        self.set_raw_entry(slot, entry.encode(self.geometry));
    }

    /// As [`Metadata::set_l2_entry`]: both words of an extended entry change together.
    pub(crate) fn set_raw_entry(&mut self, slot: L2Slot, raw: RawEntry) {
        debug_assert!(self.poison.is_none(), "a poisoned image changes no more");
        if self.geometry.has_extended_l2() {
            self.l2.set_entry(slot.slice, slot.index * 2, raw.descriptor);
            self.l2.set_entry(slot.slice, slot.index * 2 + 1, raw.bitmap);
        } else {
            self.l2.set_entry(slot.slice, slot.index, raw.descriptor);
        }
    }

    fn new_l2_table(&mut self, guest_offset: GuestOffset) -> Result<HostOffset> {
        if self.geometry.l1_index(guest_offset) >= self.l1.len() as u64 {
            // The disk has become smaller since the request was checked.
            let (offset, size) = (guest_offset.get(), self.header.size);
            return Err(Error::OutOfRange { offset, length: 1, size });
        }
        self.storage.step(&steps::L2_ALLOC_WRITE);
        let table = self.allocate_metadata(Role::L2Table)?;
        self.enter_l2_table(guest_offset, table);
        Ok(table)
    }

    /// Copies an L2 table that a snapshot shares, so that the active one can be changed.
    fn copy_l2_table(&mut self, guest_offset: GuestOffset, shared: HostOffset) -> Result<HostOffset> {
        let cluster_bytes = self.geometry.cluster_bytes();
        self.check_freeable(shared.with_length(cluster_bytes), Some(Role::L2Table))?;
        let mut bytes = vec![0; cluster_bytes as usize];
        self.storage.step(&steps::L2_ALLOC_COW_READ);
        self.storage.read_at(shared.get(), &mut bytes)?;
        self.storage.step(&steps::L2_ALLOC_WRITE);
        let table = self.allocate_metadata(Role::L2Table)?;
        if let Err(error) = self.storage.write_at(table.get(), &bytes) {
            return Err(self.poison(error));
        }
        self.enter_l2_table(guest_offset, table);
        self.free_later(shared, FreeReason::Replace);
        Ok(table)
    }

    /// Drops what is cached of a table.
    pub(crate) fn forget_cached_table(&mut self, table: HostOffset) {
        self.l2.forget_all(table.with_length(self.geometry.cluster_bytes()));
    }

    fn enter_l2_table(&mut self, guest_offset: GuestOffset, table: HostOffset) {
        self.forget_cached_table(table);
        self.l1.set(self.geometry.l1_index(guest_offset) as usize, l2::data_entry(table));
    }

    /// Makes room for one more L2 slice.
    fn make_room(&mut self) -> Result<()> {
        let turn = self.options.control.choose(8);
        self.l2.turn_hand(turn);
        // A choice out of the last quarter writes back although there is room.
        if self.l2.has_room() && turn < 6 { Ok(()) } else { self.write_back() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::loaded;

    #[test]
    fn all_that_is_cached_of_a_table_is_forgotten() {
        let mut metadata = loaded(16, 4);
        let table = HostOffset::new(5 << 16);
        let (before, after) = (table - 4096, table + (1 << 16));
        for slice in (0..16).map(|slice| table + slice * 4096).chain([before, after]) {
            metadata.l2.load(&*metadata.storage, slice).unwrap();
        }
        metadata.forget_cached_table(table);
        assert!((0..16).all(|slice| metadata.l2.get(table + slice * 4096).is_none()));
        assert!(metadata.l2.get(before).is_some() && metadata.l2.get(after).is_some());
    }

    /// In slices of 512 entries.
    #[test]
    fn entries_lie_in_their_slices() {
        let metadata = loaded(16, 4);
        let table = HostOffset::new(7 << 16);
        for (guest_cluster, slice, index) in
            [(0, 0, 0), (511, 0, 511), (512, 4096, 0), (8191, 15 * 4096, 511), (8192, 0, 0)]
        {
            let slot = metadata.l2_slot(table, GuestOffset::new((guest_cluster << 16) + 77));
            assert_eq!(slot, L2Slot { slice: table + slice, index }, "{guest_cluster}");
        }
    }
}
