//! `cargo blk exhaust`: everything that can happen in small scenarios, from where an earlier run was stopped.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use crate::arguments::Arguments as Told;
use crate::job;
use crate::project::Project;

const FOLDER: &str = "fuzz/exhaust";

/// What to exhaust, and up to what bounds.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    job: job::Work,
    /// Units of allocation (clusters, blocks) of the disk.
    #[arg(long, default_value_t = 2)]
    units: u64,
    /// Requests on top of units of every kind.
    #[arg(long, default_value_t = 2)]
    length: u32,
    /// Of requests in flight together: points after which each gives way to the other.
    #[arg(long, default_value_t = POINTS)]
    points: u8,
    /// Only every so many sequences; 1 is all of them.
    #[arg(long, default_value_t = 1)]
    step: usize,
    /// Forget what an earlier run has finished.
    #[arg(long)]
    restart: bool,
}

const POINTS: u8 = 16;

impl Arguments {
    /// Every schedule of every pair of requests.
    pub(crate) fn schedules(job: job::Work) -> Self {
        Self { job, units: 2, length: 2, points: POINTS, step: 1, restart: true }
    }
}

/// Runs all small scenarios. Returns whether nothing was found.
///
/// # Errors
/// Those of the job; that it cannot be written down what is done.
pub fn run(project: &Project, arguments: &Arguments) -> Result<bool> {
    let Arguments { job, units, length, points, step, restart } = arguments;
    project.check(&job.target)?;
    fs::create_dir_all(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
    let told = Told::of(project, &job.target, &job.words)?;
    let progress = PathBuf::from(FOLDER).join(format!("{}{}.progress", job.target, told.suffix()));
    if progress.exists() {
        if *restart {
            fs::remove_file(&progress).with_context(|| format!("cannot remove {}", progress.display()))?;
        } else {
            println!("goes on after what {} says is done; --restart forgets it", progress.display());
        }
    }
    job::run(project, job, |index, of| {
        json!({
            "job": "exhaust",
            "bounds": { "units": units, "length": length, "points": points, "step": step },
            "progress": progress,
            "part": { "index": index, "of": of },
        })
    })
}
