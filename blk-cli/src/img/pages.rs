//! Buffers that start at a page.
//!
//! The kernel copies to and from such a buffer several times faster on some hosts, a tmpfs among them; and a
//! buffer that is used again costs no page faults.

use std::ops::{Deref, DerefMut};

const PAGE_BYTES: usize = 4096;

/// Bytes that start at a page, zeroes at first.
#[derive(Debug)]
pub(crate) struct Pages {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Pages {
    /// `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        let bytes = vec![0; length + PAGE_BYTES];
        let address = bytes.as_ptr().addr();
        Self { start: address.next_multiple_of(PAGE_BYTES) - address, length, bytes }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_start_at_a_page_and_keep_what_is_written() {
        for length in [0, 1, 511, 4096, 100_000] {
            let mut pages = Pages::new(length);
            pages.fill(7);
            assert_eq!((pages.len(), pages.as_ptr().addr() % PAGE_BYTES), (length, 0));
            assert!(pages.iter().all(|byte| *byte == 7));
        }
    }
}
