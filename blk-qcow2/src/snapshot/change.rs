//! Creating, applying and deleting snapshots.
//!
//! Write order: what the header is about to name (a copy of the L1 table, a new list of snapshots) is durable
//! before one write of the header's first sector names it, which is where the change happens: a crash leaves
//! the old list, L1 table and size, or the new ones. References are counted before that write, and dropped
//! after it.
//!
//! Counts and copied flags cannot change at once. So version 3 has the dirty bit set meanwhile: whoever opens
//! the image after a crash counts again. Version 2 has no such bit: there they change in copies, which the
//! same write of the header names (see `at_once`). An apply contradicts nothing in between: what a snapshot
//! has is never flagged, and is counted too often for a moment at most.

use blk_core::{Error, Extent, NewSnapshot, Result, SnapshotInfo, Snapshots};
use zerocopy::IntoBytes;

use super::at_once::{Named, TableCopies};
use super::references::{Flags, Tree};
use super::{SnapshotTable, TABLE_BYTES_MAX, describe};
use crate::free_space::{Allocation, FreeReason};
use crate::grow::check_l1_entries;
use crate::header::{Header, SNAPSHOTS_MAX};
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, HostExtent, HostOffset};
use crate::ondisk::SnapshotEntry;
use crate::pointer_table::{self, PointerTable};
use crate::qcow2::Qcow2;
use crate::roles::{Role, Roles};
use crate::steps;

/// Longest name, in bytes: what other implementations keep of one.
const NAME_BYTES_MAX: usize = 255;

impl Snapshots for Qcow2 {
    fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let metadata = self.metadata.read();
        metadata.check_usable()?;
        describe(&*self.storage, &metadata.header)
    }

    fn create_snapshot(&self, new: &NewSnapshot) -> Result<String> {
        if new.name.len() > NAME_BYTES_MAX {
            let reason = format!("it has {} bytes, allowed are {NAME_BYTES_MAX}", new.name.len());
            return Err(Error::invalid_option("name of a snapshot", reason));
        }
        if self.geometry.has_data_file() {
            return Err(Error::unsupported("snapshots inside an image with an external data file"));
        }
        let _size_stays = self.resizing.lock();
        self.begin_unfollowed()?;
        let created = self.metadata.write().create_snapshot(new);
        self.noting(created)
    }

    fn apply_snapshot(&self, id: &str) -> Result<()> {
        let _size_stays = self.resizing.lock();
        let size = self.size_of_snapshot(id)?;
        self.begin_resize(size)?;
        // All of the disk may change.
        let recording = self.begin_write(Extent::new(0, size.max(self.size_bytes())))?;
        let mut metadata = self.metadata.write();
        let applied = metadata.apply_snapshot(id);
        // A failure after the header was written is one that poisons.
        self.set_size_bytes(metadata.header.size);
        drop(metadata);
        drop(recording);
        // Dirty bits past the end of a smaller disk are dropped.
        self.bitmaps.cut(self.size_bytes());
        self.noting(applied)
    }

    fn delete_snapshot(&self, id: &str) -> Result<()> {
        self.size_of_snapshot(id)?;
        self.begin_unfollowed()?;
        let deleted = self.metadata.write().delete_snapshot(id);
        self.noting(deleted)
    }

    fn read_snapshot(&self, id: &str, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.noting(self.read_from_snapshot(id, offset, buf))
    }
}

impl Qcow2 {
    /// The size of the disk of a snapshot. A request for one that is not there changes nothing, autoclear
    /// bits neither.
    fn size_of_snapshot(&self, id: &str) -> Result<u64> {
        let snapshots = self.snapshots()?;
        let snapshot = &snapshots[position(&snapshots, id)?];
        Ok(snapshot.disk_bytes.unwrap_or(self.size_bytes()))
    }
}

/// The place of the snapshot of this ID in the list.
pub(super) fn position(snapshots: &[SnapshotInfo], id: &str) -> Result<usize> {
    snapshots.iter().position(|snapshot| snapshot.id == id).ok_or_else(|| {
        let reason = "no snapshot of the image has this ID".to_owned();
        Error::Unresolved { name: id.to_owned(), reason }
    })
}

/// A snapshot of the list, and where the parts of it lie.
struct Found {
    index: usize,
    table: SnapshotTable,
    infos: Vec<SnapshotInfo>,
    tree: Tree,
    l1_extent: HostExtent,
}

