//! What the L1 and L2 tables refer to.
//!
//! A snapshot and the active table, or two snapshots, may share an L2 table. Each of them then counts once for everything in
//! it; so tables are collected first, and each is read once and counted as often as it is referred to.

use blk_core::{Extent, Result};

use super::walk::{Fix, L2_TABLE, TableUse, Walk};
use crate::geometry::HOST_OFFSET_END;
use crate::l2::{COMPRESSED, COPIED, OFFSET_MASK, ZERO};
use crate::ondisk::CompressedDescriptor;
use crate::pointer_table::PointerTable;
use crate::snapshot::{self, SnapshotTable};

/// What is to be done about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It refers to these bytes of the file.
    Refers(Extent),
    /// It refers to nothing.
    Nothing,
    /// It is wrong; this would be right.
    Wrong { why: &'static str, right: u64 },
}

impl Walk<'_> {
    /// Collects every L2 table that an L1 table refers to, and counts them.
    pub(super) fn collect_tables(&mut self) -> Result<()> {
        let header = self.header;
        let active = Extent::new(header.l1_table_offset, u64::from(header.l1_entries) * 8);
        if self.is_inside(active) {
            self.collect_from(active, 1, true)?;
        }
        if header.snapshot_count > 0 {
            self.collect_snapshots()?;
        }
        self.tables.sort_unstable();
        for index in 0..self.tables.len() {
            let cluster = self.tables[index].cluster;
            self.roles[cluster as usize] |= L2_TABLE;
        }
        Ok(())
    }

    /// Snapshots whose L1 tables lie at the same place are walked once, and counted as often as there are such snapshots.
    fn collect_snapshots(&mut self) -> Result<()> {
        let Ok(table) = SnapshotTable::read(self.storage, self.header) else { return Ok(()) };
        let file_bytes = self.clusters() * self.geometry.cluster_bytes();
        let distinct = snapshot::distinct_tables(&table);
        let total: u64 = distinct.iter().map(|extent| extent.length).sum();
        if total > file_bytes.saturating_mul(2) {
            self.report.check_errors += 1;
            self.corruption(table.extent.offset, "the snapshots' L1 tables overlap one another".to_owned());
            return Ok(());
        }
        for extent in distinct {
            let times = table.l1_tables.iter().filter(|other| **other == extent).count();
            if self.is_inside(extent) {
                self.collect_from(extent, times, false)?;
            }
        }
        Ok(())
    }

    fn collect_from(&mut self, l1: Extent, times: usize, active: bool) -> Result<()> {
        let entries = PointerTable::read(self.storage, l1.offset, (l1.length / 8) as usize)?;
        for (index, entry) in entries.entries().iter().copied().enumerate().filter(|(_, entry)| *entry != 0) {
            match self.judge_l1_entry(entry) {
                Verdict::Refers(extent) => {
                    let active_index = active.then_some(index as u64);
                    let cluster = extent.offset >> self.geometry.cluster_bits();
                    self.tables.extend(std::iter::repeat_n(TableUse { cluster, active_index }, times));
                    self.count(extent, times as u32);
                }
                Verdict::Nothing => {}
                Verdict::Wrong { why, right } => {
                    let host_offset = l1.offset + index as u64 * 8;
                    self.corruption(host_offset, format!("L1 entry {index} is {entry:#018x}: {why}"));
                    self.fixes.push(Fix { host_offset, entry: right });
                }
            }
        }
        Ok(())
    }

    fn judge_l1_entry(&self, entry: u64) -> Verdict {
        let offset = entry & OFFSET_MASK;
        let extent = Extent::new(offset, self.geometry.cluster_bytes());
        let wrong = |why| Verdict::Wrong { why, right: 0 };
        if entry & !(OFFSET_MASK | COPIED) != 0 {
            let right = entry & (OFFSET_MASK | COPIED);
            return Verdict::Wrong { why: "reserved bits are set", right };
        }
        if offset == 0 {
            return wrong("the copied flag is set without a table");
        }
        if !self.geometry.is_cluster_aligned(offset) {
            return wrong("the table does not start at a cluster");
        }
        if !self.is_inside(extent) {
            return wrong("the table lies past the end of the file");
        }
        if self.roles[(offset >> self.geometry.cluster_bits()) as usize] != 0 {
            return wrong("the table lies on other metadata");
        }
        Verdict::Refers(extent)
    }

    /// Reads every L2 table once and counts what it refers to, as often as the table is referred to.
    pub(super) fn count_tables(&mut self) -> Result<()> {
        let mut bytes = vec![0; self.geometry.cluster_bytes() as usize];
        let mut next = 0;
        let mut previous_end = None;
        while next < self.tables.len() {
            let first = self.tables[next];
            let uses = self.tables[next..].iter().take_while(|other| other.cluster == first.cluster).count();
            let active = self.tables[next..next + uses].iter().find_map(|table| table.active_index);
            next += uses;
            let host_offset = first.cluster << self.geometry.cluster_bits();
            self.storage.read_at(host_offset, &mut bytes)?;
            self.count_table(host_offset, &bytes, uses as u32, active.is_some(), &mut previous_end);
        }
        self.report.image_end_offset = self.image_end();
        Ok(())
    }

    fn count_table(
        &mut self,
        host_offset: u64,
        bytes: &[u8],
        uses: u32,
        active: bool,
        previous_end: &mut Option<u64>,
    ) {
        for (index, raw) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let entry = u64::from_be_bytes(*raw);
            if entry == 0 {
                continue;
            }
            match self.judge_l2_entry(entry) {
                Verdict::Refers(extent) => {
                    self.count(extent, uses);
                    if active {
                        self.count_allocation(entry, extent, previous_end);
                    }
                }
                Verdict::Nothing => {}
                Verdict::Wrong { why, right } => {
                    let at = host_offset + index as u64 * 8;
                    self.corruption(at, format!("L2 entry {index} is {entry:#018x}: {why}"));
                    self.fixes.push(Fix { host_offset: at, entry: right });
                }
            }
        }
    }

    /// Statistics as people know them: how much is allocated, compressed, out of sequence.
    fn count_allocation(&mut self, entry: u64, extent: Extent, previous_end: &mut Option<u64>) {
        if entry & ZERO != 0 && entry & COMPRESSED == 0 {
            return;
        }
        self.report.allocated_clusters += 1;
        if entry & COMPRESSED != 0 {
            self.report.compressed_clusters += 1;
            self.report.fragmented_clusters += 1;
            return;
        }
        self.report.fragmented_clusters += u64::from(previous_end.is_some_and(|end| end != extent.offset));
        *previous_end = Some(extent.end());
    }

    fn judge_l2_entry(&self, entry: u64) -> Verdict {
        if entry & COMPRESSED != 0 {
            return self.judge_compressed(entry);
        }
        let offset = entry & OFFSET_MASK;
        let known = OFFSET_MASK | COPIED | if self.header.version >= 3 { ZERO } else { 0 };
        if entry & !known != 0 {
            return Verdict::Wrong { why: "reserved bits are set", right: entry & known };
        }
        // What reads as zeroes goes on doing so without a host cluster.
        let without_host = if entry & ZERO != 0 { ZERO } else { 0 };
        let wrong = |why| Verdict::Wrong { why, right: without_host };
        if offset == 0 {
            return if entry & COPIED != 0 {
                wrong("the copied flag is set without a cluster")
            } else {
                Verdict::Nothing
            };
        }
        if !self.geometry.is_cluster_aligned(offset) {
            return wrong("the offset is not that of a cluster");
        }
        let extent = Extent::new(offset, self.geometry.cluster_bytes());
        if !self.is_inside(extent) {
            return wrong("the cluster lies past the end of the file");
        }
        if self.roles[(offset >> self.geometry.cluster_bits()) as usize] != 0 {
            return wrong("the cluster lies on metadata");
        }
        Verdict::Refers(extent)
    }

    fn judge_compressed(&self, entry: u64) -> Verdict {
        if entry & COPIED != 0 {
            return Verdict::Wrong {
                why: "the copied flag is set on a compressed cluster",
                right: entry & !COPIED,
            };
        }
        let descriptor = CompressedDescriptor::decode(entry, self.geometry);
        let extent = descriptor.extent();
        let wrong = |why| Verdict::Wrong { why, right: 0 };
        // The last sector may reach past what is stored of it, never a whole cluster past the file.
        if descriptor.host_offset() >= HOST_OFFSET_END || !self.is_inside(extent) {
            return wrong("compressed data lies past the end of the file");
        }
        let bits = self.geometry.cluster_bits();
        let range = (extent.offset >> bits) as usize..=((extent.end() - 1) >> bits) as usize;
        if self.roles[range].iter().any(|role| *role != 0) {
            return wrong("compressed data lies on metadata");
        }
        Verdict::Refers(extent)
    }

    fn image_end(&self) -> u64 {
        let last = self.counts.iter().rposition(|count| *count > 0).map_or(0, |last| last as u64 + 1);
        last << self.geometry.cluster_bits()
    }
}
