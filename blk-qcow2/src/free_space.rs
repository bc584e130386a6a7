//! Which host clusters are free for the next allocation, as far as refcounts do not say: where a search
//! begins, where the file ends, and which clusters are pending.
//!
//! ```text
//! in use -- reference removed in memory --> pending -- dereference durable, hole punched, count 0 --> free
//! ```
//!
//! **Invariant:** a cluster that loses its last reference is not free yet. It is pending, with its count
//! unchanged, until nothing durable refers to it, so that no search finds it before. Searching and counting
//! are `allocate`'s, freeing is `free`'s.

use crate::geometry::Geometry;
use crate::offset::{ClusterCount, HostCluster, HostOffset};

/// Why a cluster loses a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FreeReason {
    /// The guest asked for it: a discard, or zeroes that may unmap.
    Discard,
    /// The whole content of the image is dropped.
    Drop,
    /// Something else took its place.
    Replace,
}

/// Which clusters that become free are punched out of the host file, by the reason that freed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DiscardPolicy {
    pub(crate) discard: bool,
    pub(crate) drop: bool,
    pub(crate) replace: bool,
}

impl DiscardPolicy {
    /// Nothing is punched.
    pub(crate) const NONE: Self = Self { discard: false, drop: false, replace: false };

    pub(crate) const fn punches(self, reason: FreeReason) -> bool {
        match reason {
            FreeReason::Discard => self.discard,
            FreeReason::Drop => self.drop,
            FreeReason::Replace => self.replace,
        }
    }
}

/// A reference to a cluster that is to be taken from its count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PendingFree {
    pub(crate) cluster: HostCluster,
    pub(crate) reason: FreeReason,
}

/// Contiguous host clusters that were just allocated; nothing refers to them yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) first: HostCluster,
    pub(crate) count: ClusterCount,
    /// They are known to read as zeroes.
    pub(crate) fresh: bool,
}

impl Allocation {
    /// One past the last cluster.
    pub(crate) fn end(self) -> HostCluster {
        self.first + self.count
    }
}

/// Where free clusters are, and which are on their way to becoming free.
#[derive(Debug)]
pub(crate) struct FreeSpace {
    geometry: Geometry,
    /// No cluster below is free.
    next: HostCluster,
    /// No cluster at or above has ever been written: it reads as zeroes.
    fresh: HostCluster,
    /// No cluster at or above is in use. Never past `fresh`.
    end: HostCluster,
    /// The file has to reach `end` at the next write-back.
    must_extend: bool,
    /// Where the next compressed cluster goes, inside a host cluster that has space left.
    packing_at: Option<HostOffset>,
    /// References to be taken from counts, one each, in the order in which they were removed.
    pending: Vec<PendingFree>,
}

impl FreeSpace {
    /// For a file of `file_clusters` clusters.
    pub(crate) fn new(geometry: Geometry, file_clusters: ClusterCount) -> Self {
        let file_end = HostCluster::default() + file_clusters;
        Self {
            geometry,
            next: HostCluster::default(),
            fresh: file_end,
            end: file_end,
            must_extend: false,
            packing_at: None,
            pending: Vec::new(),
        }
    }

    /// Where a search begins: no cluster before is free.
    pub(crate) fn search_start(&self) -> HostCluster {
        self.next
    }

    /// A search found no free cluster before `next`.
    pub(crate) fn search_from(&mut self, next: HostCluster) {
        assert!(next >= self.next, "a search goes forward; only a freed cluster takes it back");
        self.next = next;
    }

    /// One past the last cluster that the file has, or will have at the next write-back.
    #[inline]
    pub(crate) fn file_end(&self) -> HostCluster {
        self.fresh
    }

    /// Whether `cluster` was never written, and so reads as zeroes.
    pub(crate) fn is_fresh(&self, cluster: HostCluster) -> bool {
        cluster >= self.fresh
    }

    /// One past the last cluster in use.
    pub(crate) fn end(&self) -> HostCluster {
        self.end
    }

    /// Whether the file may be shorter than what is in use.
    pub(crate) fn must_extend(&self) -> bool {
        self.must_extend
    }

    /// The file reaches the end of what is in use.
    pub(crate) fn mark_extended(&mut self) {
        self.must_extend = false;
    }

    /// `count` clusters from `first` on are in use.
    pub(crate) fn take(&mut self, first: HostCluster, count: ClusterCount) {
        assert!(count > ClusterCount::default(), "an allocation has a cluster at least");
        let end = first + count;
        self.fresh = self.fresh.max(end);
        if end > self.end {
            self.end = end;
            self.must_extend = true;
        }
        assert!(self.end <= self.fresh, "what is in use counts as written");
    }