impl Metadata {
    fn create_snapshot(&mut self, new: &NewSnapshot) -> Result<String> {
        self.flush_all()?;
        let table = SnapshotTable::read(&*self.storage, &self.header)?;
        if table.l1_tables.len() as u32 >= SNAPSHOTS_MAX {
            return Err(Error::NoSpace {
                what: format!("an image has {SNAPSHOTS_MAX} snapshots at most").into(),
            });
        }
        let id = new_id(&table.describe(&*self.storage)?);
        self.check_tree(&self.active_tree().unflagged(), "creating a snapshot")?;
        self.check_given_up(listed_at(&self.header, &table), Role::SnapshotTable)?;
        if self.header.version < 3 {
            self.check_given_up(self.header.l1_table(), Role::L1Table)?;
            return self.create_at_once(new, &table, &id).map(|()| id);
        }
        let tree = self.active_tree().unflagged();
        let copy = self.write_structure(&pointer_table::encode(&tree.l1))?;
        let list = match self.write_list_with(&table, new, &id, copy, tree.l1.len()) {
            Ok(list) => list,
            Err(error) => return Err(self.give_up(copy, error)),
        };
        self.begin_unordered()?;
        if let Err(error) = self.share_active(&tree) {
            return Err(self.take_back([copy, list].into_iter().flatten(), error));
        }
        self.switch_list(list, table.l1_tables.len() as u32 + 1, table.extent)?;
        self.end_unordered()?;
        Ok(id)
    }

    /// Writes the list with one more entry, whose L1 table is `copy`.
    fn write_list_with(
        &mut self,
        table: &SnapshotTable,
        new: &NewSnapshot,
        id: &str,
        copy: Option<Allocation>,
        l1_entries: usize,
    ) -> Result<Option<Allocation>> {
        let mut entries = self.read_entries(table)?;
        entries.push(encode_entry(id, new, self.offset_of(copy), l1_entries as u32, self.header.size));
        self.write_list(&entries)
    }

    /// The same in copies of all that changes, for version 2.
    fn create_at_once(&mut self, new: &NewSnapshot, table: &SnapshotTable, id: &str) -> Result<()> {
        let (mut copies, mut made) = (TableCopies::default(), Vec::new());
        let written = self.write_copies(new, table, id, &mut copies, &mut made);
        let shared = written.and_then(|(tree, named)| self.share_at_once(tree, &copies, &named));
        shared.map_err(|error| self.give_up(copies.made.into_iter().chain(made), error))
    }

    /// Writes what the header is to name, but for the counts.
    fn write_copies(
        &mut self,
        new: &NewSnapshot,
        table: &SnapshotTable,
        id: &str,
        copies: &mut TableCopies,
        made: &mut Vec<Allocation>,
    ) -> Result<(Tree, Named)> {
        let tree = self.copy_without_flags(copies)?;
        let bytes = pointer_table::encode(&tree.l1);
        let kept = self.write_structure(&bytes)?;
        made.extend(kept);
        let l1 = self.write_structure(&bytes)?;
        made.extend(l1);
        let list = self.write_list_with(table, new, id, kept, tree.l1.len())?;
        made.extend(list);
        let snapshot_count = table.l1_tables.len() as u32 + 1;
        Ok((tree, Named { l1, list, snapshot_count, old_list: table.extent }))
    }

    /// Room for all that changes when `found` goes, and the list without it.
    fn delete_at_once(&mut self, found: &Found, entries: &[Vec<u8>]) -> Result<()> {
        let mut made = Vec::new();
        let written = self.allocate_copies(found, entries, &mut made);
        let dropped = written
            .and_then(|(spare, named)| self.drop_at_once((&found.tree, found.l1_extent), spare, &named));
        dropped.map_err(|error| self.give_up(made, error))
    }

    fn allocate_copies(
        &mut self,
        found: &Found,
        entries: &[Vec<u8>],
        made: &mut Vec<Allocation>,
    ) -> Result<(Vec<Allocation>, Named)> {
        let list = self.write_list(entries)?;
        made.extend(list);
        let l1 = self.write_structure(&pointer_table::encode(self.l1.entries()))?;
        made.extend(l1);
        let mut spare = Vec::new();
        for _ in 0..self.active_tables() {
            let table = self.allocate(ClusterCount::ONE)?;
            made.push(table);
            spare.push(table);
            self.zero_new(table)?;
        }
        let (snapshot_count, old_list) = (entries.len() as u32, found.table.extent);
        Ok((spare, Named { l1, list, snapshot_count, old_list }))
    }

    /// The active tables give up their clusters as their own, and each gets one more reference.
    fn share_active(&mut self, tree: &Tree) -> Result<()> {
        let cleared = self.set_flags(Flags::Clear).and_then(|()| self.sync());
        cleared.map_err(|error| self.poison(error))?;
        self.raise_tree(tree)?;
        self.flush_all().map_err(|error| self.poison(error))
    }

