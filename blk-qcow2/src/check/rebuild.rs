//! Making new refcount structures, in clusters that nothing refers to.
//!
//! Write order: blocks and table first, durable, then the header that points to them. The caller
//! decides what counts the old ones.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use blk_core::{Error, Result};

use super::walk::Walk;
use crate::geometry::Geometry;
use crate::header::{Header, REFCOUNT_TABLE_BYTES_MAX};
use crate::offset::{ClusterCount, HostCluster};
use crate::pointer_table;
use crate::refcount::set_count_at;

/// New refcount structures.
#[derive(Debug)]
pub(super) struct Rebuilt {
    geometry: Geometry,
    first_table_cluster: HostCluster,
    table_clusters: ClusterCount,
    /// The ranges that get a block, those in which something is counted, and the cluster of each block.
    blocks: BTreeMap<u64, HostCluster>,
}

impl Rebuilt {
    /// Writes new structures with the counts of `walk`, and makes the header point to them.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the table would be too large, or the host has no room.
    pub(super) fn write(walk: &Walk<'_>, header: &mut Header) -> Result<()> {
        Self::lay_out(walk)?.activate(walk, header)
    }

    /// Writes new structures with the counts of `walk`, which nothing refers to yet.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the table would be too large, or the host has no room: nothing has changed then.
    pub(super) fn lay_out(walk: &Walk<'_>) -> Result<Self> {
        let rebuilt = Self::plan(walk.geometry, &walk.counts, !walk.incomplete)?;
        rebuilt.write_structures(walk)?;
        Ok(rebuilt)
    }

    /// Makes the structures durable, and then the header point to them. What a failed sync leaves is not
    /// known: its error is no reason to go on with the old structures.
    pub(super) fn activate(&self, walk: &Walk<'_>, header: &mut Header) -> Result<()> {
        walk.storage.sync()?;
        self.publish(walk, header)
    }

    /// Chooses where everything goes, one cluster after another, until the new structures count themselves.
    /// With `may_fill`, gaps are filled; else, when what seems to be free may be in use, all is put past the
    /// end.
    fn plan(geometry: Geometry, counts: &[u32], may_fill: bool) -> Result<Self> {
        let file_end = HostCluster::new(counts.len() as u64);
        let mut free = Free { counts, next: if may_fill { HostCluster::default() } else { file_end } };
        let mut blocks = BTreeMap::new();
        let mut wanted: VecDeque<u64> = counted_ranges(geometry, counts).collect();
        let (mut first_table_cluster, mut table_clusters) = (HostCluster::default(), ClusterCount::default());
        loop {
            while let Some(range) = wanted.pop_front() {
                if let Entry::Vacant(vacant) = blocks.entry(range) {
                    let cluster = free.take(ClusterCount::ONE);
                    vacant.insert(cluster);
                    wanted.push_back(geometry.table_index(cluster));
                }
            }
            let last_range = blocks.last_key_value().map_or(0, |(range, _)| *range);
            let needed = geometry.clusters_of((last_range + 1) * 8);
            if needed <= table_clusters {
                return Ok(Self { geometry, first_table_cluster, table_clusters, blocks });
            }
            if geometry.bytes_of(needed) > REFCOUNT_TABLE_BYTES_MAX {
                return Err(Error::NoSpace { what: "the refcount table would be larger than 8 MiB".into() });
            }
            (first_table_cluster, table_clusters) = (free.take(needed), needed);
            let of_table = first_table_cluster.until(first_table_cluster + needed);
            wanted.extend(of_table.map(|cluster| geometry.table_index(cluster)));
        }
    }

    fn write_structures(&self, walk: &Walk<'_>) -> Result<()> {
        let geometry = self.geometry;
        let mut table = vec![0; (geometry.bytes_of(self.table_clusters) / 8) as usize];
        let mut own: Vec<HostCluster> = self.blocks.values().copied().collect();
        own.extend(self.first_table_cluster.until(self.first_table_cluster + self.table_clusters));
        own.sort_unstable();
        assert!(own.is_sorted_by(|a, b| a < b), "each cluster holds one new structure");
        for (&range, &block) in &self.blocks {
            table[range as usize] = geometry.offset_of(block).get();
            walk.storage.write_at(geometry.offset_of(block).get(), &self.block(walk, range, &own))?;
        }
        let at = geometry.offset_of(self.first_table_cluster);
        walk.storage.write_at(at.get(), &pointer_table::encode(&table))
    }

