//! Which bits a dirty bitmap has to have, and which it may have.

use blk_core::{DirtyBitmap, Extent};
use blk_sim::Ranges;

/// What is dirty, as bytes of the disk that were asked for: the granularity is the driver's.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits {
    pub(super) must: Ranges,
    pub(super) may: Ranges,
    /// Where the disk ended once, and what may have been dirty at or past that: the granule that holds the
    /// end stays.
    lost: Vec<(u64, u64)>,
}

pub(super) fn range(extent: Extent) -> std::ops::Range<u64> {
    extent.offset..extent.end()
}

/// Whether all of `part` is in `ranges`, which neither overlap nor touch.
fn covers(ranges: &Ranges, part: &std::ops::Range<u64>) -> bool {
    part.is_empty() || ranges.iter().any(|range| range.start <= part.start && part.end <= range.end)
}

/// What is dirty of the first `size` bytes.
fn dirty(bits: &DirtyBitmap, size: u64) -> Ranges {
    let mut dirty = Ranges::default();
    let mut at = 0;
    while at < size {
        let (length, is_dirty) = bits.run(Extent::between(at, size));
        if is_dirty {
            dirty.add(at..at + length);
        }
        at += length;
    }
    dirty
}

impl Bits {
    pub(super) fn cut(&mut self, size: u64) {
        let mut kept = Ranges::default();
        self.must.iter().for_each(|part| kept.add(part.start.min(size)..part.end.min(size)));
        self.must = kept;
        self.lost.iter_mut().for_each(|(end, _)| *end = size.min(*end));
        let past = self.may.iter().map(|part| part.start.max(size)..part.end);
        // The granule is the driver's: it holds the first of them, if any.
        self.lost.extend(past.filter(|part| !part.is_empty()).map(|part| (size, part.start)).min());
        self.lost.sort_unstable();
        self.lost.dedup();
        let mut kept = Ranges::default();
        self.may.iter().for_each(|part| kept.add(part.start.min(size)..part.end.min(size)));
        self.may = kept;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.must.iter().for_each(|part| self.must.add(part.clone()));
        other.may.iter().for_each(|part| self.may.add(part.clone()));
        self.lost.extend(&other.lost);
    }

    pub(super) fn of(found: &DirtyBitmap, size: u64) -> Self {
        let dirty = dirty(found, size);
        Self { must: dirty.clone(), may: dirty, lost: Vec::new() }
    }

    /// What is wrong with the bits that are found, on a disk of `size` bytes.
    pub(super) fn judge(&self, slot: u8, found: &DirtyBitmap, size: u64) -> Result<(), String> {
        let granularity = found.granularity_bytes();
        let dirty = dirty(found, size);
        for part in self.must.iter() {
            let part = part.start.min(size)..part.end.min(size);
            if !covers(&dirty, &part) {
                let what = "was changed and is not all dirty";
                return Err(format!("bitmap {slot}: {}..{} {what}", part.start, part.end));
            }
        }
        let mut may = Ranges::default();
        for part in self.may.iter() {
            may.add(part.start / granularity * granularity..part.end.next_multiple_of(granularity));
        }
        for (end, lost) in &self.lost {
            let granule = end / granularity;
            if !end.is_multiple_of(granularity) && lost / granularity == granule {
                may.add(granule * granularity..(granule + 1) * granularity);
            }
        }
        match dirty.iter().find(|part| !covers(&may, part)) {
            Some(part) => {
                let what = "is dirty, of which nothing has asked for a part";
                Err(format!("bitmap {slot}: {}..{} {what}", part.start, part.end))
            }
            None => Ok(()),
        }
    }
}
