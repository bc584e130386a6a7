//! Buffers whose place in memory is aligned.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes that somebody owns, from an address on that is a multiple of some alignment.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// `length` zeroes from a multiple of `alignment` on, a power of two. Bytes.
    pub fn zeroed(length: usize, alignment: u64) -> Self {
        assert!(alignment.is_power_of_two(), "{alignment}");
        if alignment == 1 {
            return Self::from(vec![0; length]);
        }
        let bytes = vec![0; length + alignment as usize];
        let start = bytes.as_ptr().align_offset(alignment as usize);
        assert!(start < alignment as usize, "one of so many addresses is aligned");
        Self { bytes, start, length }
    }

    /// Without bytes, for requests that move none.
    pub fn none() -> Self {
        Self::from(Vec::new())
    }
}

/// The vector as it is, wherever it lies.
impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        Self { bytes, start: 0, length }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the bytes: they are many.
        f.debug_struct("Buffer").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Whether a buffer starts at a multiple of `alignment`, a power of two.
#[inline]
pub(crate) fn is_aligned(buf: &[u8], alignment: u64) -> bool {
    (buf.as_ptr().addr() as u64) & (alignment - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_lies_where_it_is_asked_to() {
        for alignment in [1, 2, 512, 4096, 1 << 20] {
            for length in [0, 1, 5000] {
                let mut buffer = Buffer::zeroed(length, alignment);
                assert!(is_aligned(&buffer, alignment), "{length} bytes at {alignment}");
                assert_eq!(&buffer[..], &vec![0; length]);
                buffer.fill(1);
                assert_eq!(buffer.len(), length);
            }
        }
        let whole = Buffer::zeroed(100, 4096);
        assert!(!is_aligned(&whole[1..], 2) && is_aligned(&whole[2..], 2));
    }
}
