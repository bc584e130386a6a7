//! Writing guest data: in place where the cluster belongs to this disk alone, else into newly allocated
//! clusters.
//!
//! Write order: what fills subclusters, copied parts included, is durable before the bits that say so (see
//! `metadata`).

use blk_core::{Error, Result};

use crate::cow::Filling;
use crate::crypt::Located;
use crate::free_space::{Allocation, FreeReason};
use crate::l2::Entry;
use crate::l2_tables::L2Slot;
use crate::mapping::Lookup;
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, GuestOffset, HostOffset};
use crate::qcow2::Qcow2;
use crate::steps;

/// Consecutive guest clusters of one L2 slice that get new host clusters, and what they hold so far.
#[derive(Debug)]
struct Replaced {
    /// The place of the first entry.
    slot: L2Slot,
    /// Old state, in guest order.
    clusters: Vec<Entry>,
}

impl Qcow2 {
    /// Writes `buf`. In-place writes share the lock; the first byte that needs an allocation makes it
    /// exclusive.
    pub(crate) fn write_guest(&self, offset: GuestOffset, buf: &[u8]) -> Result<()> {
        let extent = offset.with_length(buf.len() as u64);
        let _alone = self.crypt.as_ref().map(|crypt| crypt.exclude(extent));
        let mut done = self.write_in_place(offset, buf)?;
        if done == buf.len() {
            return Ok(());
        }
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        metadata.check_reach(extent.offset, extent.end())?;
        while done < buf.len() {
            done += self.write_exclusively(&mut metadata, offset + done as u64, &buf[done..])?;
        }
        Ok(())
    }

    /// Writes from the start of `buf` as far as it can go straight to clusters that are cached as writable.
    #[inline]
    fn write_in_place(&self, offset: GuestOffset, buf: &[u8]) -> Result<usize> {
        let metadata = self.metadata.read();
        metadata.check_usable()?;
        metadata.check_reach(offset.get(), offset.get() + buf.len() as u64)?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let Lookup::Found(run) = metadata.lookup(at.with_length((buf.len() - done) as u64))? else {
                break;
            };
            let Some(host) = run.cluster.in_place() else { break };
            let end = done + run.length as usize;
            self.write_data(&metadata, host + metadata.geometry.in_cluster(at), at, &buf[done..end])?;
            done = end;
        }
        Ok(done)
    }

    #[inline]
    fn write_data(
        &self,
        metadata: &Metadata,
        host: HostOffset,
        guest: GuestOffset,
        buf: &[u8],
    ) -> Result<()> {
        metadata.check_data_target(host.with_length(buf.len() as u64))?;
        self.data_step(&steps::WRITE_AIO);
        match &self.crypt {
            None => self.data.write_at(host.get(), buf),
            Some(crypt) => crypt.write(&*self.data, Located { host, guest }, buf),
        }
    }

    /// Writes a first part of `buf` under the exclusive lock, allocating as needed. Returns the bytes
    /// written.
    ///
    /// Where the host is full, clusters that are waiting to become free are freed first.
    pub(crate) fn write_exclusively(
        &self,
        metadata: &mut Metadata,
        at: GuestOffset,
        buf: &[u8],
    ) -> Result<usize> {
        match self.write_first_run(metadata, at, buf) {
            Err(Error::NoSpace { .. }) if metadata.free.has_pending() => {
                metadata.write_back()?;
                self.write_first_run(metadata, at, buf)
            }
            answered => answered,
        }
    }

    fn write_first_run(&self, metadata: &mut Metadata, at: GuestOffset, buf: &[u8]) -> Result<usize> {
        let run = metadata.find(at.with_length(buf.len() as u64))?;
        if let Some(host) = run.cluster.in_place() {
            let length = run.length as usize;
            self.write_data(metadata, host + metadata.geometry.in_cluster(at), at, &buf[..length])?;
            return Ok(length);
        }
        if self.is_raw_data {
            self.map_raw_durably(metadata, at.with_length(buf.len() as u64))?;
            return self.write_first_run(metadata, at, buf);
        }
        if let Some(host) = run.cluster.kept() {
            return self.write_into_kept_cluster(metadata, host, at, buf);
        }
        self.write_into_new_clusters(metadata, at, buf)
    }

    /// A cluster whose host cluster does not hold all of it: subclusters of that are filled, then their bits
    /// say so.
    fn write_into_kept_cluster(
        &self,
        metadata: &mut Metadata,
        host: HostOffset,
        at: GuestOffset,
        buf: &[u8],
    ) -> Result<usize> {
        let geometry = metadata.geometry;
        let length = (geometry.cluster_bytes() - geometry.in_cluster(at)).min(buf.len() as u64) as usize;
        metadata.check_data_target(host.with_length(geometry.cluster_bytes()))?;
        let old = metadata.entry_of(at)?;
        let slot = metadata.l2_for_write(at)?;
        let filling = Filling { host, fresh: false, old: &[old], at, length: length as u64 };
        self.write_with_copied_parts(metadata, filling, &buf[..length])?;
        metadata.set_l2_entry(slot, filling.entry_after(geometry, 0));
        Ok(length)
    }

    fn write_into_new_clusters(&self, metadata: &mut Metadata, at: GuestOffset, buf: &[u8]) -> Result<usize> {
        let replaced = find_replaced(metadata, at, buf.len() as u64)?;
        for entry in &replaced.clusters {
            check_old_freeable(metadata, *entry)?;
        }
        let allocation = metadata.allocate_data(at, ClusterCount::new(replaced.clusters.len() as u64))?;
        // A write-back inside the allocation may have evicted the slice.
        let slot = metadata.l2_for_write(at)?;
        let geometry = metadata.geometry;
        let host = geometry.offset_of(allocation.first);
        let room = geometry.bytes_of(allocation.count) - geometry.in_cluster(at);
        let length = room.min(buf.len() as u64) as usize;
        debug_assert!(length > 0, "each allocation is written to");
        let old = &replaced.clusters[..allocation.count.get() as usize];
        let filling = Filling { host, fresh: allocation.fresh, old, at, length: length as u64 };
        if let Err(error) = self.write_with_copied_parts(metadata, filling, &buf[..length]) {
            metadata.give_back_data(allocation)?;
            return Err(error);
        }
        assert_eq!(slot.index, replaced.slot.index, "the entry stays where it is in its table");
        link(metadata, slot, allocation, filling);
        Ok(length)
    }
}

