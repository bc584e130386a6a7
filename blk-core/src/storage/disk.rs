//! A disk as the storage under a format: qcow2 over NBD, or one format inside another.

use std::sync::Arc;

use super::{Storage, StorageRun};
use crate::sync::RwLock;
use crate::{DiscardFlags, Disk, Error, Extent, Result, WriteFlags, ZeroFlags};

/// A disk that serves as storage, growing where it is written past its end if its driver can, and else full.
///
/// What is not aligned to the disk's request alignment is read, changed and written back. The size of such a
/// disk is a multiple of its alignment; so is any length that it is extended to.
#[derive(Debug)]
pub struct DiskStorage {
    disk: Arc<Disk>,
    /// Requests that write aligned bytes inside the disk share it. Those that write back bytes which they
    /// have only read, or change the size, are alone, or they would undo what others write at the same time.
    order: RwLock<()>,
}

/// An extent cut at the disk's alignment: only `inner` is aligned. Where no aligned byte is in it, all of it
/// is `head`.
#[derive(Debug, Clone, Copy)]
struct Cut {
    head: Extent,
    inner: Extent,
    tail: Extent,
}

impl DiskStorage {
    /// The storage that `disk` makes. Its length is the size of the disk.
    pub fn new(disk: Arc<Disk>) -> Self {
        Self { disk, order: RwLock::new(()) }
    }

    fn alignment(&self) -> u64 {
        self.disk.limits().request_alignment
    }

    // A format on this storage takes nothing that the disk says about its own image for a word about its own.

    fn read_disk(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read(offset, buf).map_err(|error| error.below("read", offset))
    }

    fn write_disk(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let written = self.disk.write(offset, buf, WriteFlags::default());
        written.map_err(|error| error.below("write", offset))
    }

    fn zero_disk(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let zeroed = self.disk.write_zeroes(extent, flags);
        zeroed.map_err(|error| error.below("write zeroes", extent.offset))
    }

    /// The aligned extent around an extent.
    fn widened(&self, extent: Extent) -> Result<Extent> {
        let Extent { offset, length } = extent;
        let out_of_range = Error::OutOfRange { offset, length, size: self.disk.size() };
        let end = extent.checked_end().and_then(|end| end.checked_next_multiple_of(self.alignment()));
        Ok(Extent::between(offset & !(self.alignment() - 1), end.ok_or(out_of_range)?))
    }

    fn cut(&self, extent: Extent) -> Cut {
        let inner = extent.align_inward(self.alignment());
        if inner.is_empty() {
            let none = Extent::new(extent.end(), 0);
            return Cut { head: extent, inner: none, tail: none };
        }
        Cut {
            head: Extent::between(extent.offset, inner.offset),
            inner,
            tail: Extent::between(inner.end(), extent.end()),
        }
    }

    /// Makes the disk at least `end` bytes long. The caller is alone.
    fn reach(&self, end: u64) -> Result<()> {
        let size = self.disk.size();
        if end <= size {
            return Ok(());
        }
        self.disk.resize(end).map_err(|error| match error {
            Error::Unsupported { .. } => Error::NoSpace {
                what: format!("the inner disk has {size} bytes and cannot grow to {end}").into(),
            },
            other => other.below("resize", size),
        })
    }

    /// Reads what an unaligned extent touches, which is little: the edges are shorter than two units of
    /// alignment.
    fn read_around(&self, extent: Extent) -> Result<(Extent, Vec<u8>)> {
        let wide = self.widened(extent)?;
        assert!(wide.length <= 2 * self.alignment(), "an edge is short: {extent:?}");
        let mut bytes = vec![0; wide.length as usize];
        self.read_disk(wide.offset, &mut bytes)?;
        Ok((wide, bytes))
    }

