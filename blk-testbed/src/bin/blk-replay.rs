//! Replays, minimises and converts scenarios: what `cargo xtask repro` and `cargo xtask corpus` run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use blk_harness::Outcome;
use blk_harness::repro::{self, read_input, read_scenario};
use blk_harness::scenario::Scenario;
use blk_harness::{Purpose, Suite};
use blk_testbed::hostile::{self, ImageStats};
use blk_verify::Finding;
use clap::{Parser, Subcommand};

/// The target whose inputs are images, not scenarios.
const IMAGE_TARGET: &str = "open_qcow2";

#[derive(Parser)]
#[command(about = "Replays, minimises and converts findings of the fuzz targets")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Replays inputs once each. Exit code 0: nothing found; 1: something found; 2: bad input.
    Replay {
        /// The fuzz target that the inputs belong to.
        #[arg(long, default_value = "verify_qcow2")]
        target: String,
        /// Try everything that can be tried, however long it takes, and say what was.
        #[arg(long)]
        complete: bool,
        /// Artifacts, traces or JSON files.
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
    },
    /// Proves that a finding is deterministic, makes it as small as it can be, and writes it in readable forms, named after
    /// what was found. Exit code 0: nothing found; 1: something found; 2: bad input.
    Minimise {
        /// The fuzz target that the input belongs to.
        #[arg(long, default_value = "verify_qcow2")]
        target: String,
        /// An artifact, a trace or a JSON file.
        input: PathBuf,
        /// The folder for NAME.trace, NAME.json, NAME.rs and, of a qcow2 image, NAME.sh.
        #[arg(long, default_value = "fuzz/repros")]
        out: PathBuf,
    },
    /// Converts a scenario to the bytes that fuzz targets take.
    ToBytes {
        /// The fuzz target that takes them.
        #[arg(long, default_value = "verify_qcow2")]
        target: String,
        /// A trace or JSON file.
        input: PathBuf,
        /// The file to write.
        output: PathBuf,
    },
    /// Prints a scenario as text.
    ToText {
        /// The fuzz target that the input belongs to.
        #[arg(long, default_value = "verify_qcow2")]
        target: String,
        /// An artifact or JSON file.
        input: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(found) => ExitCode::from(u8::from(found)),
        Err(error) => {
            eprintln!("blk-replay: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether something was found.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Replay { target, complete, inputs } => {
            replay_all(&target, if complete { Purpose::Complete } else { Purpose::Replay }, &inputs)
        }
        Command::Minimise { target, input, out } if target == IMAGE_TARGET => {
            hostile::reproduce(&input, &out)
        }
        Command::Minimise { target, input, out } => repro::reproduce(find_suite(&target)?, &input, &out),
        Command::ToBytes { target, input, output } => repro::to_bytes(find_suite(&target)?, &input, &output),
        Command::ToText { target, input } => {
            print!("{}", read_scenario(find_suite(&target)?, &input)?.to_text());
            Ok(false)
        }
    }
}

fn find_suite(name: &str) -> Result<&'static Suite> {
    let known = || {
        format!(
            "target '{name}' is unknown; known are {}, {IMAGE_TARGET}",
            blk_testbed::suite_names().join(", ")
        )
    };
    blk_testbed::suite(name).with_context(known)
}

fn replay_all(target: &str, purpose: Purpose, inputs: &[PathBuf]) -> Result<bool> {
    let mut found = false;
    for input in inputs {
        let started = Instant::now();
        let report = if target == IMAGE_TARGET {
            hostile::judge(&read_input(input)?, &mut ImageStats::default()).err()
        } else {
            let suite = find_suite(target)?;
            judge(suite, purpose, &read_scenario(suite, input)?)?.map(|finding| finding.report)
        };
        let verdict = if report.is_some() { "FINDING" } else { "ok" };
        println!("{verdict:8}{:>8.1?}  {}", started.elapsed(), input.display());
        if let Some(report) = report {
            println!("{report}");
            found = true;
        }
    }
    Ok(found)
}

/// Runs a scenario once. A scenario that the suite cannot run is bad input.
fn judge(suite: &Suite, purpose: Purpose, scenario: &Scenario) -> Result<Option<Finding>> {
    let mut runner = suite.start(purpose);
    let outcome = runner.run(scenario);
    if purpose == Purpose::Complete {
        println!("{}", runner.summary());
    }
    match outcome {
        Outcome::Clean => Ok(None),
        Outcome::Finding(finding) => Ok(Some(*finding)),
        Outcome::Refused(why) => bail!("the scenario cannot be run: {why}"),
    }
}
