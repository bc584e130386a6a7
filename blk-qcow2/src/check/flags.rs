//! The copied flags of the active tables: set exactly where the refcount is 1.

use blk_core::Result;

use super::entries::{Level, Verdict};
use super::walk::{Fix, Walk};
use crate::l2::{COMPRESSED, COPIED, RawEntry, entry_offset};
use crate::offset::HostOffset;

impl Walk<'_> {
    /// Compares every copied flag that counts with the counted references.
    pub(super) fn compare_flags(&mut self) -> Result<()> {
        let l1_offset = self.header.l1_table_offset;
        let mut previous = None;
        for number in 0..self.tables.len() {
            let table = self.tables[number];
            if !table.is_active() {
                continue;
            }
            let index = table.index as usize;
            let entry = RawEntry { descriptor: self.l1[index], bitmap: 0 };
            self.compare_flag(Level::L1, l1_offset + index as u64 * 8, entry);
            if previous.replace(table.cluster) == Some(table.cluster) {
                continue;
            }
            let host_offset = self.geometry.offset_of(table.cluster());
            let bytes = self.read_l2(host_offset)?;
            for (index, raw) in RawEntry::all(&bytes, self.geometry).enumerate() {
                if raw.descriptor != 0 && raw.descriptor & COMPRESSED == 0 {
                    self.compare_flag(Level::L2, self.l2_entry_at(host_offset, index), raw);
                }
            }
            self.l2_read = (Some(host_offset), bytes);
        }
        Ok(())
    }

    #[inline]
    fn compare_flag(&mut self, level: Level, host_offset: HostOffset, raw: RawEntry) {
        let entry = raw.descriptor;
        let cluster = self.geometry.cluster_of(entry_offset(entry));
        let in_data_file = level == Level::L2 && self.geometry.has_data_file();
        let counted = self.counts.get(cluster.index() as usize).copied();
        let Some(count) = (if in_data_file { Some(1) } else { counted }) else { return };
        let is_copied = entry & COPIED != 0;
        // An entry that is wrong in another way has been reported; its flag is left to the next inspection.
        if is_copied == (count == 1) || !matches!(self.judge(level, raw), Verdict::Refers(_)) {
            return;
        }
        self.corruption(host_offset.get(), || {
            let state = if is_copied { "set" } else { "clear" };
            let name = level.name();
            format!("{name} entry {entry:#018x} has the copied flag {state}, with {count} references")
        });
        self.fixes.push(Fix { host_offset, entry: entry ^ COPIED, bitmap: None });
    }
}
