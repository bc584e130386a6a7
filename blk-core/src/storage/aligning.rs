//! Requests of any alignment over a host that takes only aligned ones.
//!
//! ```text
//! what is asked for:      ·······┌───────────────────────────┐··
//! units of the host:   |    head    |     aligned     |    tail    |
//!                       read, changed    as it is      read, changed
//!                       and written                    and written
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::{PassThrough, Storage, StorageLimits};
use crate::buffer::is_aligned;
use crate::sync::RwLock;
use crate::{Buffer, Error, Extent, Result};

/// `storage` for whoever makes requests of any alignment, from buffers anywhere: itself where the host
/// demands nothing, else a layer that reads, changes and writes back what is unaligned, and copies what lies
/// elsewhere in memory.
///
/// The length stays what the requests make it, also where it is no multiple of the alignment.
pub fn for_any_alignment(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    let limits = storage.limits();
    if limits.is_free() { storage } else { Arc::new(AligningStorage::new(storage, limits)) }
}

/// Buffers are copied in pieces of this size. Bytes; a multiple of all usual alignments.
const PIECE_BYTES: u64 = 1 << 20;

/// See [`for_any_alignment`].
#[derive(Debug)]
struct AligningStorage {
    inner: Arc<dyn Storage>,
    limits: StorageLimits,
    /// Requests that write whole units share it. Those that write back bytes which they have only read, or
    /// that change the length, are alone, or they would undo what others write at the same time.
    order: RwLock<()>,
}

impl AligningStorage {
    fn new(inner: Arc<dyn Storage>, limits: StorageLimits) -> Self {
        Self { inner, limits, order: RwLock::new(()) }
    }

    fn unit(&self) -> u64 {
        self.limits.alignment
    }

    /// The whole units that `extent` touches.
    fn widened(&self, extent: Extent) -> Result<Extent> {
        let Extent { offset, length } = extent;
        let end = extent.checked_end().and_then(|end| end.checked_next_multiple_of(self.unit()));
        let end = end.ok_or(Error::OutOfRange { offset, length, size: i64::MAX as u64 })?;
        Ok(Extent::between(offset & !(self.unit() - 1), end))
    }

    /// The unaligned start of `extent`, the whole units in it, and its unaligned end. Without a whole unit
    /// all is start.
    fn cut(&self, extent: Extent) -> [Extent; 3] {
        let middle = extent.align_inward(self.unit());
        if middle.is_empty() {
            let none = Extent::new(extent.end(), 0);
            return [extent, none, none];
        }
        let head = Extent::between(extent.offset, middle.offset);
        [head, middle, Extent::between(middle.end(), extent.end())]
    }

