//! Changing the snapshots of version 2, which has no mark for a change that is under way.
//!
//! Counts and copied flags that change where they lie contradict one another in between. Here they change in
//! copies:
//!
//! ```text
//! header (old) ->  L1 table -> L2 tables    refcount table -> blocks    list
//! header (new) ->  copy     -> copies       copy           -> copies    copy
//! ```
//!
//! Write order: the copies are counted, and durable, before one write of the header's first sector names all
//! of them; what they replace is freed after that. A crash leaves the old tables or the new ones, none of
//! them contradicts another, and what nobody names has leaked.

use blk_core::{Error, Result};

use super::references::{Flags, Tree};
use crate::free_space::{Allocation, FreeReason};
use crate::l2::{COPIED, entry_offset};
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, HostCluster, HostExtent, HostOffset};
use crate::pointer_table::{self, PointerTable};
use crate::roles::Role;
use crate::steps;

/// How many runs of clusters that become free are remembered for holes: each takes 16 bytes of memory.
const HOLES_MAX: usize = 1 << 16;

/// The refcount table and its blocks in another place. The header does not name it yet.
#[derive(Debug)]
struct Counts {
    /// What the header names.
    old: PointerTable,
    made: Vec<Allocation>,
}

/// What the header names after the change.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) l1: Option<Allocation>,
    pub(super) list: Option<Allocation>,
    pub(super) snapshot_count: u32,
    /// Where the list was.
    pub(super) old_list: HostExtent,
}

/// L2 tables in another place.
#[derive(Debug, Default)]
pub(super) struct TableCopies {
    pub(super) made: Vec<Allocation>,
    /// What they replace.
    old: Vec<HostOffset>,
}

impl Metadata {
    /// The active tree without copied flags: tables that have any are copied without. The copies have one
    /// reference.
    pub(super) fn copy_without_flags(&mut self, copies: &mut TableCopies) -> Result<Tree> {
        let mut tree = self.active_tree().unflagged();
        for index in 0..tree.l1.len() {
            let entry = tree.l1[index];
            let Some(table) = self.table_of_entry(entry, tree.at, index as u64)? else { continue };
            let Some(bytes) = self.reflagged(table, Flags::Clear)? else { continue };
            let copy = self.allocate(ClusterCount::ONE)?;
            copies.made.push(copy);
            copies.old.push(table);
            let at = self.geometry.offset_of(copy.first);
            self.storage.step(&steps::L2_ALLOC_WRITE);
            self.storage.write_at(at.get(), &bytes)?;
            tree.l1[index] = at.get();
        }
        Ok(tree)
    }

    /// Counts each reference of `tree` once more and has the header name it.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where a count cannot rise: nothing has changed.
    pub(super) fn share_at_once(&mut self, tree: Tree, copies: &TableCopies, named: &Named) -> Result<()> {
        let counts = self.copy_counts()?;
        if let Err(error) = self.raise_tree(&tree) {
            self.restore_counts(counts)?;
            return Err(error);
        }
        let replaced = self.switch(&counts, tree.l1, named).map_err(|error| self.poison(error))?;
        let freed = self.free_replaced(replaced, copies);
        freed.map_err(|error| self.poison(error))
    }

    /// Drops each reference of `dropped` and its L1 table, gives the active tree the flags that it has then,
    /// and has the header name it. `spare` is a cluster for each active L2 table.
    pub(super) fn drop_at_once(
        &mut self,
        (dropped, dropped_l1): (&Tree, HostExtent),
        mut spare: Vec<Allocation>,
        named: &Named,
    ) -> Result<()> {
        let counts = self.copy_counts()?;
        let done = self.lower_and_switch(dropped, dropped_l1, &mut spare, named, &counts);
        done.map_err(|error| self.poison(error))
    }

    fn lower_and_switch(
        &mut self,
        dropped: &Tree,
        dropped_l1: HostExtent,
        spare: &mut Vec<Allocation>,
        named: &Named,
        counts: &Counts,
    ) -> Result<()> {
        let mut holes = Vec::new();
        self.visit_tree(dropped, &mut |metadata, cluster, _| metadata.lower(cluster, &mut holes))?;
        if !dropped_l1.is_empty() {
            for cluster in self.geometry.touched(dropped_l1) {
                self.lower(cluster, &mut holes)?;
            }
        }
        let mut copies = TableCopies::default();
        let l1 = self.copy_with_flags(spare, &mut copies)?;
        if let Some(place) = named.l1 {
            let at = self.geometry.offset_of(place.first);
            self.storage.step(&steps::L1_GROW_WRITE_TABLE);
            self.storage.write_at(at.get(), &self.padded(&l1))?;
        }
        let replaced = self.switch(counts, l1, named)?;
        if self.options.discard_policy.punches(FreeReason::Drop) {
            for (first, count) in holes {
                self.storage.punch_hole(self.geometry.extent_of(first, count).on_storage())?;
            }
        }
        for unused in spare.drain(..) {
            self.give_back(unused)?;
        }
        self.free_replaced(replaced, &copies)
    }

