//! Dirty bitmaps: which parts of a disk have changed since some time.

use crate::Extent;

/// Bits that lie together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bits {
    /// No bit is set.
    Clear,
    /// All bits are set.
    Set,
    /// As stored: bit 0 of the first byte comes first.
    Stored(Vec<u8>),
}

impl Bits {
    /// Gives the bits from `from` to `to`, of a part of `bytes` bytes, a value.
    fn change(&mut self, from: u64, to: u64, value: bool, bytes: usize) {
        let mut stored = match self {
            Self::Clear => vec![0; bytes],
            Self::Set => vec![u8::MAX; bytes],
            Self::Stored(stored) => std::mem::take(stored),
        };
        if stored.len() < bytes {
            stored.resize(bytes, 0);
        }
        let (low, high) = (u8::MAX << (from % 8), u8::MAX >> (7 - to % 8));
        let (first, last) = ((from / 8) as usize, (to / 8) as usize);
        for (index, byte) in stored[first..=last].iter_mut().enumerate() {
            let start = if index == 0 { low } else { u8::MAX };
            let end = if first + index == last { high } else { u8::MAX };
            *byte = if value { *byte | (start & end) } else { *byte & !(start & end) };
        }
        *self = Self::Stored(stored);
    }
}

/// A dirty bitmap: a bit for each part of a disk. It does not follow what is written by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirtyBitmap {
    granularity_bytes: u64,
    part_bits: u64,
    parts: Vec<Bits>,
}

impl DirtyBitmap {
    /// A bitmap of which each bit stands for `granularity_bytes` of the disk, in parts of `part_bits` bits.
    /// What no part is for is clean.
    ///
    /// # Panics
    /// If either is 0, or a part is not whole bytes.
    pub fn new(granularity_bytes: u64, part_bits: u64, parts: Vec<Bits>) -> Self {
        assert!(granularity_bytes > 0 && part_bits > 0, "a bit stands for something");
        assert!(part_bits.is_multiple_of(8), "bits are stored in bytes");
        Self { granularity_bytes, part_bits, parts }
    }

    /// Bytes of the disk that a bit stands for.
    pub fn granularity_bytes(&self) -> u64 {
        self.granularity_bytes
    }

    /// Part number `index`, of as many bits as all parts have; `None` past the last one that is kept.
    pub fn bits(&self, index: u64) -> Option<&Bits> {
        self.parts.get(usize::try_from(index).ok()?)
    }

    /// Makes dirty whatever `extent` touches. Memory grows with what is dirty, and by a few bytes for each
    /// part before it.
    pub fn set(&mut self, extent: Extent) {
        if !extent.is_empty() {
            let (first, last) =
                (extent.offset / self.granularity_bytes, (extent.end() - 1) / self.granularity_bytes);
            self.change(first, last, true);
        }
    }

    /// Makes all of the disk clean.
    pub fn clear(&mut self) {
        self.parts.clear();
    }

    /// Makes clean what lies past the end of a disk of `size` bytes.
    pub fn cut(&mut self, size: u64) {
        let first = size.div_ceil(self.granularity_bytes);
        let end = (self.parts.len() as u64).saturating_mul(self.part_bits);
        if first < end {
            self.change(first, end - 1, false);
        }
    }

    /// Makes dirty whatever is dirty in `other` of the first `size` bytes of the disk.
    pub fn merge(&mut self, other: &Self, size: u64) {
        other.dirty_runs(size).for_each(|run| self.set(run));
    }

    /// How many of the first `size` bytes of the disk are dirty.
    pub fn dirty_bytes(&self, size: u64) -> u64 {
        self.dirty_runs(size).map(|run| run.length).sum()
    }

    /// The runs of the first `size` bytes of the disk that are dirty, in order.
    fn dirty_runs(&self, size: u64) -> impl Iterator<Item = Extent> {
        let mut at = 0;
        let runs = std::iter::from_fn(move || {
            let rest = Extent::between(at, size);
            let (length, is_dirty) = if rest.is_empty() { return None } else { self.run(rest) };
            at += length;
            Some((Extent::new(at - length, length), is_dirty))
        });
        runs.filter(|(_, is_dirty)| *is_dirty).map(|(run, _)| run)
    }

    /// Gives the bits from `first` to `last` a value.
    fn change(&mut self, first: u64, last: u64, value: bool) {
        let parts = (last / self.part_bits + 1) as usize;
        if value && self.parts.len() < parts {
            self.parts.resize(parts, Bits::Clear);
        }
        let bytes = (self.part_bits / 8) as usize;
        for index in first / self.part_bits..=last / self.part_bits {
            let start = index * self.part_bits;
            let from = first.max(start) - start;
            let to = last.min(start + self.part_bits - 1) - start;
            let part = &mut self.parts[index as usize];
            let all = if value { Bits::Set } else { Bits::Clear };
            if to - from + 1 == self.part_bits {
                *part = all;
            } else if *part != all {
                part.change(from, to, value, bytes);
            }
        }
    }

    /// How many bytes from the start of `extent`, which is not empty, are alike, and whether they are dirty.
    pub fn run(&self, extent: Extent) -> (u64, bool) {
        debug_assert!(!extent.is_empty());
        let mut bit = extent.offset / self.granularity_bytes;
        let is_dirty = self.is_set(bit);
        loop {
            bit = self.after_alike(bit);
            let at = bit.saturating_mul(self.granularity_bytes);
            if at >= extent.end() {
                return (extent.length, is_dirty);
            }
            if self.is_set(bit) != is_dirty {
                return (at - extent.offset, is_dirty);
            }
        }
    }

