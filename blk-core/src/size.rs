//! Sizes and whole numbers as people write them, by the rules of QEMU's tools: one parser for everything that
//! reads any.

use std::fmt;

/// Why a text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeError {
    /// It is no number, something follows that is no unit, or it is a part of a byte.
    NotASize,
    /// It is negative, or needs more than 64 bits.
    OutOfRange,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotASize => "is not a size: bytes, or a number with one of the units b k M G T P E",
            Self::OutOfRange => "is not a size: negative, or larger than 64 bits",
        })
    }
}

impl std::error::Error for SizeError {}

/// Reads a size in bytes: decimal with an optional fraction and one of the units `b k M G T P E` (powers of
/// 1024, either case), or hexadecimal after `0x`, which takes neither. White space before it and a `+` are
/// skipped; a leading zero does not make it octal.
///
/// A fraction is a double of C, rounded to the nearest byte; of a single byte there is none.
///
/// ```
/// assert_eq!(blk_core::parse_size("1.5k"), Ok(1536));
/// assert_eq!(blk_core::parse_size("0x10"), Ok(16));
/// assert!(blk_core::parse_size("1.5").is_err());
/// ```
///
/// # Errors
/// What is wrong with it, without the text itself.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim_start_matches(is_space);
    if let Some(rest) = text.strip_prefix('-') {
        let negative = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if negative { SizeError::OutOfRange } else { SizeError::NotASize });
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    match strip_hexadecimal(text) {
        Some(digits) => parse_hexadecimal(digits),
        None => parse_decimal(text),
    }
}

/// What C's `isspace` takes for white space.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

fn strip_hexadecimal(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

fn parse_hexadecimal(digits: &str) -> Result<u64, SizeError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(SizeError::NotASize);
    }
    u64::from_str_radix(digits, 16).map_err(|_| SizeError::OutOfRange)
}

fn parse_decimal(text: &str) -> Result<u64, SizeError> {
    let (whole, rest) = split_digits(text);
    let (fraction, unit) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(SizeError::NotASize);
    }
    let unit_bytes = unit_bytes(unit).ok_or(SizeError::NotASize)?;
    let fraction = fraction_of(fraction);
    if unit_bytes == 1 && fraction != 0.0 {
        return Err(SizeError::NotASize);
    }
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| SizeError::OutOfRange)?,
    };
    let bytes = whole.checked_mul(unit_bytes).ok_or(SizeError::OutOfRange)?;
    bytes.checked_add(fraction_bytes(fraction, unit_bytes)).ok_or(SizeError::OutOfRange)
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let shift = match unit {
        "" | "b" | "B" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        "e" | "E" => 60,
        _ => return None,
    };
    Some(1 << shift)
}

/// The digits behind the point, from 0 to 1: as many may round up to it.
fn fraction_of(digits: &str) -> f64 {
    format!("0.{digits}0").parse().unwrap_or(0.0)
}

/// What a fraction of a unit is worth, rounded; at most the unit, 2^60.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "units are powers of two, and it is positive"
)]
fn fraction_bytes(fraction: f64, unit_bytes: u64) -> u64 {
    let bytes = fraction * unit_bytes as f64;
    // Above 2^53 there is nothing to round, and adding a half would round to even.
    if bytes.fract() == 0.0 { bytes as u64 } else { (bytes + 0.5) as u64 }
}

/// Reads a whole number as C does: decimal, octal after `0`, hexadecimal after `0x`, white space before it
/// skipped. `None` where anything else is in it.
pub fn parse_integer(text: &str) -> Option<i128> {
    let text = text.trim_start_matches(is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match strip_hexadecimal(digits) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// A number of bytes in the form that [`parse_size`] reads, with the largest unit that divides it: `64k`,
/// `1T`, `1025`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactSize(pub u64);

impl fmt::Display for ExactSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'k')];
        match units.into_iter().find(|(shift, _)| self.0 != 0 && self.0.is_multiple_of(1 << shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bytes(text: &str, expected: u64) {
        assert_eq!(parse_size(text), Ok(expected), "{text}");
    }

    #[test]
    fn units_are_powers_of_1024_in_either_case() {
        bytes("0", 0);
        bytes("512", 512);
        bytes("2b", 2);
        bytes("1B", 1);
        bytes("1k", 1 << 10);
        bytes("3K", 3 << 10);
        bytes("1m", 1 << 20);
        bytes("1g", 1 << 30);
        bytes("1T", 1 << 40);
        bytes("1p", 1 << 50);
        bytes("15E", 15 << 60);
    }

    #[test]
    fn zeroes_in_front_do_not_make_it_octal_and_white_space_is_skipped() {
        bytes("010", 10);
        bytes("08", 8);
        bytes("+5", 5);
        bytes(" \t\n5k", 5 << 10);
        bytes(" +0x10", 16);
    }

    #[test]
    fn hexadecimal_takes_no_unit() {
        bytes("0x200", 512);
        bytes("0XfF", 255);
        bytes("0x1b", 27);
        for text in ["0x", "0x10k", "0xg", "0x1p", "0x1.8k", "0x+1"] {
            assert_eq!(parse_size(text), Err(SizeError::NotASize), "{text}");
        }
    }

    #[test]
    fn fractions_are_rounded_to_the_nearest_byte() {
        bytes("1.5k", 1536);
        bytes(".5k", 512);
        bytes("1.k", 1024);
        bytes("0.1k", 102);
        bytes("0.999k", 1023);
        bytes("0.0001k", 0);
        bytes("0.00048828125k", 1);
        bytes("1.9999k", 2048);
        bytes("1.9999999999999999999k", 2048);
        bytes("7.9999999999999999999E", 8 << 60);
        bytes("1.5e", 3 << 59);
        // As a double, not as exactly a tenth.
        bytes("0.1E", 115_292_150_460_684_704);
        bytes("1.0", 1);
        bytes("1.0b", 1);
        for text in ["1.5", "1.5b", ".5", "0.1"] {
            assert_eq!(parse_size(text), Err(SizeError::NotASize), "{text}");
        }
    }

    #[test]
    fn what_64_bits_cannot_hold_is_out_of_range() {
        bytes("18446744073709551615", u64::MAX);
        bytes("0xffffffffffffffff", u64::MAX);
        for text in
            ["18446744073709551616", "16E", "15.99999999999999999999E", "-1", "-0", "0xfffffffffffffffff"]
        {
            assert_eq!(parse_size(text), Err(SizeError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_size() {
        for text in [
            "", " ", ".", "k", ".k", "foo", "1kb", "1KiB", "1e3", "1s", "5x", "1,5", "--5", "-5k", "+-5",
            "inf", "1é", "5 ", "+ 5",
        ] {
            assert_eq!(parse_size(text), Err(SizeError::NotASize), "{text}");
        }
    }

    #[test]
    fn integers_are_read_as_c_reads_them() {
        assert_eq!(parse_integer("010"), Some(8));
        assert_eq!(parse_integer("0x1F"), Some(31));
        assert_eq!(parse_integer("-7"), Some(-7));
        assert_eq!(parse_integer("\t0"), Some(0));
        for text in ["", "08", "0x", "1k", "1.0", "+-5", "0x-1", "x", "5 "] {
            assert_eq!(parse_integer(text), None, "{text}");
        }
    }
}