    /// One reference to `cluster` less, which nothing that the header is about to name makes.
    fn lower(&mut self, cluster: HostCluster, holes: &mut Vec<(HostCluster, ClusterCount)>) -> Result<()> {
        let count = self.refcount(cluster)?;
        if count == 0 {
            let offset = self.geometry.offset_of(cluster).get();
            let reason = "a cluster is given back more often than it is counted";
            return Err(Error::corrupt("refcount", offset, reason));
        }
        self.refcounts.set(&*self.storage, cluster, count - 1)?;
        if count > 1 {
            return Ok(());
        }
        *self.decompressed.get_mut() = None;
        self.free.release(cluster);
        let has_room = holes.len() < HOLES_MAX;
        match holes.last_mut() {
            Some((first, count)) if *first + *count == cluster => *count = *count + ClusterCount::ONE,
            _ if has_room => holes.push((cluster, ClusterCount::ONE)),
            // What is not punched is free all the same.
            _ => {}
        }
        Ok(())
    }

    /// The active L1 table with the flags that follow from the counts; tables whose flags change are copied.
    fn copy_with_flags(&mut self, spare: &mut Vec<Allocation>, copies: &mut TableCopies) -> Result<Vec<u64>> {
        let mut tree = self.active_tree().unflagged();
        for index in 0..tree.l1.len() {
            let entry = tree.l1[index];
            let Some(table) = self.table_of_entry(entry, tree.at, index as u64)? else { continue };
            let is_counted_once = self.refcount(self.geometry.cluster_of(table))? == 1;
            let Some(bytes) = self.reflagged(table, Flags::ByCount)? else {
                tree.l1[index] |= if is_counted_once { COPIED } else { 0 };
                continue;
            };
            // A table that is truly shared refers to no cluster that has one reference. One that is not may
            // be counted twice all the same: a crash leaves such leaks.
            let words = bytes.as_chunks().0.iter();
            if !is_counted_once && !words.copied().any(|word| u64::from_be_bytes(word) & COPIED != 0) {
                continue;
            }
            let copy = spare.pop().expect("there is one for each table");
            let at = self.geometry.offset_of(copy.first);
            self.storage.step(&steps::L2_ALLOC_WRITE);
            self.storage.write_at(at.get(), &bytes)?;
            copies.old.push(table);
            copies.made.push(copy);
            tree.l1[index] = at.get() | COPIED;
        }
        Ok(tree.l1)
    }

    /// Copies the refcount table and its blocks. From here on, counts change in the copy.
    fn copy_counts(&mut self) -> Result<Counts> {
        let mut made = Vec::new();
        let table = match self.allocate_counts(&mut made) {
            Ok(table) => table,
            Err(error) => return Err(self.give_up(made, error)),
        };
        let entries = match self.flush().and_then(|()| self.write_counts(&made[1..], table)) {
            Ok(entries) => entries,
            Err(error) => return Err(self.give_up(made, error)),
        };
        for entry in self.refcounts.table.entries().to_vec().into_iter().filter(|entry| *entry != 0) {
            self.refcounts.forget_block(HostOffset::new(entry));
        }
        for entry in entries.iter().filter(|entry| **entry != 0) {
            self.refcounts.forget_block(HostOffset::new(*entry));
            self.roles.claim(self.geometry.cluster_of(HostOffset::new(*entry)), Role::RefcountBlock);
        }
        let new = PointerTable::written(self.geometry.offset_of(table.first), entries);
        let old = std::mem::replace(&mut self.refcounts.table, new);
        Ok(Counts { old, made })
    }

    /// Room for the table, which comes first in `made`, and for a block in place of each. Both may become
    /// larger meanwhile.
    fn allocate_counts(&mut self, made: &mut Vec<Allocation>) -> Result<Allocation> {
        loop {
            let clusters = ClusterCount::new(self.header.refcount_table_clusters.into());
            let table = self.allocate_contiguous(clusters)?;
            made.insert(0, table);
            self.zero_new(table)?;
            loop {
                let wanted =
                    self.refcounts.table.entries().iter().filter(|entry| **entry != 0).count() as u64;
                let room: u64 = made[1..].iter().map(|allocation| allocation.count.get()).sum();
                if room >= wanted {
                    break;
                }
                let blocks = self.allocate(ClusterCount::new(wanted - room))?;
                made.push(blocks);
                self.zero_new(blocks)?;
            }
            if u64::from(self.header.refcount_table_clusters) == clusters.get() {
                return Ok(table);
            }
            let outgrown = made.remove(0);
            self.give_back(outgrown)?;
        }
    }

