//! The exhaustive crash run, with progress, and resumed where it was stopped: `cargo xtask exhaust`.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use blk_harness::statistics::{Counter, Statistics};
use blk_testbed::exhaust::{self, Unit};
use clap::Parser;

#[derive(Parser)]
#[command(
    about = "All short sequences over clusters of every kind, crashed at every operation in every state"
)]
struct Arguments {
    /// Where it is written down which units are done; they are left out. Remove the file to start anew.
    #[arg(long, default_value = "target/exhaust.progress")]
    progress: PathBuf,
    /// Only every so many sequences of each unit
    #[arg(long, default_value_t = 1)]
    step: usize,
    /// Threads
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// What the threads share.
struct Shared {
    units: Vec<Unit>,
    next: AtomicUsize,
    is_failed: AtomicBool,
    done: Mutex<Done>,
}

/// What is done, and the file that says so.
struct Done {
    file: File,
    finished: BTreeSet<usize>,
    stats: Statistics,
    started: Instant,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let units = exhaust::units();
    let finished = read_progress(&arguments.progress, arguments.step)?;
    if !finished.is_empty() {
        println!(
            "{} of {} units are done already ({})",
            finished.len(),
            units.len(),
            arguments.progress.display()
        );
    }
    let file = OpenOptions::new().create(true).append(true).open(&arguments.progress);
    let file = file.with_context(|| format!("cannot write {}", arguments.progress.display()))?;
    let done = Done { file, finished, stats: Statistics::default(), started: Instant::now() };
    let shared = Shared {
        units,
        next: AtomicUsize::new(0),
        is_failed: AtomicBool::new(false),
        done: Mutex::new(done),
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| work(&shared, arguments.step));
        }
    });
    let done = shared.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{}", done.stats);
    Ok(if shared.is_failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Units that an earlier run with the same step has finished.
fn read_progress(path: &Path, step: usize) -> Result<BTreeSet<usize>> {
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let of_line = |line: &str| {
        let (unit, of_step) = line.split_once(' ')?;
        Some((unit.parse().ok()?, of_step.parse::<usize>().ok()?))
    };
    Ok(text
        .lines()
        .filter_map(of_line)
        .filter(|(_, of_step)| *of_step == step)
        .map(|(unit, _)| unit)
        .collect())
}

fn work(shared: &Shared, step: usize) {
    while !shared.is_failed.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(unit) = shared.units.get(number) else { return };
        let lock = || shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().finished.contains(&number) {
            continue;
        }
        match unit.run(step) {
            Ok(stats) => lock().finish(number, step, &stats, shared.units.len()),
            Err(found) => {
                shared.is_failed.store(true, Ordering::Relaxed);
                println!("unit {number}:\n{}\n{}", found.0.report, found.1);
            }
        }
    }
}

impl Done {
    fn finish(&mut self, number: usize, step: usize, stats: &Statistics, units: usize) {
        self.stats.merge(stats);
        self.finished.insert(number);
        if let Err(error) = writeln!(self.file, "{number} {step}") {
            eprintln!("the progress is not written down: {error}");
        }
        let seconds = self.started.elapsed().as_secs();
        let rate = self.stats.get(Counter::Distinct) / seconds.max(1);
        println!(
            "{} of {units} units, {} scenarios, {} distinct states, {rate}/s",
            self.finished.len(),
            self.stats.get(Counter::Scenarios),
            self.stats.get(Counter::Distinct)
        );
    }
}
