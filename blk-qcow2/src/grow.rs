//! Moving a table that has become too small: the refcount table and the L1 table.
//!
//! Write order: the new table, with everything it points to, is durable before the header points to it; the
//! header names it in one write inside its first sector; the old one is freed after that is durable.

use blk_core::{Error, Result};

use crate::free_space::FreeReason;
use crate::geometry::Geometry;
use crate::header::{L1_TABLE_BYTES_MAX, REFCOUNT_TABLE_BYTES_MAX};
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, HostCluster, HostExtent, HostOffset};
use crate::pointer_table::{self, PointerTable};
use crate::refcount::set_count_at;
use crate::roles::Role;
use crate::steps;

/// Where a larger refcount table goes: after everything that the old one counts, followed by the blocks that
/// count the table and themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TablePlan {
    first_cluster: HostCluster,
    table_clusters: ClusterCount,
    block_count: ClusterCount,
}

impl TablePlan {
    /// For a table of `old_entries` entries.
    fn after(geometry: Geometry, old_entries: u64) -> Result<Self> {
        let per_cluster = geometry.cluster_bytes() / 8;
        let first_cluster = geometry.block_start(old_entries);
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
        assert!(
            table_clusters * per_cluster >= old_entries + block_count,
            "the table has room for its blocks"
        );
        let counted = block_count * geometry.block_entries();
        assert!(counted >= table_clusters + block_count, "the blocks count the table and themselves");
        let (table_clusters, block_count) =
            (ClusterCount::new(table_clusters), ClusterCount::new(block_count));
        Ok(Self { first_cluster, table_clusters, block_count })
    }

    fn first_block(self) -> HostCluster {
        self.first_cluster + self.table_clusters
    }

    fn blocks(self) -> impl Iterator<Item = HostCluster> {
        self.first_block().until(self.first_block() + self.block_count)
    }
}

impl Metadata {
    /// Replaces the refcount table by one at least half as large again.
    pub(crate) fn grow_refcount_table(&mut self) -> Result<()> {
        self.storage.step(&steps::REFTABLE_GROW);
        let old_entries = self.refcounts.table.len() as u64;
        if old_entries == 0 {
            // Such an image is opened for a check only.
            let at = self.refcounts.table.host_offset().get();
            return Err(Error::corrupt("refcount table", at, "there is none; repair the image"));
        }
        let plan = TablePlan::after(self.geometry, old_entries)?;
        self.check_unclaimed(plan)?;
        // The old blocks are complete on disk before a second table refers to them.
        self.write_refcounts().map_err(|error| self.poison(error))?;
        let old_table = self.header.refcount_table();
        assert_eq!(self.refcounts.table.host_offset(), old_table.start, "the header names the table in use");
        self.check_own(old_table, Role::RefcountTable)?;
        self.storage.step(&steps::REFBLOCK_ALLOC_WRITE_BLOCKS);
        let entries = self.write_new_blocks(plan)?;
        let table_offset = self.geometry.offset_of(plan.first_cluster);
        self.storage.step(&steps::REFBLOCK_ALLOC_WRITE_TABLE);
        self.storage.write_at(table_offset.get(), &pointer_table::encode(&entries))?;
        self.sync()?;
        self.storage.step(&steps::REFBLOCK_ALLOC_SWITCH_TABLE);
        self.header.refcount_table_offset = table_offset;
        self.header.refcount_table_clusters = plan.table_clusters.get() as u32;
        self.publish_header()?;
        self.adopt_refcount_table(plan, table_offset, entries);
        self.free_extent_later(old_table, FreeReason::Replace);
        Ok(())
    }

    /// Fails if a table that is about to be given back holds a cluster that another structure holds, too.
    fn check_own(&mut self, table: HostExtent, role: Role) -> Result<()> {
        let mut clusters = self.geometry.touched(table);
        clusters.try_for_each(|cluster| self.check_losing(cluster, Some(role), "replacing a table"))
    }

    /// Fails if something lies past all that the old table counts, where nothing can lie.
    fn check_unclaimed(&mut self, plan: TablePlan) -> Result<()> {
        let mut clusters = plan.first_cluster.until(plan.first_block() + plan.block_count);
        clusters.try_for_each(|cluster| self.check_losing(cluster, None, "a refcount table"))
    }

    /// Writes the blocks that count the new area; returns the entries of the new table.
    fn write_new_blocks(&mut self, plan: TablePlan) -> Result<Vec<u64>> {
        let geometry = self.geometry;
        let used = (plan.table_clusters + plan.block_count).get();
        for (number, cluster) in (0..).zip(plan.blocks()) {
            let mut block = vec![0; geometry.cluster_bytes() as usize];
            let counted = number * geometry.block_entries();
            for index in 0..used.saturating_sub(counted).min(geometry.block_entries()) {
                set_count_at(&mut block, index, geometry.refcount_order(), 1);
            }
            self.storage.write_at(geometry.offset_of(cluster).get(), &block)?;
        }
        let mut entries = self.refcounts.table.entries().to_vec();
        entries.extend(plan.blocks().map(|cluster| geometry.offset_of(cluster).get()));
        entries.resize((geometry.bytes_of(plan.table_clusters) / 8) as usize, 0);
        Ok(entries)
    }

    fn adopt_refcount_table(&mut self, plan: TablePlan, table_offset: HostOffset, entries: Vec<u64>) {
        for cluster in plan.blocks() {
            self.refcounts.forget_block(self.geometry.offset_of(cluster));
            self.roles.claim(cluster, Role::RefcountBlock);
        }
        self.refcounts.table = PointerTable::written(table_offset, entries);
        self.free.take(plan.first_cluster, plan.table_clusters + plan.block_count);
        self.roles.set_tables(&self.header);
    }

