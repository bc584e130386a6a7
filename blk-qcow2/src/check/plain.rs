//! The inspection that `qemu-img check` makes, whose output other programs read line by line.
//!
//! Every reference counts, whatever lies at its target; what is wrong with an entry is reported and left
//! alone. Whether the counts are right shows in the comparison with the stored ones, and the copied flags are
//! compared with the stored ones too. An image that is clean here, and in which no two structures share a
//! cluster, is clean under the strict inspection as well.

use blk_core::{Error, RepairMode, Result, Storage};

use super::bulk::GROUP_ENTRIES;
use super::walk::{
    ACTIVE, CONTESTED, DATA, FIXED, IN_SNAPSHOT_TABLE, L2_TABLE, LAST, Place, SNAPSHOTS, TableUse, Walk,
};
use crate::header::{Header, L1_TABLE_BYTES_MAX};
use crate::l2::{COMPRESSED, COPIED, RESERVED, RawEntry, ZERO, entry_offset};
use crate::offset::{HostCluster, HostExtent, HostOffset};
use crate::ondisk::CompressedDescriptor;
use crate::snapshot::{self, SnapshotL1, SnapshotTable};

impl<'a> Walk<'a> {
    /// Counts all references, and compares them with the stored counts. With [`RepairMode::All`], entries
    /// that can be fixed before that are noted as fixes and not counted.
    pub(super) fn plain(storage: &'a dyn Storage, header: &Header, repair: RepairMode) -> Result<Self> {
        let mut walk = Self { prefix: "ERROR ", ..Self::new(storage, header)? };
        let fixes = repair == RepairMode::All;
        walk.refer(LAST, walk.header_extent(), FIXED);
        let snapshot_extent = walk.list_snapshots()?;
        walk.collect_plain(ACTIVE, header.l1_table())?;
        walk.l1 = walk.read_table(header.l1_table())?;
        walk.collect_plain_snapshots()?;
        walk.count_plain_tables(fixes)?;
        walk.incomplete |= !walk.refer(LAST, snapshot_extent, FIXED);
        walk.incomplete |= !walk.refer(LAST, header.encryption_header(), FIXED);
        walk.count_bitmaps()?;
        walk.put_in_order();
        walk.count_plain_refcounts(fixes)?;
        walk.put_in_order();
        walk.compare_refcounts(repair == RepairMode::None)?;
        Ok(walk)
    }

    /// Counts a reference to every cluster of `extent`. `false`, and a finding, if it reaches a cluster or
    /// more past the end.
    fn refer(&mut self, place: Place, extent: HostExtent, role: u8) -> bool {
        if extent.is_empty() {
            return true;
        }
        if self.reaches_too_far(extent) {
            self.report_at(place, extent.start.get(), || too_far(extent.start.get(), extent.length));
            return false;
        }
        if let Some((host_offset, _)) = self.count_role(extent, 1, role) {
            self.report_at(place, host_offset.get(), || overflow(host_offset));
        }
        true
    }

    fn reaches_too_far(&self, extent: HostExtent) -> bool {
        extent.end().get().saturating_sub(self.file_bytes) >= self.geometry.cluster_bytes()
    }

    /// Counts `times` references to what `extent`, which does not reach too far, touches. Returns the host
    /// offset of a cluster with more references than a refcount can say, and how many they are too many;
    /// those are not counted.
    #[inline]
    fn count_role(&mut self, extent: HostExtent, times: u32, role: u8) -> Option<(HostOffset, u32)> {
        let range = self.touched(extent);
        if *range.end() >= self.counts.len() {
            self.counts.resize(range.end() + 1, 0);
            self.roles.resize(range.end() + 1, 0);
            self.is_suspicious = true;
        }
        // Several entries may share a table or a cluster of data, and nothing else.
        let may_share = if role == FIXED { 0 } else { role };
        for held in &mut self.roles[range.clone()] {
            if *held & !may_share != 0 {
                *held |= CONTESTED;
                self.is_suspicious = true;
            }
            *held |= role;
        }
        self.count(extent, times);
        let max = u32::try_from(self.geometry.refcount_max()).unwrap_or(u32::MAX);
        let mut overflow = None;
        for cluster in range {
            let count = &mut self.counts[cluster];
            if *count > max {
                let at = self.geometry.offset_of(HostCluster::new(cluster as u64));
                overflow.get_or_insert((at, *count - max));
                *count = max;
                self.is_suspicious = true;
            }
        }
        overflow
    }

