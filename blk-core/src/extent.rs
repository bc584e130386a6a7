//! A range of bytes on a disk or in a file.

use std::ops::Range;

/// `length` bytes from `offset` on. May be empty; the end never overflows once [`Extent::checked_end`] said
/// so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Extent {
    /// `length` bytes from `offset` on.
    pub const fn new(offset: u64, length: u64) -> Self {
        Self { offset, length }
    }

    /// The bytes from `start` up to, not including, `end`.
    ///
    /// # Panics
    /// If `end` lies before `start`.
    pub const fn between(start: u64, end: u64) -> Self {
        assert!(start <= end);
        Self { offset: start, length: end - start }
    }

    /// The first byte behind the extent, or `None` where that exceeds 64 bits.
    pub const fn checked_end(self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }

    /// The first byte behind the extent.
    ///
    /// # Panics
    /// If it exceeds 64 bits. [`crate::Disk`] has checked that for every extent that reaches a driver.
    pub const fn end(self) -> u64 {
        self.offset + self.length
    }

    /// Whether there is no byte in it.
    pub const fn is_empty(self) -> bool {
        self.length == 0
    }

    /// Whether both share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end() && !self.is_empty() && !other.is_empty()
    }

    /// The bytes that both share; empty, at the larger offset, where they share none.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let start = self.offset.max(other.offset);
        let end = self.end().min(other.end());
        Self { offset: start, length: end.saturating_sub(start) }
    }

    /// As a standard range of bytes.
    pub const fn range(self) -> Range<u64> {
        self.offset..self.end()
    }

    /// Its parts, in order, each of which lies in one unit of `unit_bytes` at a multiple of that.
    ///
    /// # Panics
    /// If `unit_bytes` is 0.
    pub fn parts(self, unit_bytes: u64) -> impl Iterator<Item = Self> + use<> {
        let numbers = self.offset / unit_bytes..self.end().div_ceil(unit_bytes);
        let part = move |number: u64| {
            let start = number * unit_bytes;
            // The last unit may reach past the last address.
            let end = start.saturating_add(unit_bytes);
            Self::between(start.max(self.offset), end.min(self.end()))
        };
        numbers.map(part).filter(|part| !part.is_empty())
    }

    /// The largest part whose start and end are multiples of `unit` (a power of two); empty if there is none.
    #[must_use]
    pub const fn align_inward(self, unit: u64) -> Self {
        assert!(unit.is_power_of_two());
        let start = self.offset.next_multiple_of(unit);
        let end = self.end() & !(unit - 1);
        if start < end {
            Self { offset: start, length: end - start }
        } else {
            Self { offset: start, length: 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_in_one_unit_each() {
        let last = u64::MAX;
        for (start, end, expected) in [
            (3, 27, &[(3, 10), (10, 20), (20, 27)][..]),
            (10, 20, &[(10, 20)]),
            (4, 4, &[]),
            (last - 7, last, &[(last - 7, last - 5), (last - 5, last)]),
        ] {
            let parts = Extent::between(start, end).parts(10).map(|part| (part.offset, part.end()));
            assert_eq!(parts.collect::<Vec<_>>(), expected, "{start}..{end}");
        }
    }

    #[test]
    fn overlap_needs_a_shared_byte() {
        let a = Extent::new(10, 5);
        assert!(a.overlaps(Extent::new(14, 1)));
        assert!(!a.overlaps(Extent::new(15, 1)));
        assert!(!a.overlaps(Extent::new(12, 0)));
        assert_eq!(a.intersection(Extent::new(12, 100)), Extent::new(12, 3));
        assert!(a.intersection(Extent::new(20, 1)).is_empty());
    }

    #[test]
    fn align_inward_keeps_whole_units_only() {
        assert_eq!(Extent::new(1, 1023).align_inward(512), Extent::new(512, 512));
        assert!(Extent::new(1, 1022).align_inward(512).is_empty());
        assert!(Extent::new(513, 100).align_inward(512).is_empty());
    }
}
