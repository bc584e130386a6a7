//! What `cargo xtask bench` runs for our side: prints a JSON line for each measure, per second. peers/README.md defines the
//! workloads, which are the same there.

mod files;
mod memory;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures the drivers and the engine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The seeded engine in memory.
    Memory,
    /// The qcow2 driver over files, beside plain reads and writes of a file.
    Files {
        /// The folder for the files: a tmpfs, so that the disk is not what is measured.
        #[arg(long, default_value = "/dev/shm")]
        dir: PathBuf,
    },
    /// Both.
    All,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Memory => memory::run(),
        Command::Files { dir } => files::run(&dir),
        Command::All => {
            memory::run()?;
            files::run(&PathBuf::from("/dev/shm"))
        }
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