    /// Reads the snapshot table, whose extent is returned.
    fn list_snapshots(&mut self) -> Result<HostExtent> {
        if self.header.snapshot_count == 0 {
            return Ok(HostExtent::default());
        }
        let place = |number: usize| [IN_SNAPSHOT_TABLE, number as u32, 0];
        match SnapshotTable::read(self.storage, &self.header) {
            Ok(table) => {
                for (number, snapshot) in table.l1_tables.iter().enumerate() {
                    if snapshot.is_incomplete {
                        self.report_at(place(number), snapshot.entry_offset.get(), || {
                            format!("ERROR snapshot table entry {number} is incomplete")
                        });
                    }
                }
                self.snapshots = table.l1_tables;
                Ok(table.extent)
            }
            Err(Error::Malformed { offset, reason, .. }) => {
                self.report_at(place(0), offset, || {
                    format!("ERROR failed to read the snapshot table: {reason}")
                });
                self.cannot_walk();
                Ok(HostExtent::default())
            }
            Err(error) => Err(error),
        }
    }

    fn collect_plain_snapshots(&mut self) -> Result<()> {
        // Tables that do not overlap fit into the file; more are not worth the time.
        let mut bytes_left = self.geometry.bytes_of(self.clusters());
        for (number, snapshot) in self.snapshots.clone().into_iter().enumerate() {
            let source = SNAPSHOTS + number as u32;
            let bytes = snapshot.bytes();
            let wrong = if !self.geometry.is_aligned_number(snapshot.offset) {
                Some(format!("l1_offset={:#x}: L1 table is not cluster aligned", snapshot.offset))
            } else if bytes > L1_TABLE_BYTES_MAX {
                Some(format!("l1_size={:#x}: L1 table is too large", snapshot.entries))
            } else {
                None
            };
            if let Some(wrong) = wrong {
                self.report_bad_snapshot(source, snapshot, &wrong)?;
                continue;
            }
            let Some(left) = bytes_left.checked_sub(bytes) else {
                self.report_at([source, 0, 0], snapshot.entry_offset.get(), || {
                    "ERROR the snapshots' L1 tables take more than the file has".to_owned()
                });
                self.cannot_walk();
                break;
            };
            bytes_left = left;
            match snapshot.offset.checked_add(bytes).and_then(HostOffset::try_new) {
                Some(_) => self.collect_plain(source, HostOffset::new(snapshot.offset).with_length(bytes))?,
                None => self.report_table_in_no_file(source, snapshot),
            }
        }
        Ok(())
    }

    /// A table that no file is long enough for: what is missing of it may have referred to anything.
    fn report_table_in_no_file(&mut self, source: u32, snapshot: SnapshotL1) {
        if snapshot.entries > 0 {
            let (offset, bytes) = (snapshot.offset, snapshot.bytes());
            self.report_at([source, 0, 0], offset, || too_far(offset, bytes));
            self.incomplete = true;
        }
    }

    /// Its clusters are not known: none may be freed.
    fn report_bad_snapshot(&mut self, source: u32, snapshot: SnapshotL1, wrong: &str) -> Result<()> {
        let named = snapshot::describe_entry(self.storage, snapshot.entry_offset)?;
        self.report_at([source, 0, 0], snapshot.entry_offset.get(), || {
            format!("ERROR snapshot {} ({}) {wrong}; snapshot table entry corrupted", named.id, named.name)
        });
        self.incomplete = true;
        Ok(())
    }

    /// Counts an L1 table and the L2 tables that it refers to, and collects these.
    fn collect_plain(&mut self, source: u32, extent: HostExtent) -> Result<()> {
        if !self.refer([source, 0, 0], extent, FIXED) {
            // What is missing of it may have referred to anything.
            self.incomplete = true;
            self.l1_is_own &= source != ACTIVE;
        }
        let cluster_bytes = self.geometry.cluster_bytes();
        let entries = self.read_table(extent)?;
        for (index, entry) in entries.into_iter().enumerate().filter(|(_, entry)| *entry != 0) {
            let place = [source, index as u32 + 1, 0];
            let at = (extent.start + index as u64 * 8).get();
            if entry & RESERVED != 0 {
                self.report_at(place, at, || {
                    format!("ERROR found L1 entry with reserved bits set: {entry:x}")
                });
            }
            let table = entry_offset(entry);
            let is_inside = self.refer(place, table.with_length(cluster_bytes), L2_TABLE);
            if !self.geometry.is_cluster_aligned(table) {
                self.report_at(place, at, || {
                    format!("ERROR l2_offset={table:x}: Table is not cluster aligned; L1 entry corrupted")
                });
                // What lies there is not read: it is no table, and findings in it could be as many as there
                // are entries.
                self.incomplete = true;
            } else if is_inside {
                let cluster = self.geometry.cluster_of(table).index() as u32;
                self.tables.push(TableUse { cluster, source, index: index as u32 });
            }
        }
        Ok(())
    }

