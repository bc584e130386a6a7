//! A short text that is copied like a number.

use std::fmt;

/// A text of up to [`ShortText::BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShortText {
    /// Filled up with zeroes.
    bytes: [u8; ShortText::BYTES_MAX],
    length: u8,
}

impl ShortText {
    /// Longest text, bytes.
    pub const BYTES_MAX: usize = 31;

    /// `None` if `text` is longer.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: text.len() as u8 })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("it was a text")
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_as_it_is_or_refused() {
        for text in ["", "a", "refcount_bits=64", "ä=ö", &"x".repeat(ShortText::BYTES_MAX)] {
            let short = ShortText::new(text).unwrap();
            assert_eq!((short.as_str(), format!("{short:?}")), (text, format!("{text:?}")));
            assert_eq!(short, ShortText::new(text).unwrap());
        }
        assert!(ShortText::new(&"x".repeat(ShortText::BYTES_MAX + 1)).is_none());
    }
}
