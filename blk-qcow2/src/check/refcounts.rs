//! The stored refcounts against the counted references.

use std::ops::Range;

use blk_core::bytes::is_zero;
use blk_core::{Result, Severity};

use super::walk::{FIXED, Walk};
use crate::geometry::HOST_OFFSET_END;
use crate::offset::{HostCluster, HostOffset};
use crate::refcount::count_at;

impl Walk<'_> {
    /// Counts the refcount table and the blocks; finds out whether they can be used. They are counted last:
    /// where they overlap something else they are rebuilt, and the other is left alone.
    pub(super) fn count_refcount_structures(&mut self) -> Result<()> {
        let extent = self.header.refcount_table();
        self.refcounts_unusable = !self.claim("the refcount table", extent, FIXED) || extent.is_empty();
        if !self.is_inside(extent) {
            return Ok(());
        }
        let blocks = self.read_table(extent)?;
        for (index, &block) in blocks.iter().enumerate().filter(|(_, block)| **block != 0) {
            match HostOffset::try_new(block) {
                Some(block) if self.geometry.is_cluster_aligned(block) && block < HOST_OFFSET_END => {
                    let extent = block.with_length(self.geometry.cluster_bytes());
                    self.refcounts_unusable |= !self.claim("a refcount block", extent, FIXED);
                }
                _ => {
                    let at = extent.start + index as u64 * 8;
                    self.corruption(at.get(), || {
                        format!("refcount table entry {index} is {block:#018x}: not a cluster below 2^56")
                    });
                    self.refcounts_unusable = true;
                }
            }
        }
        self.blocks = blocks;
        Ok(())
    }

    /// Compares every stored count with the counted references, up to the end of the file. With `explains`, a
    /// block that cannot be read is reported before the counts that this hides.
    pub(super) fn compare_refcounts(&mut self, explains: bool) -> Result<()> {
        // The header's cluster is there in any case.
        self.end_cluster = HostCluster::new(1);
        let mut bytes = vec![0; self.geometry.cluster_bytes() as usize];
        let entries = self.geometry.block_entries();
        let mut explains = explains;
        let file_clusters = self.counts.len();
        let blocks_in_file = file_clusters.div_ceil(entries as usize);
        for index in 0..blocks_in_file {
            let start = index * entries as usize;
            let clusters = start..file_clusters.min(start + entries as usize);
            let last = self.counts[clusters.clone()].iter().rposition(|count| *count > 0);
            let end_cluster = HostCluster::new(last.map_or(0, |last| (start + last + 1) as u64));
            match self.blocks.get(index).copied().unwrap_or(0) {
                0 => self.compare_missing_block(clusters),
                block if !self.geometry.is_aligned_number(block) => {
                    self.report_unreadable(clusters, (index, block), &mut explains);
                    continue;
                }
                block if block >= self.file_bytes => self.compare_missing_block(clusters),
                block => {
                    self.storage.read_at(block, &mut bytes)?;
                    let inside = clusters.len() as u64;
                    self.compare_block(clusters, &bytes);
                    self.count_past_end(&bytes, inside);
                }
            }
            self.end_cluster = self.end_cluster.max(end_cluster);
        }
        debug_assert!(
            self.end_cluster <= self.file_end().max(HostCluster::new(1)),
            "what is used is in the file"
        );
        self.report.image_end_offset = self.geometry.offset_of(self.end_cluster).get();
        // Blocks that share a cluster could be any number.
        if !self.blocks_unusable {
            for index in blocks_in_file..self.blocks.len() {
                let block = self.blocks[index];
                if block != 0 && block < self.file_bytes {
                    self.storage.read_at(block, &mut bytes)?;
                    self.count_past_end(&bytes, 0);
                }
            }
        }
        Ok(())
    }

    /// Counts what a block says of clusters past the end of the file: all but the first `inside`.
    fn count_past_end(&mut self, block: &[u8], inside: u64) {
        let entries = self.geometry.block_entries();
        let order = self.geometry.refcount_order();
        let whole_bytes = (inside << order).div_ceil(8) as usize;
        // Mostly there is nothing, which is seen at once.
        let end = if is_zero(&block[whole_bytes..]) { (inside + 8).min(entries) } else { entries };
        let stored = (inside..end).filter(|entry| count_at(block, *entry, order) != 0);
        self.report.leaks_past_end += stored.count() as u64;
    }

    fn compare_block(&mut self, clusters: Range<usize>, block: &[u8]) {
        if self.stores_what_is_counted(clusters.clone(), block) {
            return;
        }
        let order = self.geometry.refcount_order();
        for (index, cluster) in clusters.enumerate() {
            let stored = count_at(block, index as u64, order);
            let counted = u64::from(self.counts[cluster]);
            if stored != counted {
                self.compare_count(cluster, stored, counted);
            }
        }
    }

    fn compare_missing_block(&mut self, clusters: Range<usize>) {
        for cluster in clusters {
            let counted = u64::from(self.counts[cluster]);
            if counted != 0 {
                self.blocks_unusable = true;
                self.compare_count(cluster, 0, counted);
            }
        }
    }

    fn report_unreadable(
        &mut self,
        clusters: Range<usize>,
        (index, block): (usize, u64),
        explains: &mut bool,
    ) {
        if std::mem::take(explains) {
            let index = if index == 0 { "0".to_owned() } else { format!("{index:#x}") };
            self.step(block, || {
                format!(
                    "qcow2: Image is corrupt: Refblock offset {block:#x} unaligned (reftable index: {index}); further \
                     non-fatal corruption events will be suppressed"
                )
            });
        }
        for cluster in clusters {
            self.report.check_errors += 1;
            self.step(block, || format!("Can't get refcount for cluster {cluster}: Input/output error"));
        }
    }

    fn compare_count(&mut self, index: usize, stored: u64, counted: u64) {
        let cluster = HostCluster::new(index as u64);
        self.differs(cluster, stored);
        // Fixing one count in place may not be enough where none was stored: other counts may be lost too.
        self.refcounts_unusable |= stored == 0;
        let (severity, word) =
            if stored > counted { (Severity::Leak, "Leaked") } else { (Severity::Corruption, "ERROR") };
        self.found(severity, self.geometry.offset_of(cluster).get(), || {
            format!("{word} cluster {index} refcount={stored} reference={counted}")
        });
        self.end_cluster = self.end_cluster.max(cluster.next());
    }
}
