//! What `cargo xtask bench` runs for our side: prints a JSON line for each measure, per second.
//! peers/README.md defines the workloads, which are the same there.

mod files;
mod memory;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Where files are measured unless told otherwise: a tmpfs, so that the disk is not what is measured.
const FOLDER: &str = "/dev/shm";

/// `memory` measures the seeded engine in memory, `files [FOLDER]` the qcow2 driver over files, beside plain
/// reads and writes of a file; `all` does both.
fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["memory"] => memory::run(),
        ["files"] => files::run(Path::new(FOLDER)),
        ["files", folder] => files::run(Path::new(folder)),
        ["all"] => {
            memory::run()?;
            files::run(Path::new(FOLDER))
        }
        _ => bail!("usage: blk-bench memory | files [FOLDER] | all"),
    }
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
