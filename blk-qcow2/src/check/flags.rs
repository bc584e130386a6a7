//! The copied flags of the active tables: set exactly where the refcount is 1.

use blk_core::{Extent, Result};
use rustc_hash::FxHashSet;

use super::walk::{Fix, Walk};
use crate::l2::{COMPRESSED, COPIED, OFFSET_MASK};
use crate::pointer_table::PointerTable;

impl Walk<'_> {
    /// Compares every copied flag that counts with the counted references.
    pub(super) fn compare_flags(&mut self) -> Result<()> {
        let l1 = Extent::new(self.header.l1_table_offset, u64::from(self.header.l1_entries) * 8);
        if !self.is_inside(l1) {
            return Ok(());
        }
        let entries = PointerTable::read(self.storage, l1.offset, (l1.length / 8) as usize)?;
        let mut bytes = vec![0; self.geometry.cluster_bytes() as usize];
        let tables = std::mem::take(&mut self.tables);
        let known: FxHashSet<u64> = self.fixes.iter().map(|fix| fix.host_offset).collect();
        let mut previous = None;
        for (cluster, index) in tables.iter().filter_map(|table| Some((table.cluster, table.active_index?))) {
            self.compare_flag(&known, "L1", l1.offset + index * 8, entries.get(index));
            if previous.replace(cluster) == Some(cluster) {
                continue;
            }
            let host_offset = cluster << self.geometry.cluster_bits();
            self.storage.read_at(host_offset, &mut bytes)?;
            for (index, raw) in bytes.as_chunks::<8>().0.iter().enumerate() {
                let entry = u64::from_be_bytes(*raw);
                if entry & OFFSET_MASK != 0 && entry & COMPRESSED == 0 {
                    self.compare_flag(&known, "L2", host_offset + index as u64 * 8, entry);
                }
            }
        }
        self.tables = tables;
        Ok(())
    }

    /// `known` are the entries that have been reported already.
    fn compare_flag(&mut self, known: &FxHashSet<u64>, table: &str, host_offset: u64, entry: u64) {
        let cluster = (entry & OFFSET_MASK) >> self.geometry.cluster_bits();
        // An entry that refers outside the file has been reported already.
        let Some(count) = self.counts.get(cluster as usize).copied() else { return };
        let copied = entry & COPIED != 0;
        if copied == (count == 1) || known.contains(&host_offset) {
            return;
        }
        let state = if copied { "set" } else { "clear" };
        let message =
            format!("{table} entry {entry:#018x} has the copied flag {state}, with {count} references");
        self.corruption(host_offset, message);
        self.fixes.push(Fix { host_offset, entry: entry ^ COPIED });
    }
}
