//! Rates, medians, and the line that is printed for each measure.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Prints a measure as a line of JSON.
pub(crate) fn print(name: &str, per_second: f64) {
    println!("{{\"name\":\"{name}\",\"value\":{per_second:.1},\"unit\":\"per second\"}}");
}

/// Calls `work`, which returns how much it did, until enough time has passed; returns how much a second.
pub(crate) fn per_second(time: Duration, mut work: impl FnMut() -> Result<u64>) -> Result<f64> {
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed() < time {
        done += work()?;
    }
    Ok(rate(done, started.elapsed()))
}

/// How much a second.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
pub(crate) fn rate(done: u64, time: Duration) -> f64 {
    done as f64 / time.as_secs_f64()
}

/// The middle one of an odd number of values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_rate_counts_what_was_done() {
        assert!((rate(50, Duration::from_millis(500)) - 100.0).abs() < f64::EPSILON);
    }
}
