//! Making the refcount structures anew, behind the end of the file.
//!
//! Write order: blocks and table first, durable, then the header that points to them. The clusters of the old ones have count
//! 0 in the new ones.

use blk_core::{Error, Result, Storage};

use super::count_kept;
use super::walk::Walk;
use crate::geometry::Geometry;
use crate::header::{Header, REFCOUNT_TABLE_BYTES_MAX};
use crate::pointer_table;
use crate::refcount::set_count_at;

/// New refcount structures: the table, then the blocks.
#[derive(Debug)]
pub(super) struct Rebuilt {
    geometry: Geometry,
    first_cluster: u64,
    table_clusters: u64,
    /// The range numbers that get a block: those in which something is counted.
    ranges: Vec<u64>,
}

impl Rebuilt {
    /// Counts all references but those of the old structures, writes new ones, and makes the header point to them.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the table would be too large.
    pub(super) fn write(storage: &dyn Storage, header: &mut Header) -> Result<()> {
        let walk = count_kept(storage, header)?;
        let rebuilt = Self::plan(&walk)?;
        rebuilt.write_structures(&walk)?;
        rebuilt.publish(storage, header)
    }

    /// Chooses which ranges need a block: those with a counted cluster, and those that the new structures lie in.
    fn plan(walk: &Walk<'_>) -> Result<Self> {
        let geometry = walk.geometry;
        let entries = geometry.block_entries();
        let ranges_of_counts = walk.counts.chunks(entries as usize).enumerate();
        let counted: Vec<u64> = ranges_of_counts
            .filter(|(_, counts)| counts.iter().any(|count| *count > 0))
            .map(|(range, _)| range as u64)
            .collect();
        let first_cluster = walk.clusters();
        let mut table_clusters = 1;
        let mut ranges = counted.clone();
        // Each turn adds a range or a table cluster, until the new structures count themselves.
        loop {
            let end = first_cluster + table_clusters + ranges.len() as u64;
            let mut wanted = counted.clone();
            wanted.extend(first_cluster / entries..=(end - 1) / entries);
            wanted.sort_unstable();
            wanted.dedup();
            let needed = geometry.clusters_of((wanted.last().copied().unwrap_or(0) + 1) * 8);
            if wanted == ranges && needed <= table_clusters {
                break;
            }
            table_clusters = table_clusters.max(needed);
            ranges = wanted;
        }
        if table_clusters * geometry.cluster_bytes() > REFCOUNT_TABLE_BYTES_MAX {
            return Err(Error::NoSpace { what: "the refcount table would be larger than 8 MiB".into() });
        }
        Ok(Self { geometry, first_cluster, table_clusters, ranges })
    }

    fn end_cluster(&self) -> u64 {
        self.first_cluster + self.table_clusters + self.ranges.len() as u64
    }

    fn write_structures(&self, walk: &Walk<'_>) -> Result<()> {
        let bits = self.geometry.cluster_bits();
        let mut table = vec![0; (self.table_clusters * self.geometry.cluster_bytes() / 8) as usize];
        for (number, range) in self.ranges.iter().enumerate() {
            let block_cluster = self.first_cluster + self.table_clusters + number as u64;
            table[*range as usize] = block_cluster << bits;
            walk.storage.write_at(block_cluster << bits, &self.block(walk, *range))?;
        }
        walk.storage.write_at(self.first_cluster << bits, &pointer_table::encode(&table))?;
        walk.storage.sync()
    }

    fn block(&self, walk: &Walk<'_>, range: u64) -> Vec<u8> {
        let mut block = vec![0; self.geometry.cluster_bytes() as usize];
        let first = range * self.geometry.block_entries();
        for index in 0..self.geometry.block_entries() {
            let cluster = first + index;
            let count = if (self.first_cluster..self.end_cluster()).contains(&cluster) {
                1
            } else {
                walk.counts.get(cluster as usize).map_or(0, |count| u64::from(*count))
            };
            let fits = count.min(self.geometry.refcount_max());
            set_count_at(&mut block, index, self.geometry.refcount_order(), fits);
        }
        block
    }

    fn publish(&self, storage: &dyn Storage, header: &mut Header) -> Result<()> {
        header.refcount_table_offset = self.first_cluster << self.geometry.cluster_bits();
        header.refcount_table_clusters = self.table_clusters as u32;
        header.write_fixed(storage)?;
        storage.sync()
    }
}