/// The clusters from `at` on that cannot be written in place, up to the end of the L2 slice.
fn find_replaced(metadata: &mut Metadata, at: GuestOffset, length: u64) -> Result<Replaced> {
    let geometry = metadata.geometry;
    let slot = metadata.l2_for_write(at)?;
    let entries = metadata.entries_per_slice();
    let wanted = geometry.clusters_of(geometry.in_cluster(at) + length).get() as usize;
    let slice = metadata.l2.get(slot.slice).expect("l2_for_write has loaded it");
    let mut clusters = Vec::with_capacity(wanted.min(entries - slot.index));
    for index in slot.index..entries.min(slot.index + wanted) {
        let guest = geometry.cluster_start(at) + clusters.len() as u64 * geometry.cluster_bytes();
        let entry = metadata.entry_in(slice, index, guest)?;
        if entry.is_own() {
            break;
        }
        clusters.push(entry);
    }
    debug_assert!(!clusters.is_empty(), "the first cluster cannot be written in place");
    Ok(Replaced { slot, clusters })
}

/// Makes the L2 entries point to the new clusters, and frees what they pointed to.
fn link(metadata: &mut Metadata, slot: L2Slot, allocation: Allocation, filling: Filling<'_>) {
    assert_eq!(filling.old.len() as u64, allocation.count.get(), "each new cluster replaces one");
    for (number, host) in allocation.first.until(allocation.end()).enumerate() {
        metadata.debug_assert_counted(host);
        metadata.set_l2_entry(slot.after(number), filling.entry_after(metadata.geometry, number));
        free_old(metadata, filling.old[number], FreeReason::Replace);
    }
}

/// Fails if the host clusters of an old entry cannot be freed.
pub(crate) fn check_old_freeable(metadata: &mut Metadata, entry: Entry) -> Result<()> {
    match entry.host_extent(metadata.geometry) {
        Some(extent) => metadata.check_freeable(extent, None),
        None => Ok(()),
    }
}

/// Frees the host clusters of an entry that has been replaced.
pub(crate) fn free_old(metadata: &mut Metadata, entry: Entry, reason: FreeReason) {
    if let Some(extent) = entry.host_extent(metadata.geometry) {
        metadata.free_extent_later(extent, reason);
    }
}
