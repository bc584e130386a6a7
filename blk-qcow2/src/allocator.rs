//! Finding, taking and giving back host clusters.
//!
//! A cluster that loses its last reference is not free yet: it waits in [`Allocator::pending`] until the dereference is
//! durable and its hole is punched. Only then its count falls, and only then it can be found again.

use blk_core::{Error, Extent, Result};

use crate::geometry::HOST_OFFSET_END;
use crate::metadata::{Metadata, overlap, overlap_of};
use crate::roles::Role;
use crate::steps;

/// How many clusters may wait to become free before a write-back is forced, so that the file does not grow without need.
const PENDING_MAX: usize = 1024;

/// Where the next cluster is looked for, and which ones are on their way to becoming free.
#[derive(Debug)]
pub(crate) struct Allocator {
    /// No cluster below is free.
    next: u64,
    /// No cluster at or above has ever been written: it reads as zeroes.
    fresh: u64,
    /// No cluster at or above is in use.
    end: u64,
    /// The file has to reach `end` at the next write-back.
    grown: bool,
    /// Where the next compressed cluster goes, inside a host cluster that has room left.
    pub(crate) packing_at: Option<u64>,
    /// Clusters to be dereferenced once, each, in the order of their release.
    pending: Vec<Waiting>,
}

/// Why a cluster is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Freed {
    /// The guest asked for it: a discard, or zeroes that may unmap.
    Request,
    /// All that the image held is given up.
    Content,
    /// Something else came in its place.
    Other,
}

/// Which clusters that become free are punched out of the host file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Punches {
    pub(crate) request: bool,
    pub(crate) content: bool,
    pub(crate) other: bool,
}

impl Punches {
    fn covers(self, freed: Freed) -> bool {
        match freed {
            Freed::Request => self.request,
            Freed::Content => self.content,
            Freed::Other => self.other,
        }
    }
}

/// A cluster that is to be dereferenced once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    cluster: u64,
    freed: Freed,
}

/// Contiguous host clusters that were just allocated; nothing refers to them yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// They are known to read as zeroes.
    pub(crate) fresh: bool,
}

