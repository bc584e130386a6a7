//! Allocating clusters before they are written.

use blk_core::storage::write_zeroes_as_data;
use blk_core::{Extent, Preallocation, Result};

use crate::allocator::Allocation;
use crate::l2::{Cluster, ZERO, data_entry};
use crate::metadata::Metadata;
use crate::qcow2::Qcow2;

impl Qcow2 {
    /// Allocates all clusters of `extent`, which a disk that grows is about to gain: all of it reads as zeroes already.
    pub(crate) fn preallocate(&self, extent: Extent, preallocation: Preallocation) -> Result<()> {
        if preallocation == Preallocation::Off || extent.is_empty() {
            return Ok(());
        }
        let cluster_bytes = self.geometry.cluster_bytes();
        let start = self.geometry.cluster_start(extent.offset);
        let mut at = start;
        if start < extent.offset && !self.below_ends_before(start) {
            // The old end's cluster may show the backing file: an ordinary write keeps that.
            at += cluster_bytes;
            self.write_zero_data(Extent::between(extent.offset, extent.end().min(at)))?;
        }
        let end = extent.end().next_multiple_of(cluster_bytes);
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        while at < end {
            at = self.preallocate_next(&mut metadata, Extent::between(at, end), preallocation)?;
        }
        Ok(())
    }

    /// Allocates the clusters at the start of `extent` that can be done at once. Returns where to go on.
    fn preallocate_next(
        &self,
        metadata: &mut Metadata,
        extent: Extent,
        preallocation: Preallocation,
    ) -> Result<u64> {
        let run = metadata.find(extent)?;
        let mark = match run.cluster {
            // What a mark hides stays hidden until something has been written over it.
            Cluster::Zero { host: None, .. } if preallocation == Preallocation::Metadata => ZERO,
            Cluster::Unallocated | Cluster::Zero { host: None, .. } => 0,
            _ => return Ok(extent.offset + run.length),
        };
        let (_, first) = metadata.l2_for_write(extent.offset)?;
        let entries = (metadata.l2.slice_bytes() / 8) as usize;
        let wanted = metadata.geometry.clusters_of(run.length).min((entries - first) as u64);
        let allocation = metadata.allocate(wanted)?;
        // A write-back inside the allocation may have evicted the slice.
        let (slice, first) = metadata.l2_for_write(extent.offset)?;
        if let Err(error) = self.fill_new(metadata, allocation, preallocation) {
            metadata.give_back(allocation)?;
            return Err(error);
        }
        for number in 0..allocation.count {
            let host = (allocation.first + number) << metadata.geometry.cluster_bits();
            metadata.set_l2_entry((slice, first + number as usize), data_entry(host) | mark);
        }
        Ok(extent.offset + allocation.count * metadata.geometry.cluster_bytes())
    }

    /// Makes new host clusters zeroes, in the way that was asked for.
    fn fill_new(
        &self,
        metadata: &Metadata,
        allocation: Allocation,
        preallocation: Preallocation,
    ) -> Result<()> {
        let bits = metadata.geometry.cluster_bits();
        let host = Extent::new(allocation.first << bits, allocation.count << bits);
        match preallocation {
            Preallocation::Off | Preallocation::Metadata if allocation.fresh => Ok(()),
            Preallocation::Off | Preallocation::Metadata | Preallocation::Falloc => {
                self.storage.write_zeroes_at(host)
            }
            Preallocation::Full => write_zeroes_as_data(&*self.storage, host),
        }
    }
}
