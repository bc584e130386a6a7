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
        let rebuilt = Self::plan(walk.geometry, walk.clusters(), &counted_ranges(&walk))?;
        rebuilt.write_structures(&walk)?;
        rebuilt.publish(storage, header)
    }

    /// Chooses which ranges need a block: those with a `counted` cluster, and those that the new structures, from `first_cluster`
    /// on, lie in.
    fn plan(geometry: Geometry, first_cluster: u64, counted: &[u64]) -> Result<Self> {
        let entries = geometry.block_entries();
        let mut table_clusters = 1;
        let mut ranges = counted.to_vec();
        // Each turn adds a range or a table cluster, until the new structures count themselves.
        loop {
            let end = first_cluster + table_clusters + ranges.len() as u64;
            let mut wanted = counted.to_vec();
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

/// The ranges, of so many clusters as a block has entries, in which something is counted.
fn counted_ranges(walk: &Walk<'_>) -> Vec<u64> {
    let ranges = walk.counts.chunks(walk.geometry.block_entries() as usize).enumerate();
    let counted = ranges.filter(|(_, counts)| counts.iter().any(|count| *count > 0));
    counted.map(|(range, _)| range as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 512-byte clusters and 64-bit counts a block has 64 entries, and a cluster of the table 64 blocks.
    fn plan(first_cluster: u64, counted: &[u64]) -> Option<(u64, Vec<u64>)> {
        let plan = Rebuilt::plan(Geometry::new(9, 6).unwrap(), first_cluster, counted);
        plan.ok().map(|plan| (plan.table_clusters, plan.ranges))
    }

    #[test]
    fn new_structures_count_themselves() {
        for (first_cluster, counted, table_clusters, ranges) in [
            (60, &[0][..], 1, &[0][..]),
            (62, &[0], 1, &[0]),
            (63, &[0], 1, &[0, 1]),
            (64, &[0], 1, &[0, 1]),
            (125, &[0], 1, &[0, 1]),
            (126, &[0], 1, &[0, 1, 2]),
            (300, &[0, 2, 4], 1, &[0, 2, 4]),
            (4093, &[0], 1, &[0, 63]),
            // One cluster more, and the table needs a second one.
            (4094, &[0], 2, &[0, 63, 64]),
            (4096, &[0, 64], 2, &[0, 64]),
        ] {
            assert_eq!(
                plan(first_cluster, counted),
                Some((table_clusters, ranges.to_vec())),
                "{first_cluster}"
            );
        }
    }

    /// Which is 2^20 entries, and so 2^26 clusters.
    #[test]
    fn the_table_has_at_most_8_mib() {
        let structures = 16_384 + 262;
        let (table_clusters, ranges) = plan((1 << 26) - structures, &[0]).unwrap();
        assert_eq!((table_clusters, ranges.len()), (16_384, 262));
        assert_eq!(plan((1 << 26) - structures + 1, &[0]), None);
    }
}
