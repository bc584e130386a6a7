//! The stored refcounts against the counted references.

use blk_core::{Extent, Result, Severity};

use super::walk::{FIXED, Walk};
use crate::geometry::HOST_OFFSET_END;
use crate::refcount::count_at;

impl Walk<'_> {
    /// Counts the refcount table and the blocks; finds out whether they can be used. They are counted last: where they
    /// lie on something else they are made anew, and the other is left alone.
    pub(super) fn count_refcount_structures(&mut self) -> Result<()> {
        let clusters = u64::from(self.header.refcount_table_clusters);
        let extent = Extent::new(self.header.refcount_table_offset, clusters * self.geometry.cluster_bytes());
        self.refcounts_unusable = !self.claim("the refcount table", extent, FIXED);
        if !self.is_inside(extent) {
            return Ok(());
        }
        let blocks = self.read_table(extent)?;
        for (index, &block) in blocks.iter().enumerate().filter(|(_, block)| **block != 0) {
            if !self.geometry.is_cluster_aligned(block) || block >= HOST_OFFSET_END {
                let at = extent.offset + index as u64 * 8;
                self.corruption(at, || {
                    format!("refcount table entry {index} is {block:#018x}: not a cluster below 2^56")
                });
                self.refcounts_unusable = true;
            } else {
                let extent = Extent::new(block, self.geometry.cluster_bytes());
                self.refcounts_unusable |= !self.claim("a refcount block", extent, FIXED);
            }
        }
        self.blocks = blocks;
        Ok(())
    }

    /// Compares every stored count with the counted references. Skipped when the blocks cannot be used: that is reported.
    pub(super) fn compare_refcounts(&mut self) -> Result<()> {
        let last = self.counts.iter().rposition(|count| *count > 0);
        self.end_cluster = last.map_or(0, |last| last as u64 + 1);
        if !self.refcounts_unusable {
            self.compare_blocks()?;
        }
        self.report.image_end_offset = self.end_cluster << self.geometry.cluster_bits();
        Ok(())
    }

    fn compare_blocks(&mut self) -> Result<()> {
        let mut bytes = vec![0; self.geometry.cluster_bytes() as usize];
        let entries = self.geometry.block_entries();
        let covered = self.clusters().div_ceil(entries);
        for index in 0..covered {
            if self.blocks.get(index as usize).is_none_or(|block| *block == 0) {
                self.compare_missing_block(index * entries);
            }
        }
        let blocks = std::mem::take(&mut self.blocks);
        for (index, &block) in blocks.iter().enumerate().filter(|(_, block)| **block != 0) {
            self.storage.read_at(block, &mut bytes)?;
            self.compare_block(index as u64 * entries, &bytes);
        }
        self.blocks = blocks;
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
        let nothing_stored = is_zero(&block[((whole_bytes << order) / 8) as usize..]);
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
        self.found(severity, cluster << self.geometry.cluster_bits(), || {
            format!("cluster {cluster} has refcount {stored}, and {counted} references")
        });
        if cluster < self.clusters() {
            self.end_cluster = self.end_cluster.max(cluster + 1);
        }
    }
}

/// Whether all bytes are 0; a look at 64 at once costs no more than at one.
fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    let or = |bytes: &[u8]| bytes.iter().fold(0, |seen, byte| seen | byte);
    chunks.iter().all(|chunk| or(chunk) == 0) && or(rest) == 0
}
