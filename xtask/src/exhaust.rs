//! `cargo xtask exhaust`: all short sequences over clusters of every kind, crashed at every operation in every state.

use std::process::Command;

use anyhow::{Context, Result};

const PROGRESS: &str = "target/exhaust.progress";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only every so many sequences of each unit; 1 is all of them.
    #[arg(long, default_value_t = 1)]
    step: usize,
    /// Threads.
    #[arg(long, short, default_value_t = 1)]
    jobs: usize,
    /// Forget what an earlier run has finished.
    #[arg(long)]
    anew: bool,
}

/// Returns whether nothing was found.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.anew && std::fs::exists(PROGRESS)? {
        std::fs::remove_file(PROGRESS)?;
    }
    let mut program = Command::new("cargo");
    program.args(["run", "--release", "--quiet", "-p", "blk-testbed", "--bin", "blk-exhaust", "--"]);
    program.args(["--progress", PROGRESS]);
    program.args(["--step", &arguments.step.to_string(), "--jobs", &arguments.jobs.to_string()]);
    Ok(program.status().context("cannot start cargo")?.success())
}
