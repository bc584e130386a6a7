//! What this layer knows about a range of guest bytes.

use blk_core::{BlockStatus, Extent, Result, StorageRun};

use crate::l2::Cluster;
use crate::mapping::{Lookup, Run};
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, GuestOffset, HostCluster, HostOffset};
use crate::qcow2::Qcow2;

impl Qcow2 {
    /// The status of the run at the start of `extent`.
    pub(crate) fn status_of(&self, extent: Extent) -> Result<BlockStatus> {
        Ok(self.status_of_run(extent.offset, self.run_of(extent)?))
    }

    /// The status of the first runs of `extent`, `runs_max` at most: those that are known at once. The lock
    /// is taken once for all.
    pub(crate) fn statuses_of(&self, extent: Extent, runs_max: usize) -> Result<Vec<BlockStatus>> {
        let cached = self.cached_statuses(&self.metadata.read(), extent, runs_max)?;
        if !cached.is_empty() {
            return Ok(cached);
        }
        let mut metadata = self.metadata.write();
        metadata.find(extent)?;
        let cached = self.cached_statuses(&metadata, extent, runs_max)?;
        assert!(!cached.is_empty(), "what was just found is cached");
        Ok(cached)
    }

    /// None if the first is not cached. An error ends the runs: whoever asks on from there meets it.
    fn cached_statuses(
        &self,
        metadata: &Metadata,
        extent: Extent,
        runs_max: usize,
    ) -> Result<Vec<BlockStatus>> {
        let mut statuses = Vec::new();
        let mut rest = extent;
        while !rest.is_empty() && statuses.len() < runs_max {
            match metadata.lookup(rest) {
                Ok(Lookup::Found(run)) => {
                    statuses.push(self.status_of_run(rest.offset, run));
                    rest = Extent::between(rest.offset + run.length, rest.end());
                }
                Err(error) if statuses.is_empty() => return Err(error),
                Ok(Lookup::NotCached) | Err(_) => break,
            }
        }
        Ok(statuses)
    }

    /// The status of a run that starts at `offset`.
    fn status_of_run(&self, offset: u64, run: Run) -> BlockStatus {
        let within = self.geometry.in_cluster(GuestOffset::new(offset));
        let (allocated, zero, compressed, host) = match run.cluster {
            Cluster::Unallocated => (false, self.backing.is_none(), false, None),
            Cluster::Reserved { host, .. } => (false, self.backing.is_none(), false, Some(host)),
            Cluster::Zero { host, .. } => (true, true, false, host),
            Cluster::Data { host, .. } => (true, false, false, Some(host)),
            Cluster::Compressed(_) => (true, false, true, None),
        };
        // What lies there is not what the guest sees.
        let host = host.filter(|_| self.crypt.is_none());
        let host_offset = host.map(|host| (host + within).get());
        BlockStatus { length: run.length, allocated, zero, compressed, host_offset }
    }

    fn run_of(&self, extent: Extent) -> Result<Run> {
        let found = self.metadata.read().lookup(extent)?;
        match found {
            Lookup::Found(run) => Ok(run),
            Lookup::NotCached => self.metadata.write().find(extent),
        }
    }

    /// What the host has for the data at the start of `extent`. It is asked only for an image of which it has
    /// much less than that uses, as with preallocated metadata: elsewhere holes are few, and asking for each
    /// run costs more than it saves.
    pub(crate) fn host_run_of(&self, extent: Extent) -> Result<Option<StorageRun>> {
        if self.crypt.is_some() {
            // A hole of the host is noise.
            return Ok(None);
        }
        let is_sparse = if let Some(known) = self.is_sparse.get() {
            *known
        } else {
            // Counts that cannot be read are left to a check.
            let found = self.metadata.write().is_sparse().unwrap_or(false);
            *self.is_sparse.get_or_init(|| found)
        };
        if !is_sparse || self.geometry.has_data_file() {
            return Ok(None);
        }
        let run = self.run_of(extent)?;
        let Cluster::Data { host, .. } = run.cluster else { return Ok(None) };
        let length = run.length.min(extent.length);
        let found =
            self.storage.run_at((host + self.geometry.in_cluster(GuestOffset::new(extent.offset))).get())?;
        // Past the end of the file there are zeroes.
        let found = found.unwrap_or(StorageRun { length, data: false });
        Ok(Some(StorageRun { length: found.length.min(length), ..found }))
    }
}

impl Metadata {
    /// Whether the host has fewer clusters of the image than are in use, by a ninth and by 2 at least,
    /// because some were never written. An image of ours has holes in clusters that were written in part,
    /// which alone do not make it sparse.
    fn is_sparse(&mut self) -> Result<bool> {
        let Some(allocated) = self.storage.allocated_bytes()? else { return Ok(false) };
        let stored = allocated / self.geometry.cluster_bytes();
        let limit = ClusterCount::new(stored + (stored / 9).max(2));
        let clusters = self.geometry.clusters_of(self.storage.len()?);
        if clusters < limit || !self.uses_at_least(limit, clusters)? {
            return Ok(false);
        }
        // What is set aside without having been written looks like a hole too, but is allocated.
        let (data, holes) = self.data_and_holes()?;
        Ok(holes > 0 && data + holes / 2 >= allocated)
    }

    /// Whether `count` of the first `clusters` clusters are in use.
    fn uses_at_least(&mut self, count: ClusterCount, clusters: ClusterCount) -> Result<bool> {
        let first = HostCluster::default();
        let mut used = 0;
        for cluster in first.until(first + clusters) {
            used += u64::from(self.refcount(cluster)? != 0);
            if used >= count.get() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes of data in the file, and bytes of clusters in use that are holes as a whole.
    fn data_and_holes(&mut self) -> Result<(u64, u64)> {
        let geometry = self.geometry;
        let end = self.storage.len()?;
        let (mut data, mut holes, mut at) = (0, 0, 0);
        while let Some(run) = self.storage.run_at(at)? {
            let start = at;
            at += run.length;
            if run.data {
                data += run.length;
                continue;
            }
            // Whole clusters inside the hole; the last one of the file ends with it.
            let first = geometry.cluster_of(geometry.round_up(HostOffset::new(start)));
            let last = if at >= end { geometry.round_up(HostOffset::new(at)) } else { HostOffset::new(at) };
            for cluster in first.until(geometry.cluster_of(last)) {
                if self.refcount(cluster)? != 0 {
                    let left = end.saturating_sub(geometry.offset_of(cluster).get());
                    holes += geometry.cluster_bytes().min(left);
                }
            }
        }
        Ok((data, holes))
    }
}
