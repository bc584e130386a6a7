//! The inspection that `qemu-img check` makes, which others read line by line.
//!
//! Every reference counts, whatever lies at its target; what is wrong with an entry is told and left alone. Whether the counts
//! are right shows in the comparison with the stored ones, and the copied flags are held against the stored ones too. An image
//! that is clean here, and in which no two structures share a cluster, is clean under the strict inspection as well.

use blk_core::{Error, Extent, RepairMode, Result, Storage};

use super::bulk::GROUP_ENTRIES;
use super::walk::{
    ACTIVE, CONTESTED, DATA, FIXED, Fix, IN_SNAPSHOT_TABLE, L2_TABLE, LAST, Place, SNAPSHOTS, TableUse, Walk,
};
use crate::header::{Header, L1_TABLE_BYTES_MAX};
use crate::l2::{COMPRESSED, COPIED, OFFSET_MASK, RESERVED, ZERO};
use crate::ondisk::CompressedDescriptor;
use crate::snapshot::{self, SnapshotL1, SnapshotTable};

impl<'a> Walk<'a> {
    /// Counts all references, and compares them with the stored counts. With [`RepairMode::All`], entries that can be mended
    /// before that are noted as fixes and not counted.
    pub(super) fn plain(storage: &'a dyn Storage, header: &Header, repair: RepairMode) -> Result<Self> {
        let mut walk = Self { prefix: "ERROR ", ..Self::new(storage, header)? };
        let mends = repair == RepairMode::All;
        walk.refer(LAST, Extent::new(0, walk.geometry.cluster_bytes()), FIXED);
        let snapshot_extent = walk.list_snapshots()?;
        walk.collect_plain(ACTIVE, walk.l1_extent())?;
        walk.l1 = walk.read_table(walk.l1_extent())?;
        walk.collect_plain_snapshots()?;
        walk.count_plain_tables(mends)?;
        walk.incomplete |= !walk.refer(LAST, snapshot_extent, FIXED);
        walk.count_bitmaps()?;
        walk.put_in_order();
        walk.count_plain_refcounts(mends)?;
        walk.put_in_order();
        walk.compare_refcounts(repair == RepairMode::None)?;
        Ok(walk)
    }

    /// Counts a reference to every cluster of `extent`. `false`, and a finding, if it reaches a cluster or more past the end.
    fn refer(&mut self, place: Place, extent: Extent, role: u8) -> bool {
        if extent.is_empty() {
            return true;
        }
        if self.reaches_too_far(extent) {
            self.tell(place, extent.offset, || too_far(extent));
            return false;
        }
        if let Some((host_offset, _)) = self.count_role(extent, 1, role) {
            self.tell(place, host_offset, || overflow(host_offset));
        }
        true
    }

    fn reaches_too_far(&self, extent: Extent) -> bool {
        let end = extent.checked_end().unwrap_or(u64::MAX);
        end.saturating_sub(self.file_bytes) >= self.geometry.cluster_bytes()
    }

