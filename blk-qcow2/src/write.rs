//! Writing guest data: in place where the cluster belongs to this disk alone, else into newly allocated clusters.

use blk_core::{Error, Extent, Result};

use crate::allocator::{Allocation, Freed};
use crate::l2::{self, Cluster};
use crate::mapping::Lookup;
use crate::metadata::Metadata;
use crate::qcow2::Qcow2;
use crate::steps;

/// Consecutive guest clusters of one L2 slice that get new host clusters, and what they hold so far.
#[derive(Debug)]
struct Replaced {
    /// The L2 slice and the first entry's index in it.
    located: (u64, usize),
    /// Old state, in guest order.
    clusters: Vec<Cluster>,
}

impl Qcow2 {
    /// Writes `buf`. In-place writes share the lock; the first byte that needs an allocation makes it exclusive.
    pub(crate) fn write_guest(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut done = self.write_in_place(offset, buf)?;
        if done == buf.len() {
            return Ok(());
        }
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        while done < buf.len() {
            done += self.write_exclusively(&mut metadata, offset + done as u64, &buf[done..])?;
        }
        Ok(())
    }

    /// Writes from the start of `buf` as far as it can go straight to clusters that are cached as writable.
    #[inline]
    fn write_in_place(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        let metadata = self.metadata.read();
        metadata.check_usable()?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let Lookup::Found(run) = metadata.lookup(Extent::new(at, (buf.len() - done) as u64))? else {
                break;
            };
            let Some(host) = run.cluster.in_place() else { break };
            let end = done + run.length as usize;
            self.write_data(&metadata, host + metadata.geometry.in_cluster(at), &buf[done..end])?;
            done = end;
        }
        Ok(done)
    }

    #[inline]
    fn write_data(&self, metadata: &Metadata, host_offset: u64, buf: &[u8]) -> Result<()> {
        metadata.check_data_target(Extent::new(host_offset, buf.len() as u64))?;
        self.storage.step(&steps::WRITE_AIO);
        self.storage.write_at(host_offset, buf)
    }

    /// Writes a first part of `buf` under the exclusive lock, allocating as needed. Returns the bytes written.
    ///
    /// Where the host is full, clusters that are waiting to become free are freed first.
    pub(crate) fn write_exclusively(&self, metadata: &mut Metadata, at: u64, buf: &[u8]) -> Result<usize> {
        match self.write_first_run(metadata, at, buf) {
            Err(Error::NoSpace { .. }) if metadata.allocator.has_pending() => {
                metadata.write_back()?;
                self.write_first_run(metadata, at, buf)
            }
            answered => answered,
        }
    }

    fn write_first_run(&self, metadata: &mut Metadata, at: u64, buf: &[u8]) -> Result<usize> {
        let run = metadata.find(Extent::new(at, buf.len() as u64))?;
        if let Some(host) = run.cluster.in_place() {
            let length = run.length as usize;
            self.write_data(metadata, host + metadata.geometry.in_cluster(at), &buf[..length])?;
            return Ok(length);
        }
        if let Cluster::Zero { host: Some(host), copied: true } = run.cluster {
            return self.write_into_kept_cluster(metadata, host, at, buf);
        }
        self.write_into_new_clusters(metadata, at, buf)
    }

    /// A zero cluster that kept its host cluster: that is filled, then the zero flag goes.
    fn write_into_kept_cluster(
        &self,
        metadata: &mut Metadata,
        host: u64,
        at: u64,
        buf: &[u8],
    ) -> Result<usize> {
        let geometry = metadata.geometry;
        let length = (geometry.cluster_bytes() - geometry.in_cluster(at)).min(buf.len() as u64) as usize;
        metadata.check_data_target(Extent::new(host, geometry.cluster_bytes()))?;
        let located = metadata.l2_for_write(at)?;
        let zero = [Cluster::Zero { host: None, copied: false }];
        self.write_with_copied_parts(metadata, host, false, &zero, at, &buf[..length])?;
        metadata.set_l2_entry(located, l2::data_entry(host));
        Ok(length)
    }

    fn write_into_new_clusters(&self, metadata: &mut Metadata, at: u64, buf: &[u8]) -> Result<usize> {
        let replaced = find_replaced(metadata, at, buf.len() as u64)?;
        for cluster in &replaced.clusters {
            check_old_freeable(metadata, *cluster)?;
        }
        let allocation = metadata.allocate(replaced.clusters.len() as u64)?;
        // A write-back inside the allocation may have evicted the slice.
        let located = metadata.l2_for_write(at)?;
        let geometry = metadata.geometry;
        let host = allocation.first << geometry.cluster_bits();
        let room = allocation.count * geometry.cluster_bytes() - geometry.in_cluster(at);
        let length = room.min(buf.len() as u64) as usize;
        let old = &replaced.clusters[..allocation.count as usize];
        if let Err(error) =
            self.write_with_copied_parts(metadata, host, allocation.fresh, old, at, &buf[..length])
        {
            metadata.give_back(allocation)?;
            return Err(error);
        }
        debug_assert_eq!(located.1, replaced.located.1);
        link(metadata, located, allocation, old);
        Ok(length)
    }
}

