//! Telling data from zeroes in a buffer.

use std::ops::Range;

use super::super::size::SECTOR_BYTES;
use blk_core::bytes::is_zero;

/// A part of a buffer, and whether it has to be stored.
pub(super) type Part = (Range<usize>, bool);

/// Splits `bytes`, which lie at `offset` of the disk, into data and zeroes. Zeroes count from `sparse_bytes`
/// on, and in units that are aligned on the disk: the largest power of two up to that. 0 makes everything
/// data.
pub(super) fn split(bytes: &[u8], offset: u64, sparse_bytes: u64) -> Vec<Part> {
    if sparse_bytes == 0 {
        return vec![(0..bytes.len(), true)];
    }
    let unit = 1_usize << sparse_bytes.max(SECTOR_BYTES).ilog2();
    let first = unit - (offset % unit as u64) as usize;
    let mut parts: Vec<Part> = Vec::new();
    let mut start = 0;
    let mut end = first.min(bytes.len());
    while start < bytes.len() {
        let is_data = !is_zero(&bytes[start..end]);
        match parts.last_mut() {
            Some((range, data)) if *data == is_data => range.end = end,
            _ => parts.push((start..end, is_data)),
        }
        start = end;
        end = (end + unit).min(bytes.len());
    }
    join_short(parts, sparse_bytes as usize)
}

/// Zeroes behind data that are too few to be left out become data.
fn join_short(parts: Vec<Part>, sparse_bytes: usize) -> Vec<Part> {
    let last = parts.len().saturating_sub(1);
    let mut joined: Vec<Part> = Vec::new();
    for (index, (range, data)) in parts.into_iter().enumerate() {
        let is_data = data || (range.len() < sparse_bytes && index > 0 && index < last);
        match joined.last_mut() {
            Some((before, true)) if is_data => before.end = range.end,
            _ => joined.push((range, is_data)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_count_in_aligned_units() {
        let mut bytes = vec![0; 32 << 10];
        bytes[9000] = 1;
        assert_eq!(split(&bytes, 0, 4096), [(0..8192, false), (8192..12288, true), (12288..32768, false)]);
        // At an odd sector of the disk the units lie elsewhere in the buffer.
        assert_eq!(split(&bytes, 512, 4096)[1], (7680..11776, true));
        assert_eq!(split(&bytes, 0, 0), [(0..32768, true)]);
    }

    #[test]
    fn short_runs_of_zeroes_between_data_are_stored() {
        let mut bytes = vec![1; 64 << 10];
        bytes[8192..16384].fill(0);
        bytes[32768..49152].fill(0);
        let expected = [(0..32768, true), (32768..49152, false), (49152..65536, true)];
        assert_eq!(split(&bytes, 0, 12288), expected);
    }
}
