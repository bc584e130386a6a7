//! The stored refcounts against the counted references.

use blk_core::{Extent, Result, Severity};

use super::walk::{REFCOUNT_BLOCK, REFCOUNT_TABLE, Walk};
use crate::geometry::HOST_OFFSET_END;
use crate::pointer_table::PointerTable;
use crate::refcount::count_at;

impl Walk<'_> {
    /// Counts the refcount table and the blocks; finds out whether they can be used.
    pub(super) fn count_refcount_structures(&mut self) -> Result<()> {
        let table = self.refcount_table_extent();
        if !self.count_structure("the refcount table", table, REFCOUNT_TABLE) {
            self.refcounts_unusable = true;
        }
        if !self.is_inside(table) {
            return Ok(());
        }
        self.count_own(table);
        for (index, block) in self.refcount_table()?.entries().iter().copied().enumerate() {
            if block == 0 {
                continue;
            }
            let extent = Extent::new(block, self.geometry.cluster_bytes());
            if !self.geometry.is_cluster_aligned(block) || block >= HOST_OFFSET_END {
                let at = table.offset + index as u64 * 8;
                self.corruption(
                    at,
                    format!("refcount table entry {index} is {block:#018x}: not a cluster below 2^56"),
                );
                self.refcounts_unusable = true;
            } else {
                self.refcounts_unusable |= !self.count_structure("a refcount block", extent, REFCOUNT_BLOCK);
                self.count_own(extent);
            }
        }
        Ok(())
    }

    pub(super) fn refcount_table_extent(&self) -> Extent {
        let clusters = u64::from(self.header.refcount_table_clusters);
        Extent::new(self.header.refcount_table_offset, clusters * self.geometry.cluster_bytes())
    }

    pub(super) fn refcount_table(&self) -> Result<PointerTable> {
        let extent = self.refcount_table_extent();
        PointerTable::read(self.storage, extent.offset, (extent.length / 8) as usize)
    }

    /// Compares every stored count with the counted references. Skipped when the blocks cannot be used: that is reported.
    pub(super) fn compare_refcounts(&mut self) -> Result<()> {
        if self.refcounts_unusable {
            return Ok(());
        }
        let table = self.refcount_table()?;
        let entries = self.geometry.block_entries();
        let mut block = vec![0; self.geometry.cluster_bytes() as usize];
        let covered = self.clusters().div_ceil(entries);
        for index in 0..covered.max(table.len() as u64) {
            let first = index * entries;
            let offset = table.get(index);
            if offset != 0 {
                self.storage.read_at(offset, &mut block)?;
                self.compare_block(first, &block);
            } else if first < self.clusters() {
                self.compare_missing_block(first);
            } else {
                // Nothing is counted there, and nothing is stored.
            }
        }
        Ok(())
    }

    fn compare_block(&mut self, first: u64, block: &[u8]) {
        let order = self.geometry.refcount_order();
        let inside = self.clusters().saturating_sub(first).min(self.geometry.block_entries());
        for index in 0..inside {
            let stored = count_at(block, index, order);
            let counted = u64::from(self.counts[(first + index) as usize]);
            if stored != counted {
                self.compare_count(first + index, stored, counted);
            }
        }
        self.compare_behind_end(first, inside, block);
    }

    /// Behind the end of the file nothing is counted; mostly nothing is stored either, which is seen at once.
    fn compare_behind_end(&mut self, first: u64, inside: u64, block: &[u8]) {
        let order = self.geometry.refcount_order();
        let entries = self.geometry.block_entries();
        let whole_bytes = inside.next_multiple_of(8).min(entries);
        let nothing_stored = block[((whole_bytes << order) / 8) as usize..].iter().all(|byte| *byte == 0);
        let end = if nothing_stored { whole_bytes } else { entries };
        for index in inside..end {
            let stored = count_at(block, index, order);
            if stored != 0 {
                self.compare_count(first + index, stored, 0);
            }
        }
    }

    fn compare_missing_block(&mut self, first: u64) {
        let end = self.clusters().min(first + self.geometry.block_entries());
        for cluster in first..end {
            let counted = u64::from(self.counts[cluster as usize]);
            if counted != 0 {
                self.refcounts_unusable = true;
                self.compare_count(cluster, 0, counted);
            }
        }
    }

    fn compare_count(&mut self, cluster: u64, stored: u64, counted: u64) {
        let severity = if stored > counted { Severity::Leak } else { Severity::Corruption };
        let message = format!("cluster {cluster} has refcount {stored}, and {counted} references");
        self.found(severity, cluster << self.geometry.cluster_bits(), message);
    }
}