impl Allocator {
    /// For a file of `file_clusters` clusters.
    pub(crate) fn new(file_clusters: u64) -> Self {
        Self {
            next: 0,
            fresh: file_clusters,
            end: file_clusters,
            grown: false,
            packing_at: None,
            pending: Vec::new(),
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many clusters wait to be dereferenced.
    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// One past the last cluster that the file has, or will have at the next write-back.
    #[inline]
    pub(crate) fn file_end_cluster(&self) -> u64 {
        self.fresh
    }

    /// One past the last cluster in use.
    pub(crate) fn end_cluster(&self) -> u64 {
        self.end
    }

    pub(crate) fn has_grown(&self) -> bool {
        self.grown
    }

    /// The file is as long as it has to be.
    pub(crate) fn settle(&mut self) {
        self.grown = false;
    }

    /// `cluster` has become free.
    fn freed(&mut self, cluster: u64, cluster_bits: u32) {
        self.next = self.next.min(cluster);
        if self.packing_at.is_some_and(|at| at >> cluster_bits == cluster) {
            self.packing_at = None;
        }
    }

    fn took(&mut self, first: u64, count: u64) {
        self.fresh = self.fresh.max(first + count);
        if first + count > self.end {
            self.end = first + count;
            self.grown = true;
        }
    }
}

impl Metadata {
    /// Allocates up to `wanted` contiguous clusters, at least one.
    pub(crate) fn allocate(&mut self, wanted: u64) -> Result<Allocation> {
        if self.allocator.pending.len() >= PENDING_MAX {
            self.write_back()?;
        }
        self.storage.step(&steps::CLUSTER_ALLOC);
        loop {
            let first = self.allocator.next;
            self.ensure_block(first)?;
            let geometry = self.geometry;
            let block_end = (geometry.table_index(first) + 1) * geometry.block_entries();
            let Some(found) = self.first_free(first, block_end)? else {
                self.allocator.next = block_end;
                continue;
            };
            let chosen = self.choose_free(found, block_end)?;
            // A shorter run splits the request.
            let wanted = wanted - self.behaviour.control.choose(wanted);
            let end = self.free_run_end(chosen, block_end.min(chosen + wanted))?;
            let fresh = chosen >= self.allocator.fresh;
            self.take_clusters(chosen, end - chosen)?;
            self.allocator.next = if chosen == found { end } else { found };
            return Ok(Allocation { first: chosen, count: end - chosen, fresh });
        }
    }

    /// The free cluster that is taken: the first, `found`, unless a test wants another one.
    fn choose_free(&mut self, found: u64, block_end: u64) -> Result<u64> {
        let skipped = self.behaviour.control.choose(4);
        if skipped == 0 {
            return Ok(found);
        }
        Ok(self.first_free(found + skipped, block_end)?.unwrap_or(found))
    }

    /// Allocates exactly `count` contiguous clusters.
    pub(crate) fn allocate_contiguous(&mut self, count: u64) -> Result<Allocation> {
        self.storage.step(&steps::CLUSTER_ALLOC);
        let mut first = self.allocator.next;
        let mut cluster = first;
        while cluster - first < count {
            if self.ensure_block(cluster)? || self.refcount(cluster)? != 0 {
                // A new block has taken a cluster of its own range: look at it again.
                first = if self.refcount(cluster)? == 0 { cluster } else { cluster + 1 };
                cluster = first;
            } else {
                cluster += 1;
            }
        }
        self.take_clusters(first, count)?;
        // Who asks for a row writes all of it: nobody cares what it reads as.
        Ok(Allocation { first, count, fresh: false })
    }

    /// Allocates one cluster for a metadata structure and fills it with zeroes. Returns its host offset.
    pub(crate) fn allocate_metadata(&mut self, role: Role) -> Result<u64> {
        let allocation = self.allocate(1)?;
        let host_offset = allocation.first << self.geometry.cluster_bits();
        if !allocation.fresh {
            let extent = Extent::new(host_offset, self.geometry.cluster_bytes());
            if let Err(error) = self.storage.write_zeroes_at(extent) {
                self.give_back(allocation)?;
                return Err(error);
            }
        }
        self.roles.claim(allocation.first, role);
        Ok(host_offset)
    }

    /// Undoes an allocation that nothing has come to refer to.
    pub(crate) fn give_back(&mut self, allocation: Allocation) -> Result<()> {
        let storage = std::sync::Arc::clone(&self.storage);
        if self.allocator.end == allocation.first + allocation.count {
            // The file need not reach what nobody uses; a full host may be why this is given back.
            self.allocator.end = allocation.first;
        }
        for cluster in allocation.first..allocation.first + allocation.count {
            self.refcounts.set(&*storage, cluster, 0)?;
            self.allocator.freed(cluster, self.geometry.cluster_bits());
        }
        Ok(())
    }

    /// Cuts free clusters off the end of the file, where its length can change. Everything has been written back.
    pub(crate) fn trim_file(&mut self) -> Result<()> {
        let mut end = self.allocator.end;
        while end > 1 && self.refcount(end - 1)? == 0 {
            end -= 1;
        }
        match self.storage.set_len(end << self.geometry.cluster_bits()) {
            Ok(()) => {
                self.allocator.end = end;
                self.allocator.fresh = end;
                Ok(())
            }
            Err(Error::Unsupported { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How many references host cluster `cluster` has.
    pub(crate) fn refcount(&mut self, cluster: u64) -> Result<u64> {
        let storage = std::sync::Arc::clone(&self.storage);
        self.refcounts.get(&*storage, cluster)
    }

    /// One more reference to `cluster`; `false` where its count cannot rise any more.
    pub(crate) fn add_reference(&mut self, cluster: u64) -> Result<bool> {
        let count = self.refcount(cluster)?;
        if count >= self.geometry.refcount_max() {
            return Ok(false);
        }
        let storage = std::sync::Arc::clone(&self.storage);
        self.refcounts.set(&*storage, cluster, count + 1)?;
        Ok(true)
    }

    /// Takes back a reference that never reached the image.
    pub(crate) fn drop_reference(&mut self, cluster: u64) -> Result<()> {
        let count = self.refcount(cluster)?;
        if count == 1 {
            return self.give_back(Allocation { first: cluster, count: 1, fresh: false });
        }
        let storage = std::sync::Arc::clone(&self.storage);
        self.refcounts.set(&*storage, cluster, count - 1)
    }

    /// Fails if the clusters of `extent` cannot be given back: they hold metadata other than `expected`, or nobody counts
    /// them. Asked before anything is changed.
    pub(crate) fn check_freeable(&mut self, extent: Extent, expected: Option<Role>) -> Result<()> {
        let bits = self.geometry.cluster_bits();
        for cluster in extent.offset >> bits..=(extent.end() - 1) >> bits {
            if let Some(role) = self.roles.of(cluster).filter(|role| Some(*role) != expected) {
                let error = overlap("freeing guest data", cluster << bits, role);
                return Err(self.poison_corrupt(error));
            }
            if self.refcount(cluster)? == 0 {
                let error = Error::corrupt("refcount", cluster << bits, "a cluster in use has refcount 0");
                return Err(self.poison_corrupt(error));
            }
        }
        Ok(())
    }

    /// The reference to the cluster at `host_offset` is gone from memory: its count falls once that is durable.
    pub(crate) fn free_later(&mut self, host_offset: u64, freed: Freed) {
        self.free_extent_later(Extent::new(host_offset, 1), freed);
    }

    /// As [`Metadata::free_later`] for every cluster that `extent` touches.
    pub(crate) fn free_extent_later(&mut self, extent: Extent, freed: Freed) {
        let bits = self.geometry.cluster_bits();
        let clusters = extent.offset >> bits..=(extent.end() - 1) >> bits;
        self.allocator.pending.extend(clusters.map(|cluster| Waiting { cluster, freed }));
    }

    /// Lowers the counts of all clusters whose dereference has become durable, and punches those that became free.
    pub(crate) fn apply_frees(&mut self) -> Result<()> {
        *self.decompressed.get_mut() = None;
        self.storage.step(&steps::CLUSTER_FREE);
        let mut waiting = std::mem::take(&mut self.allocator.pending);
        waiting.sort_unstable();
        let mut applied = 0;
        let result = self.apply_each(&waiting, &mut applied);
        self.allocator.pending.extend_from_slice(&waiting[applied..]);
        result
    }

    /// Lowers counts in order and keeps in `applied` how many clusters are done.
    fn apply_each(&mut self, waiting: &[Waiting], applied: &mut usize) -> Result<()> {
        let storage = std::sync::Arc::clone(&self.storage);
        self.punch_unreferenced(waiting)?;
        for &Waiting { cluster, .. } in waiting {
            let count = self.refcounts.get(&*storage, cluster)?;
            if count == 0 {
                let offset = cluster << self.geometry.cluster_bits();
                let error = Error::corrupt(
                    "refcount",
                    offset,
                    "a cluster is given back more often than it is counted",
                );
                return Err(self.poison_corrupt(error));
            }
            self.refcounts.set(&*storage, cluster, count - 1)?;
            *applied += 1;
            if count == 1 {
                self.allocator.freed(cluster, self.geometry.cluster_bits());
            }
        }
        Ok(())
    }

    /// Punches, in as few pieces as possible, every cluster that loses its last reference and is to be punched. `waiting` is
    /// sorted.
    fn punch_unreferenced(&mut self, waiting: &[Waiting]) -> Result<()> {
        let punches = self.behaviour.punches;
        if punches == Punches::default() {
            return Ok(());
        }
        let mut hole = Extent::default();
        for run in waiting.chunk_by(|a, b| a.cluster == b.cluster) {
            let is_covered = run.iter().any(|waiting| punches.covers(waiting.freed));
            let cluster = run[0].cluster;
            if is_covered && self.refcount(cluster)? == run.len() as u64 {
                hole = self.extend_hole(hole, cluster << self.geometry.cluster_bits())?;
            }
        }
        self.punch(hole)
    }

    /// Adds a cluster to the hole that is being collected; punches it first where the cluster is not next to it.
    fn extend_hole(&mut self, hole: Extent, offset: u64) -> Result<Extent> {
        let cluster_bytes = self.geometry.cluster_bytes();
        if !hole.is_empty() && hole.end() == offset {
            return Ok(Extent::new(hole.offset, hole.length + cluster_bytes));
        }
        self.punch(hole)?;
        Ok(Extent::new(offset, cluster_bytes))
    }

    fn punch(&self, hole: Extent) -> Result<()> {
        if hole.is_empty() { Ok(()) } else { self.storage.punch_hole(hole) }
    }

    fn first_free(&mut self, first: u64, end: u64) -> Result<Option<u64>> {
        for cluster in first..end {
            if self.refcount(cluster)? == 0 {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }

    /// Where the run of free clusters ends that begins at `first`, at most at `limit`.
    fn free_run_end(&mut self, first: u64, limit: u64) -> Result<u64> {
        for cluster in first..limit {
            if self.refcount(cluster)? != 0 {
                return Ok(cluster);
            }
        }
        Ok(limit)
    }

    /// Counts one reference to each cluster of a free run, unless metadata lies there: then the counts are wrong.
    fn take_clusters(&mut self, first: u64, count: u64) -> Result<()> {
        let bits = self.geometry.cluster_bits();
        if (first + count) >= HOST_OFFSET_END >> bits {
            return Err(Error::NoSpace { what: "host offsets end at 2^56".into() });
        }
        let storage = std::sync::Arc::clone(&self.storage);
        for cluster in first..first + count {
            if let Some(role) = self.roles.guarded(cluster) {
                let error = overlap("a cluster with refcount 0", cluster << bits, role);
                return Err(self.poison_corrupt(error));
            }
            self.refcounts.set(&*storage, cluster, 1)?;
        }
        self.allocator.took(first, count);
        Ok(())
    }

    /// Makes sure that a refcount block counts `cluster`. Returns whether one had to be made.
    fn ensure_block(&mut self, cluster: u64) -> Result<bool> {
        let index = self.geometry.table_index(cluster);
        if index >= self.refcounts.table.len() as u64 {
            self.grow_refcount_table()?;
            return Ok(true);
        }
        if let Some(block) = self.refcounts.block_offset(cluster)? {
            return match self.roles.of(block >> self.geometry.cluster_bits()) {
                Some(Role::RefcountBlock) => {
                    self.check_structure_inside("refcount block", block).map(|()| false)
                }
                role => Err(self.poison_corrupt(overlap_of(Role::RefcountBlock, block, role))),
            };
        }
        self.add_refcount_block(index)?;
        Ok(true)
    }

    /// Clusters from `first` on are in use without having been allocated one by one.
    pub(crate) fn note_used(&mut self, first: u64, count: u64) {
        self.allocator.took(first, count);
    }

    /// Makes the block number `index`. It counts itself, in the first cluster of the range that it describes: without a
    /// block, all of that range is free.
    fn add_refcount_block(&mut self, index: u64) -> Result<()> {
        self.storage.step(&steps::REFBLOCK_ALLOC);
        let bits = self.geometry.cluster_bits();
        let cluster = index * self.geometry.block_entries();
        let block = cluster << bits;
        if block >= HOST_OFFSET_END {
            return Err(Error::NoSpace { what: "host offsets end at 2^56".into() });
        }
        if let Some(role) = self.roles.of(cluster) {
            let error = overlap("a refcount block", block, role);
            return Err(self.poison_corrupt(error));
        }
        self.storage.step(&steps::REFBLOCK_ALLOC_WRITE);
        if cluster < self.allocator.fresh {
            self.storage.write_zeroes_at(Extent::new(block, self.geometry.cluster_bytes()))?;
        }
        let storage = std::sync::Arc::clone(&self.storage);
        self.refcounts.add_block(&*storage, index as usize, block)?;
        self.roles.claim(cluster, Role::RefcountBlock);
        self.allocator.took(cluster, 1);
        self.refcounts.set(&*storage, cluster, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::loaded;

    #[test]
    fn a_search_begins_behind_what_the_last_one_found() {
        let mut metadata = loaded(12, 4);
        let first = metadata.allocate(1).unwrap().first;
        for (wanted, next) in [(1, 2), (5, 7), (100, 107)] {
            let allocation = metadata.allocate(wanted).unwrap();
            assert_eq!((allocation.count, allocation.first + wanted), (wanted, first + next));
            assert_eq!(metadata.allocator.next, first + next);
        }
        metadata.give_back(Allocation { first: first + 3, count: 2, fresh: false }).unwrap();
        assert_eq!(metadata.allocator.next, first + 3);
        let short = metadata.allocate(5).unwrap();
        assert_eq!((short.first, short.count, short.fresh), (first + 3, 2, false));
        let behind = metadata.allocate(5).unwrap();
        assert_eq!((behind.first, behind.count, behind.fresh), (first + 107, 5, true));
    }

    #[test]
    fn host_offsets_end_at_2_to_the_56() {
        let mut metadata = loaded(12, 4);
        let end = 1 << (56 - 12);
        for (first, count) in [(end - 1, 1), (end - 2, 2), (end - 1, 2), (end, 1)] {
            let error = metadata.take_clusters(first, count).unwrap_err().to_string();
            assert!(error.contains("host offsets end at 2^56"), "{first} {count}: {error}");
        }
        let index = metadata.geometry.table_index(end);
        assert!(matches!(metadata.add_refcount_block(index), Err(Error::NoSpace { .. })));
    }

    #[test]
    fn a_trimmed_file_keeps_its_header_whatever_the_counts_say() {
        let mut metadata = loaded(12, 4);
        let taken = metadata.allocate(3).unwrap();
        metadata.flush().unwrap();
        metadata.give_back(Allocation { first: taken.first + 1, ..taken }).unwrap();
        metadata.trim_file().unwrap();
        assert_eq!(metadata.storage.len().unwrap(), (taken.first + 1) << 12);
        for cluster in 0..=taken.first {
            let storage = std::sync::Arc::clone(&metadata.storage);
            metadata.refcounts.set(&*storage, cluster, 0).unwrap();
        }
        metadata.trim_file().unwrap();
        assert_eq!(metadata.storage.len().unwrap(), 1 << 12);
    }
}