    /// Reads whole units into a buffer anywhere.
    fn read_units(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if is_aligned(buf, self.limits.memory_alignment) {
            return self.inner.read_at(offset, buf);
        }
        let mut at = offset;
        let piece_bytes = PIECE_BYTES.max(self.unit()) as usize;
        let mut bounce = Buffer::zeroed(piece_bytes.min(buf.len()), self.limits.memory_alignment);
        for part in buf.chunks_mut(piece_bytes) {
            let bytes = &mut bounce[..part.len()];
            self.inner.read_at(at, bytes)?;
            part.copy_from_slice(bytes);
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Writes whole units from a buffer anywhere.
    fn write_units(&self, offset: u64, buf: &[u8]) -> Result<()> {
        if buf.is_empty() || is_aligned(buf, self.limits.memory_alignment) {
            return if buf.is_empty() { Ok(()) } else { self.inner.write_at(offset, buf) };
        }
        let mut at = offset;
        let piece_bytes = PIECE_BYTES.max(self.unit()) as usize;
        let mut bounce = Buffer::zeroed(piece_bytes.min(buf.len()), self.limits.memory_alignment);
        for part in buf.chunks(piece_bytes) {
            let bytes = &mut bounce[..part.len()];
            bytes.copy_from_slice(part);
            self.inner.write_at(at, bytes)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Changes an extent that is no whole units, or leaves it where it is empty. It is short: at most two
    /// units. The caller is alone.
    fn change(&self, extent: Extent, change: impl FnOnce(&mut [u8])) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        let wide = self.widened(extent)?;
        assert!(wide.length <= 2 * self.unit(), "an edge is short: {extent:?}");
        let mut bounce = Buffer::zeroed(wide.length as usize, self.limits.memory_alignment);
        let bytes = &mut bounce[..];
        self.inner.read_at(wide.offset, bytes)?;
        change(&mut bytes[within(wide.offset, extent)]);
        self.inner.write_at(wide.offset, bytes)
    }

    /// Runs `aligned` beside others where `extent` is whole units; anything else runs `alone`. The storage is
    /// as long afterwards as the request makes it, whatever was written to fill a unit.
    fn write_or_change(
        &self,
        extent: Extent,
        aligned: impl FnOnce() -> Result<()>,
        alone: impl FnOnce([Extent; 3]) -> Result<()>,
    ) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        if self.widened(extent)? == extent {
            let _shared = self.order.read();
            return aligned();
        }
        let _alone = self.order.write();
        let length = self.inner.len()?.max(extent.end());
        let done = alone(self.cut(extent));
        // Also after a failure, which may have come after the unit was filled. What somebody else has
        // appended stays.
        let found = self.inner.len()?;
        if found <= length || found != length.next_multiple_of(self.unit()) {
            return done;
        }
        match self.inner.set_len(length) {
            // A host of fixed length keeps the one it has.
            Err(Error::Unsupported { .. } | Error::Misaligned { .. }) => done,
            cut => done.and(cut),
        }
    }

    fn zero(&self, extent: Extent, zero_units: impl Fn(Extent) -> Result<()>) -> Result<()> {
        self.write_or_change(
            extent,
            || zero_units(extent),
            |[head, middle, tail]| {
                self.change(head, |bytes| bytes.fill(0))?;
                if !middle.is_empty() {
                    zero_units(middle)?;
                }
                self.change(tail, |bytes| bytes.fill(0))
            },
        )
    }

    fn inside(&self, extent: Extent) -> Result<Extent> {
        let length = self.inner.len()?;
        let start = extent.offset.min(length);
        Ok(Extent::between(start, extent.checked_end().unwrap_or(u64::MAX).clamp(start, length)))
    }
}

/// The bytes of `part` in a buffer that starts at `offset`.
fn within(offset: u64, part: Extent) -> Range<usize> {
    let start = (part.offset - offset) as usize;
    start..start + part.length as usize
}

impl PassThrough for AligningStorage {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn limits(&self) -> StorageLimits {
        StorageLimits::default()
    }

    fn sync_extent(&self, extent: Extent) -> Result<()> {
        self.inner.sync_extent(extent)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let _alone = self.order.write();
        self.inner.set_len(length)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.widened(extent)?;
        let [head, middle, tail] = self.cut(extent);
        if !middle.is_empty() {
            self.read_units(middle.offset, &mut buf[within(offset, middle)])?;
        }
        for edge in [head, tail].into_iter().filter(|edge| !edge.is_empty()) {
            let wide = self.widened(edge)?;
            let mut bounce = Buffer::zeroed(wide.length as usize, self.limits.memory_alignment);
            self.inner.read_at(wide.offset, &mut bounce)?;
            buf[within(offset, edge)].copy_from_slice(&bounce[within(wide.offset, edge)]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let part = |extent| &buf[within(offset, extent)];
        self.write_or_change(
            Extent::new(offset, buf.len() as u64),
            || self.write_units(offset, buf),
            |[head, middle, tail]| {
                self.change(head, |bytes| bytes.copy_from_slice(part(head)))?;
                self.write_units(middle.offset, part(middle))?;
                self.change(tail, |bytes| bytes.copy_from_slice(part(tail)))
            },
        )
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.zero(extent, |units| self.inner.write_zeroes_at(units))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.zero(self.inside(extent)?, |units| self.inner.punch_hole(units))
    }

    /// An edge would have to be written as data.
    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        let extent = if unmap { self.inside(extent)? } else { extent };
        if extent.is_empty() {
            return Ok(());
        }
        if self.widened(extent)? != extent {
            return Err(Error::unsupported("zeroing a part of a unit of the host without writing data"));
        }
        let _shared = self.order.read();
        self.inner.zero_fast(extent, unmap)
    }
}

#[cfg(test)]
mod tests;
