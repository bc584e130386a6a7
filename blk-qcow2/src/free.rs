//! Freeing host clusters: first in memory, then, once that is durable, in the counts.
//!
//! Write order: an entry that no longer refers to a cluster is durable before the cluster's hole is punched
//! and its count falls.

use blk_core::{Error, Result};

use crate::free_space::{DiscardPolicy, FreeReason, PendingFree};
use crate::metadata::{Metadata, overlap};
use crate::offset::{ClusterCount, HostCluster, HostExtent, HostOffset};
use crate::roles::Role;
use crate::steps;

impl Metadata {
    /// Fails if the clusters of `extent` cannot be freed: they hold metadata other than `expected`, or their
    /// count does not have the reference that goes. Asked before anything is changed.
    pub(crate) fn check_freeable(&mut self, extent: HostExtent, expected: Option<Role>) -> Result<()> {
        for cluster in self.geometry.touched(extent) {
            self.check_losing(cluster, expected, "freeing guest data")?;
            let reason = match self.refcount(cluster)? {
                0 => "a cluster in use has refcount 0",
                1 if self.roles.kept(cluster).is_some_and(|role| Some(role) != expected) => {
                    "an L2 table that a snapshot has too has refcount 1"
                }
                _ => continue,
            };
            let error = Error::corrupt("refcount", self.geometry.offset_of(cluster).get(), reason);
            return Err(self.poison(error));
        }
        Ok(())
    }

    /// Fails if whoever is `doing` something to a cluster would lose metadata other than `expected`.
    pub(crate) fn check_losing(
        &mut self,
        cluster: HostCluster,
        expected: Option<Role>,
        doing: &str,
    ) -> Result<()> {
        let Some(role) = self.roles.lost_with(cluster, expected) else { return Ok(()) };
        let error = overlap(doing, self.geometry.offset_of(cluster), role);
        Err(self.poison(error))
    }

    /// The reference to the cluster at `host_offset` is gone from memory: its count falls once that is
    /// durable.
    pub(crate) fn free_later(&mut self, host_offset: HostOffset, reason: FreeReason) {
        self.free.add_pending(self.geometry.cluster_of(host_offset), reason);
    }

    /// As [`Metadata::free_later`] for every cluster that `extent` touches.
    pub(crate) fn free_extent_later(&mut self, extent: HostExtent, reason: FreeReason) {
        for cluster in self.geometry.touched(extent) {
            self.free.add_pending(cluster, reason);
        }
    }

    /// Lowers the counts of all clusters whose dereference has become durable, and punches those that become
    /// free.
    pub(crate) fn apply_frees(&mut self) -> Result<()> {
        assert!(!self.l2.has_dirty() && !self.l1.is_dirty(), "counts fall after the dereference is written");
        *self.decompressed.get_mut() = None;
        self.storage.step(&steps::CLUSTER_FREE);
        let pending = self.free.take_pending();
        let mut applied = 0;
        let result = self.apply_each(&pending, &mut applied);
        debug_assert!(result.is_err() || applied == pending.len(), "all are applied, or one has failed");
        self.free.return_pending(&pending[applied..]);
        result
    }

    /// Lowers counts in order and keeps in `applied` how many references are done.
    fn apply_each(&mut self, pending: &[PendingFree], applied: &mut usize) -> Result<()> {
        self.punch_unreferenced(pending)?;
        for &PendingFree { cluster, .. } in pending {
            let count = self.refcount(cluster)?;
            if count == 0 {
                let offset = self.geometry.offset_of(cluster).get();
                let reason = "a cluster is given back more often than it is counted";
                return Err(self.poison(Error::corrupt("refcount", offset, reason)));
            }
            self.refcounts.set(&*self.storage, cluster, count - 1)?;
            *applied += 1;
            if count == 1 {
                self.roles.release_l2_table(cluster);
                self.free.release(cluster);
            }
        }
        Ok(())
    }

    /// Punches, in as few pieces as possible, every cluster that loses its last reference and is to be
    /// punched. `pending` is sorted.
    fn punch_unreferenced(&mut self, pending: &[PendingFree]) -> Result<()> {
        debug_assert!(pending.is_sorted(), "references to a cluster stand together");
        let policy = self.options.discard_policy;
        if policy == DiscardPolicy::NONE {
            return Ok(());
        }
        let mut hole = HostExtent::default();
        for run in pending.chunk_by(|a, b| a.cluster == b.cluster) {
            let is_punched = run.iter().any(|pending| policy.punches(pending.reason));
            let cluster = run[0].cluster;
            if is_punched && self.refcount(cluster)? == run.len() as u64 {
                hole = self.extend_hole(hole, cluster)?;
            }
        }
        self.punch(hole)
    }

    /// Adds a cluster to the hole that is being collected; punches it first where the cluster does not follow
    /// it.
    fn extend_hole(&mut self, hole: HostExtent, cluster: HostCluster) -> Result<HostExtent> {
        let extent = self.geometry.extent_of(cluster, ClusterCount::ONE);
        if !hole.is_empty() && hole.end() == extent.start {
            return Ok(hole.start.with_length(hole.length + extent.length));
        }
        self.punch(hole)?;
        Ok(extent)
    }

    fn punch(&self, hole: HostExtent) -> Result<()> {
        if hole.is_empty() { Ok(()) } else { self.storage.punch_hole(hole.on_storage()) }
    }
}