    /// The block of a range; `own` are the clusters of the new structures.
    fn block(&self, walk: &Walk<'_>, range: u64, own: &[HostCluster]) -> Vec<u8> {
        let mut block = vec![0; self.geometry.cluster_bytes() as usize];
        let entries = self.geometry.block_entries();
        let order = self.geometry.refcount_order();
        let first = self.geometry.block_start(range);
        let counts = walk.counts.get(first.index() as usize..).unwrap_or_default();
        // Wide clusters of narrow counts have millions of entries, of which images use a few.
        for (index, count) in (0..entries).zip(counts).filter(|(_, count)| **count > 0) {
            set_count_at(&mut block, index, order, u64::from(*count).min(self.geometry.refcount_max()));
        }
        let from = own.partition_point(|cluster| *cluster < first);
        let of_range = own[from..].iter().take_while(|cluster| self.geometry.table_index(**cluster) == range);
        for cluster in of_range {
            let is_counted = walk.counts.get(cluster.index() as usize).is_some_and(|count| *count > 0);
            assert!(!is_counted, "new structures go where nothing is");
            set_count_at(&mut block, self.geometry.block_index(*cluster), order, 1);
        }
        block
    }

    fn publish(&self, walk: &Walk<'_>, header: &mut Header) -> Result<()> {
        header.refcount_table_offset = self.geometry.offset_of(self.first_table_cluster);
        header.refcount_table_clusters = self.table_clusters.get() as u32;
        header.write_fixed(walk.storage)?;
        walk.storage.sync()
    }
}

/// Clusters that nothing refers to, each given once.
#[derive(Debug)]
struct Free<'a> {
    counts: &'a [u32],
    /// None below is left.
    next: HostCluster,
}

impl Free<'_> {
    /// The first of the next `count` contiguous ones.
    fn take(&mut self, count: ClusterCount) -> HostCluster {
        let mut first = self.next;
        let mut end = first;
        while end.since(first) < count {
            if self.counts.get(end.index() as usize).is_some_and(|references| *references > 0) {
                first = end.next();
            }
            end = end.next();
        }
        self.next = end;
        first
    }
}

/// The ranges, of so many clusters as a block has entries, in which something is counted.
fn counted_ranges(geometry: Geometry, counts: &[u32]) -> impl Iterator<Item = u64> + '_ {
    let ranges = counts.chunks(geometry.block_entries() as usize).enumerate();
    let counted = ranges.filter(|(_, counts)| counts.iter().any(|count| *count > 0));
    counted.map(|(range, _)| range as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table's first cluster and its length; ranges and clusters of the blocks.
    type Planned = (u64, u64, Vec<(u64, u64)>);

    /// With 512-byte clusters and 64-bit counts a block has 64 entries, and a cluster of the table 64 blocks.
    fn plan(clusters: u64, free: &[u64], may_fill: bool) -> Option<Planned> {
        let mut counts = vec![1; clusters as usize];
        for cluster in free {
            counts[*cluster as usize] = 0;
        }
        let plan = Rebuilt::plan(Geometry::new(9, 6).unwrap(), &counts, may_fill).ok()?;
        let blocks = plan.blocks.into_iter().map(|(range, cluster)| (range, cluster.index())).collect();
        Some((plan.first_table_cluster.index(), plan.table_clusters.get(), blocks))
    }

    #[test]
    fn new_structures_count_themselves() {
        for (clusters, free, expected) in [
            (60, &[][..], (61, 1, vec![(0, 60)])),
            (62, &[], (63, 1, vec![(0, 62)])),
            (63, &[], (64, 1, vec![(0, 63), (1, 65)])),
            (64, &[], (66, 1, vec![(0, 64), (1, 65)])),
            (60, &[7], (60, 1, vec![(0, 7)])),
            (60, &[7, 20], (20, 1, vec![(0, 7)])),
            (64, &[7, 20], (20, 1, vec![(0, 7)])),
        ] {
            assert_eq!(plan(clusters, free, true), Some(expected), "{clusters} {free:?}");
        }
        assert_eq!(plan(60, &[7, 20], false), Some((61, 1, vec![(0, 60)])));
        // 64 blocks fill a cluster of the table; with one range more it has two, which lie in a row.
        let (first, length, blocks) = plan(4096 - 65, &[5], true).unwrap();
        assert_eq!((first, length, blocks.len()), (4094, 1, 64));
        let (first, length, blocks) = plan(4096, &[5, 9], true).unwrap();
        assert_eq!((length, blocks.len()), (2, 66));
        assert!(first > 4096 && blocks[0] == (0, 5) && blocks[1] == (1, 9));
    }

    /// Which is 2^20 entries, and so 2^26 clusters.
    #[test]
    fn the_table_has_at_most_8_mib() {
        let geometry = Geometry::new(9, 6).unwrap();
        let mut counts = vec![0; 1 << 26];
        let last = counts.len() - 1;
        counts[last] = 1;
        assert_eq!(Rebuilt::plan(geometry, &counts, true).unwrap().table_clusters.get(), 16_384);
        counts.push(1);
        assert!(Rebuilt::plan(geometry, &counts, true).is_err());
    }
}
