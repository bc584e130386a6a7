//! Small questions about bytes that many parts ask.

/// The unit in which hosts write and disks are compared and reported, bytes.
pub const SECTOR_BYTES: u64 = 512;

/// Whether all bytes are zero; a block at a time, so that many are looked at at once.
#[inline]
pub fn is_zero(bytes: &[u8]) -> bool {
    let or = |bytes: &[u8]| bytes.iter().fold(0, |any, byte| any | byte);
    // Most that is not zero shows it in the first bytes; after those, longer blocks cost less.
    let (head, rest) = bytes.split_at(bytes.len().min(64));
    let (blocks, tail) = rest.as_chunks::<256>();
    or(head) == 0 && blocks.iter().all(|block| or(block) == 0) && or(tail) == 0
}

/// The index of the first byte in which `a` and `b` differ, as far as both reach. `None` where they are the
/// same that far.
pub fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    const BLOCK: usize = SECTOR_BYTES as usize;
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    // Most often nothing differs. Else whole blocks are compared fast, and only the one that differs byte by
    // byte.
    if a == b {
        return None;
    }
    let block = a.chunks(BLOCK).zip(b.chunks(BLOCK)).position(|(a, b)| a != b)?;
    let start = block * BLOCK;
    let within = a[start..].iter().zip(&b[start..]).position(|(a, b)| a != b);
    Some(start + within.expect("the blocks differ"))
}

/// The number of the sector that the byte at `offset` lies in.
#[inline]
pub const fn sector_of(offset: u64) -> u64 {
    offset / SECTOR_BYTES
}

/// A number of which each bit depends on each bit of `number`: the finaliser of `SplitMix64`. It is the same
/// for ever, so that what is chosen by it can be chosen again.
#[inline]
pub const fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_not_zero() {
        for length in [0, 1, 63, 64, 65, 511, 512, 513, 2000] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes), "{length}");
            for at in 0..length {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "byte {at} of {length}");
                bytes[at] = 0;
            }
        }
    }

    #[test]
    fn the_first_difference_is_found_wherever_it_is() {
        let a = vec![7; 1500];
        assert_eq!(first_difference(&a, &a), None);
        assert_eq!(first_difference(&a, &a[..3]), None, "as far as both reach");
        assert_eq!(first_difference(&[], &a), None);
        for at in 0..a.len() {
            let mut b = a.clone();
            b[at] = 8;
            b[a.len() - 1] = 9;
            assert_eq!(first_difference(&a, &b), Some(at));
        }
    }

    #[test]
    fn mixing_is_written_down() {
        // The first outputs of SplitMix64 with seed 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!((sector_of(511), sector_of(512)), (0, 1));
    }
}