    fn apply_snapshot(&mut self, id: &str) -> Result<()> {
        self.flush_all()?;
        let found = self.find_snapshot(id)?;
        let size = found.infos[found.index].disk_bytes.unwrap_or(self.header.size);
        let entries = self.geometry.l1_entries(size).max(found.tree.l1.len() as u64).max(1);
        check_l1_entries(entries)?;
        let (old, old_table) = (self.active_tree(), self.header.l1_table());
        self.check_inactive_tree(&found.tree, "applying a snapshot")?;
        self.check_tree(&old, "applying a snapshot")?;
        self.check_given_up(old_table, Role::L1Table)?;
        let mut tree = found.tree.unflagged();
        tree.l1.resize(entries as usize, 0);
        let copy = self.write_structure(&pointer_table::encode(&tree.l1))?;
        self.begin_unordered()?;
        if let Err(error) = self.share_snapshot(&tree) {
            return Err(self.take_back(copy, error));
        }
        self.storage.step(&steps::L1_GROW_ACTIVATE_TABLE);
        self.header.l1_table_offset = self.offset_of(copy);
        self.header.l1_entries = entries as u32;
        self.header.size = size;
        self.reach = size;
        // With the size, also if the header cannot be written: past the end of the old tree lies what a
        // smaller disk has hidden.
        self.l1 = PointerTable::written(self.offset_of(copy), tree.l1);
        self.publish_header()?;
        self.collect_roles();
        let dropped = self.lower_tree(&old).and_then(|()| {
            self.free_nonempty_later(old_table);
            self.write_back()
        });
        dropped.map_err(|error| self.poison(error))?;
        self.end_unordered()
    }

    /// The tables of a snapshot are about to be the active ones too.
    fn share_snapshot(&mut self, tree: &Tree) -> Result<()> {
        let cleared = self.clear_flags_of_tree(tree).and_then(|()| self.sync());
        cleared.map_err(|error| self.poison(error))?;
        self.raise_tree(tree)?;
        self.flush_all().map_err(|error| self.poison(error))
    }

    fn delete_snapshot(&mut self, id: &str) -> Result<()> {
        self.flush_all()?;
        let found = self.find_snapshot(id)?;
        self.check_inactive_tree(&found.tree, "deleting a snapshot")?;
        self.check_given_up(found.l1_extent, Role::InactiveL1Table)?;
        self.check_given_up(listed_at(&self.header, &found.table), Role::SnapshotTable)?;
        let mut entries = self.read_entries(&found.table)?;
        entries.remove(found.index);
        if self.header.version < 3 {
            self.check_given_up(self.header.l1_table(), Role::L1Table)?;
            return self.delete_at_once(&found, &entries);
        }
        let list = self.write_list(&entries)?;
        self.begin_unordered()?;
        self.flush_all().map_err(|error| self.poison(error))?;
        self.switch_list(list, entries.len() as u32, found.table.extent)?;
        let dropped = self.lower_tree(&found.tree).and_then(|()| {
            self.free_nonempty_later(found.l1_extent);
            self.write_back()?;
            self.sync()?;
            self.set_flags(Flags::ByCount)
        });
        dropped.map_err(|error| self.poison(error))?;
        self.end_unordered()
    }

    fn find_snapshot(&self, id: &str) -> Result<Found> {
        let table = SnapshotTable::read(&*self.storage, &self.header)?;
        let infos = table.describe(&*self.storage)?;
        let index = position(&infos, id)?;
        let l1 = table.l1_tables[index];
        let l1_extent = l1.checked_extent(self.geometry)?;
        let l1 = PointerTable::read(&*self.storage, l1_extent.start, l1.entries as usize)?.into_entries();
        Ok(Found { index, table, infos, tree: Tree { at: l1_extent.start, l1 }, l1_extent })
    }

    /// The entries of the list as they are, each padded to the next.
    pub(super) fn read_entries(&self, table: &SnapshotTable) -> Result<Vec<Vec<u8>>> {
        let starts = table.l1_tables.iter().map(|snapshot| snapshot.entry_offset);
        let ends = starts.clone().skip(1).chain([table.extent.end()]);
        let read = |(start, end): (HostOffset, HostOffset)| {
            let mut bytes = vec![0; (end.get() - start.get()) as usize];
            self.storage.read_at(start.get(), &mut bytes)?;
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            Ok(bytes)
        };
        starts.zip(ends).map(read).collect()
    }

    pub(super) fn write_list(&mut self, entries: &[Vec<u8>]) -> Result<Option<Allocation>> {
        let bytes = entries.concat();
        if bytes.len() as u64 > TABLE_BYTES_MAX {
            let what = format!("the list of snapshots has {TABLE_BYTES_MAX} bytes at most");
            return Err(Error::NoSpace { what: what.into() });
        }
        self.write_structure(&bytes)
    }