    /// Counts `times` references to what `extent`, which does not reach too far, touches. Returns the host offset of a cluster with
    /// more references than a refcount can say, and how many they are too many; those are not counted.
    #[inline]
    fn count_role(&mut self, extent: Extent, times: u32, role: u8) -> Option<(u64, u32)> {
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
                overflow.get_or_insert(((cluster as u64) << self.geometry.cluster_bits(), *count - max));
                *count = max;
                self.is_suspicious = true;
            }
        }
        overflow
    }

    /// Reads the snapshot table, whose extent is returned.
    fn list_snapshots(&mut self) -> Result<Extent> {
        if self.header.snapshot_count == 0 {
            return Ok(Extent::default());
        }
        let place = |number: usize| [IN_SNAPSHOT_TABLE, number as u32, 0];
        match SnapshotTable::read(self.storage, &self.header) {
            Ok(table) => {
                for (number, snapshot) in table.l1_tables.iter().enumerate() {
                    if snapshot.is_incomplete {
                        self.tell(place(number), snapshot.entry_offset, || {
                            format!("ERROR snapshot table entry {number} is incomplete")
                        });
                    }
                }
                self.snapshots = table.l1_tables;
                Ok(table.extent)
            }
            Err(Error::Malformed { offset, reason, .. }) => {
                self.tell(place(0), offset, || format!("ERROR failed to read the snapshot table: {reason}"));
                self.cannot_walk();
                Ok(Extent::default())
            }
            Err(error) => Err(error),
        }
    }

    fn collect_plain_snapshots(&mut self) -> Result<()> {
        // Tables that do not overlap fit into the file; more are not worth the time.
        let mut bytes_left = self.clusters() * self.geometry.cluster_bytes();
        for (number, snapshot) in self.snapshots.clone().into_iter().enumerate() {
            let source = SNAPSHOTS + number as u32;
            let bytes = u64::from(snapshot.entries) * 8;
            let wrong = if !self.geometry.is_cluster_aligned(snapshot.offset) {
                Some(format!("l1_offset={:#x}: L1 table is not cluster aligned", snapshot.offset))
            } else if bytes > L1_TABLE_BYTES_MAX {
                Some(format!("l1_size={:#x}: L1 table is too large", snapshot.entries))
            } else {
                None
            };
            if let Some(wrong) = wrong {
                self.tell_bad_snapshot(source, snapshot, &wrong)?;
                continue;
            }
            let Some(left) = bytes_left.checked_sub(bytes) else {
                self.tell([source, 0, 0], snapshot.entry_offset, || {
                    "ERROR the snapshots' L1 tables take more than the file has".to_owned()
                });
                self.cannot_walk();
                break;
            };
            bytes_left = left;
            self.collect_plain(source, Extent::new(snapshot.offset, bytes))?;
        }
        Ok(())
    }

    /// Its clusters are not known: none may be given back.
    fn tell_bad_snapshot(&mut self, source: u32, snapshot: SnapshotL1, wrong: &str) -> Result<()> {
        let named = snapshot::describe_entry(self.storage, snapshot.entry_offset)?;
        self.tell([source, 0, 0], snapshot.entry_offset, || {
            format!("ERROR snapshot {} ({}) {wrong}; snapshot table entry corrupted", named.id, named.name)
        });
        self.incomplete = true;
        Ok(())
    }

    /// Counts an L1 table and the L2 tables that it refers to, and collects these.
    fn collect_plain(&mut self, source: u32, extent: Extent) -> Result<()> {
        if !self.refer([source, 0, 0], extent, FIXED) {
            // What is missing of it may have referred to anything.
            self.incomplete = true;
            self.l1_is_own &= source != ACTIVE;
        }
        let cluster_bytes = self.geometry.cluster_bytes();
        let entries = self.read_table(extent)?;
        for (index, entry) in entries.into_iter().enumerate().filter(|(_, entry)| *entry != 0) {
            let place = [source, index as u32 + 1, 0];
            let at = extent.offset + index as u64 * 8;
            if entry & RESERVED != 0 {
                self.tell(place, at, || format!("ERROR found L1 entry with reserved bits set: {entry:x}"));
            }
            let table = entry & OFFSET_MASK;
            let is_inside = self.refer(place, Extent::new(table, cluster_bytes), L2_TABLE);
            if !self.geometry.is_cluster_aligned(table) {
                self.tell(place, at, || {
                    format!("ERROR l2_offset={table:x}: Table is not cluster aligned; L1 entry corrupted")
                });
                // What lies there is not read: it is no table, and others could be told as often as there are entries.
                self.incomplete = true;
            } else if is_inside {
                let cluster = (table >> self.geometry.cluster_bits()) as u32;
                self.tables.push(TableUse { cluster, source, index: index as u32 });
            }
        }
        Ok(())
    }

    /// Reads every L2 table once, and counts as often as it is referred to.
    fn count_plain_tables(&mut self, mends: bool) -> Result<()> {
        self.tables.sort_unstable();
        let tables = std::mem::take(&mut self.tables);
        for uses in tables.chunk_by(|a, b| a.cluster == b.cluster) {
            let host_offset = u64::from(uses[0].cluster) << self.geometry.cluster_bits();
            let bytes = self.read_l2(host_offset)?;
            let active = uses.iter().filter(|table| table.is_active()).count() as u64;
            let mut table = PlainTable { uses, host_offset, mends, active, next_contiguous: None };
            let times = (uses.len() as u32, active);
            for (number, group) in bytes.as_chunks::<8>().0.chunks(GROUP_ENTRIES).enumerate() {
                if !self.count_group(group, times, &mut table.next_contiguous) {
                    self.count_plain_group(&mut table, number * GROUP_ENTRIES, group);
                }
            }
            self.l2_read = (host_offset, bytes);
        }
        self.tables = tables;
        Ok(())
    }

    /// Counts the entries of a table one by one; `first` is the index of the first of them.
    fn count_plain_group(&mut self, table: &mut PlainTable<'_>, first: usize, group: &[[u8; 8]]) {
        for (index, raw) in (first..).zip(group) {
            let entry = u64::from_be_bytes(*raw);
            if entry & (COMPRESSED | COPIED) == 0 && entry != 0 {
                self.unflagged.insert(table.host_offset);
            }
            if entry != 0 {
                self.count_plain_entry(table, index, entry);
            }
        }
    }

    #[inline]
    fn count_plain_entry(&mut self, table: &mut PlainTable<'_>, index: usize, entry: u64) {
        let extent = if entry & COMPRESSED == 0 {
            self.judge_plain_standard(table, index, entry)
        } else {
            Some(self.judge_plain_compressed(table, index, entry))
        };
        let Some(extent) = extent else { return };
        if table.active > 0 {
            self.count_allocation(entry, extent, table.active, &mut table.next_contiguous);
        }
        if self.reaches_too_far(extent) {
            self.tell_entry(table, index, || too_far(extent));
        } else if let Some((host_offset, excess)) = self.count_role(extent, table.uses.len() as u32, DATA) {
            let last = table.uses.len().saturating_sub(excess as usize);
            let uses = &table.uses[last..];
            self.tell_entry(&PlainTable { uses, ..*table }, index, || overflow(host_offset));
        }
    }

    fn judge_plain_compressed(&mut self, table: &PlainTable<'_>, index: usize, entry: u64) -> Extent {
        let descriptor = CompressedDescriptor::decode(entry, self.geometry);
        if entry & COPIED != 0 {
            let at = descriptor.host_offset();
            self.tell_entry(table, index, || {
                format!("ERROR: coffset={at:#x}: copied flag must never be set for compressed clusters")
            });
        }
        descriptor.extent()
    }

    #[inline]
    fn judge_plain_standard(&mut self, table: &PlainTable<'_>, index: usize, entry: u64) -> Option<Extent> {
        if entry & RESERVED & !ZERO != 0 {
            self.tell_entry(table, index, || {
                format!("ERROR found l2 entry with reserved bits set: {entry:x}")
            });
        }
        let host = entry & OFFSET_MASK;
        let is_zero = entry & ZERO != 0;
        if host == 0 {
            self.is_suspicious |= entry == COPIED;
            return None;
        }
        self.is_suspicious |= is_zero && self.header.version < 3;
        if !self.geometry.is_cluster_aligned(host) {
            let is_mended = is_zero && table.mends;
            let (verb, what) = (if is_mended { "Repairing" } else { "ERROR" }, kind_name(is_zero));
            self.tell_entry(table, index, || {
                format!("{verb} offset={host:x}: {what} is not properly aligned; L2 entry corrupted.")
            });
            if is_mended {
                self.fixes.push(Fix { host_offset: table.host_offset + index as u64 * 8, entry: ZERO });
                return None;
            }
        }
        Some(Extent::new(host, self.geometry.cluster_bytes()))
    }

    /// Tells it as often as the table is referred to.
    fn tell_entry(&mut self, table: &PlainTable<'_>, index: usize, message: impl Fn() -> String) {
        for (number, used) in table.uses.iter().enumerate() {
            if self.is_full() {
                self.report.corruptions += (table.uses.len() - number) as u64;
                break;
            }
            let place = [used.source, used.index + 1, index as u32 + 1];
            self.tell(place, table.host_offset + index as u64 * 8, &message);
        }
    }

    /// Counts the refcount table and its blocks, and finds out whether they can be used.
    fn count_plain_refcounts(&mut self, mends: bool) -> Result<()> {
        let cluster_bytes = self.geometry.cluster_bytes();
        let clusters = u64::from(self.header.refcount_table_clusters);
        let extent = Extent::new(self.header.refcount_table_offset, clusters * cluster_bytes);
        self.blocks_unusable = !self.refer(LAST, extent, FIXED) || clusters == 0;
        self.blocks = self.read_table(extent)?;
        for index in 0..self.blocks.len() {
            let entry = self.blocks[index];
            let block = entry & !REFCOUNT_RESERVED;
            let at = extent.offset + index as u64 * 8;
            // What the stored counts are read from, although the entry is wrong.
            self.blocks[index] = block;
            if entry & REFCOUNT_RESERVED != 0 {
                self.tell(LAST, at, || format!("ERROR refcount table entry {index} has reserved bits set"));
                self.blocks_unusable = true;
            } else if !self.geometry.is_cluster_aligned(block) {
                self.tell(LAST, at, || {
                    format!(
                        "ERROR refcount block {index} is not cluster aligned; refcount table entry corrupted"
                    )
                });
                self.blocks_unusable = true;
            } else if block != 0 {
                self.count_block(index, block, mends);
            }
        }
        self.refcounts_unusable |= self.blocks_unusable;
        Ok(())
    }

    fn count_block(&mut self, index: usize, block: u64, mends: bool) {
        let cluster = block >> self.geometry.cluster_bits();
        if cluster >= self.clusters() {
            let verb = if mends { "Repairing" } else { "ERROR" };
            self.tell(LAST, block, || format!("{verb} refcount block {index} is outside image"));
            self.blocks_unusable |= mends;
            return;
        }
        self.refer(LAST, Extent::new(block, self.geometry.cluster_bytes()), FIXED);
        let count = self.counts[cluster as usize];
        if count != 1 || self.roles[cluster as usize] & CONTESTED != 0 {
            self.blocks_unusable = true;
        }
        if count != 1 {
            self.tell(LAST, block, || format!("ERROR refcount block {index} refcount={count}"));
        }
    }
}

/// Bits of an entry of the refcount table that have no meaning.
const REFCOUNT_RESERVED: u64 = 0x1ff;

/// An L2 table while it is counted.
#[derive(Debug)]
struct PlainTable<'a> {
    uses: &'a [TableUse],
    host_offset: u64,
    mends: bool,
    /// How many of the uses are active.
    active: u64,
    next_contiguous: Option<u64>,
}

const fn kind_name(is_zero: bool) -> &'static str {
    if is_zero { "Preallocated cluster" } else { "Data cluster" }
}

fn overflow(host_offset: u64) -> String {
    format!("ERROR: overflow cluster offset={host_offset:#x}")
}

fn too_far(extent: Extent) -> String {
    format!(
        "ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset {:#x} size {:#x}",
        extent.offset, extent.length
    )
}