    fn is_set(&self, bit: u64) -> bool {
        match self.part(bit) {
            None | Some(Bits::Clear) => false,
            Some(Bits::Set) => true,
            Some(Bits::Stored(bytes)) => {
                let bit = bit % self.part_bits;
                bytes.get((bit / 8) as usize).is_some_and(|byte| byte >> (bit % 8) & 1 != 0)
            }
        }
    }

    fn part(&self, bit: u64) -> Option<&Bits> {
        self.parts.get(usize::try_from(bit / self.part_bits).ok()?)
    }

    /// The first bit after this one that may differ from it: whole parts and whole bytes are stepped over.
    fn after_alike(&self, bit: u64) -> u64 {
        let rest_of = |unit: u64| (bit / unit + 1).saturating_mul(unit);
        match self.part(bit) {
            None => u64::MAX,
            Some(Bits::Clear | Bits::Set) => rest_of(self.part_bits),
            Some(Bits::Stored(bytes)) => {
                let byte = bytes.get((bit % self.part_bits / 8) as usize).copied().unwrap_or(0);
                if byte == 0 || byte == u8::MAX { rest_of(8).min(rest_of(self.part_bits)) } else { bit + 1 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(bitmap: &DirtyBitmap, size: u64) -> Vec<(u64, bool)> {
        let (mut runs, mut at) = (Vec::new(), 0);
        while at < size {
            let (length, is_dirty) = bitmap.run(Extent::between(at, size));
            assert!(length > 0 && length <= size - at);
            runs.push((length, is_dirty));
            at += length;
        }
        runs
    }

    #[test]
    fn runs_go_over_bytes_and_parts() {
        let parts = vec![Bits::Clear, Bits::Stored(vec![0, 0xf0]), Bits::Set, Bits::Stored(vec![0xff])];
        let bitmap = DirtyBitmap::new(512, 16, parts);
        // 16 + 12 clean, 4 + 16 + 8 dirty, the rest clean: also what the last part does not store.
        let expected = [(28 * 512, false), (28 * 512, true), (1000, false)];
        assert_eq!(runs(&bitmap, 56 * 512 + 1000), expected);
        assert_eq!(bitmap.run(Extent::new(100, 10)), (10, false));
        assert_eq!(bitmap.run(Extent::new(28 * 512 + 100, 512)), (512, true));
        assert_eq!(bitmap.run(Extent::new(56 * 512 - 100, 512)), (100, true));
    }

    /// Against one value for each bit.
    #[test]
    fn bits_are_set_and_cut_as_asked() {
        const BITS: u64 = 53;
        for (part_bits, granularity) in [(8, 1), (16, 4), (24, 512), (64, 3)] {
            let size = BITS * granularity - granularity / 2;
            for first in 0..BITS {
                for count in [1, 2, 7, 8, 9, 17, 30, 53] {
                    let mut bitmap = DirtyBitmap::new(granularity, part_bits, vec![Bits::Set]);
                    bitmap.cut(BITS * granularity);
                    let mut bits: Vec<bool> = (0..BITS).map(|bit| bit < part_bits).collect();
                    let end = (first + count).min(BITS);
                    // A byte of a bit's range will do.
                    let last_byte_of_first = (first + 1) * granularity - 1;
                    let first_byte_of_last = (end - 1) * granularity + 1;
                    let asked =
                        Extent::between(last_byte_of_first, first_byte_of_last.max(last_byte_of_first + 1));
                    bitmap.set(asked);
                    bits[first as usize..end as usize].fill(true);
                    let told: Vec<bool> =
                        (0..BITS).map(|bit| bitmap.run(Extent::new(bit * granularity, 1)).1).collect();
                    assert_eq!(told, bits, "{part_bits} {granularity}: {first} {count}");
                    let dirty = bits.iter().filter(|bit| **bit).count() as u64 * granularity;
                    let past = if bits[BITS as usize - 1] { granularity / 2 } else { 0 };
                    assert_eq!(bitmap.dirty_bytes(size), dirty - past);
                    let mut merged = DirtyBitmap::new(granularity * 2, 8, Vec::new());
                    merged.merge(&bitmap, size);
                    for bit in 0..BITS.div_ceil(2) {
                        let pair = &bits[(2 * bit) as usize..(2 * bit + 2).min(BITS) as usize];
                        let is_dirty = merged.run(Extent::new(2 * bit * granularity, 1)).1;
                        assert_eq!(is_dirty, pair.contains(&true), "{bit}: {bits:?}");
                    }
                    bitmap.cut(first * granularity);
                    let whole = DirtyBitmap::dirty_bytes(&bitmap, u64::MAX);
                    let left = bits[..first as usize].iter().filter(|bit| **bit).count() as u64;
                    assert_eq!(whole, left * granularity, "{part_bits} {granularity}: {first} {count}");
                    bitmap.clear();
                    assert_eq!(bitmap.run(Extent::new(0, size)), (size, false));
                }
            }
        }
    }

    #[test]
    fn each_bit_is_told_as_it_is() {
        for byte in 0..=255_u8 {
            let bitmap = DirtyBitmap::new(1, 8, vec![Bits::Stored(vec![byte])]);
            let told: Vec<bool> = (0..8).map(|bit| bitmap.run(Extent::new(bit, 1)).1).collect();
            let expected: Vec<bool> = (0..8).map(|bit| byte >> bit & 1 == 1).collect();
            assert_eq!(told, expected, "{byte:#x}");
        }
    }
}