    /// Makes the L1 table large enough for `entries` entries, which [`check_l1_entries`] takes.
    pub(crate) fn grow_l1_table(&mut self, entries: u64) -> Result<()> {
        // All that the old table refers to, and the table itself, is durable before a copy of it counts.
        self.write_back()?;
        assert!(entries > self.l1.len() as u64, "a table is only replaced by a larger one");
        let clusters = self.geometry.clusters_of(entries * 8);
        let old_table = self.header.l1_table();
        // A disk without a byte may have no table.
        if !old_table.is_empty() {
            self.check_own(old_table, Role::L1Table)?;
        }
        self.storage.step(&steps::L1_GROW_ALLOC_TABLE);
        let allocation = self.allocate_contiguous(clusters)?;
        let mut content = self.l1.entries().to_vec();
        content.resize(entries as usize, 0);
        let table_offset = self.geometry.offset_of(allocation.first);
        let mut bytes = pointer_table::encode(&content);
        bytes.resize(self.geometry.bytes_of(clusters) as usize, 0);
        self.storage.step(&steps::L1_GROW_WRITE_TABLE);
        if let Err(error) = self.storage.write_at(table_offset.get(), &bytes) {
            self.give_back(allocation)?;
            return Err(error);
        }
        // Also with lazy refcounts: the header is about to refer to the new table.
        if let Err(error) = self.flush_all() {
            if self.poison.is_none() {
                // The host is full, and nothing refers to the new table yet.
                self.give_back(allocation)?;
            }
            return Err(error);
        }
        self.storage.step(&steps::L1_GROW_ACTIVATE_TABLE);
        self.header.l1_table_offset = table_offset;
        self.header.l1_entries = entries as u32;
        self.publish_header()?;
        self.l1 = PointerTable::written(table_offset, content);
        self.roles.set_tables(&self.header);
        if !old_table.is_empty() {
            self.free_extent_later(old_table, FreeReason::Replace);
        }
        Ok(())
    }

    /// Writes the header's fixed part and makes it durable; its pointers then count.
    pub(crate) fn publish_header(&mut self) -> Result<()> {
        let written = self.header.write_fixed(&*self.storage);
        written.map_err(|error| self.poison(error))?;
        self.sync()
    }
}

/// Fails if no L1 table has so many entries.
pub(crate) fn check_l1_entries(entries: u64) -> Result<()> {
    if entries * 8 <= L1_TABLE_BYTES_MAX {
        return Ok(());
    }
    let what = format!("a disk of that size needs {entries} L1 entries, the largest table has 4194304");
    Err(Error::NoSpace { what: what.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::loaded;

    #[test]
    fn a_larger_refcount_table_counts_itself_and_its_blocks() {
        let plan = |bits, order, old| TablePlan::after(Geometry::new(bits, order).unwrap(), old).unwrap();
        let made = |first_cluster, table_clusters, block_count| TablePlan {
            first_cluster: HostCluster::new(first_cluster),
            table_clusters: ClusterCount::new(table_clusters),
            block_count: ClusterCount::new(block_count),
        };
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
            assert_eq!(plan(9, 6, old), made(old * 64, table_clusters, block_count));
        }
        // The table has to hold the entries of the blocks too, which half as much again may not be enough
        // for.
        assert_eq!(plan(9, 6, 1), made(64, 1, 1));
        assert_eq!(plan(16, 4, 8192), made(8192 << 15, 2, 1));
        for bits in [9, 12, 21] {
            for order in 0..=6 {
                let geometry = Geometry::new(bits, order).unwrap();
                for old in (0..3000).step_by(7) {
                    let planned = plan(bits, order, old);
                    let (table_clusters, block_count) =
                        (planned.table_clusters.get(), planned.block_count.get());
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
        let largest = TablePlan::after(geometry, 699_050).unwrap();
        assert_eq!((largest.table_clusters.get(), largest.block_count.get()), (2048, 2));
        let error = TablePlan::after(geometry, 699_051).unwrap_err().to_string();
        assert!(error.contains("the refcount table has reached its largest size, 8 MiB"), "{error}");
    }

    #[test]
    fn several_new_blocks_count_what_was_planned() {
        let mut metadata = loaded(9, 6);
        let geometry = metadata.geometry;
        let old = metadata.refcounts.table.len();
        let first_cluster = geometry.block_start(old as u64);
        let (table_clusters, block_count) = (ClusterCount::new(130), ClusterCount::new(4));
        let plan = TablePlan { first_cluster, table_clusters, block_count };
        let end = first_cluster + ClusterCount::new(134);
        // What was cached there before is nothing to the new blocks.
        metadata.refcounts.cache.load(&*metadata.storage, geometry.offset_of(plan.first_block())).unwrap();
        let entries = metadata.write_new_blocks(plan).unwrap();
        assert_eq!(entries.len(), 130 * 64);
        let of_blocks: Vec<u64> = plan.blocks().map(|cluster| geometry.offset_of(cluster).get()).collect();
        assert_eq!((&entries[old..old + 4], entries[old + 4]), (&of_blocks[..], 0));
        metadata.storage.set_len(geometry.offset_of(end).get()).unwrap();
        metadata.adopt_refcount_table(plan, geometry.offset_of(first_cluster), entries);
        for cluster in first_cluster.until(first_cluster + ClusterCount::new(256)) {
            let counted = u64::from(cluster < end);
            assert_eq!(metadata.refcount(cluster).unwrap(), counted, "{cluster:?}");
            let is_block = (plan.first_block()..end).contains(&cluster);
            assert_eq!(metadata.roles.of(cluster), is_block.then_some(Role::RefcountBlock), "{cluster:?}");
        }
        assert_eq!((metadata.free.end(), metadata.free.file_end()), (end, end));
    }
}
