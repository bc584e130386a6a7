//! Writing compressed clusters: they lie byte to byte, several in a host cluster and across the border to the
//! next one, and each counts one reference to every host cluster that it touches.

use std::borrow::Cow;

use blk_core::{Compress, Error, Result};

use crate::compress;
use crate::free_space::FreeReason;
use crate::l2::RawEntry;
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, GuestOffset, HostExtent};
use crate::ondisk::CompressedDescriptor;
use crate::qcow2::Qcow2;
use crate::steps;
use crate::write::{check_old_freeable, free_old};

impl Qcow2 {
    /// Writes whole guest clusters compressed; one that does not become smaller is written as plain data.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with a data file, which has none; [`Error::Misaligned`] unless the request
    /// covers whole clusters (the last one of the disk up to its end).
    pub(crate) fn write_compressed_guest(&self, offset: GuestOffset, buf: &[u8]) -> Result<()> {
        if self.geometry.has_data_file() {
            return Err(Error::unsupported("compressed clusters with an external data file"));
        }
        let alignment = self.geometry.cluster_bytes();
        let length = buf.len() as u64;
        let end = offset + length;
        if !self.geometry.is_cluster_aligned(offset)
            || !(self.geometry.is_cluster_aligned(end) || end.get() == self.size_bytes())
        {
            return Err(Error::Misaligned { offset: offset.get(), length, alignment });
        }
        let _recording = self.begin_write(offset.with_length(length))?;
        let mut at = offset;
        for part in buf.chunks(alignment as usize) {
            let packed = self.compress(part)?;
            self.write_packed_cluster(at, part, packed.as_deref())?;
            at += alignment;
        }
        Ok(())
    }

    fn write_packed_cluster(&self, at: GuestOffset, part: &[u8], packed: Option<&[u8]>) -> Result<()> {
        let Some(packed) = packed else { return self.write_guest(at, part) };
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        metadata.check_reach(at.get(), at.get() + part.len() as u64)?;
        if metadata.header.compression != self.compression {
            // An amendment has changed it: what is packed could not be read.
            drop(metadata);
            return self.write_guest(at, part);
        }
        let old = metadata.entry_of(at)?;
        check_old_freeable(&mut metadata, old)?;
        metadata.l2_for_write(at)?;
        let extent = allocate_bytes(&mut metadata, packed.len() as u64)?;
        let Some(entry) = CompressedDescriptor::new(extent.start, extent.length).encode(self.geometry) else {
            drop_bytes(&mut metadata, extent)?;
            drop(metadata);
            return self.write_guest(at, part);
        };
        self.storage.step(&steps::WRITE_COMPRESSED);
        if let Err(error) = self.storage.write_at(extent.start.get(), packed) {
            drop_bytes(&mut metadata, extent)?;
            return Err(error);
        }
        self.storage.step(&steps::L2_UPDATE_COMPRESSED);
        // A write-back inside the allocation may have evicted the slice.
        let slot = metadata.l2_for_write(at)?;
        for cluster in self.geometry.touched(extent) {
            metadata.debug_assert_counted(cluster);
        }
        metadata.set_raw_entry(slot, RawEntry::compressed(entry));
        free_old(&mut metadata, old, FreeReason::Replace);
        Ok(())
    }
}

impl Compress for Qcow2 {
    fn unit_bytes(&self) -> u64 {
        self.geometry.cluster_bytes()
    }

    fn compress(&self, unit: &[u8]) -> Result<Option<Vec<u8>>> {
        let cluster_bytes = self.geometry.cluster_bytes() as usize;
        let mut whole = Cow::Borrowed(unit);
        if unit.len() != cluster_bytes {
            whole.to_mut().resize(cluster_bytes, 0);
        }
        compress::compress(self.compression, &whole)
    }

    fn write_packed(&self, offset: u64, unit: &[u8], packed: Option<&[u8]>) -> Result<()> {
        let offset = GuestOffset::new(offset);
        let recording = self.begin_write(offset.with_length(unit.len() as u64));
        self.noting(recording.and_then(|_recording| self.write_packed_cluster(offset, unit, packed)))
    }
}

/// Space for `length` bytes, fewer than a cluster, after what was packed last. Each host cluster that it
/// touches gains a reference.
fn allocate_bytes(metadata: &mut Metadata, length: u64) -> Result<HostExtent> {
    metadata.storage.step(&steps::CLUSTER_ALLOC_BYTES);
    let geometry = metadata.geometry;
    debug_assert!(
        (1..=geometry.cluster_bytes()).contains(&length),
        "{length} bytes are no compressed cluster"
    );
    let packing_at = metadata.free.packing_at();
    if let Some(at) = packing_at {
        let cluster = geometry.cluster_of(at);
        let fits = geometry.cluster_of(at + (length - 1)) == cluster;
        if fits && metadata.add_reference(cluster)? {
            return Ok(packed(metadata, at.with_length(length)));
        }
    }
    let new = metadata.allocate(ClusterCount::ONE)?;
    let at_new = geometry.offset_of(new.first).with_length(length);
    // The allocation may have written back, and freed the cluster that was packed into.
    let still_packing = packing_at.filter(|_| metadata.free.packing_at() == packing_at);
    let Some(at) = still_packing.filter(|at| geometry.cluster_of(*at).next() == new.first) else {
        return Ok(packed(metadata, at_new));
    };
    match metadata.add_reference(geometry.cluster_of(at)) {
        Ok(true) => Ok(packed(metadata, at.with_length(length))),
        Ok(false) => Ok(packed(metadata, at_new)),
        Err(error) => {
            metadata.give_back(new)?;
            Err(error)
        }
    }
}

/// The next bytes follow `extent`, if its last cluster has space left.
fn packed(metadata: &mut Metadata, extent: HostExtent) -> HostExtent {
    metadata.free.pack_from(extent.end());
    extent
}

/// Undoes [`allocate_bytes`] for bytes that nothing refers to.
fn drop_bytes(metadata: &mut Metadata, extent: HostExtent) -> Result<()> {
    for cluster in metadata.geometry.touched(extent) {
        metadata.drop_reference(cluster)?;
    }
    Ok(())
}