    /// Allocates clusters and writes `bytes` to them; nothing for no bytes.
    fn write_structure(&mut self, bytes: &[u8]) -> Result<Option<Allocation>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let clusters = self.geometry.clusters_of(bytes.len() as u64);
        let allocation = self.allocate_contiguous(clusters)?;
        let mut padded = bytes.to_vec();
        padded.resize(self.geometry.bytes_of(clusters) as usize, 0);
        let written = self.storage.write_at(self.geometry.offset_of(allocation.first).get(), &padded);
        match written {
            Ok(()) => Ok(Some(allocation)),
            Err(error) => Err(self.give_up([allocation], error)),
        }
    }

    fn offset_of(&self, allocation: Option<Allocation>) -> HostOffset {
        allocation.map_or_else(HostOffset::default, |allocation| self.geometry.offset_of(allocation.first))
    }

    /// From here on, counts and flags on the storage may contradict one another.
    pub(crate) fn begin_unordered(&mut self) -> Result<()> {
        if self.header.version < 3 || self.header.is_dirty() {
            return Ok(());
        }
        // What was allocated is counted in memory only: its counts need not be durable yet.
        self.header.set_dirty(true);
        self.publish_header()
    }

    /// Counts and flags are right again, and durable.
    fn end_unordered(&mut self) -> Result<()> {
        self.end_lazy().map_err(|error| self.poison(error))
    }

    /// Undoes a change that is refused because a count cannot rise.
    fn take_back(&mut self, all: impl IntoIterator<Item = Allocation>, error: Error) -> Error {
        if self.poison.is_some() {
            return error;
        }
        let error = self.give_up(all, error);
        let undone = self.set_flags(Flags::ByCount).and_then(|()| self.end_lazy());
        undone.map_err(|worse| self.poison(worse)).err().unwrap_or(error)
    }

    /// Has the header name another list of snapshots, and frees the old one.
    pub(super) fn switch_list(
        &mut self,
        list: Option<Allocation>,
        count: u32,
        old: HostExtent,
    ) -> Result<()> {
        self.storage.step(&steps::L1_GROW_ACTIVATE_TABLE);
        let had_list = self.header.snapshot_count > 0;
        self.header.snapshot_count = count;
        self.header.snapshots_offset = self.offset_of(list);
        self.publish_header()?;
        self.collect_roles();
        if had_list {
            self.free_nonempty_later(old);
        }
        Ok(())
    }

    fn free_nonempty_later(&mut self, extent: HostExtent) {
        if !extent.is_empty() {
            self.free_extent_later(extent, FreeReason::Drop);
        }
    }

    /// The header names other tables.
    pub(crate) fn collect_roles(&mut self) {
        let (l1, table) = (&self.l1, &self.refcounts.table);
        self.roles = Roles::of_image(&*self.storage, &self.header, l1, table, self.options.overlap_check);
    }
}

/// Where the list lies; nowhere while it is empty.
pub(super) fn listed_at(header: &Header, table: &SnapshotTable) -> HostExtent {
    if header.snapshot_count > 0 { table.extent } else { HostExtent::default() }
}

/// One more than the largest ID that is a number, or the first that is free where there is no larger one.
fn new_id(snapshots: &[SnapshotInfo]) -> String {
    let ids = || snapshots.iter().filter_map(|snapshot| snapshot.id.parse::<u64>().ok());
    let next = ids().max().unwrap_or(0).checked_add(1);
    let is_free = |id: &u64| !snapshots.iter().any(|snapshot| snapshot.id == id.to_string());
    next.filter(is_free)
        .or_else(|| (1..=u64::from(SNAPSHOTS_MAX) + 1).find(is_free))
        .expect("there are fewer snapshots than numbers")
        .to_string()
}

fn encode_entry(id: &str, new: &NewSnapshot, l1: HostOffset, l1_entries: u32, size: u64) -> Vec<u8> {
    // Size of the machine state, of the disk, instructions: 8 bytes each.
    let extra = [new.vm_state_bytes, size, new.instruction_count.unwrap_or(u64::MAX)];
    let entry = SnapshotEntry {
        l1_table_offset: l1.get().into(),
        l1_size: l1_entries.into(),
        id_size: (id.len() as u16).into(),
        name_size: (new.name.len() as u16).into(),
        date_seconds: new.date_seconds.into(),
        date_nanoseconds: new.date_nanoseconds.into(),
        vm_clock_nanoseconds: new.vm_clock_nanoseconds.into(),
        vm_state_size: u32::try_from(new.vm_state_bytes).unwrap_or(u32::MAX).into(),
        extra_data_size: (size_of_val(&extra) as u32).into(),
    };
    let mut bytes = entry.as_bytes().to_vec();
    bytes.extend(pointer_table::encode(&extra));
    bytes.extend(id.as_bytes());
    bytes.extend(new.name.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}
