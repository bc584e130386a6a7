//! Counts and times as people write them: `100k`, `1M`; `30s`, `5m`, `1h`; and dates.
//!
//! This file uses nothing of the crate, because `cargo-blk`, which depends on no crate of the workspace, has
//! a link to it.

use std::time::Duration;

/// Reads a count: `100000`, `100k`, `1.5M`, `2G`; powers of 1000, as things are counted.
///
/// # Errors
/// A text that says what is wrong with the value.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let unit = |unit: &str| match unit {
        "" => Some(1),
        "k" | "K" => Some(1000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    scaled(text, unit).ok_or_else(|| format!("'{text}' is not a count: a number, or one with k, M or G"))
}

/// Reads a time: `90` and `90s` are seconds, `500ms`, `5m`, `1.5h`.
///
/// # Errors
/// A text that says what is wrong with the value.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let unit = |unit: &str| match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let milliseconds = scaled(text, unit);
    let wrong = || format!("'{text}' is not a time: a number of seconds, or one with ms, s, m, h or d");
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}

/// A decimal number, which may have a fraction, times what its unit stands for; `None` if that is no number
/// of 64 bits.
fn scaled(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    const FRACTION_DIGITS_MAX: usize = 9;
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, name) = text.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > FRACTION_DIGITS_MAX || number.ends_with('.') {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    u64::try_from(digits.checked_mul(u128::from(unit(name)?))? / scale).ok()
}

/// Year, month and day of the day that is so many days after 1970-01-01, in the Gregorian calendar.
pub fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March have the leap day at their end; 719468 days lie between 0000-03-01 and
    // 1970-01-01.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_units_of_1000() {
        for (text, count) in
            [("0", 0), ("17", 17), ("100k", 100_000), ("1.5M", 1_500_000), ("2G", 2_000_000_000)]
        {
            assert_eq!(parse_count(text), Ok(count), "{text}");
        }
        for wrong in ["", "k", "-1", "1.", ".5", "1kk", "1T", "99999999999999999999", "1 k", "0x10", "1.2.3"]
        {
            assert!(parse_count(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn times_are_seconds_where_nothing_else_is_said() {
        let seconds = |text| parse_time(text).unwrap().as_secs_f64();
        for (text, time) in
            [("15", 15.0), ("30s", 30.0), ("500ms", 0.5), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86_400.0)]
        {
            assert!((seconds(text) - time).abs() < 1e-9, "{text}");
        }
        for wrong in ["", "s", "1w", "1h30m", "-5s", "99999999999999999999h"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
