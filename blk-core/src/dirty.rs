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

/// A dirty bitmap, as an image keeps it: frozen, it does not follow what is written.
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
    /// If either is 0.
    pub fn new(granularity_bytes: u64, part_bits: u64, parts: Vec<Bits>) -> Self {
        assert!(granularity_bytes > 0 && part_bits > 0, "a bit stands for something");
        Self { granularity_bytes, part_bits, parts }
    }

    /// Bytes of the disk that a bit stands for.
    pub fn granularity_bytes(&self) -> u64 {
        self.granularity_bytes
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
