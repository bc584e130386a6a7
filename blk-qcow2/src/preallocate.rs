//! Allocating clusters before they are written.

use blk_core::storage::write_zeroes_as_data;
use blk_core::{Extent, Preallocation, Result};

use crate::crypt::Located;
use crate::free_space::Allocation;
use crate::l2::{Cluster, Entry, Place};
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, GuestOffset};
use crate::qcow2::Qcow2;

impl Qcow2 {
    /// Allocates all clusters of `extent`, which a disk that grows is about to gain: all of it reads as
    /// zeroes already. With extended entries, subclusters stay what they are, with a place for what is
    /// written.
    pub(crate) fn preallocate(&self, extent: Extent, preallocation: Preallocation) -> Result<()> {
        if preallocation == Preallocation::Off || extent.is_empty() {
            return Ok(());
        }
        let (old_end, new_end) = (GuestOffset::new(extent.offset), GuestOffset::new(extent.end()));
        let start = self.geometry.cluster_start(old_end);
        let mut at = start;
        if start < old_end && !self.backing_ends_before(start) && !self.geometry.has_extended_l2() {
            // The old end's cluster may show the backing file: an ordinary write keeps that.
            at += self.geometry.cluster_bytes();
            self.write_zero_data(old_end.to(new_end.min(at)))?;
        }
        let end = self.geometry.round_up(new_end);
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        while at < end {
            let next = self.preallocate_next(&mut metadata, at.to(end), preallocation)?;
            debug_assert!(next > at, "each step allocates something");
            at = next;
        }
        Ok(())
    }

    /// Allocates the clusters at the start of `extent` that can be done at once. Returns where to go on.
    fn preallocate_next(
        &self,
        metadata: &mut Metadata,
        extent: Extent,
        preallocation: Preallocation,
    ) -> Result<GuestOffset> {
        let at = GuestOffset::new(extent.offset);
        let geometry = metadata.geometry;
        let run = metadata.find(extent)?;
        let is_zero = match run.cluster {
            Cluster::Zero { host: None, .. } => true,
            Cluster::Unallocated => false,
            // Where it ends inside a cluster, all of that has a place.
            _ => return Ok(geometry.round_up(at + run.length)),
        };
        // What a mark hides stays hidden until something has been written over it. Encrypted, zeroes of the
        // host are noise, and need a mark, where the version has one.
        let needs_mark = self.crypt.is_some() && metadata.header.version >= 3;
        let keeps_mark = (is_zero && preallocation == Preallocation::Metadata) || needs_mark;
        let slot = metadata.l2_for_write(at)?;
        let left = ClusterCount::new((metadata.entries_per_slice() - slot.index) as u64);
        let wanted = geometry.clusters_of(run.length).min(left);
        let allocation = metadata.allocate_data(at, wanted)?;
        // A write-back inside the allocation may have evicted the slice.
        let slot = metadata.l2_for_write(at)?;
        if let Err(error) = self.fill_new(metadata, allocation, at, preallocation) {
            metadata.give_back_data(allocation)?;
            return Err(error);
        }
        for (number, cluster) in allocation.first.until(allocation.end()).enumerate() {
            metadata.debug_assert_counted(cluster);
            let place = Place::Plain { host: geometry.offset_of(cluster), copied: true };
            let entry = if geometry.has_extended_l2() {
                Entry { place, ..metadata.entry_of(at + number as u64 * geometry.cluster_bytes())? }
            } else {
                Entry { place, allocated: u32::from(!keeps_mark), zero: u32::from(keeps_mark) }
            };
            metadata.set_l2_entry(slot.after(number), entry);
        }
        Ok(at + geometry.bytes_of(allocation.count))
    }

    /// Makes new host clusters read as zeroes, as `preallocation` says.
    fn fill_new(
        &self,
        metadata: &Metadata,
        allocation: Allocation,
        guest: GuestOffset,
        preallocation: Preallocation,
    ) -> Result<()> {
        let host = metadata.geometry.extent_of(allocation.first, allocation.count);
        if let Some(crypt) = self.crypt.as_ref().filter(|_| metadata.header.version < 3) {
            let to = Located { host: host.start, guest };
            return crypt.write_zeroes(&*self.storage, to, host.length);
        }
        let host = host.on_storage();
        match preallocation {
            Preallocation::Off | Preallocation::Metadata if allocation.fresh => Ok(()),
            Preallocation::Off | Preallocation::Metadata | Preallocation::Falloc => {
                self.data.write_zeroes_at(host)
            }
            Preallocation::Full => write_zeroes_as_data(&*self.data, host),
        }
    }
}
