//! Buffers that start at a page.

const PAGE_BYTES: usize = 4096;

/// A buffer that starts at a page: one that does not makes reads of a tmpfs three to five times slower.
pub(crate) struct Pages {
    bytes: Vec<u8>,
    start: usize,
}

impl Pages {
    /// A buffer of `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        let bytes = vec![0x5a; length + PAGE_BYTES];
        let address = bytes.as_ptr().addr();
        Self { start: address.next_multiple_of(PAGE_BYTES) - address, bytes }
    }

    /// The first `length` bytes.
    pub(crate) fn get(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_a_page() {
        assert_eq!(Pages::new(100).get(100).as_ptr().addr() % PAGE_BYTES, 0);
    }
}