    /// Reads every L2 table once, and counts as often as it is referred to.
    fn count_plain_tables(&mut self, fixes: bool) -> Result<()> {
        self.tables.sort_unstable();
        let tables = std::mem::take(&mut self.tables);
        for uses in tables.chunk_by(|a, b| a.cluster == b.cluster) {
            assert!(uses[0].cluster() < self.file_end(), "only tables inside the file are collected");
            let host_offset = self.geometry.offset_of(uses[0].cluster());
            let bytes = self.read_l2(host_offset)?;
            let active = uses.iter().filter(|table| table.is_active()).count() as u64;
            let mut table = PlainTable { uses, host_offset, fixes, active, next_contiguous: None };
            let times = (uses.len() as u32, active);
            let is_extended = self.geometry.has_extended_l2();
            let group_bytes = GROUP_ENTRIES * self.geometry.l2_entry_bytes() as usize;
            for (number, group) in bytes.chunks(group_bytes).enumerate() {
                let plain = group.as_chunks::<8>().0;
                if is_extended || !self.count_group(plain, times, &mut table.next_contiguous) {
                    self.count_plain_group(&mut table, number * GROUP_ENTRIES, group);
                }
            }
            self.l2_read = (Some(host_offset), bytes);
        }
        self.tables = tables;
        Ok(())
    }

    /// Counts the entries of a table one by one; `first` is the index of the first of them.
    fn count_plain_group(&mut self, table: &mut PlainTable<'_>, first: usize, group: &[u8]) {
        for (index, raw) in (first..).zip(RawEntry::all(group, self.geometry)) {
            let entry = raw.descriptor;
            if entry & (COMPRESSED | COPIED) == 0 && entry != 0 {
                self.unflagged.insert(table.host_offset);
            }
            if entry != 0 || raw.bitmap != 0 {
                self.count_plain_entry(table, index, raw);
            }
        }
    }

    #[inline]
    fn count_plain_entry(&mut self, table: &mut PlainTable<'_>, index: usize, raw: RawEntry) {
        let entry = raw.descriptor;
        let extent = if entry & COMPRESSED == 0 {
            self.judge_plain_standard(table, index, raw)
        } else {
            self.judge_plain_compressed(table, index, raw)
        };
        let Some(extent) = extent else { return };
        if table.active > 0 {
            self.count_allocation(entry, extent, table.active, &mut table.next_contiguous);
        }
        if self.geometry.has_data_file() {
            return;
        }
        if self.reaches_too_far(extent) {
            self.report_entry(table, index, || too_far(extent.start.get(), extent.length));
        } else if let Some((host_offset, excess)) = self.count_role(extent, table.uses.len() as u32, DATA) {
            let last = table.uses.len().saturating_sub(excess as usize);
            let uses = &table.uses[last..];
            self.report_entry(&PlainTable { uses, ..*table }, index, || overflow(host_offset));
        }
    }

    fn judge_plain_compressed(
        &mut self,
        table: &PlainTable<'_>,
        index: usize,
        raw: RawEntry,
    ) -> Option<HostExtent> {
        let entry = raw.descriptor;
        let descriptor = CompressedDescriptor::decode(entry, self.geometry);
        self.is_suspicious |= self.geometry.has_data_file();
        if entry & COPIED != 0 {
            let at = descriptor.host_offset();
            self.report_entry(table, index, || {
                format!("ERROR: coffset={at:#x}: copied flag must never be set for compressed clusters")
            });
        }
        if raw.bitmap != 0 {
            self.report_entry(table, index, || {
                format!(
                    "ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, \
                     entry={entry:#x}"
                )
            });
            // It is not counted, and must not be freed for that.
            self.incomplete = true;
            return None;
        }
        Some(descriptor.extent())
    }

    #[inline]
    fn judge_plain_standard(
        &mut self,
        table: &PlainTable<'_>,
        index: usize,
        raw: RawEntry,
    ) -> Option<HostExtent> {
        let entry = raw.descriptor;
        let is_extended = self.geometry.has_extended_l2();
        if entry & RESERVED & !ZERO != 0 {
            self.report_entry(table, index, || {
                format!("ERROR found l2 entry with reserved bits set: {entry:x}")
            });
        }
        let host = entry_offset(entry);
        let is_zero = if is_extended { raw.allocated() == 0 } else { entry & ZERO != 0 };
        self.is_suspicious |= is_extended && entry & ZERO != 0;
        let right = self.place_in_data_file(table.uses[0], index);
        self.is_suspicious |= right.is_some_and(|right| self.is_misplaced(entry, right));
        if !self.has_cluster(entry) {
            self.is_suspicious |= entry == COPIED;
            if raw.allocated() != 0 {
                self.report_entry(table, index, || {
                    "ERROR: Unallocated cluster has non-zero subcluster allocation map".to_owned()
                });
            }
            return None;
        }
        if raw.allocated() & raw.zero() != 0 {
            self.report_entry(table, index, || {
                format!("ERROR offset={host:x}: Allocated cluster has corrupted subcluster allocation bitmap")
            });
        }
        self.is_suspicious |= is_zero && self.header.version < 3;
        if !self.geometry.is_cluster_aligned(host) {
            let is_fixed = is_zero && table.fixes;
            let (verb, what) = (if is_fixed { "Repairing" } else { "ERROR" }, kind_name(is_zero));
            self.report_entry(table, index, || {
                format!("{verb} offset={host:x}: {what} is not properly aligned; L2 entry corrupted.")
            });
            if is_fixed {
                let without = if is_extended { RawEntry { descriptor: 0, ..raw } } else { ZERO_PLAIN };
                self.fixes.push(self.fix_l2(self.l2_entry_at(table.host_offset, index), without));
                return None;
            }
        }
        Some(host.with_length(self.geometry.cluster_bytes()))
    }