    /// Writes what was allocated before its counts are: a crash leaks no more than has been written.
    pub(super) fn zero_new(&self, allocation: Allocation) -> Result<()> {
        let extent = self.geometry.extent_of(allocation.first, allocation.count);
        self.storage.write_zeroes_at(extent.on_storage())
    }

    /// Writes the copies, each block to a cluster of `blocks`. Returns the entries of the table.
    fn write_counts(&mut self, blocks: &[Allocation], table: Allocation) -> Result<Vec<u64>> {
        let geometry = self.geometry;
        let mut places = blocks.iter().flat_map(|blocks| blocks.first.until(blocks.end()));
        let mut entries = self.refcounts.table.entries().to_vec();
        let mut bytes = vec![0; geometry.cluster_bytes() as usize];
        self.storage.step(&steps::REFBLOCK_ALLOC_WRITE_BLOCKS);
        for entry in entries.iter_mut().filter(|entry| **entry != 0) {
            let place = geometry.offset_of(places.next().expect("there is room for each block"));
            self.storage.read_at(*entry, &mut bytes)?;
            self.storage.write_at(place.get(), &bytes)?;
            *entry = place.get();
        }
        self.storage.step(&steps::REFBLOCK_ALLOC_WRITE_TABLE);
        self.storage.write_at(geometry.offset_of(table.first).get(), &self.padded(&entries))?;
        Ok(entries)
    }

    /// A table as it fills its clusters.
    fn padded(&self, entries: &[u64]) -> Vec<u8> {
        let mut bytes = pointer_table::encode(entries);
        bytes.resize(bytes.len().next_multiple_of(self.geometry.cluster_bytes() as usize), 0);
        bytes
    }

    /// Counts are again what the header names.
    fn restore_counts(&mut self, counts: Counts) -> Result<()> {
        for entry in self.refcounts.table.entries().to_vec().into_iter().filter(|entry| *entry != 0) {
            self.refcounts.forget_block(HostOffset::new(entry));
            self.roles.release_refcount_block(self.geometry.cluster_of(HostOffset::new(entry)));
        }
        self.refcounts.table = counts.old;
        for allocation in counts.made {
            self.give_back(allocation)?;
        }
        Ok(())
    }

    /// Makes the copies durable and has the header name them. Returns what they replace.
    fn switch(&mut self, counts: &Counts, l1: Vec<u64>, named: &Named) -> Result<Vec<HostExtent>> {
        let mut replaced = vec![self.header.l1_table(), self.header.refcount_table()];
        let block = |entry: &u64| HostOffset::new(*entry).with_length(self.geometry.cluster_bytes());
        replaced.extend(counts.old.entries().iter().filter(|entry| **entry != 0).map(block));
        if self.header.snapshot_count > 0 {
            replaced.push(named.old_list);
        }
        self.extend_storage()?;
        self.refcounts.write_dirty_blocks(&*self.storage)?;
        self.sync()?;
        let place = |named: Option<Allocation>| {
            named.map_or_else(HostOffset::default, |named| self.geometry.offset_of(named.first))
        };
        let (l1_offset, list_offset) = (place(named.l1), place(named.list));
        self.storage.step(&steps::L1_GROW_ACTIVATE_TABLE);
        self.header.l1_table_offset = l1_offset;
        self.header.l1_entries = l1.len() as u32;
        self.header.refcount_table_offset = self.refcounts.table.host_offset();
        self.header.snapshot_count = named.snapshot_count;
        self.header.snapshots_offset = list_offset;
        self.publish_header()?;
        self.l1 = PointerTable::written(l1_offset, l1);
        self.collect_roles();
        Ok(replaced)
    }

    fn free_replaced(&mut self, replaced: Vec<HostExtent>, copies: &TableCopies) -> Result<()> {
        for extent in replaced.into_iter().filter(|extent| !extent.is_empty()) {
            self.free_extent_later(extent, FreeReason::Drop);
        }
        for table in &copies.old {
            self.forget_cached_table(*table);
            self.free_later(*table, FreeReason::Drop);
        }
        for copy in &copies.made {
            self.forget_cached_table(self.geometry.offset_of(copy.first));
        }
        self.write_back()?;
        self.sync()
    }

    /// How many L2 tables the disk has.
    pub(super) fn active_tables(&self) -> u64 {
        self.l1.entries().iter().filter(|entry| entry_offset(**entry) != HostOffset::default()).count() as u64
    }
}
