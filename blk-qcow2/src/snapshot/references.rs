//! The clusters that a tree of tables refers to: the active one, or a snapshot's.
//!
//! ```text
//! L1 table -> L2 tables -> data, one reference for each entry
//! ```
//!
//! A cluster that two trees reach has a reference from each, also where they share the L2 table. So what a
//! shared table refers to has two references at least, and none of its entries has the copied flag.
//!
//! Tables are read from the storage: everything that is cached has been written back.

use blk_core::{Error, Result};
use rustc_hash::FxHashSet;

use crate::free_space::FreeReason;
use crate::l2::{self, COMPRESSED, COPIED, Entry, OFFSET_MASK, RawEntry, entry_offset};
use crate::metadata::Metadata;
use crate::offset::{GuestOffset, HostCluster, HostExtent, HostOffset};
use crate::roles::Role;
use crate::steps;

/// How many references may wait to be dropped: each takes 16 bytes of memory.
const WAITING_MAX: usize = if cfg!(test) { 3 } else { 1 << 16 };

/// An L1 table, and all that it leads to.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Where the L1 table lies, for messages.
    pub(super) at: HostOffset,
    pub(super) l1: Vec<u64>,
}

impl Tree {
    /// The same without the copied flags of its L1 table.
    pub(super) fn unflagged(self) -> Self {
        Self { l1: self.l1.into_iter().map(|entry| entry & !COPIED).collect(), ..self }
    }
}

/// What is done with one reference.
pub(super) type Visit<'a> = dyn FnMut(&mut Metadata, HostCluster, Target) -> Result<()> + 'a;

/// What a reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Table,
    Data,
}

/// Which entries get the copied flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flags {
    /// None: everything is about to have a second reference.
    Clear,
    /// Those whose cluster has one reference.
    ByCount,
}

impl Metadata {
    /// The tree of the disk as it is now.
    pub(super) fn active_tree(&self) -> Tree {
        Tree { at: self.l1.host_offset(), l1: self.l1.entries().to_vec() }
    }

