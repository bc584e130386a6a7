//! The subcommands that `cargo blk` has in common with programs that do more.

use anyhow::Result;

use crate::project::Project;
use crate::{corpus, coverage, exhaust, findings, fuzz, repro, ship, soak};

/// What to do about fuzz targets.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Fuzz a target: installs what is missing, builds, loads the corpora, and shows what is reached.
    Fuzz(fuzz::Arguments),
    /// Turn a finding into a short, readable, deterministic reproduction.
    Repro(repro::Arguments),
    /// List what fuzzing has found: findings with the same signature are one.
    Findings(findings::Arguments),
    /// Replay, list, show and add regression traces; keep working corpora small.
    Corpus(corpus::Arguments),
    /// Show which lines, options, requests and transitions the corpora reach; writes LCOV and pages.
    Coverage(coverage::Arguments),
    /// Write the folder that OSS-Fuzz and `ClusterFuzzLite` run: targets, seeds, dictionaries, options.
    Ship(ship::Arguments),
    /// Run generated scenarios for a long time; what is found is proven, shrunk and written.
    Soak(soak::Arguments),
    /// Run requests in flight together, under generated schedules, every schedule, or with real threads.
    Race(soak::RaceArguments),
    /// Run all small scenarios: each with every crash state, every failing operation, or every schedule, as
    /// the target is.
    Exhaust(exhaust::Arguments),
}

impl Command {
    /// Does it. Returns whether all is well.
    ///
    /// # Errors
    /// Those of what is done.
    pub fn run(&self, project: &Project) -> Result<bool> {
        match self {
            Self::Fuzz(arguments) => fuzz::run(project, arguments),
            Self::Repro(arguments) => repro::run(project, arguments),
            Self::Findings(arguments) => findings::run(arguments),
            Self::Corpus(arguments) => corpus::run(project, arguments),
            Self::Coverage(arguments) => coverage::run(project, arguments),
            Self::Ship(arguments) => ship::run(project, arguments),
            Self::Soak(arguments) => soak::run(project, arguments),
            Self::Race(arguments) => soak::race(project, arguments),
            Self::Exhaust(arguments) => exhaust::run(project, arguments),
        }
    }
}
