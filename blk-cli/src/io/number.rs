//! Numbers as the command language writes them.

use std::fmt;

use blk_core::{SizeError, parse_integer, parse_size};

/// Why a text is not a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// It is no number, or something follows that is no unit.
    NotANumber,
    /// It is negative, or needs more than 63 bits.
    OutOfRange,
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "Parsing error: non-numeric argument, or extraneous/unrecognized suffix",
            Self::OutOfRange => "Parsing error: argument too large",
        })
    }
}

/// Reads a number of bytes, as [`parse_size`] does: at most 2^63 - 1.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, NumberError> {
    match parse_size(text) {
        Ok(bytes) if bytes <= i64::MAX.unsigned_abs() => Ok(bytes),
        Ok(_) | Err(SizeError::OutOfRange) => Err(NumberError::OutOfRange),
        Err(SizeError::NotASize) => Err(NumberError::NotANumber),
    }
}

/// Reads the byte that a pattern consists of.
pub(crate) fn parse_pattern(text: &str) -> Option<u8> {
    u8::try_from(parse_integer(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_63_bits_cannot_hold_is_out_of_range() {
        assert_eq!(parse_bytes("9223372036854775807"), Ok(i64::MAX.unsigned_abs()));
        for text in ["9223372036854775808", "8E", "16E", "0xffffffffffffffff", "-1"] {
            assert_eq!(parse_bytes(text), Err(NumberError::OutOfRange), "{text}");
        }
        assert_eq!(parse_bytes("1.5"), Err(NumberError::NotANumber));
    }

    #[test]
    fn a_pattern_is_a_byte() {
        assert_eq!(parse_pattern("0xab"), Some(0xab));
        assert_eq!(parse_pattern("255"), Some(255));
        for text in ["256", "-1", "x", "0x100"] {
            assert_eq!(parse_pattern(text), None, "{text}");
        }
    }
}