/// The clusters from `at` on that cannot be written in place, up to the end of the L2 slice.
fn find_replaced(metadata: &mut Metadata, at: u64, length: u64) -> Result<Replaced> {
    let geometry = metadata.geometry;
    let located = metadata.l2_for_write(at)?;
    let entries = (metadata.l2.slice_bytes() / 8) as usize;
    let wanted = geometry.clusters_of(geometry.in_cluster(at) + length) as usize;
    let slice = metadata.l2.get(located.0).expect("l2_for_write has loaded it");
    let mut clusters = Vec::with_capacity(wanted.min(entries - located.1));
    for index in located.1..entries.min(located.1 + wanted) {
        let guest = geometry.cluster_start(at) + clusters.len() as u64 * geometry.cluster_bytes();
        let cluster = l2::decode(slice.entry(index), geometry, metadata.header.version, guest)?;
        let kept = matches!(cluster, Cluster::Zero { host: Some(_), copied: true });
        if cluster.in_place().is_some() || (kept && !clusters.is_empty()) {
            break;
        }
        clusters.push(cluster);
    }
    Ok(Replaced { located, clusters })
}

/// Makes the L2 entries point to the new clusters, and gives back what they pointed to.
fn link(metadata: &mut Metadata, located: (u64, usize), allocation: Allocation, old: &[Cluster]) {
    for (number, cluster) in old.iter().enumerate() {
        let host = (allocation.first + number as u64) << metadata.geometry.cluster_bits();
        metadata.set_l2_entry((located.0, located.1 + number), l2::data_entry(host));
        free_old(metadata, *cluster, Freed::Other);
    }
}

/// Fails if the host clusters behind an old entry cannot be given back.
pub(crate) fn check_old_freeable(metadata: &mut Metadata, cluster: Cluster) -> Result<()> {
    match host_extent(metadata, cluster) {
        Some(extent) => metadata.check_freeable(extent, None),
        None => Ok(()),
    }
}

/// Gives back the host clusters behind an entry that has been replaced.
pub(crate) fn free_old(metadata: &mut Metadata, cluster: Cluster, freed: Freed) {
    if let Some(extent) = host_extent(metadata, cluster) {
        metadata.free_extent_later(extent, freed);
    }
}

fn host_extent(metadata: &Metadata, cluster: Cluster) -> Option<Extent> {
    match cluster {
        Cluster::Unallocated | Cluster::Zero { host: None, .. } => None,
        Cluster::Zero { host: Some(host), .. } | Cluster::Data { host, .. } => {
            Some(Extent::new(host, metadata.geometry.cluster_bytes()))
        }
        Cluster::Compressed(descriptor) => Some(descriptor.extent()),
    }
}