    /// Reports it as often as the table is referred to.
    fn report_entry(&mut self, table: &PlainTable<'_>, index: usize, message: impl Fn() -> String) {
        for (number, used) in table.uses.iter().enumerate() {
            if self.is_full() {
                self.report.corruptions += (table.uses.len() - number) as u64;
                break;
            }
            let place = [used.source, used.index + 1, index as u32 + 1];
            self.report_at(place, self.l2_entry_at(table.host_offset, index).get(), &message);
        }
    }

    /// Counts the refcount table and its blocks, and finds out whether they can be used.
    fn count_plain_refcounts(&mut self, fixes: bool) -> Result<()> {
        let extent = self.header.refcount_table();
        self.blocks_unusable = !self.refer(LAST, extent, FIXED) || extent.is_empty();
        self.blocks = self.read_table(extent)?;
        for index in 0..self.blocks.len() {
            let entry = self.blocks[index];
            // Nearly all of a large table.
            if entry == 0 {
                continue;
            }
            let block = entry & !REFCOUNT_RESERVED;
            let at = (extent.start + index as u64 * 8).get();
            // What the stored counts are read from, although the entry is wrong.
            self.blocks[index] = block;
            if entry & REFCOUNT_RESERVED != 0 {
                self.report_at(LAST, at, || {
                    format!("ERROR refcount table entry {index} has reserved bits set")
                });
                self.blocks_unusable = true;
            } else if !self.geometry.is_aligned_number(block) {
                self.report_at(LAST, at, || {
                    format!(
                        "ERROR refcount block {index} is not cluster aligned; refcount table entry corrupted"
                    )
                });
                self.blocks_unusable = true;
            } else if block != 0 {
                self.count_block(index, block, fixes);
            }
        }
        self.refcounts_unusable |= self.blocks_unusable;
        Ok(())
    }

    fn count_block(&mut self, index: usize, block: u64, fixes: bool) {
        let inside = HostOffset::try_new(block).filter(|at| self.geometry.cluster_of(*at) < self.file_end());
        let Some(start) = inside else {
            let verb = if fixes { "Repairing" } else { "ERROR" };
            self.report_at(LAST, block, || format!("{verb} refcount block {index} is outside image"));
            self.blocks_unusable |= fixes;
            return;
        };
        self.refer(LAST, start.with_length(self.geometry.cluster_bytes()), FIXED);
        let cluster = self.geometry.cluster_of(start).index() as usize;
        let count = self.counts[cluster];
        if count != 1 || self.roles[cluster] & CONTESTED != 0 {
            self.blocks_unusable = true;
        }
        if count != 1 {
            self.report_at(LAST, block, || format!("ERROR refcount block {index} refcount={count}"));
        }
    }
}

/// Bits of an entry of the refcount table that have no meaning.
const REFCOUNT_RESERVED: u64 = 0x1ff;

/// A plain entry that reads as zeroes.
const ZERO_PLAIN: RawEntry = RawEntry { descriptor: ZERO, bitmap: 0 };

/// An L2 table while it is counted.
#[derive(Debug)]
struct PlainTable<'a> {
    uses: &'a [TableUse],
    host_offset: HostOffset,
    fixes: bool,
    /// How many of the uses are active.
    active: u64,
    next_contiguous: Option<HostOffset>,
}

const fn kind_name(is_zero: bool) -> &'static str {
    if is_zero { "Preallocated cluster" } else { "Data cluster" }
}

fn overflow(host_offset: HostOffset) -> String {
    format!("ERROR: overflow cluster offset={host_offset:#x}")
}

fn too_far(offset: u64, bytes: u64) -> String {
    format!(
        "ERROR: counting reference for region exceeding the end of the file by one cluster or more: \
         offset {offset:#x} size {bytes:#x}"
    )
}