    /// An allocation is undone: the file need not reach what nothing uses, and a full host may be the reason.
    pub(crate) fn give_back(&mut self, allocation: Allocation) {
        if self.end == allocation.end() {
            self.end = allocation.first;
        }
    }

    /// The count of `cluster` has fallen to 0, and nothing durable refers to it.
    pub(crate) fn release(&mut self, cluster: HostCluster) {
        self.next = self.next.min(cluster);
        if self.packing_at.is_some_and(|at| self.geometry.cluster_of(at) == cluster) {
            self.packing_at = None;
        }
    }

    /// The file was cut at `end`, which is the end of what is in use.
    pub(crate) fn truncate(&mut self, end: HostCluster) {
        assert!(end <= self.end && self.pending.is_empty(), "only free clusters are cut off");
        self.end = end;
        self.fresh = end;
    }

    /// Where the next compressed cluster goes, if the last one left space in its host cluster.
    pub(crate) fn packing_at(&self) -> Option<HostOffset> {
        self.packing_at
    }

    /// Compressed data ends at `end`; the next goes there if the cluster has space left.
    pub(crate) fn pack_from(&mut self, end: HostOffset) {
        self.packing_at = (!self.geometry.is_cluster_aligned(end)).then_some(end);
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many references wait to be taken from counts.
    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Whether a reference to `cluster` waits. For assertions: it looks at all that wait.
    pub(crate) fn is_pending(&self, cluster: HostCluster) -> bool {
        self.pending.iter().any(|pending| pending.cluster == cluster)
    }

    /// Adds a reference that was removed in memory.
    pub(crate) fn add_pending(&mut self, cluster: HostCluster, reason: FreeReason) {
        self.pending.push(PendingFree { cluster, reason });
    }

    /// Hands over all that wait, by cluster and in the order of clusters.
    pub(crate) fn take_pending(&mut self) -> Vec<PendingFree> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        pending
    }

    /// Takes back what could not be freed.
    pub(crate) fn return_pending(&mut self, rest: &[PendingFree]) {
        self.pending.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file_clusters: u64) -> FreeSpace {
        FreeSpace::new(Geometry::new(16, 4).unwrap(), ClusterCount::new(file_clusters))
    }

    fn cluster(index: u64) -> HostCluster {
        HostCluster::new(index)
    }

    #[test]
    fn the_file_has_to_reach_what_is_taken_past_its_end() {
        let mut free = of(5);
        free.take(cluster(3), ClusterCount::new(2));
        assert!(!free.must_extend());
        free.take(cluster(6), ClusterCount::new(2));
        assert_eq!((free.must_extend(), free.end(), free.file_end()), (true, cluster(8), cluster(8)));
        free.mark_extended();
        free.give_back(Allocation { first: cluster(6), count: ClusterCount::new(2), fresh: true });
        assert_eq!((free.end(), free.file_end()), (cluster(6), cluster(8)), "they may have been written");
        assert!(free.is_fresh(cluster(8)) && !free.is_fresh(cluster(7)));
    }

    #[test]
    fn a_released_cluster_takes_the_search_back_and_ends_packing_into_it() {
        let mut free = of(9);
        free.search_from(cluster(7));
        free.pack_from(HostOffset::new((5 << 16) + 100));
        free.release(cluster(6));
        assert_eq!((free.search_start(), free.packing_at().is_some()), (cluster(6), true));
        free.release(cluster(5));
        assert_eq!((free.search_start(), free.packing_at()), (cluster(5), None));
        free.pack_from(HostOffset::new(6 << 16));
        assert_eq!(free.packing_at(), None, "the cluster is full");
    }

    #[test]
    fn pending_frees_are_handed_over_in_the_order_of_clusters() {
        let mut free = of(9);
        for (index, reason) in [(7, FreeReason::Drop), (3, FreeReason::Replace), (3, FreeReason::Discard)] {
            free.add_pending(cluster(index), reason);
        }
        assert!(free.is_pending(cluster(7)) && !free.is_pending(cluster(4)));
        let pending = free.take_pending();
        let order: Vec<_> = pending.iter().map(|pending| (pending.cluster.index(), pending.reason)).collect();
        assert_eq!(order, [(3, FreeReason::Discard), (3, FreeReason::Replace), (7, FreeReason::Drop)]);
        assert!(!free.has_pending());
        free.return_pending(&pending[1..]);
        assert_eq!(free.pending_count(), 2);
    }

    #[test]
    #[should_panic(expected = "only free clusters are cut off")]
    fn a_file_is_not_cut_while_clusters_wait() {
        let mut free = of(9);
        free.add_pending(cluster(3), FreeReason::Discard);
        free.truncate(cluster(2));
    }
}
