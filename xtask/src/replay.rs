//! Calls the program that replays scenarios. It lives in blk-testbed, because xtask depends on no crate of the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// Where the regression corpus lies.
pub(crate) const REGRESSIONS: &str = "fuzz/regressions";

/// Builds the program once; returns where it is.
pub(crate) fn build(shell: &Shell) -> Result<PathBuf> {
    cmd!(shell, "cargo build --release --quiet -p blk-testbed --bin blk-replay")
        .run()
        .context("cannot build blk-replay")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(target.join("release/blk-replay"))
}

/// The traces of the regression corpus, sorted.
pub(crate) fn traces() -> Result<Vec<PathBuf>> {
    let mut traces = Vec::new();
    if Path::new(REGRESSIONS).is_dir() {
        for entry in std::fs::read_dir(REGRESSIONS)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "trace") {
                traces.push(path);
            }
        }
    }
    traces.sort();
    Ok(traces)
}

/// The target that a trace says it belongs to, in a comment `# target: NAME`.
pub(crate) fn target_of(trace: &Path) -> Result<String> {
    let text = String::from_utf8_lossy(&std::fs::read(trace).with_context(|| trace.display().to_string())?)
        .into_owned();
    let named = text
        .lines()
        .find_map(|line| line.trim_start_matches('#').trim().strip_prefix("target: ").map(str::to_owned));
    Ok(named.unwrap_or_else(|| "verify_qcow2".to_owned()))
}