    /// Calls `visit` for each reference that `tree` makes, always in the same order.
    pub(super) fn visit_tree(&mut self, tree: &Tree, visit: &mut Visit<'_>) -> Result<()> {
        assert!(!self.l2.has_dirty() && !self.l1.is_dirty(), "the tables on the storage are up to date");
        let reach = self.geometry.l2_table_reach_bytes();
        for (index, &entry) in (0..).zip(&tree.l1) {
            let Some(table) = self.table_of_entry(entry, tree.at, index)? else { continue };
            // Before the visit, which may give it back: then a hole lies there.
            let bytes = self.read_table(table)?;
            visit(self, self.geometry.cluster_of(table), Target::Table)?;
            let start = GuestOffset::new(index * reach);
            for (number, raw) in (0..).zip(RawEntry::all(&bytes, self.geometry)) {
                let at = start + number * self.geometry.cluster_bytes();
                let entry = self.decode_inside(raw, at)?;
                let Some(extent) = entry.host_extent(self.geometry) else { continue };
                for cluster in self.geometry.touched(extent) {
                    visit(self, cluster, Target::Data)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn read_table(&self, table: HostOffset) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.geometry.cluster_bytes() as usize];
        self.storage.step(&steps::L2_LOAD);
        self.storage.read_at(table.get(), &mut bytes)?;
        Ok(bytes)
    }

    /// What the entry of an L2 table for `at` means.
    pub(crate) fn decode_inside(&self, raw: RawEntry, at: GuestOffset) -> Result<Entry> {
        let entry = l2::decode(raw, self.geometry, self.header.version, at)?;
        self.check_inside(entry, at)?;
        Ok(entry)
    }

    /// Fails if `tree` cannot be counted: an entry means nothing, or leads to other metadata or to
    /// a cluster that counts as free. Asked before anything is changed.
    pub(super) fn check_tree(&mut self, tree: &Tree, doing: &str) -> Result<()> {
        let (entries, clusters) = (tree.l1.iter().filter(|entry| **entry != 0).count(), self.free.file_end());
        if entries as u64 > clusters.index() {
            let reason =
                format!("{entries} of its entries name tables, the file has {} clusters", clusters.index());
            return Err(Error::corrupt("L1 table", tree.at.get(), reason));
        }
        self.visit_tree(tree, &mut |metadata, cluster, target| {
            let expected = (target == Target::Table).then_some(Role::L2Table);
            metadata.check_losing(cluster, expected, doing)?;
            if metadata.refcount(cluster)? > 0 {
                return Ok(());
            }
            let offset = metadata.geometry.offset_of(cluster).get();
            let error = Error::corrupt("refcount", offset, "a cluster in use has refcount 0");
            Err(metadata.poison(error))
        })
    }

    /// As [`Metadata::check_tree`], of a snapshot's tree: a table that the disk has too has two references.
    pub(super) fn check_inactive_tree(&mut self, tree: &Tree, doing: &str) -> Result<()> {
        self.check_tree(tree, doing)?;
        let entries = self.l1.entries().iter().filter(|entry| **entry != 0);
        let active: FxHashSet<HostOffset> = entries.map(|entry| entry_offset(*entry)).collect();
        for (index, &entry) in (0..).zip(&tree.l1) {
            let Some(table) = self.table_of_entry(entry, tree.at, index)? else { continue };
            let cluster = self.geometry.cluster_of(table);
            if active.contains(&table) && self.refcount(cluster)? == 1 {
                let reason = "an L2 table that a snapshot has too has refcount 1";
                return Err(self.poison(Error::corrupt("refcount", table.get(), reason)));
            }
        }
        Ok(())
    }

    /// Fails if the clusters of a table that is about to be given back hold something else as well, or count
    /// as free.
    pub(super) fn check_given_up(&mut self, table: HostExtent, role: Role) -> Result<()> {
        if table.is_empty() {
            return Ok(());
        }
        for cluster in self.geometry.touched(table) {
            self.check_losing(cluster, Some(role), "giving up a table")?;
            if self.refcount(cluster)? == 0 {
                let offset = self.geometry.offset_of(cluster).get();
                let error = Error::corrupt("refcount", offset, "a table has refcount 0");
                return Err(self.poison(error));
            }
        }
        Ok(())
    }

    /// Counts each reference of `tree` once more.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if a count cannot rise any more: all are as before.
    pub(super) fn raise_tree(&mut self, tree: &Tree) -> Result<()> {
        let mut raised = 0;
        let result = self.visit_tree(tree, &mut |metadata, cluster, _| {
            if !metadata.add_reference(cluster)? {
                let bits = metadata.geometry.refcount_bits();
                let what = format!("a cluster has as many references as {bits} bits can count");
                return Err(Error::NoSpace { what: what.into() });
            }
            raised += 1;
            Ok(())
        });
        if let Err(error) = result {
            self.lower_first(tree, raised).map_err(|error| self.poison(error))?;
            return Err(error);
        }
        Ok(())
    }

    /// Takes back what [`Metadata::raise_tree`] has counted before it failed.
    fn lower_first(&mut self, tree: &Tree, mut count: u64) -> Result<()> {
        self.visit_tree(tree, &mut |metadata, cluster, _| {
            if count > 0 {
                count -= 1;
                metadata.drop_reference(cluster)?;
            }
            Ok(())
        })
    }

    /// Drops each reference of `tree`, to which nothing durable refers any more.
    pub(super) fn lower_tree(&mut self, tree: &Tree) -> Result<()> {
        self.visit_tree(tree, &mut |metadata, cluster, _| {
            metadata.free.add_pending(cluster, FreeReason::Drop);
            if metadata.free.pending_count() >= WAITING_MAX { metadata.write_back() } else { Ok(()) }
        })
    }

    /// Sets and clears the copied flags of the active tables. The counts of the tables are as they were
    /// before the change of which this is a part, or as they are after it.
    pub(crate) fn set_flags(&mut self, flags: Flags) -> Result<()> {
        for index in 0..self.l1.len() as u64 {
            let entry = self.l1.get(index);
            let Some(table) = self.table_of_entry(entry, self.l1.host_offset(), index)? else { continue };
            let is_own = self.refcount(self.geometry.cluster_of(table))? == 1;
            let flagged = with_flag(entry, is_own && flags == Flags::ByCount);
            if flagged != entry {
                self.l1.set(index as usize, flagged);
            }
            // Of a table that is truly shared no cluster has one reference. One that is not may be counted
            // twice all the same: a crash leaves such leaks.
            self.set_flags_of(table, flags)?;
        }
        self.write_l1_table()
    }

    /// As [`Metadata::set_flags`], for the entries of one table, on the storage.
    fn set_flags_of(&mut self, table: HostOffset, flags: Flags) -> Result<()> {
        if let Some(bytes) = self.reflagged(table, flags)? {
            self.storage.step(&steps::L2_UPDATE);
            self.storage.write_at(table.get(), &bytes)?;
            self.forget_cached_table(table);
        }
        Ok(())
    }

    /// A table with the copied flags that its entries ought to have; `None` where they are right.
    pub(super) fn reflagged(&mut self, table: HostOffset, flags: Flags) -> Result<Option<Vec<u8>>> {
        let mut bytes = self.read_table(table)?;
        let mut has_changed = false;
        // Of an extended entry, the first 8 bytes have the flag.
        let words = self.geometry.l2_entry_bytes() as usize / 8;
        for raw in bytes.as_chunks_mut::<8>().0.iter_mut().step_by(words) {
            let entry = u64::from_be_bytes(*raw);
            if entry & COMPRESSED != 0 || entry & OFFSET_MASK == 0 {
                continue;
            }
            let cluster = self.geometry.cluster_of(entry_offset(entry));
            let flagged = with_flag(entry, flags == Flags::ByCount && self.refcount(cluster)? == 1);
            has_changed |= flagged != entry;
            *raw = flagged.to_be_bytes();
        }
        Ok(has_changed.then_some(bytes))
    }

    /// Clears the copied flags in the L2 tables of a snapshot that is about to be the active one as well.
    pub(super) fn clear_flags_of_tree(&mut self, tree: &Tree) -> Result<()> {
        for (index, &entry) in (0..).zip(&tree.l1) {
            if let Some(table) = self.table_of_entry(entry, tree.at, index)? {
                self.set_flags_of(table, Flags::Clear)?;
            }
        }
        Ok(())
    }
}

fn with_flag(entry: u64, is_own: bool) -> u64 {
    if is_own { entry | COPIED } else { entry & !COPIED }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::{
        Access, DenyResolver, Disk, MemoryStorage, NewSnapshot, Options, RepairMode, Snapshots, Storage,
        WriteFlags,
    };

    /// In each table that a few references at a time give back, or all of them, the rest is given back too.
    #[test]
    fn tables_that_are_given_back_are_read_before() {
        for clusters_per_table in [1, 2, 3, 64] {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
            crate::FORMAT.create(&storage, 1 << 20, Options::new().with("cluster_size", 512_u64)).unwrap();
            let opened = crate::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver);
            let disk: Disk = opened.unwrap();
            let fill = |byte: u8| {
                for table in 0..32 {
                    let data = vec![byte; clusters_per_table * 512];
                    disk.write(table << 15, &data, WriteFlags::default()).unwrap();
                }
            };
            fill(1);
            let first = disk.create_snapshot(&NewSnapshot::default()).unwrap();
            fill(2);
            let second = disk.create_snapshot(&NewSnapshot::default()).unwrap();
            fill(3);
            for change in [Snapshots::delete_snapshot, Snapshots::apply_snapshot] {
                let id = if disk.snapshots().unwrap().len() == 2 { &first } else { &second };
                change(&disk, id).unwrap();
                let report = disk.check(RepairMode::None).unwrap();
                assert!(report.is_clean(), "{clusters_per_table}: {report}");
            }
        }
    }
}
