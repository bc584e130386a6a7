//! Building fuzz targets, and what that needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::cover;
use crate::project::MANIFEST;

/// The version of cargo-fuzz that is installed where there is none.
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// The profile of long jobs, if not `release`.
const PROFILE: &str = "BLK_PROFILE";

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
    eprintln!("installing cargo-fuzz {CARGO_FUZZ_VERSION}");
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
///
/// # Errors
/// That it cannot be built.
pub fn build_fuzz_target(shell: &Shell, folder: &Path, target: &str) -> Result<PathBuf> {
    Ok(build_fuzz_targets(shell, folder, &[target])?.remove(0))
}

/// Builds fuzz targets in `folder`, a workspace's root, and returns the programs.
///
/// # Errors
/// That one cannot be built.
pub fn build_fuzz_targets(shell: &Shell, folder: &Path, targets: &[&str]) -> Result<Vec<PathBuf>> {
    build_sanitized(shell, folder, targets, "none")
}

/// As [`build_fuzz_targets`], with a sanitizer as cargo-fuzz names it.
///
/// # Errors
/// As [`build_fuzz_targets`].
pub(crate) fn build_sanitized(
    shell: &Shell,
    folder: &Path,
    targets: &[&str],
    sanitizer: &str,
) -> Result<Vec<PathBuf>> {
    need_cargo_fuzz(shell)?;
    let _there = shell.push_dir(folder);
    for target in targets {
        // No unsafe code of ours runs, so the address sanitizer would find nothing, and it halves the speed.
        // Comparisons are not traced: half of the time went there, and inputs are made of records, not found
        // byte by byte.
        let manifest = read_manifest(&folder.join(MANIFEST))?;
        let features = features(&manifest, target);
        cmd!(shell, "cargo fuzz build -s {sanitizer} --no-trace-compares {features...} {target}")
            .envs(cover::environment(&covered(&manifest)))
            .quiet()
            .run()
            .with_context(|| format!("cannot build the fuzz target {target}"))?;
    }
    let built = target_directory(shell)?.join(host_triple(shell)?).join("release");
    Ok(targets.iter().map(|target| built.join(target)).collect())
}

/// Builds a target of the project in this folder for long jobs: without what fuzzing needs to see its
/// coverage, and so faster.
///
/// # Errors
/// That it cannot be built.
pub(crate) fn build_job_target(shell: &Shell, target: &str) -> Result<PathBuf> {
    let features = features(&read_manifest(Path::new(MANIFEST))?, target);
    let profile = std::env::var(PROFILE).unwrap_or_else(|_| "release".to_owned());
    cmd!(shell, "cargo build --profile {profile} --manifest-path {MANIFEST} {features...} --bin {target}")
        .quiet()
        .run()
        .with_context(|| format!("cannot build the target {target}"))?;
    let folder = if profile == "dev" { "debug" } else { &profile };
    Ok(target_directory(shell)?.join(folder).join(target))
}

/// The flag that has rustc count which lines are run.
const COUNT_LINES: &str = "-Cinstrument-coverage";

/// Builds targets of the project in this folder so that they write which of their lines were run, in a target
/// folder of their own, and returns the programs.
///
/// # Errors
/// That one cannot be built.
pub(crate) fn build_counted(shell: &Shell, targets: &[&str]) -> Result<Vec<PathBuf>> {
    let manifest = read_manifest(Path::new(MANIFEST))?;
    let built = target_directory(shell)?.join("coverage");
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let flags = if flags.contains(COUNT_LINES) { flags } else { format!("{flags} {COUNT_LINES}") };
    for target in targets {
        let features = features(&manifest, target);
        cmd!(shell, "cargo build --release --manifest-path {MANIFEST} {features...} --bin {target}")
            .env("RUSTFLAGS", flags.trim_start())
            .env("CARGO_TARGET_DIR", &built)
            .quiet()
            .run()
            .with_context(|| format!("cannot build the target {target}"))?;
    }
    Ok(targets.iter().map(|target| built.join("release").join(target)).collect())
}

/// What a target is built with: the features that the manifest says it requires.
fn features(manifest: &toml::Table, target: &str) -> Vec<String> {
    let bins = manifest.get("bin").and_then(toml::Value::as_array).into_iter().flatten();
    let mut named = bins.filter(|bin| bin.get("name").and_then(toml::Value::as_str) == Some(target));
    let required = named.find_map(|bin| bin.get("required-features")?.as_array());
    let required: Vec<&str> = required.into_iter().flatten().filter_map(toml::Value::as_str).collect();
    if required.is_empty() { Vec::new() } else { vec!["--features".to_owned(), required.join(",")] }
}

fn read_manifest(path: &Path) -> Result<toml::Table> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("in {}", path.display()))
}

/// The crates of registries that the manifest says are under test.
fn covered(manifest: &toml::Table) -> Vec<String> {
    let setting = || manifest.get("package")?.get("metadata")?.get("blk")?.get("cover")?.as_array();
    let names = setting().into_iter().flatten().filter_map(toml::Value::as_str);
    names.map(str::to_owned).collect()
}

/// Where the targets of the project in this folder are built.
fn target_directory(shell: &Shell) -> Result<PathBuf> {
    let metadata = cmd!(shell, "cargo metadata --no-deps --format-version 1 --manifest-path {MANIFEST}")
        .quiet()
        .read()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    Ok(PathBuf::from(metadata["target_directory"].as_str().context("cargo does not say where it builds")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_built_with_the_features_that_it_requires() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        let bins = "[[bin]]\nname = 'a'\n[[bin]]\nname = 'b'\nrequired-features = ['x', 'y']\n";
        fs::write(&manifest, bins).unwrap();
        let manifest = read_manifest(&manifest).unwrap();
        assert_eq!(features(&manifest, "a"), [""; 0]);
        assert_eq!(features(&manifest, "b"), ["--features", "x,y"]);
        assert_eq!(covered(&manifest), [""; 0]);
        let manifest = "[package.metadata.blk]\ncover = ['zstd']\n".parse().unwrap();
        assert_eq!(covered(&manifest), ["zstd"]);
    }
}
