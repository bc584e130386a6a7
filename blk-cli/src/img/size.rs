//! Sizes as people write them, and as they are shown to people.

use blk_core::{parse_integer, parse_size};

use super::failure::{Failure, Outcome};

/// Bytes of a sector: sizes of images are multiples of it.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// The largest disk that any tool takes, bytes: what 63 bits hold, in whole units of the coarsest alignment,
/// 1 GiB.
pub(crate) const DISK_BYTES_MAX: u64 = i64::MAX as u64 & !((1 << 30) - 1);

/// Reads a size of at most `i64::MAX` bytes; `what` names it in the error.
pub(crate) fn parse(what: &str, text: &str) -> Outcome<u64> {
    parse_up_to(what, text, 0, i64::MAX as u64)
}

/// Reads a size from `min` to `max` bytes.
pub(crate) fn parse_up_to(what: &str, text: &str, min: u64, max: u64) -> Outcome<u64> {
    match parse_size(text) {
        Ok(size) if (min..=max).contains(&size) => Ok(size),
        Ok(size) => Err(Failure::new(format!("invalid {what}: {size} is not between {min} and {max}"))),
        Err(error) => Err(Failure::new(format!("invalid {what}: '{text}' {error}"))),
    }
}

/// Reads a count from `min` to `max`, which is a whole number of C and takes no unit.
pub(crate) fn parse_count(what: &str, text: &str, min: u64, max: u64) -> Outcome<u64> {
    let number = parse_integer(text).and_then(|number| u64::try_from(number).ok());
    number.filter(|number| (min..=max).contains(number)).ok_or_else(|| {
        Failure::new(format!("invalid {what}: '{text}' is not a whole number from {min} to {max}"))
    })
}

/// Reads a rate in bytes a second; 0 is no limit.
pub(crate) fn parse_rate(text: &str) -> Outcome<Option<u64>> {
    parse("rate", text).map(|rate| Some(rate).filter(|rate| *rate > 0))
}

/// The next multiple of a sector.
pub(crate) fn whole_sectors(bytes: u64) -> u64 {
    bytes.div_ceil(SECTOR_BYTES).saturating_mul(SECTOR_BYTES)
}

/// `part` as a multiple of `whole`; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "shown with four digits, or slept for")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Three significant digits and a binary unit, as `1.5 GiB`.
pub(crate) fn human(bytes: u64) -> String {
    let mut value = ratio(bytes, 1);
    let mut unit = 0;
    while value >= 1000.0 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// As the `%.3g` of other languages: trailing zeroes go, four and more digits get an exponent.
fn three_digits(value: f64) -> String {
    let scientific = format!("{value:.2e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent >= 3 {
        return format!("{}e+{exponent:02}", trim_zeroes(mantissa));
    }
    let decimals = usize::try_from(2 - exponent).unwrap_or(0);
    trim_zeroes(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeroes(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.977 KiB"),
            (1024, "1 KiB"),
            (197_120, "192 KiB"),
            (1_000_448, "977 KiB"),
            (2_380_000, "2.27 MiB"),
            (1_023_590, "1e+03 KiB"),
            (1 << 30, "1 GiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(human(bytes), shown);
        }
    }

    #[test]
    fn sizes_out_of_bounds_are_refused_with_the_bounds() {
        assert_eq!(parse("size", " 64k").unwrap(), 65536);
        assert!(parse("size", "8E").unwrap_err().lines[0].contains("9223372036854775807"));
        assert!(parse("size", "1x").unwrap_err().lines[0].contains("'1x' is not a size"));
        assert_eq!(parse_count("count", "010", 0, 8).unwrap(), 8);
        assert!(parse_count("count", "1k", 0, 9).unwrap_err().lines[0].contains("from 0 to 9"));
    }
}
