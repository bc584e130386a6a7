//! Numbers in the bytes of an image.

/// The big-endian number of `width` bytes at `at`; 0 where the image does not reach so far.
pub(crate) fn number(image: &[u8], at: usize, width: usize) -> u64 {
    let bytes = at.checked_add(width).and_then(|end| image.get(at..end)).unwrap_or(&[]);
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
