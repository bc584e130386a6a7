//! Numbers as the command language writes them.

use std::fmt;

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

/// Reads a number of bytes: decimal with an optional fraction and one of the units `b k M G T P E` (powers of 1024, either
/// case), or hexadecimal after `0x`, which takes neither. At most 2^63 - 1.
///
/// A fraction is rounded to the nearest byte; of a byte there is none.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, NumberError> {
    if let Some(rest) = text.strip_prefix('-') {
        let negative = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if negative { NumberError::OutOfRange } else { NumberError::NotANumber });
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let bytes = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => parse_hexadecimal(digits)?,
        None => parse_decimal(text)?,
    };
    if bytes > i64::MAX.unsigned_abs() { Err(NumberError::OutOfRange) } else { Ok(bytes) }
}

fn parse_hexadecimal(digits: &str) -> Result<u64, NumberError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(NumberError::NotANumber);
    }
    u64::from_str_radix(digits, 16).map_err(|_| NumberError::OutOfRange)
}

fn parse_decimal(text: &str) -> Result<u64, NumberError> {
    let (whole, rest) = split_digits(text);
    let (fraction, unit) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(NumberError::NotANumber);
    }
    let unit_bytes = unit_bytes(unit).ok_or(NumberError::NotANumber)?;
    if unit_bytes == 1 && fraction.bytes().any(|digit| digit != b'0') {
        return Err(NumberError::NotANumber);
    }
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| NumberError::OutOfRange)?,
    };
    let bytes = whole.checked_mul(unit_bytes).ok_or(NumberError::OutOfRange)?;
    bytes.checked_add(fraction_bytes(fraction, unit_bytes)).ok_or(NumberError::OutOfRange)
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

/// What the digits behind the point are worth, rounded. Digits beyond the 18th are worth less than a byte.
fn fraction_bytes(digits: &str, unit_bytes: u64) -> u64 {
    let (mut numerator, mut denominator) = (0u128, 1u128);
    for digit in digits.bytes().take(18) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    // At most the unit itself, 2^60: below 10^18 / 10^18 of it, rounded.
    let doubled = numerator * u128::from(unit_bytes) * 2 + denominator;
    u64::try_from(doubled / (denominator * 2)).unwrap_or(u64::MAX)
}

/// Reads a whole number as C does: decimal, octal after `0`, hexadecimal after `0x`. `None` where anything else is in it.
pub(crate) fn parse_integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
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

/// Reads the byte that a pattern consists of.
pub(crate) fn parse_pattern(text: &str) -> Option<u8> {
    u8::try_from(parse_integer(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bytes(text: &str, expected: u64) {
        assert_eq!(parse_bytes(text), Ok(expected), "{text}");
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
        bytes("7E", 7 << 60);
    }

    #[test]
    fn zeroes_in_front_do_not_make_it_octal() {
        bytes("010", 10);
        bytes("08", 8);
        bytes("+5", 5);
    }

    #[test]
    fn hexadecimal_takes_no_unit() {
        bytes("0x200", 512);
        bytes("0XfF", 255);
        bytes("0xE", 14);
        for text in ["0x", "0x10k", "0xg", "0x1p", "0x1.8k"] {
            assert_eq!(parse_bytes(text), Err(NumberError::NotANumber), "{text}");
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
        bytes("1.9999999999999999999k", 2048);
        bytes("1.5e", 3 << 59);
        bytes("1.0", 1);
        bytes("1.0b", 1);
        assert_eq!(parse_bytes("1.5"), Err(NumberError::NotANumber));
        assert_eq!(parse_bytes("1.5b"), Err(NumberError::NotANumber));
    }

    #[test]
    fn what_63_bits_cannot_hold_is_out_of_range() {
        bytes("9223372036854775807", i64::MAX.unsigned_abs());
        for text in
            ["9223372036854775808", "18446744073709551616", "8E", "16E", "0xffffffffffffffff", "-1", "-0"]
        {
            assert_eq!(parse_bytes(text), Err(NumberError::OutOfRange), "{text}");
        }
        assert_eq!(parse_bytes("0xfffffffffffffffff"), Err(NumberError::OutOfRange));
    }

    #[test]
    fn anything_else_is_no_number() {
        for text in
            ["", ".", "k", ".k", "foo", "1kb", "1KiB", "1e3", "1s", "5x", "1,5", "--5", "-5k", "inf", "1é"]
        {
            assert_eq!(parse_bytes(text), Err(NumberError::NotANumber), "{text}");
        }
    }

    #[test]
    fn integers_are_read_as_c_reads_them() {
        assert_eq!(parse_integer("010"), Some(8));
        assert_eq!(parse_integer("0x1F"), Some(31));
        assert_eq!(parse_integer("-7"), Some(-7));
        assert_eq!(parse_integer("0"), Some(0));
        for text in ["", "08", "0x", "1k", "1.0", "+-5", "0x-1", "x"] {
            assert_eq!(parse_integer(text), None, "{text}");
        }
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
