//! Writing compressed clusters: they lie byte to byte, several in a host cluster and across the border to the next one, and each
//! counts one reference to every host cluster that it touches.

use std::borrow::Cow;

use blk_core::{Compress, Error, Extent, Result};

use crate::allocator::Freed;
use crate::compress;
use crate::metadata::Metadata;
use crate::ondisk::CompressedDescriptor;
use crate::qcow2::Qcow2;
use crate::steps;
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
            let packed = self.compress(part)?;
            self.write_packed_cluster(at, part, packed.as_deref())?;
            at += alignment;
        }
        Ok(())
    }

    fn write_packed_cluster(&self, at: u64, part: &[u8], packed: Option<&[u8]>) -> Result<()> {
        let Some(packed) = packed else { return self.write_guest(at, part) };
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let old = metadata.find(Extent::new(at, 1))?.cluster;
        check_old_freeable(&mut metadata, old)?;
        metadata.l2_for_write(at)?;
        let extent = allocate_bytes(&mut metadata, packed.len() as u64)?;
        let Some(entry) = CompressedDescriptor::new(extent.offset, extent.length).encode(self.geometry)
        else {
            drop_bytes(&mut metadata, extent)?;
            drop(metadata);
            return self.write_guest(at, part);
        };
        self.storage.step(&steps::WRITE_COMPRESSED);
        if let Err(error) = self.storage.write_at(extent.offset, packed) {
            drop_bytes(&mut metadata, extent)?;
            return Err(error);
        }
        self.storage.step(&steps::L2_UPDATE_COMPRESSED);
        // A write-back inside the allocation may have evicted the slice.
        let located = metadata.l2_for_write(at)?;
        metadata.set_l2_entry(located, entry);
        free_old(&mut metadata, old, Freed::Other);
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
        self.begin_write()?;
        self.write_packed_cluster(offset, unit, packed)
    }
}

/// Room for `length` bytes, fewer than a cluster, behind what was packed last. Each host cluster that it touches gains a
/// reference.
fn allocate_bytes(metadata: &mut Metadata, length: u64) -> Result<Extent> {
    metadata.storage.step(&steps::CLUSTER_ALLOC_BYTES);
    let bits = metadata.geometry.cluster_bits();
    let packing_at = metadata.allocator.packing_at;
    if let Some(at) = packing_at {
        let fits = (at + length - 1) >> bits == at >> bits;
        if fits && metadata.add_reference(at >> bits)? {
            return Ok(packed_at(metadata, Extent::new(at, length)));
        }
    }
    let next = metadata.allocate(1)?;
    // The allocation may have written back, and freed the cluster that was packed into.
    let follows = |at: &u64| (at >> bits) + 1 == next.first && metadata.allocator.packing_at == packing_at;
    let Some(at) = packing_at.filter(follows) else {
        return Ok(packed_at(metadata, Extent::new(next.first << bits, length)));
    };
    match metadata.add_reference(at >> bits) {
        Ok(true) => Ok(packed_at(metadata, Extent::new(at, length))),
        Ok(false) => Ok(packed_at(metadata, Extent::new(next.first << bits, length))),
        Err(error) => {
            metadata.give_back(next)?;
            Err(error)
        }
    }
}

/// The next bytes go behind `extent`, if its last cluster has room left.
fn packed_at(metadata: &mut Metadata, extent: Extent) -> Extent {
    let end = extent.end();
    metadata.allocator.packing_at = (!metadata.geometry.is_cluster_aligned(end)).then_some(end);
    extent
}

/// Undoes [`allocate_bytes`] for bytes that nothing has come to refer to.
fn drop_bytes(metadata: &mut Metadata, extent: Extent) -> Result<()> {
    let bits = metadata.geometry.cluster_bits();
    for cluster in extent.offset >> bits..=(extent.end() - 1) >> bits {
        metadata.drop_reference(cluster)?;
    }
    Ok(())
}
