//! Allocating host clusters: searching for counts of 0, and counting the first reference.
//!
//! Write order: the count of a new cluster is durable before the entry that refers to it (see `metadata`). A
//! refcount block that is missing is made first; it counts itself.

use blk_core::{Error, Result};

use crate::free_space::Allocation;
use crate::geometry::HOST_OFFSET_END;
use crate::metadata::{Metadata, overlap, overlap_of};
use crate::offset::{ClusterCount, HostCluster, HostOffset};
use crate::roles::Role;
use crate::steps;

/// How many clusters may be pending before a write-back is forced, so that the file does not grow without
/// need.
const PENDING_MAX: usize = 1024;

impl Metadata {
    /// Allocates up to `wanted` contiguous clusters, at least one.
    pub(crate) fn allocate(&mut self, wanted: ClusterCount) -> Result<Allocation> {
        if self.free.pending_count() >= PENDING_MAX {
            self.write_back()?;
        }
        self.storage.step(&steps::CLUSTER_ALLOC);
        loop {
            let first = self.free.search_start();
            self.ensure_block(first)?;
            let geometry = self.geometry;
            let block_end = geometry.block_start(geometry.table_index(first) + 1);
            let Some(found) = self.first_free(first, block_end)? else {
                self.free.search_from(block_end);
                continue;
            };
            let chosen = self.choose_free(found, block_end)?;
            // A shorter run splits the request.
            let wanted = wanted.get() - self.options.control.choose(wanted.get());
            let end = self.free_run_end(chosen, block_end.min(chosen + ClusterCount::new(wanted)))?;
            let fresh = self.free.is_fresh(chosen);
            let count = end.since(chosen);
            debug_assert!((1..=wanted).contains(&count.get()), "{count:?} of {wanted}");
            self.take_clusters(chosen, count)?;
            self.free.search_from(if chosen == found { end } else { found });
            return Ok(Allocation { first: chosen, count, fresh });
        }
    }

    /// The free cluster that is taken: the first, `found`, unless a test wants another one.
    fn choose_free(&mut self, found: HostCluster, block_end: HostCluster) -> Result<HostCluster> {
        let skipped = ClusterCount::new(self.options.control.choose(4));
        if skipped == ClusterCount::default() {
            return Ok(found);
        }
        Ok(self.first_free(found + skipped, block_end)?.unwrap_or(found))
    }

    /// Allocates exactly `count` contiguous clusters.
    pub(crate) fn allocate_contiguous(&mut self, count: ClusterCount) -> Result<Allocation> {
        self.storage.step(&steps::CLUSTER_ALLOC);
        if count.get() >= self.geometry.block_entries() {
            return self.allocate_after_blocks(count);
        }
        let mut first = self.free.search_start();
        let mut cluster = first;
        while cluster.since(first) < count {
            if self.ensure_block(cluster)? || self.refcount(cluster)? != 0 {
                // A new block has taken a cluster of its own range: look at it again.
                first = if self.refcount(cluster)? == 0 { cluster } else { cluster.next() };
                cluster = first;
            } else {
                cluster = cluster.next();
            }
        }
        self.take_clusters(first, count)?;
        // Callers that need several clusters in a row write all of them: whether they read as zeroes does not
        // matter.
        Ok(Allocation { first, count, fresh: false })
    }

    /// As [`Metadata::allocate_contiguous`], for more clusters than lie between two blocks that count
    /// themselves in their own ranges: the blocks that are missing lie before all of them, past the end of
    /// what is in use.
    fn allocate_after_blocks(&mut self, count: ClusterCount) -> Result<Allocation> {
        let geometry = self.geometry;
        // A block for each range that is touched, at most.
        let blocks_max = ClusterCount::new(count.get() / (geometry.block_entries() - 1) + 4);
        let last_range = loop {
            let range = geometry.table_index(self.free.end() + blocks_max + count);
            if range < self.refcounts.table.len() as u64 {
                break range;
            }
            // The larger table lies past the end, and moves it.
            self.grow_refcount_table()?;
        };
        let start = self.free.end();
        let mut first = start;
        for range in geometry.table_index(start)..=last_range {
            if self.refcounts.table.get(range) == 0 {
                self.add_refcount_block_at(range, first)?;
                first = first.next();
            }
        }
        debug_assert!(first.since(start) <= blocks_max, "{:?} of {blocks_max:?} blocks", first.since(start));
        self.take_clusters(first, count)?;
        Ok(Allocation { first, count, fresh: false })
    }

    /// Allocates one cluster for a metadata structure and fills it with zeroes. Returns its host offset.
    pub(crate) fn allocate_metadata(&mut self, role: Role) -> Result<HostOffset> {
        let allocation = self.allocate(ClusterCount::ONE)?;
        let extent = self.geometry.extent_of(allocation.first, allocation.count);
        if !allocation.fresh
            && let Err(error) = self.storage.write_zeroes_at(extent.on_storage())
        {
            self.give_back(allocation)?;
            return Err(error);
        }
        self.roles.claim(allocation.first, role);
        Ok(extent.start)
    }

