//! Building fuzz targets, and what that needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// The version of cargo-fuzz that is installed where there is none.
const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// Where cargo builds the workspace in `folder`.
pub fn target_folder(folder: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("target"), PathBuf::from)
}

/// Whether a program starts at all, given these words.
pub fn runs(program: &str, words: &str) -> bool {
    let status =
        Command::new(program).args(words.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Installs cargo-fuzz unless it is there.
pub fn need_cargo_fuzz(shell: &Shell) -> Result<()> {
    if runs("cargo-fuzz", "--version") {
        return Ok(());
    }
    println!("installing cargo-fuzz {CARGO_FUZZ_VERSION}");
    cmd!(shell, "cargo install cargo-fuzz --locked --version {CARGO_FUZZ_VERSION}")
        .run()
        .context("cannot install cargo-fuzz")
}

/// The triple that this toolchain builds for.
pub fn host_triple(shell: &Shell) -> Result<String> {
    let version = cmd!(shell, "rustc -vV").quiet().read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// Builds a fuzz target in `folder`, a workspace's root, and returns the program.
pub fn build_fuzz_target(shell: &Shell, folder: &Path, target: &str) -> Result<PathBuf> {
    let _there = shell.push_dir(folder);
    // No unsafe code of ours runs, so the address sanitizer would find nothing, and it halves the speed.
    // Comparisons are not traced: half of the time went there, and inputs are made of records, not found byte by byte.
    cmd!(shell, "cargo fuzz build -s none --no-trace-compares {target}")
        .quiet()
        .run()
        .with_context(|| format!("cannot build the fuzz target {target}"))?;
    let metadata = cmd!(shell, "cargo metadata --no-deps --format-version 1 --manifest-path fuzz/Cargo.toml")
        .quiet()
        .read()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let built = metadata["target_directory"].as_str().context("cargo does not say where it builds")?;
    Ok(Path::new(built).join(host_triple(shell)?).join("release").join(target))
}
