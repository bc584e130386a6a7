//! The program that replays scenarios. It lives in blk-testbed, because xtask depends on no crate that it builds.

use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// Builds the program once; returns where it is.
pub(crate) fn build(shell: &Shell) -> Result<PathBuf> {
    cmd!(shell, "cargo build --release --quiet -p blk-testbed --bin blk-replay")
        .run()
        .context("cannot build blk-replay")?;
    Ok(cargo_blk::target_folder(std::path::Path::new("")).join("release/blk-replay"))
}
