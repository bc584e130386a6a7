//! A disk and its backing files: which of them determines which bytes, and what moves content between them.

mod commit;
mod rebase;

use std::sync::Arc;

use crate::{Disk, Extent, Result};

pub use commit::Commit;
pub use rebase::Rebase;

/// Bytes of a sector. A disk that ends inside one is read as if its last sector were whole.
const SECTOR_BYTES: u64 = 512;
/// How much is copied at a time at most, bytes.
const BUFFER_BYTES: u64 = 2 << 20;

/// Asks a disk, the one behind it, and so on, which of them determines the bytes.
#[derive(Debug, Clone, Copy)]
pub struct ChainQuery<'a> {
    disk: &'a Arc<Disk>,
    layers_max: usize,
    sector_bytes: u64,
}

/// What is known about the bytes at the start of an extent.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainStatus {
    /// How many bytes the answer holds for; at least 1.
    pub length: u64,
    /// Index of the layer that determines the bytes, or of the last one that was asked; 0 is the disk itself.
    pub depth: usize,
    /// A layer determines the bytes. If none does, they read as zeroes.
    pub present: bool,
    /// They read as zeroes.
    pub zero: bool,
    /// They are stored.
    pub data: bool,
    /// They are stored compressed.
    pub compressed: bool,
    /// Where in the layer's storage they are stored as they are, or would be.
    pub host_offset: Option<u64>,
}

impl<'a> ChainQuery<'a> {
    /// Asks the disk and all layers behind it, each as large as it is.
    pub fn new(disk: &'a Arc<Disk>) -> Self {
        Self { disk, layers_max: usize::MAX, sector_bytes: 1 }
    }

    /// Asks no more layers than these.
    #[must_use]
    pub fn layers_max(self, layers_max: usize) -> Self {
        Self { layers_max, ..self }
    }

    /// Takes each layer for one of whole sectors: what its last one lacks is zeroes of that layer.
    #[must_use]
    pub fn whole_sectors(self, sector_bytes: u64) -> Self {
        assert!(sector_bytes.is_power_of_two(), "a sector of {sector_bytes} bytes");
        Self { sector_bytes, ..self }
    }

    /// The status of the bytes at the start of `extent`, which must not be empty.
    ///
    /// # Errors
    /// Those of [`Disk::block_status`] and [`Disk::host_run`].
    pub fn status(self, extent: Extent) -> Result<ChainStatus> {
        let mut rest = extent;
        let mut layer = Some(self.disk);
        let mut status = ChainStatus::unallocated(0, rest.length);
        for depth in 0..self.layers_max {
            let Some(disk) = layer else { break };
            let size = disk.size();
            let rounded = size.checked_next_multiple_of(self.sector_bytes).unwrap_or(u64::MAX);
            if rest.offset >= rounded {
                break;
            }
            if rest.offset >= size {
                rest.length = rest.length.min(rounded - rest.offset);
                return past_last_byte(disk, depth, rest);
            }
            rest.length = rest.length.min(size - rest.offset);
            status = layer_status(disk, depth, rest)?;
            if status.present {
                break;
            }
            rest.length = status.length;
            layer = disk.backing();
        }
        Ok(status)
    }
}

/// What one layer says of the start of `extent`, which lies inside it. It may be coarser than the one before,
/// whose runs end anywhere: it is asked for whole units of its own.
fn layer_status(disk: &Disk, depth: usize, extent: Extent) -> Result<ChainStatus> {
    let unit = disk.limits().request_alignment;
    let start = extent.offset / unit * unit;
    let wide = Extent::between(start, extent.end().next_multiple_of(unit).min(disk.size()));
    let found = disk.block_status(wide)?;
    let passed = extent.offset - start;
    let length = found.length.min(extent.end() - start) - passed;
    if !found.allocated {
        let host_offset = found.host_offset.map(|at| at + passed);
        return Ok(ChainStatus { host_offset, ..ChainStatus::unallocated(depth, length) });
    }
    // The host is asked about what starts where a unit does.
    let host = match found.host_offset {
        Some(_) if found.has_data() && passed == 0 => disk.host_run(Extent::new(start, found.length))?,
        _ => None,
    };
    Ok(ChainStatus {
        length: host.map_or(length, |run| run.length.min(length)),
        depth,
        present: true,
        zero: found.zero || host.is_some_and(|run| !run.data),
        data: found.has_data(),
        compressed: found.compressed,
        host_offset: found.host_offset.map(|at| at + passed),
    })
}

/// The status of `extent`, the rest of the last sector of a layer, which its storage does not have.
fn past_last_byte(disk: &Disk, depth: usize, extent: Extent) -> Result<ChainStatus> {
    let last = Extent::new(disk.size() - 1, 1);
    let stored = layer_status(disk, depth, last)?.host_offset;
    let host_offset = stored.map(|at| at + (extent.offset - last.offset));
    Ok(ChainStatus { present: true, host_offset, ..ChainStatus::unallocated(depth, extent.length) })
}

impl ChainStatus {
    /// `length` bytes that no layer determines. The layer at `depth` was the last one that was asked.
    pub const fn unallocated(depth: usize, length: u64) -> Self {
        Self { length, depth, present: false, zero: true, data: false, compressed: false, host_offset: None }
    }

    /// Whether `next`, which begins where this ends, says the same of the bytes that follow.
    pub fn continues(&self, next: &Self) -> bool {
        let follows = self.host_offset.map(|offset| offset.wrapping_add(self.length)) == next.host_offset;
        (self.depth, self.present, self.zero, self.data, self.compressed)
            == (next.depth, next.present, next.zero, next.data, next.compressed)
            && follows
    }
}

/// The next multiple of a sector.
fn whole_sectors(bytes: u64) -> u64 {
    bytes.div_ceil(SECTOR_BYTES).saturating_mul(SECTOR_BYTES)
}

/// Reads a disk from `offset` on; past its end there are zeroes.
///
/// # Errors
/// Those of [`Disk::read`].
pub fn read_padded(disk: &Disk, offset: u64, buf: &mut [u8]) -> Result<()> {
    let inside = disk.size().saturating_sub(offset).min(buf.len() as u64) as usize;
    let (inner, behind) = buf.split_at_mut(inside);
    behind.fill(0);
    if inner.is_empty() { Ok(()) } else { disk.read(offset, inner) }
}

#[cfg(test)]
mod tests;
