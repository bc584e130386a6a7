//! The limits that `blkdebug` puts on the requests it gets: `align`, `max-transfer`, and sizes for zeroes and discards.
//!
//! They try out what a driver above makes of a demanding device. Requests are widened to the alignment (which reads what a
//! write does not cover, and writes it back) and cut at the largest size. Zeroes and holes that are no whole units of the
//! preferred size are written as data, as they would be on such a device.

use std::sync::Arc;

use blk_core::storage::{Event, write_zeroes_as_data};
use blk_core::sync::RwLock;
use blk_core::{Error, Extent, Result, Storage, StorageRun};

use super::options::NodeOptions;

/// No size reaches this.
const SIZE_END: u64 = i32::MAX as u64;

/// Sizes in bytes. What is not given has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    align: Option<u64>,
    transfer_max: Option<u64>,
    zero: Unit,
    discard: Unit,
}

/// In which pieces zeroes or discards are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Unit {
    /// Pieces are multiples of this.
    preferred: Option<u64>,
    max: Option<u64>,
}

impl Limits {
    /// Takes the limits out of the options of a node.
    pub(crate) fn take(options: &mut NodeOptions) -> Result<Self> {
        let align = take(options, "align", 1)?;
        if align.is_some_and(|align| !align.is_power_of_two()) {
            return Err(options.bad("align", "it is not a power of two"));
        }
        let unit = align.unwrap_or(1);
        let transfer_max = take(options, "max-transfer", unit)?;
        let zero = Unit::take(options, ["opt-write-zero", "max-write-zero"], unit)?;
        let discard = Unit::take(options, ["opt-discard", "max-discard"], unit)?;
        Ok(Self { align, transfer_max, zero, discard })
    }

    /// Puts the limits before `below`.
    pub(crate) fn over(self, below: Arc<dyn Storage>) -> Arc<dyn Storage> {
        if self == Self::default() {
            return below;
        }
        Arc::new(LimitedStorage { below, limits: self, order: RwLock::new(()) })
    }

    fn align(self) -> u64 {
        self.align.unwrap_or(1)
    }

    fn transfer(self) -> u64 {
        self.transfer_max.unwrap_or(SIZE_END / self.align() * self.align())
    }
}

impl Unit {
    fn take(options: &mut NodeOptions, [preferred, max]: [&str; 2], align: u64) -> Result<Self> {
        let unit = take(options, preferred, align)?;
        Ok(Self { preferred: unit, max: take(options, max, unit.unwrap_or(align))? })
    }
}

/// A size, a multiple of `unit`; 0 stands for none.
fn take(options: &mut NodeOptions, name: &str, unit: u64) -> Result<Option<u64>> {
    let Some(bytes) = options.take_size(name)?.filter(|bytes| *bytes > 0) else { return Ok(None) };
    if bytes >= SIZE_END {
        return Err(options.bad(name, format!("{bytes} is not below {SIZE_END}")));
    }
    if !bytes.is_multiple_of(unit) {
        return Err(options.bad(name, format!("{bytes} is not a multiple of {unit}")));
    }
    Ok(Some(bytes))
}

/// A storage behind limits.
#[derive(Debug)]
struct LimitedStorage {
    below: Arc<dyn Storage>,
    limits: Limits,
    /// Writes of whole units share it; one that writes back what it has read is alone.
    order: RwLock<()>,
}

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    extent: Extent,
    /// It is made of whole units.
    is_whole: bool,
}

/// Cuts `extent` into a part before the first whole unit, whole units of at most `max` bytes, and a part behind them.
fn parts(extent: Extent, unit: u64, max: u64) -> impl Iterator<Item = Part> {
    let first = extent.offset.next_multiple_of(unit);
    let last = extent.end() / unit * unit;
    let mut at = extent.offset;
    std::iter::from_fn(move || {
        let is_whole = first <= at && at < last;
        let end = if is_whole {
            last.min(at + max)
        } else if at < first {
            first.min(extent.end())
        } else {
            extent.end()
        };
        let part = Part { extent: Extent::between(at, end), is_whole };
        at = end;
        (!part.extent.is_empty()).then_some(part)
    })
}

impl LimitedStorage {
    /// The units that `extent` touches. The storage may end inside the last one, and is not made longer by it.
    fn widened(&self, extent: Extent) -> Result<Extent> {
        let align = self.limits.align();
        let start = extent.offset & !(align - 1);
        let end = extent.checked_end().and_then(|end| end.checked_next_multiple_of(align));
        let Extent { offset, length } = extent;
        let size = self.below.len()?;
        let end = end.ok_or(Error::OutOfRange { offset, length, size })?;
        Ok(Extent::between(start, end.min(size.max(extent.end()))))
    }

    fn read_wide(&self, wide: Extent, buf: &mut [u8]) -> Result<()> {
        let mut at = wide.offset;
        for piece in buf.chunks_mut(self.limits.transfer() as usize) {
            self.below.read_at(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn write_wide(&self, wide: Extent, buf: &[u8]) -> Result<()> {
        let mut at = wide.offset;
        for piece in buf.chunks(self.limits.transfer() as usize) {
            self.below.write_at(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Does `whole` for what is made of whole units, and writes zeroes as data elsewhere.
    fn zero(&self, extent: Extent, unit: Unit, whole: impl Fn(Extent) -> Result<()>) -> Result<()> {
        let align = self.limits.align();
        let preferred = unit.preferred.unwrap_or(align);
        let max = unit.max.unwrap_or(u64::MAX / 2 / preferred * preferred);
        for part in parts(extent, preferred, max) {
            if part.is_whole { whole(part.extent)? } else { write_zeroes_as_data(self, part.extent)? }
        }
        Ok(())
    }
}

impl Storage for LimitedStorage {
    fn len(&self) -> Result<u64> {
        self.below.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let _alone = self.order.write();
        self.below.set_len(length)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let wide = self.widened(extent)?;
        if wide == extent {
            return self.read_wide(extent, buf);
        }
        let mut bytes = vec![0; wide.length as usize];
        self.read_wide(wide, &mut bytes)?;
        let start = (offset - wide.offset) as usize;
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let wide = self.widened(extent)?;
        if wide == extent {
            let _shared = self.order.read();
            return self.write_wide(extent, buf);
        }
        let _alone = self.order.write();
        let mut bytes = vec![0; wide.length as usize];
        self.read_wide(wide, &mut bytes)?;
        let start = (offset - wide.offset) as usize;
        bytes[start..start + buf.len()].copy_from_slice(buf);
        self.write_wide(wide, &bytes)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.zero(extent, self.limits.zero, |whole| self.below.write_zeroes_at(whole))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        let length = self.below.len()?;
        let start = extent.offset.min(length);
        let inside = Extent::between(start, extent.checked_end().unwrap_or(u64::MAX).clamp(start, length));
        self.zero(inside, self.limits.discard, |whole| self.below.punch_hole(whole))
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        let unit = self.limits.zero.preferred.unwrap_or(self.limits.align());
        if !extent.offset.is_multiple_of(unit) || !extent.length.is_multiple_of(unit) {
            return Err(Error::unsupported("zeroing a part of a unit without writing data"));
        }
        self.zero(extent, self.limits.zero, |whole| self.below.zero_fast(whole, unmap))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.below.run_at(offset)
    }

    fn sync(&self) -> Result<()> {
        self.below.sync()
    }

    fn event(&self, event: Event) {
        self.below.event(event);
    }
}

#[cfg(test)]
mod tests;
