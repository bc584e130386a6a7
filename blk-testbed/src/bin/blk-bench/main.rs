//! What `cargo xtask bench` runs for our side: prints a JSON line for each measure, per second.
//! peers/README.md defines the workloads, which are the same there.

mod engines;
mod features;
mod files;
mod growth;
mod in_flight;
mod memory;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Where files are measured unless told otherwise: a tmpfs, so that the disk is not what is measured.
const FOLDER: &str = "/dev/shm";

/// `memory` measures the seeded engine in memory, `engines [SUITE]` those that run generated scenarios,
/// `growth` how work grows with images, `files [FOLDER]` the drivers over files, beside plain reads and
/// writes of a file; `all` does all.
fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["memory"] => memory::run(),
        ["engines"] => engines::run(None),
        ["engines", suite] => engines::run(Some(suite)),
        ["growth"] => growth::run(Path::new(FOLDER)),
        ["files"] => files(Path::new(FOLDER)),
        ["files", folder] => files(Path::new(folder)),
        ["all"] => {
            memory::run()?;
            engines::run(None)?;
            growth::run(Path::new(FOLDER))?;
            files(Path::new(FOLDER))
        }
        _ => bail!("usage: blk-bench memory | engines [SUITE] | growth | files [FOLDER] | all"),
    }
}

fn files(folder: &Path) -> Result<()> {
    files::run(folder)?;
    features::run(folder)
}

fn print(name: &str, value: f64) {
    println!("{{\"name\":\"{name}\",\"value\":{value:.1},\"unit\":\"per second\"}}");
}

/// Calls `work`, which returns how much it did, until enough time has passed; returns how much a second.
fn per_second(time: Duration, mut work: impl FnMut() -> Result<u64>) -> Result<f64> {
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed() < time {
        done += work()?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
