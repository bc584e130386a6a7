//! Moving a table that has become too small: the refcount table and the L1 table.
//!
//! Write order: the new table, with everything it points to, is durable before the header points to it; the header names it
//! in one write inside its first sector; the old one is given back after that is durable.

use std::sync::Arc;

use blk_core::{Error, Extent, Result};

use crate::allocator::Freed;
use crate::geometry::Geometry;
use crate::header::{L1_TABLE_BYTES_MAX, REFCOUNT_TABLE_BYTES_MAX};
use crate::metadata::{Metadata, set_table_spans};
use crate::pointer_table::{self, PointerTable};
use crate::refcount::set_count_at;
use crate::roles::Role;
use crate::steps;

/// Where a larger refcount table goes: behind everything that the old one counts, followed by the blocks that count the table
/// and themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TablePlan {
    first_cluster: u64,
    table_clusters: u64,
    block_count: u64,
}

impl TablePlan {
    /// For a table of `old_entries` entries.
    fn behind(geometry: Geometry, old_entries: u64) -> Result<Self> {
        let per_cluster = geometry.cluster_bytes() / 8;
        let first_cluster = old_entries * geometry.block_entries();
        let mut table_clusters = (old_entries + old_entries / 2 + 1).div_ceil(per_cluster);
        let mut block_count = 1;
        loop {
            let needed_blocks = (table_clusters + block_count).div_ceil(geometry.block_entries());
            let needed_clusters = (old_entries + needed_blocks).div_ceil(per_cluster);
            if needed_blocks <= block_count && needed_clusters <= table_clusters {
                break;
            }
            block_count = block_count.max(needed_blocks);
            table_clusters = table_clusters.max(needed_clusters);
        }
        if table_clusters * geometry.cluster_bytes() > REFCOUNT_TABLE_BYTES_MAX {
            return Err(Error::NoSpace {
                what: "the refcount table has reached its largest size, 8 MiB".into(),
            });
        }
        Ok(Self { first_cluster, table_clusters, block_count })
    }
}

impl Metadata {
    /// Replaces the refcount table by one at least half as large again.
    pub(crate) fn grow_refcount_table(&mut self) -> Result<()> {
        let storage = Arc::clone(&self.storage);
        storage.step(&steps::REFTABLE_GROW);
        let plan = TablePlan::behind(self.geometry, self.refcounts.table.len() as u64)?;
        // The old blocks are complete on disk before a second table refers to them.
        self.write_refcounts(&*storage).map_err(|error| self.poison(error))?;
        let old_span = Extent::new(
            self.refcounts.table.host_offset(),
            u64::from(self.header.refcount_table_clusters) << self.geometry.cluster_bits(),
        );
        storage.step(&steps::REFBLOCK_ALLOC_WRITE_BLOCKS);
        let entries = self.write_new_blocks(plan)?;
        let table_offset = plan.first_cluster << self.geometry.cluster_bits();
        storage.step(&steps::REFBLOCK_ALLOC_WRITE_TABLE);
        storage.write_at(table_offset, &pointer_table::encode(&entries))?;
        storage.sync().map_err(|error| self.poison(error))?;
        storage.step(&steps::REFBLOCK_ALLOC_SWITCH_TABLE);
        self.header.refcount_table_offset = table_offset;
        self.header.refcount_table_clusters = plan.table_clusters as u32;
        self.publish_header()?;
        self.adopt_refcount_table(plan, table_offset, entries);
        self.free_extent_later(old_span, Freed::Other);
        Ok(())
    }

    /// Writes the blocks that count the new area; returns the entries of the new table.
    fn write_new_blocks(&mut self, plan: TablePlan) -> Result<Vec<u64>> {
        let geometry = self.geometry;
        let bits = geometry.cluster_bits();
        let first_block = plan.first_cluster + plan.table_clusters;
        let used = plan.table_clusters + plan.block_count;
        for number in 0..plan.block_count {
            let mut block = vec![0; geometry.cluster_bytes() as usize];
            let counted = number * geometry.block_entries();
            for index in 0..used.saturating_sub(counted).min(geometry.block_entries()) {
                set_count_at(&mut block, index, geometry.refcount_order(), 1);
            }
            self.storage.write_at((first_block + number) << bits, &block)?;
        }
        let mut entries = self.refcounts.table.entries().to_vec();
        entries.extend((0..plan.block_count).map(|number| (first_block + number) << bits));
        entries.resize((plan.table_clusters * geometry.cluster_bytes() / 8) as usize, 0);
        Ok(entries)
    }

    fn adopt_refcount_table(&mut self, plan: TablePlan, table_offset: u64, entries: Vec<u64>) {
        for number in 0..plan.block_count {
            let block_cluster = plan.first_cluster + plan.table_clusters + number;
            self.refcounts.forget_block(block_cluster << self.geometry.cluster_bits());
            self.roles.claim(block_cluster, Role::RefcountBlock);
        }
        self.refcounts.table = PointerTable::written(table_offset, entries);
        self.note_used(plan.first_cluster, plan.table_clusters + plan.block_count);
        set_table_spans(&mut self.roles, self.geometry, &self.header);
    }

