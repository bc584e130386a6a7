//! `cargo blk soak` and `cargo blk race`: generated scenarios for a long time.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::job;
use crate::project::Project;
use crate::units::{parse_count, parse_time};

/// What to run, and how long.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    job: job::Work,
    /// Requests in all.
    #[arg(long, default_value = "1M", value_parser = parse_count)]
    requests: u64,
    /// In place of requests: until another counter of the engine reaches a number, such as `states=1M` of
    /// crashes or `faults=100k`.
    #[arg(long, value_name = "COUNTER=COUNT", value_parser = parse_until, conflicts_with = "requests")]
    until: Option<(String, u64)>,
    /// Stop after this time at the latest.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Seed of the scenarios.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What to race, and how long.
#[derive(Debug, clap::Args)]
pub struct RaceArguments {
    #[command(flatten)]
    job: job::Work,
    /// Schedules in all.
    #[arg(long, default_value = "100k", value_parser = parse_count)]
    schedules: u64,
    /// In place of generated scenarios: every schedule of every pair of requests over two units of
    /// allocation.
    #[arg(long, conflicts_with_all = ["schedules", "time", "threads"])]
    all: bool,
    /// Real threads in place of the deterministic scheduler. What they find cannot be replayed.
    #[arg(long, default_value_t = 0)]
    threads: u8,
    /// Stop after this time at the latest.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Seed of the scenarios.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn parse_until(text: &str) -> Result<(String, u64), String> {
    let (counter, count) = text.split_once('=').ok_or("COUNTER=COUNT is meant, such as states=1M")?;
    Ok((counter.to_owned(), parse_count(count)?))
}

/// Runs generated scenarios. Returns whether nothing was found.
///
/// # Errors
/// Those of the job.
pub fn run(project: &Project, arguments: &Arguments) -> Result<bool> {
    let Arguments { job, requests, until, time, seed } = arguments;
    let (counter, count) = until.clone().unwrap_or_else(|| ("requests".to_owned(), *requests));
    soak(project, job, (&counter, count), *time, *seed, (false, 0))
}

/// Runs generated scenarios with requests in flight together, or all small ones. Returns whether nothing was
/// found.
///
/// # Errors
/// Those of the job.
pub fn race(project: &Project, arguments: &RaceArguments) -> Result<bool> {
    let RaceArguments { job, schedules, all, threads, time, seed } = arguments;
    if *threads == 1 {
        bail!("one thread has nothing to meet: --threads takes 2 or more");
    }
    if *all {
        return crate::exhaust::run(project, &crate::exhaust::Arguments::schedules(job.clone()));
    }
    soak(project, job, ("scenarios", *schedules), *time, *seed, (true, *threads))
}

fn soak(
    project: &Project,
    job: &job::Work,
    (counter, count): (&str, u64),
    time: Option<Duration>,
    seed: u64,
    (is_race, threads): (bool, u8),
) -> Result<bool> {
    let seconds = time.map(|time| time.as_secs().max(1));
    job::run(project, job, |index, of| {
        json!({
            "job": "soak", "seed": seed, "counter": counter, "count": count, "seconds": seconds,
            "is_race": is_race, "threads": threads,
            "part": { "index": index, "of": of },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_a_count() {
        assert_eq!(parse_until("states=2k"), Ok(("states".to_owned(), 2000)));
        for wrong in ["states", "states=", "states=x"] {
            assert!(parse_until(wrong).is_err(), "{wrong}");
        }
    }
}