    /// Undoes an allocation that nothing refers to.
    pub(crate) fn give_back(&mut self, allocation: Allocation) -> Result<()> {
        self.free.give_back(allocation);
        for cluster in allocation.first.until(allocation.end()) {
            self.refcounts.set(&*self.storage, cluster, 0)?;
            self.free.release(cluster);
        }
        Ok(())
    }

    /// Undoes allocations that nothing refers to, because of `error`. A poisoned image stays as it is.
    pub(crate) fn give_up(&mut self, all: impl IntoIterator<Item = Allocation>, error: Error) -> Error {
        if self.poison.is_none() {
            for allocation in all {
                if let Err(worse) = self.give_back(allocation) {
                    return self.poison(worse);
                }
            }
        }
        error
    }

    /// Cuts free clusters off the end of the file, where its length can change. Everything has been written
    /// back.
    pub(crate) fn trim_file(&mut self) -> Result<()> {
        let header = HostCluster::default();
        let mut end = self.free.end();
        // The header stays whatever its count says.
        for cluster in header.next().until(end).rev() {
            if self.refcount(cluster)? != 0 {
                break;
            }
            end = cluster;
        }
        match self.storage.set_len(self.geometry.offset_of(end).get()) {
            Ok(()) => {
                self.free.truncate(end);
                Ok(())
            }
            Err(Error::Unsupported { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How many references host cluster `cluster` has.
    #[inline]
    pub(crate) fn refcount(&mut self, cluster: HostCluster) -> Result<u64> {
        self.refcounts.get(&*self.storage, cluster)
    }

    /// One more reference to `cluster`; `false` where its count cannot rise any more.
    pub(crate) fn add_reference(&mut self, cluster: HostCluster) -> Result<bool> {
        let count = self.refcount(cluster)?;
        if count >= self.geometry.refcount_max() {
            return Ok(false);
        }
        self.refcounts.set(&*self.storage, cluster, count + 1)?;
        Ok(true)
    }

    /// Takes back a reference that never reached the image.
    pub(crate) fn drop_reference(&mut self, cluster: HostCluster) -> Result<()> {
        let count = self.refcount(cluster)?;
        if count == 1 {
            return self.give_back(Allocation { first: cluster, count: ClusterCount::ONE, fresh: false });
        }
        self.refcounts.set(&*self.storage, cluster, count - 1)
    }

    /// In debug builds: a cluster that an entry is about to refer to has a reference, as far as its count is
    /// in memory.
    pub(crate) fn debug_assert_counted(&self, cluster: HostCluster) {
        debug_assert!(
            self.refcounts.cached(cluster) != Some(0)
                || !self.roles.protects_refcounts()
                || self.geometry.has_data_file(),
            "{cluster:?} is linked and has no count"
        );
    }

    fn first_free(&mut self, first: HostCluster, end: HostCluster) -> Result<Option<HostCluster>> {
        for cluster in first.until(end) {
            if self.refcount(cluster)? == 0 {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }

    /// Where the run of free clusters ends that begins at `first`, at most at `limit`.
    fn free_run_end(&mut self, first: HostCluster, limit: HostCluster) -> Result<HostCluster> {
        for cluster in first.until(limit) {
            if self.refcount(cluster)? != 0 {
                return Ok(cluster);
            }
        }
        Ok(limit)
    }

    /// Counts one reference to each cluster of a free run, unless metadata lies there: then the counts are
    /// wrong.
    fn take_clusters(&mut self, first: HostCluster, count: ClusterCount) -> Result<()> {
        let end = first + count;
        if end >= self.geometry.cluster_of(HOST_OFFSET_END) {
            return Err(Error::NoSpace { what: "host offsets end at 2^56".into() });
        }
        for cluster in first.until(end) {
            if let Some(role) = self.roles.guarded(cluster) {
                let offset = self.geometry.offset_of(cluster);
                let error = overlap("a cluster with refcount 0", offset, role);
                return Err(self.poison(error));
            }
            debug_assert!(
                !self.free.is_pending(cluster) || !self.roles.protects_refcounts(),
                "{cluster:?} is free although its dereference is not durable"
            );
            self.refcounts.set(&*self.storage, cluster, 1)?;
        }
        self.free.take(first, count);
        Ok(())
    }

    /// Makes sure that a refcount block counts `cluster`. Returns whether one had to be made.
    fn ensure_block(&mut self, cluster: HostCluster) -> Result<bool> {
        let index = self.geometry.table_index(cluster);
        if index >= self.refcounts.table.len() as u64 {
            self.grow_refcount_table()?;
            return Ok(true);
        }
        if let Some(block) = self.refcounts.block_offset(cluster)? {
            return match self.roles.of(self.geometry.cluster_of(block)) {
                Some(Role::RefcountBlock) => {
                    self.check_structure_inside("refcount block", block).map(|()| false)
                }
                role => Err(self.poison(overlap_of(Role::RefcountBlock, block, role))),
            };
        }
        self.add_refcount_block(index)?;
        Ok(true)
    }

    /// Makes the block number `index`. It counts itself, in the first cluster of the range that it describes:
    /// without a block, all of that range is free.
    fn add_refcount_block(&mut self, index: u64) -> Result<()> {
        self.add_refcount_block_at(index, self.geometry.block_start(index))
    }

    /// Makes the block number `index` in `cluster`, which it counts itself or which another block counts as
    /// free.
    fn add_refcount_block_at(&mut self, index: u64, cluster: HostCluster) -> Result<()> {
        self.storage.step(&steps::REFBLOCK_ALLOC);
        let extent = self.geometry.extent_of(cluster, ClusterCount::ONE);
        let block = extent.start;
        if block >= HOST_OFFSET_END {
            return Err(Error::NoSpace { what: "host offsets end at 2^56".into() });
        }
        self.check_losing(cluster, None, "a refcount block")?;
        self.storage.step(&steps::REFBLOCK_ALLOC_WRITE);
        if !self.free.is_fresh(cluster) {
            self.storage.write_zeroes_at(extent.on_storage())?;
        }
        self.refcounts.add_block(&*self.storage, index as usize, block)?;
        self.roles.claim(cluster, Role::RefcountBlock);
        self.free.take(cluster, ClusterCount::ONE);
        // Where another block counts it, that may have to be read.
        self.refcounts.set(&*self.storage, cluster, 1).map_err(|error| self.poison(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::loaded;

    fn count(count: u64) -> ClusterCount {
        ClusterCount::new(count)
    }

    #[test]
    fn a_search_begins_after_what_the_last_one_found() {
        let mut metadata = loaded(12, 4);
        let first = metadata.allocate(count(1)).unwrap().first;
        let at = |number: u64| first + count(number);
        for (wanted, next) in [(1, 2), (5, 7), (100, 107)] {
            let allocation = metadata.allocate(count(wanted)).unwrap();
            assert_eq!((allocation.count, allocation.end()), (count(wanted), at(next)));
            assert_eq!(metadata.free.search_start(), at(next));
        }
        metadata.give_back(Allocation { first: at(3), count: count(2), fresh: false }).unwrap();
        assert_eq!(metadata.free.search_start(), at(3));
        let short = metadata.allocate(count(5)).unwrap();
        assert_eq!((short.first, short.count, short.fresh), (at(3), count(2), false));
        let after = metadata.allocate(count(5)).unwrap();
        assert_eq!((after.first, after.count, after.fresh), (at(107), count(5), true));
    }

    /// Between two blocks that count themselves there are 63 clusters here.
    #[test]
    fn more_contiguous_clusters_than_a_block_counts_lie_after_their_blocks() {
        for wanted in [63, 64, 65, 1025, 70_000] {
            let mut metadata = loaded(9, 6);
            let allocation = metadata.allocate_contiguous(count(wanted)).unwrap();
            assert_eq!(allocation.count, count(wanted));
            metadata.flush().unwrap();
            for cluster in allocation.first.until(allocation.end()) {
                assert_eq!(metadata.refcount(cluster).unwrap(), 1, "{wanted}: {cluster:?}");
            }
            assert_eq!(metadata.refcount(allocation.end()).unwrap(), 0, "{wanted}");
            let length = metadata.storage.len().unwrap();
            assert!(length < (4 * wanted + 4096) << 9, "{wanted}: a file of {length} bytes");
            metadata.give_back(allocation).unwrap();
            let report =
                crate::check::check(&*metadata.storage, &metadata.header, blk_core::RepairMode::None);
            assert_eq!(report.unwrap().corruptions, 0, "{wanted}");
        }
    }

    #[test]
    fn host_offsets_end_at_2_to_the_56() {
        let mut metadata = loaded(12, 4);
        let end = 1 << (56 - 12);
        for (first, length) in [(end - 1, 1), (end - 2, 2), (end - 1, 2), (end, 1)] {
            let error =
                metadata.take_clusters(HostCluster::new(first), count(length)).unwrap_err().to_string();
            assert!(error.contains("host offsets end at 2^56"), "{first} {length}: {error}");
        }
        let index = metadata.geometry.table_index(HostCluster::new(end));
        assert!(matches!(metadata.add_refcount_block(index), Err(Error::NoSpace { .. })));
    }

    #[test]
    fn a_trimmed_file_keeps_its_header_whatever_the_counts_say() {
        let mut metadata = loaded(12, 4);
        let taken = metadata.allocate(count(3)).unwrap();
        metadata.flush().unwrap();
        metadata.give_back(Allocation { first: taken.first.next(), ..taken }).unwrap();
        metadata.trim_file().unwrap();
        assert_eq!(metadata.storage.len().unwrap(), (taken.first.index() + 1) << 12);
        for cluster in HostCluster::default().until(taken.first.next()) {
            metadata.refcounts.set(&*metadata.storage, cluster, 0).unwrap();
        }
        metadata.trim_file().unwrap();
        assert_eq!(metadata.storage.len().unwrap(), 1 << 12);
    }
}