    /// Makes the L1 table large enough for `entries` entries.
    pub(crate) fn grow_l1_table(&mut self, entries: u64) -> Result<()> {
        if entries * 8 > L1_TABLE_BYTES_MAX {
            let what =
                format!("a disk of that size needs {entries} L1 entries, the largest table has 4194304");
            return Err(Error::NoSpace { what: what.into() });
        }
        // All that the old table refers to, and the table itself, is durable before a copy of it counts.
        self.write_back()?;
        let bytes_len = entries * 8;
        let clusters = self.geometry.clusters_of(bytes_len);
        self.storage.step(&steps::L1_GROW_ALLOC_TABLE);
        let allocation = self.allocate_contiguous(clusters)?;
        let old_clusters = self.geometry.clusters_of(u64::from(self.header.l1_entries) * 8);
        let old_span = Extent::new(self.header.l1_table_offset, old_clusters << self.geometry.cluster_bits());
        let mut content = self.l1.entries().to_vec();
        content.resize(entries as usize, 0);
        let table_offset = allocation.first << self.geometry.cluster_bits();
        let mut bytes = pointer_table::encode(&content);
        bytes.resize((clusters << self.geometry.cluster_bits()) as usize, 0);
        self.storage.step(&steps::L1_GROW_WRITE_TABLE);
        if let Err(error) = self.storage.write_at(table_offset, &bytes) {
            self.give_back(allocation)?;
            return Err(error);
        }
        // Also with lazy refcounts: the header is about to refer to the new table.
        self.settle()?;
        self.storage.step(&steps::L1_GROW_ACTIVATE_TABLE);
        self.header.l1_table_offset = table_offset;
        self.header.l1_entries = entries as u32;
        self.publish_header()?;
        self.l1 = PointerTable::written(table_offset, content);
        set_table_spans(&mut self.roles, self.geometry, &self.header);
        self.free_extent_later(old_span, Freed::Other);
        Ok(())
    }

    /// Writes the header's fixed part and makes it durable; its pointers then count.
    pub(crate) fn publish_header(&mut self) -> Result<()> {
        let storage = Arc::clone(&self.storage);
        let written = self.header.write_fixed(&*storage).and_then(|()| storage.sync());
        written.map_err(|error| self.poison(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::loaded;

    #[test]
    fn a_larger_refcount_table_counts_itself_and_its_blocks() {
        let plan = |bits, order, old| TablePlan::behind(Geometry::new(bits, order).unwrap(), old).unwrap();
        // 64 entries in a cluster of the table, 64 counts in a block.
        for (old, table_clusters, block_count) in [
            (1, 1, 1),
            (64, 2, 1),
            (128, 4, 1),
            (2624, 62, 1),
            (2688, 64, 2),
            (4096, 97, 2),
            (130_000, 3047, 49),
        ] {
            let expected = TablePlan { first_cluster: old * 64, table_clusters, block_count };
            assert_eq!(plan(9, 6, old), expected);
        }
        // The table has to hold the entries of the blocks too, which half as much again may not be enough for.
        assert_eq!(plan(9, 6, 1), TablePlan { first_cluster: 64, table_clusters: 1, block_count: 1 });
        assert_eq!(
            plan(16, 4, 8192),
            TablePlan { first_cluster: 8192 << 15, table_clusters: 2, block_count: 1 }
        );
        for bits in [9, 12, 21] {
            for order in 0..=6 {
                let geometry = Geometry::new(bits, order).unwrap();
                for old in (0..3000).step_by(7) {
                    let TablePlan { table_clusters, block_count, .. } = plan(bits, order, old);
                    let entries = table_clusters * geometry.cluster_bytes() / 8;
                    assert!(entries >= old + block_count && entries > old * 3 / 2, "{bits} {order} {old}");
                    let counted = block_count * geometry.block_entries();
                    assert!(counted >= table_clusters + block_count, "{bits} {order} {old}");
                    assert!(counted - geometry.block_entries() < table_clusters + block_count);
                }
            }
        }
    }

    #[test]
    fn the_largest_refcount_table_has_8_mib() {
        let geometry = Geometry::new(12, 4).unwrap();
        // Half as much again, and one more, is 2^20 entries.
        let largest = TablePlan::behind(geometry, 699_050).unwrap();
        assert_eq!((largest.table_clusters, largest.block_count), (2048, 2));
        let error = TablePlan::behind(geometry, 699_051).unwrap_err().to_string();
        assert!(error.contains("the refcount table has reached its largest size, 8 MiB"), "{error}");
    }

    #[test]
    fn several_new_blocks_count_what_was_planned() {
        let mut metadata = loaded(9, 6);
        let (storage, bits) = (Arc::clone(&metadata.storage), metadata.geometry.cluster_bits());
        let old = metadata.refcounts.table.len();
        let first_cluster = old as u64 * 64;
        let plan = TablePlan { first_cluster, table_clusters: 130, block_count: 4 };
        let blocks = first_cluster + 130..first_cluster + 134;
        // What was cached there before is nothing to the new blocks.
        metadata.refcounts.cache.load(&*storage, blocks.start << bits).unwrap();
        let entries = metadata.write_new_blocks(plan).unwrap();
        assert_eq!(entries.len(), 130 * 64);
        let of_blocks: Vec<u64> = blocks.clone().map(|cluster| cluster << bits).collect();
        assert_eq!((&entries[old..old + 4], entries[old + 4]), (&of_blocks[..], 0));
        storage.set_len(blocks.end << bits).unwrap();
        metadata.adopt_refcount_table(plan, first_cluster << bits, entries);
        for cluster in first_cluster..first_cluster + 256 {
            let counted = u64::from(cluster < blocks.end);
            assert_eq!(metadata.refcount(cluster).unwrap(), counted, "cluster {cluster}");
            let role = blocks.contains(&cluster).then_some(Role::RefcountBlock);
            assert_eq!(metadata.roles.of(cluster), role, "cluster {cluster}");
        }
        let ends = (metadata.allocator.end_cluster(), metadata.allocator.file_end_cluster());
        assert_eq!(ends, (blocks.end, blocks.end));
    }
}
