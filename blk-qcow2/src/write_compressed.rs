//! Writing compressed clusters: several share a host cluster, each counting one reference to it.

use std::borrow::Cow;

use blk_core::storage::Event;
use blk_core::{Error, Extent, Result};

use crate::allocator::Freed;
use crate::compress;
use crate::metadata::Metadata;
use crate::ondisk::CompressedDescriptor;
use crate::qcow2::Qcow2;
use crate::write::{check_old_freeable, free_old};

impl Qcow2 {
    /// Writes whole guest clusters compressed; one that does not become smaller is written as plain data.
    ///
    /// # Errors
    /// [`Error::Misaligned`] unless the request covers whole clusters (the last one of the disk up to its end).
    pub(crate) fn write_compressed_guest(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let alignment = self.geometry.cluster_bytes();
        let length = buf.len() as u64;
        let end = offset + length;
        if !self.geometry.is_cluster_aligned(offset)
            || !(self.geometry.is_cluster_aligned(end) || end == self.size_bytes())
        {
            return Err(Error::Misaligned { offset, length, alignment });
        }
        let mut at = offset;
        for part in buf.chunks(alignment as usize) {
            self.write_compressed_cluster(at, part)?;
            at += alignment;
        }
        Ok(())
    }

    fn write_compressed_cluster(&self, at: u64, part: &[u8]) -> Result<()> {
        let cluster_bytes = self.geometry.cluster_bytes() as usize;
        let mut whole = Cow::Borrowed(part);
        if part.len() != cluster_bytes {
            whole.to_mut().resize(cluster_bytes, 0);
        }
        let Some(packed) = compress::compress(self.compression, &whole)? else {
            return self.write_guest(at, part);
        };
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let old = metadata.find(Extent::new(at, 1))?.cluster;
        check_old_freeable(&mut metadata, old)?;
        metadata.l2_for_write(at)?;
        let host_offset = allocate_bytes(&mut metadata, packed.len() as u64)?;
        let Some(entry) = CompressedDescriptor::new(host_offset, packed.len() as u64).encode(self.geometry)
        else {
            drop_bytes(&mut metadata, host_offset)?;
            drop(metadata);
            return self.write_guest(at, part);
        };
        self.storage.event(Event::WriteCompressed);
        if let Err(error) = self.storage.write_at(host_offset, &packed) {
            drop_bytes(&mut metadata, host_offset)?;
            return Err(error);
        }
        self.storage.event(Event::L2UpdateCompressed);
        // A write-back inside the allocation may have evicted the slice.
        let located = metadata.l2_for_write(at)?;
        metadata.set_l2_entry(located, entry);
        free_old(&mut metadata, old, Freed::Other);
        Ok(())
    }
}

/// Room for `length` bytes, fewer than a cluster, inside one host cluster, which gains a reference.
fn allocate_bytes(metadata: &mut Metadata, length: u64) -> Result<u64> {
    metadata.storage.event(Event::ClusterAllocBytes);
    let geometry = metadata.geometry;
    if let Some(at) = metadata.allocator.packing_at {
        let fits = geometry.in_cluster(at) + length <= geometry.cluster_bytes();
        if fits && metadata.add_reference(at >> geometry.cluster_bits())? {
            metadata.allocator.packing_at = next_packing(metadata, at + length);
            return Ok(at);
        }
    }
    let host_offset = metadata.allocate(1)?.first << geometry.cluster_bits();
    metadata.allocator.packing_at = next_packing(metadata, host_offset + length);
    Ok(host_offset)
}

fn next_packing(metadata: &Metadata, at: u64) -> Option<u64> {
    (!metadata.geometry.is_cluster_aligned(at)).then_some(at)
}

/// Undoes [`allocate_bytes`] for bytes that nothing has come to refer to.
fn drop_bytes(metadata: &mut Metadata, host_offset: u64) -> Result<()> {
    metadata.drop_reference(host_offset >> metadata.geometry.cluster_bits())
}
