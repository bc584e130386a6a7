//! What the L1 and L2 tables refer to.
//!
//! A snapshot and the active table, or two snapshots, may share an L2 table. Each of them then counts once
//! for everything in it; so tables are collected first, and each is read once and counted as often as it is
//! referred to.

use blk_core::Result;

use super::entries::Level;
use super::walk::{ACTIVE, Fix, L2_TABLE, TableUse, Walk};
use crate::l2::{COMPRESSED, RawEntry};
use crate::offset::{HostExtent, HostOffset};

impl Walk<'_> {
    /// Collects every L2 table of the active L1 table, and counts them.
    pub(super) fn collect_active_tables(&mut self) -> Result<()> {
        let extent = self.header.l1_table();
        if !self.l1_is_own {
            self.cannot_walk();
            return Ok(());
        }
        self.l1 = self.read_table(extent)?;
        let entries = std::mem::take(&mut self.l1);
        self.collect_from(extent.start, &entries, ACTIVE);
        self.l1 = entries;
        Ok(())
    }

    /// Collects what the L1 table at `offset` refers to.
    pub(super) fn collect_from(&mut self, offset: HostOffset, entries: &[u64], source: u32) {
        let first = self.tables.len();
        for (index, entry) in entries.iter().copied().enumerate().filter(|(_, entry)| *entry != 0) {
            let sanitised = self.sanitise(Level::L1, RawEntry { descriptor: entry, bitmap: 0 });
            if let Some(why) = sanitised.why {
                let host_offset = offset + index as u64 * 8;
                let fix = Fix { host_offset, entry: sanitised.entry.descriptor, bitmap: None };
                self.wrong_entry(Level::L1, index, entry, why, fix);
            }
            if let Some(extent) = sanitised.refers {
                let cluster = self.geometry.cluster_of(extent.start).index() as u32;
                self.tables.push(TableUse { cluster, source, index: index as u32 });
                self.count(extent, 1);
            }
        }
        for index in first..self.tables.len() {
            self.roles[self.tables[index].cluster as usize] |= L2_TABLE;
        }
    }

    /// Reads every L2 table once and counts what it refers to, as often as the table is referred to.
    pub(super) fn count_tables(&mut self) -> Result<()> {
        self.tables.sort_unstable();
        let mut next = 0;
        while next < self.tables.len() {
            let cluster = self.tables[next].cluster;
            let times = self.tables[next..].iter().take_while(|table| table.cluster == cluster).count();
            // Active uses stand before those of snapshots.
            let is_active = self.tables[next].is_active();
            assert!(
                self.tables[next].cluster() < self.file_end(),
                "only tables inside the file are collected"
            );
            let host_offset = self.geometry.offset_of(self.tables[next].cluster());
            next += times;
            let bytes = self.read_l2(host_offset)?;
            let table = self.tables[next - times];
            self.count_table((host_offset, table), &bytes, times as u32, is_active);
            self.l2_read = (Some(host_offset), bytes);
        }
        Ok(())
    }

    /// The bytes of an L2 table, for the caller to put back: with one table, as small disks have, it is read
    /// once.
    pub(super) fn read_l2(&mut self, host_offset: HostOffset) -> Result<Vec<u8>> {
        let (held, mut bytes) = std::mem::take(&mut self.l2_read);
        if held != Some(host_offset) {
            bytes.resize(self.geometry.cluster_bytes() as usize, 0);
            self.storage.read_at(host_offset.get(), &mut bytes)?;
        }
        Ok(bytes)
    }

    /// The table that was read last has changed.
    pub(super) fn forget_l2(&mut self) {
        self.l2_read = (None, Vec::new());
    }

    fn count_table(
        &mut self,
        (host_offset, table): (HostOffset, TableUse),
        bytes: &[u8],
        times: u32,
        is_active: bool,
    ) {
        let mut next_contiguous = None;
        for (index, raw) in RawEntry::all(bytes, self.geometry).enumerate() {
            if raw.descriptor == 0 && raw.bitmap == 0 {
                continue;
            }
            let sanitised = self.sanitise(Level::L2, raw);
            if let Some(why) = sanitised.why {
                let fix = self.fix_l2(self.l2_entry_at(host_offset, index), sanitised.entry);
                self.wrong_entry(Level::L2, index, raw.descriptor, why, fix);
            }
            if let Some(extent) = sanitised.refers {
                match self.place_in_data_file(table, index) {
                    None => self.count(extent, times),
                    Some(right) => self.compare_place(index, extent.start, right, host_offset),
                }
                if is_active {
                    self.count_allocation(sanitised.entry.descriptor, extent, 1, &mut next_contiguous);
                }
            }
        }
    }

    /// Nobody can say which of the two is wrong.
    fn compare_place(&mut self, index: usize, found: HostOffset, right: HostOffset, table: HostOffset) {
        if found != right {
            self.corruption(self.l2_entry_at(table, index).get(), || {
                format!("L2 entry {index} leads to {found:#x} in the data file, and must lead to {right:#x}")
            });
        }
    }

    fn wrong_entry(&mut self, level: Level, index: usize, entry: u64, why: &str, fix: Fix) {
        self.corruption(fix.host_offset.get(), || {
            format!("{} entry {index} is {entry:#018x}: {why}", level.name())
        });
        self.fixes.push(fix);
    }

    /// Statistics as `qemu-img check` reports them: how much is allocated, compressed, out of sequence inside
    /// its L2 table. `times` is how often the table is used.
    pub(super) fn count_allocation(
        &mut self,
        entry: u64,
        extent: HostExtent,
        times: u64,
        next_contiguous: &mut Option<HostOffset>,
    ) {
        self.report.allocated_clusters += times;
        if entry & COMPRESSED != 0 {
            self.report.compressed_clusters += times;
            self.report.fragmented_clusters += times;
            return;
        }
        let is_fragmented = next_contiguous.is_some_and(|next| next != extent.start);
        self.report.fragmented_clusters += if is_fragmented { times } else { 0 };
        *next_contiguous = Some(extent.end());
    }
}
