//! Moving a table that has become too small: the refcount table and the L1 table.
//!
//! Write order: the new table, with everything it points to, is durable before the header points to it; the header names it
//! in one write inside its first sector; the old one is given back after that is durable.

use std::sync::Arc;

use blk_core::storage::Event;
use blk_core::{Error, Extent, Result};

use crate::allocator::Freed;
use crate::metadata::{Metadata, set_table_spans};
use crate::pointer_table::{self, PointerTable};
use crate::refcount::set_count_at;
use crate::roles::Role;

/// Largest refcount table, in bytes: what other implementations accept.
const REFCOUNT_TABLE_BYTES_MAX: u64 = 8 << 20;
/// Largest L1 table, in bytes: what other implementations accept.
const L1_TABLE_BYTES_MAX: u64 = 32 << 20;

/// Where a larger refcount table goes: behind everything that the old one counts, followed by the blocks that count the table
/// and themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TablePlan {
    first_cluster: u64,
    table_clusters: u64,
    block_count: u64,
}

impl Metadata {
    /// Replaces the refcount table by one at least half as large again.
    pub(crate) fn grow_refcount_table(&mut self) -> Result<()> {
        let storage = Arc::clone(&self.storage);
        storage.event(Event::ReftableGrow);
        let plan = self.plan_refcount_table()?;
        // The old blocks are complete on disk before a second table refers to them.
        self.write_refcounts(&*storage).map_err(|error| self.poison(error))?;
        let old_span = Extent::new(
            self.refcounts.table.host_offset(),
            u64::from(self.header.refcount_table_clusters) << self.geometry.cluster_bits(),
        );
        storage.event(Event::RefblockAllocWriteBlocks);
        let entries = self.write_new_blocks(plan)?;
        let table_offset = plan.first_cluster << self.geometry.cluster_bits();
        storage.event(Event::RefblockAllocWriteTable);
        storage.write_at(table_offset, &pointer_table::encode(&entries))?;
        storage.sync().map_err(|error| self.poison(error))?;
        storage.event(Event::RefblockAllocSwitchTable);
        self.header.refcount_table_offset = table_offset;
        self.header.refcount_table_clusters = plan.table_clusters as u32;
        self.publish_header()?;
        self.adopt_refcount_table(plan, table_offset, entries);
        self.free_extent_later(old_span, Freed::Other);
        Ok(())
    }

    fn plan_refcount_table(&self) -> Result<TablePlan> {
        let geometry = self.geometry;
        let per_cluster = geometry.cluster_bytes() / 8;
        let old_entries = self.refcounts.table.len() as u64;
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
        Ok(TablePlan { first_cluster, table_clusters, block_count })
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
        self.storage.event(Event::L1GrowAllocTable);
        let allocation = self.allocate_contiguous(clusters)?;
        let old_clusters = self.geometry.clusters_of(u64::from(self.header.l1_entries) * 8);
        let old_span = Extent::new(self.header.l1_table_offset, old_clusters << self.geometry.cluster_bits());
        let mut content = self.l1.entries().to_vec();
        content.resize(entries as usize, 0);
        let table_offset = allocation.first << self.geometry.cluster_bits();
        let mut bytes = pointer_table::encode(&content);
        bytes.resize((clusters << self.geometry.cluster_bits()) as usize, 0);
        self.storage.event(Event::L1GrowWriteTable);
        if let Err(error) = self.storage.write_at(table_offset, &bytes) {
            self.give_back(allocation)?;
            return Err(error);
        }
        // Also with lazy refcounts: the header is about to refer to the new table.
        self.settle()?;
        self.storage.event(Event::L1GrowActivateTable);
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
