//! What the words of several commands have in common.

use crate::io::number::{parse_bytes, parse_pattern};
use crate::io::refusal::{Done, Refusal};
use crate::io::target::SECTOR_BYTES;

/// The most bytes in one request: whole sectors that a signed 32-bit number counts.
pub(super) const REQUEST_BYTES_MAX: u64 = 2_147_483_136;

/// An offset, or any other number of bytes.
pub(super) fn bytes(word: &str) -> Done<u64> {
    parse_bytes(word).map_err(|error| Refusal::Line(format!("{error} -- {word}")))
}

/// The length of one request.
pub(super) fn request_bytes(word: &str) -> Done<u64> {
    let length = bytes(word)?;
    if length > REQUEST_BYTES_MAX {
        return Err(Refusal::Line(format!("length cannot exceed {REQUEST_BYTES_MAX}, given {word}")));
    }
    Ok(length)
}

/// The lengths of the parts of one request, which are not too much together.
pub(super) fn parts_bytes(words: &[&str]) -> Done<Vec<u64>> {
    let mut parts = Vec::with_capacity(words.len());
    let mut total = 0;
    for word in words {
        let length = bytes(word)?;
        if length > REQUEST_BYTES_MAX {
            let what = format!("Argument '{word}' exceeds maximum size {REQUEST_BYTES_MAX}");
            return Err(Refusal::Line(what));
        }
        parts.push(length);
        total += length;
        if total > REQUEST_BYTES_MAX {
            let what = format!("The total number of bytes exceed the maximum size {REQUEST_BYTES_MAX}");
            return Err(Refusal::Line(what));
        }
    }
    Ok(parts)
}

/// The byte of a pattern.
pub(super) fn pattern(word: &str) -> Done<u8> {
    parse_pattern(word).ok_or_else(|| Refusal::Line(format!("{word} is not a valid pattern byte")))
}

/// Refuses an offset or a length that is not a whole number of sectors.
pub(super) fn whole_sectors(offset: u64, length: u64) -> Done {
    for (name, value) in [("offset", offset), ("count", length)] {
        if !value.is_multiple_of(SECTOR_BYTES) {
            let what = format!("{value} is not a sector-aligned value for '{name}'");
            return Err(Refusal::Line(what));
        }
    }
    Ok(())
}

/// A buffer of `length` bytes, each `fill`.
pub(super) fn buffer(length: u64, fill: u8) -> Done<Vec<u8>> {
    let mut buffer = Vec::new();
    let room = usize::try_from(length)
        .map_or(Err(()), |length| buffer.try_reserve_exact(length).map_err(|_| ()).map(|()| length));
    let Ok(length) = room else {
        return Err(Refusal::Error(format!("no memory for a buffer of {length} bytes")));
    };
    buffer.resize(length, fill);
    Ok(buffer)
}
