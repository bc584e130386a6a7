//! The subcommands that `cargo blk` has in common with programs that do more.

use anyhow::Result;

use crate::project::Project;
use crate::{fuzz, repro};

/// What to do about fuzz targets.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Fuzz a target: installs what is missing, builds, loads the corpora, and shows what is reached.
    Fuzz(fuzz::Arguments),
    /// Turn a finding into a short, readable, deterministic reproduction.
    Repro(repro::Arguments),
}

impl Command {
    /// Does it. Returns whether all is well.
    ///
    /// # Errors
    /// Those of [`fuzz::run`] and [`repro::run`].
    pub fn run(&self, project: &Project) -> Result<bool> {
        match self {
            Self::Fuzz(arguments) => fuzz::run(project, arguments),
            Self::Repro(arguments) => repro::run(project, arguments),
        }
    }
}