    /// Changes an unaligned edge. The caller is alone.
    fn change(&self, extent: Extent, change: impl FnOnce(&mut [u8])) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        let (wide, mut bytes) = self.read_around(extent)?;
        let start = (extent.offset - wide.offset) as usize;
        change(&mut bytes[start..start + extent.length as usize]);
        self.write_disk(wide.offset, &bytes)
    }

    /// Runs `aligned` on an extent that is aligned and inside the disk, beside others that do the same;
    /// anything else runs `alone`, with the disk grown as far as needed.
    fn write_or_grow(
        &self,
        extent: Extent,
        aligned: impl FnOnce() -> Result<()>,
        alone: impl FnOnce(Cut) -> Result<()>,
    ) -> Result<()> {
        let wide = self.widened(extent)?;
        if wide == extent {
            let _shared = self.order.read();
            if extent.end() <= self.disk.size() {
                return aligned();
            }
        }
        let _alone = self.order.write();
        self.reach(wide.end())?;
        alone(self.cut(extent))
    }

    fn zero(&self, extent: Extent, may_unmap: bool) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        let flags = ZeroFlags { may_unmap, ..ZeroFlags::default() };
        self.write_or_grow(
            extent,
            || self.zero_disk(extent, flags),
            |cut| {
                self.change(cut.head, |bytes| bytes.fill(0))?;
                if !cut.inner.is_empty() {
                    self.zero_disk(cut.inner, flags)?;
                }
                self.change(cut.tail, |bytes| bytes.fill(0))
            },
        )
    }

    fn inside(&self, extent: Extent) -> Extent {
        let size = self.disk.size();
        let start = extent.offset.min(size);
        Extent::between(start, extent.checked_end().unwrap_or(u64::MAX).clamp(start, size))
    }
}

/// The bytes of `part` in a buffer that starts at `offset`.
fn within(offset: u64, part: Extent) -> std::ops::Range<usize> {
    let start = (part.offset - offset) as usize;
    start..start + part.length as usize
}

impl Storage for DiskStorage {
    fn len(&self) -> Result<u64> {
        Ok(self.disk.size())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let _alone = self.order.write();
        if length == self.disk.size() {
            Ok(())
        } else {
            self.disk.resize(length).map_err(|error| error.below("resize", length))
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.widened(extent)?;
        let inside = self.inside(extent);
        buf[inside.length as usize..].fill(0);
        if inside.is_empty() {
            return Ok(());
        }
        let cut = self.cut(inside);
        if !cut.inner.is_empty() {
            self.read_disk(cut.inner.offset, &mut buf[within(offset, cut.inner)])?;
        }
        for edge in [cut.head, cut.tail].into_iter().filter(|edge| !edge.is_empty()) {
            let (wide, bytes) = self.read_around(edge)?;
            buf[within(offset, edge)].copy_from_slice(&bytes[within(wide.offset, edge)]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        if buf.is_empty() {
            return Ok(());
        }
        self.write_or_grow(
            Extent::new(offset, buf.len() as u64),
            || self.write_disk(offset, buf),
            |cut| {
                let part = |extent| &buf[within(offset, extent)];
                self.change(cut.head, |bytes| bytes.copy_from_slice(part(cut.head)))?;
                if !cut.inner.is_empty() {
                    self.write_disk(cut.inner.offset, part(cut.inner))?;
                }
                self.change(cut.tail, |bytes| bytes.copy_from_slice(part(cut.tail)))
            },
        )
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.zero(extent, false)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.zero(self.inside(extent), true)
    }

    fn discard_at(&self, extent: Extent) -> Result<()> {
        let limits = self.disk.limits();
        let inside = self.inside(extent).align_inward(limits.request_alignment);
        if inside.is_empty() || !limits.can_discard {
            return Ok(());
        }
        let discarded = self.disk.discard(inside, DiscardFlags::default());
        discarded.map_err(|error| error.below("discard", inside.offset))
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        let extent = if unmap { self.inside(extent) } else { extent };
        let unsupported = || Err(Error::unsupported("zeroes without writing them at unaligned offsets"));
        // Where the driver can say so beforehand, a refusal changes nothing.
        let fast_only = self.disk.limits().native.fast_zero;
        let flags = ZeroFlags { may_unmap: unmap, no_fallback: true, fua: false, fast_only };
        if extent.is_empty() {
            return Ok(());
        }
        if self.widened(extent)? != extent {
            return unsupported();
        }
        let zero = || self.zero_disk(extent, flags);
        self.write_or_grow(extent, zero, |_| zero())
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        let size = self.disk.size();
        if offset >= size {
            return Ok(None);
        }
        let start = offset & !(self.alignment() - 1);
        let status = self.disk.block_status(Extent::between(start, size));
        let status = status.map_err(|error| error.below("map", start))?;
        if status.length <= offset - start {
            // Shorter than the alignment: all that is known is that it does not reach here.
            return Ok(Some(StorageRun { length: 1, data: true }));
        }
        let data = !status.zero && (status.allocated || self.disk.backing().is_some());
        Ok(Some(StorageRun { length: status.length - (offset - start), data }))
    }

    fn sync(&self) -> Result<()> {
        self.disk.flush().map_err(|error| error.below("sync", 0))
    }
}

#[cfg(test)]
mod tests;
