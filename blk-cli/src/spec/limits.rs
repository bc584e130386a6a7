//! The limits that `blkdebug` puts on the requests it gets: `align`, `max-transfer`, and sizes for zeroes and
//! discards. What lies behind them hears of the steps of each request.
//!
//! They try out what a driver above makes of a demanding device. Requests are widened to the alignment (which
//! reads what a write does not cover, and writes it back) and cut at the largest size. Zeroes and holes that
//! are no whole units of the preferred size are written as data, as they would be on such a device.

mod storage;

use std::fmt::Debug;
use std::sync::Arc;

use blk_core::storage::{Step, for_any_alignment};
use blk_core::{Error, Extent, Result, Storage};

use super::events;
use super::options::NodeOptions;
use blk_core::sync::{RangeGuard, RangeLock};
use storage::LimitedStorage;

/// No size reaches this.
const SIZE_END: u64 = i32::MAX as u64;
/// As good as no limit, and far from an overflow.
const MAX: u64 = u64::MAX / 2;
/// Reads are widened to units of at most this: the name of a backing file in an image may ask for units of 1
/// GiB, and each small read would take as much memory.
const READ_UNIT_MAX: u64 = 4 << 20;

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

    /// Puts the limits before a storage. It is told of all steps of a request too.
    pub(crate) fn over(self, inner: Arc<dyn Storage>) -> Arc<dyn Storage> {
        // What the host itself demands is met below: these limits are those that a driver is to be tried
        // with.
        Arc::new(LimitedStorage(Limited::new(self, for_any_alignment(inner))))
    }

    fn align(self) -> u64 {
        self.align.unwrap_or(1)
    }

    /// The most bytes that are read or written at a time.
    pub(crate) fn transfer(self) -> u64 {
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

/// What limits lie over.
pub(crate) trait Bytes: Debug + Send + Sync {
    /// How many there are.
    fn size(&self) -> Result<u64>;

    /// Fills `buf` with the bytes from `offset` on.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `buf` at `offset`.
    fn write(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Is about to take a step of a request.
    fn step(&self, step: &'static Step);
}

/// Bytes behind limits.
#[derive(Debug)]
pub(crate) struct Limited<B> {
    inner: B,
    limits: Limits,
    /// One that writes back what it has read is alone with it.
    busy: RangeLock,
}

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    extent: Extent,
    /// It is made of whole units.
    is_whole: bool,
}

/// The units at both ends of a request that covers them in part only. Where nothing lies between, all is
/// `head`.
#[derive(Debug, Default)]
struct Edges {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// Zeroes whole units.
pub(crate) type Whole<'a> = &'a dyn Fn(Extent) -> Result<()>;

/// As much as is zeroed by one write; a multiple of all alignments up to this.
static ZEROES: [u8; 1 << 20] = [0; 1 << 20];

/// Cuts `extent` into a part before the first whole unit, whole units of at most `max` bytes, and a part
/// behind them.
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

impl<B: Bytes> Limited<B> {
    /// Puts `limits` before `inner`.
    pub(crate) fn new(limits: Limits, inner: B) -> Self {
        Self { inner, limits, busy: RangeLock::default() }
    }

    /// What lies behind the limits.
    pub(crate) fn inner(&self) -> &B {
        &self.inner
    }

    /// Fills `buf` with the bytes from `offset` on.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let wide = self.widened(extent, self.limits.align().min(READ_UNIT_MAX))?;
        let _shared = self.share(wide);
        if wide == extent {
            return self.read_wide(extent, buf);
        }
        let mut bytes = vec![0; wide.length as usize];
        self.read_wide(wide, &mut bytes)?;
        let start = (offset - wide.offset) as usize;
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        Ok(())
    }

    /// Writes `buf` at `offset`.
    pub(crate) fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let wide = self.widened(extent, self.limits.align())?;
        if wide == extent {
            let _shared = self.share(wide);
            return self.write_request(extent, buf);
        }
        let _alone = self.busy.exclude(wide);
        let Edges { head, tail } = self.read_edges(extent, wide)?;
        let mut bytes = vec![0; wide.length as usize];
        bytes[..head.len()].copy_from_slice(&head);
        let end = bytes.len() - tail.len();
        bytes[end..].copy_from_slice(&tail);
        let start = (offset - wide.offset) as usize;
        bytes[start..start + buf.len()].copy_from_slice(buf);
        self.write_request(wide, &bytes)
    }

    /// Makes `extent` read as zeroes; `whole` does it for whole units.
    pub(crate) fn write_zeroes(&self, extent: Extent, whole: Whole<'_>) -> Result<()> {
        self.zero(extent, &|middle| {
            self.request(&events::PWRITEV_ZERO, || self.zero_units(middle, self.limits.zero, whole))
        })
    }

    /// As [`Limited::write_zeroes`], in the pieces in which a discard is taken, and without telling of a
    /// request to zero.
    fn punch(&self, extent: Extent, whole: Whole<'_>) -> Result<()> {
        self.zero(extent, &|middle| self.zero_units(middle, self.limits.discard, whole))
    }

    /// Discards what is made of whole units of the alignment, in pieces that the limits allow; the rest is
    /// left as it is. Pieces end between units of `unit` bytes where they can.
    pub(crate) fn discard(&self, extent: Extent, unit: u64, whole: Whole<'_>) -> Result<()> {
        let align = self.limits.align();
        let inside = extent.align_inward(align);
        let Unit { preferred, max } = self.limits.discard;
        let unit = preferred.unwrap_or(align).max(unit);
        let max = (max.unwrap_or(MAX) / unit * unit).max(unit);
        let _shared = self.share(inside);
        parts(inside, unit, max).try_for_each(|part| whole(part.extent))
    }

    /// Refuses what is not made of whole units in which zeroes cost no data.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if a part would have to be written as data.
    pub(crate) fn check_zero_units(&self, extent: Extent) -> Result<()> {
        let unit = self.limits.zero.preferred.unwrap_or(self.limits.align());
        if extent.offset.is_multiple_of(unit) && extent.length.is_multiple_of(unit) {
            return Ok(());
        }
        Err(Error::unsupported("zeroing a part of a unit without writing data"))
    }

    /// Waits for all that is under way on parts of units.
    pub(crate) fn alone(&self) -> Option<RangeGuard<'_>> {
        self.has_units().then(|| self.busy.exclude(RangeLock::EVERYTHING))
    }

    fn share(&self, range: Extent) -> Option<RangeGuard<'_>> {
        self.has_units().then(|| self.busy.share(range))
    }

    fn has_units(&self) -> bool {
        self.limits.align() > 1
    }

    /// The units of `align` bytes that `extent` touches. The bytes may end inside the last one, and do not
    /// become more by it.
    fn widened(&self, extent: Extent, align: u64) -> Result<Extent> {
        let start = extent.offset & !(align - 1);
        let end = extent.checked_end().and_then(|end| end.checked_next_multiple_of(align));
        let Extent { offset, length } = extent;
        let size = self.inner.size()?;
        let end = end.ok_or(Error::OutOfRange { offset, length, size })?;
        Ok(Extent::between(start, end.min(size.max(extent.end()))))
    }

    fn read_wide(&self, wide: Extent, buf: &mut [u8]) -> Result<()> {
        let mut at = wide.offset;
        for piece in buf.chunks_mut(self.limits.transfer() as usize) {
            self.inner.read(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// A request for whole units that tells of its start and its end, whether it fails or not.
    fn request(&self, step: &'static Step, run: impl FnOnce() -> Result<()>) -> Result<()> {
        self.inner.step(step);
        let result = run();
        self.inner.step(&events::PWRITEV_DONE);
        result
    }

    fn write_request(&self, wide: Extent, buf: &[u8]) -> Result<()> {
        self.request(&events::PWRITEV, || self.write_wide(wide, buf))
    }

    fn write_wide(&self, wide: Extent, buf: &[u8]) -> Result<()> {
        let mut at = wide.offset;
        for piece in buf.chunks(self.limits.transfer() as usize) {
            self.inner.write(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Reads the units that `extent` covers in part only, and tells of each step. The caller is alone.
    fn read_edges(&self, extent: Extent, wide: Extent) -> Result<Edges> {
        let align = self.limits.align();
        let units = wide.length.div_ceil(align);
        let has_head = !extent.offset.is_multiple_of(align);
        let has_tail = !extent.end().is_multiple_of(align);
        if units == 1 || (units == 2 && has_head && has_tail) {
            let mut head = vec![0; wide.length as usize];
            self.step(has_head, &events::PWRITEV_RMW_HEAD);
            self.step(has_tail, &events::PWRITEV_RMW_TAIL);
            self.read_wide(wide, &mut head)?;
            self.step(has_head, &events::PWRITEV_RMW_AFTER_HEAD);
            self.step(has_tail, &events::PWRITEV_RMW_AFTER_TAIL);
            return Ok(Edges { head, tail: Vec::new() });
        }
        let mut edges = Edges::default();
        if has_head {
            edges.head.resize(align as usize, 0);
            self.step(true, &events::PWRITEV_RMW_HEAD);
            self.read_wide(Extent::new(wide.offset, align), &mut edges.head)?;
            self.step(true, &events::PWRITEV_RMW_AFTER_HEAD);
        }
        if has_tail {
            let last = Extent::between(extent.end() & !(align - 1), wide.end());
            edges.tail.resize(last.length as usize, 0);
            self.step(true, &events::PWRITEV_RMW_TAIL);
            self.read_wide(last, &mut edges.tail)?;
            self.step(true, &events::PWRITEV_RMW_AFTER_TAIL);
        }
        Ok(edges)
    }

    fn step(&self, happens: bool, step: &'static Step) {
        if happens {
            self.inner.step(step);
        }
    }

    /// Zeroes an extent that covers some units in part only. The caller is alone.
    fn zero_unaligned(&self, extent: Extent, wide: Extent, middle: Whole<'_>) -> Result<()> {
        let Edges { mut head, mut tail } = self.read_edges(extent, wide)?;
        let first = Extent::new(wide.offset, head.len() as u64);
        if !first.is_empty() {
            let zeroed = (first.end().min(extent.end()) - wide.offset) as usize;
            head[(extent.offset - wide.offset) as usize..zeroed].fill(0);
            self.write_request(first, &head)?;
        }
        let last = Extent::between(wide.end() - tail.len() as u64, wide.end());
        if first.end() < last.offset {
            middle(Extent::between(first.end(), last.offset))?;
        }
        if !last.is_empty() {
            tail[..(extent.end() - last.offset) as usize].fill(0);
            self.write_request(last, &tail)?;
        }
        Ok(())
    }

    /// Does `whole` for what is made of whole units of the preferred size, and writes zeroes as data
    /// elsewhere.
    fn zero_units(&self, extent: Extent, unit: Unit, whole: Whole<'_>) -> Result<()> {
        let preferred = unit.preferred.unwrap_or(self.limits.align());
        let max = unit.max.unwrap_or(MAX / preferred * preferred);
        for part in parts(extent, preferred, max) {
            if part.is_whole {
                whole(part.extent)?;
                continue;
            }
            let mut at = part.extent.offset;
            while at < part.extent.end() {
                let length = (part.extent.end() - at).min(ZEROES.len() as u64);
                self.write_wide(Extent::new(at, length), &ZEROES[..length as usize])?;
                at += length;
            }
        }
        Ok(())
    }

    /// Zeroes what `extent` covers in part only by writing it back; `middle` zeroes what is aligned.
    fn zero(&self, extent: Extent, middle: Whole<'_>) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        let wide = self.widened(extent, self.limits.align())?;
        if wide == extent {
            let _shared = self.share(wide);
            return middle(extent);
        }
        let _alone = self.busy.exclude(wide);
        self.zero_unaligned(extent, wide, middle)
    }
}

#[cfg(test)]
mod tests;
