//! `cargo xtask package`: what crates.io would get of each crate, and a program that needs nothing beside it.

mod archive;
mod chroot;
mod manifest;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::published::{self, Package};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build each package as crates.io has it, over those that it depends on; minutes.
    #[arg(long)]
    verify: bool,
    /// Make target/static/blk instead, which needs no library, and try it in an empty chroot.
    #[arg(long = "static", conflicts_with = "verify")]
    is_static: bool,
    /// How that is built: `dev` is quicker than a release.
    #[arg(long, value_name = "PROFILE", default_value = "release", requires = "is_static")]
    profile: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    if arguments.is_static {
        let program = build_static(&shell, &arguments.profile)?;
        chroot::prove(&program)?;
        println!("package: {} runs in an empty chroot", program.display());
        return Ok(true);
    }
    check(&shell, arguments.verify)
}

/// What crates.io would get of each crate. Returns whether that is as it should be.
pub(crate) fn check(shell: &Shell, is_verified: bool) -> Result<bool> {
    let packages = published::packages(shell)?;
    let mut broken: Vec<String> = packages.iter().flat_map(manifest::breaches).collect();
    let archives = pack(shell, &packages, is_verified)?;
    for package in &packages {
        broken.extend(archive::breaches(shell, package, &archives.join(package.archive()))?);
    }
    for line in &broken {
        println!("{line}");
    }
    println!("package: {} packages, {} broken rules", packages.len(), broken.len());
    Ok(broken.is_empty())
}

/// Packs all at once: each finds those that it depends on among the others, whether or not crates.io has
/// them. Returns the folder of the archives.
fn pack(shell: &Shell, packages: &[Package], is_verified: bool) -> Result<PathBuf> {
    let names: Vec<&str> = packages.iter().flat_map(|package| ["--package", &package.name]).collect();
    let verify = if is_verified { None } else { Some("--no-verify") };
    // What is about to be committed is packed, too; all versions are those of the workspace's lock file.
    cmd!(shell, "cargo package --quiet --locked --allow-dirty {verify...} {names...}").run()?;
    Ok(cargo_blk::target_folder(&shell.current_dir()).join("package"))
}

/// The flag with which a program is linked with all that it needs of the system.
const STATIC: &str = "-Ctarget-feature=+crt-static";

/// Builds `blk` without any library of the system; in `target/static` nobody takes it for the usual one.
///
/// Only the last crate is built with the flag: the others are linked as they are built for any program.
fn build_static(shell: &Shell, profile: &str) -> Result<PathBuf> {
    cmd!(shell, "cargo rustc --locked --package blk-cli --bin blk --profile {profile} -- {STATIC}").run()?;
    let target = cargo_blk::target_folder(&shell.current_dir());
    let folder = target.join("static");
    fs::create_dir_all(&folder)?;
    let program = folder.join("blk");
    // The folder of the profile `dev` is the one that has another name.
    copy(&target.join(if profile == "dev" { "debug" } else { profile }).join("blk"), &program)?;
    Ok(program)
}

/// The same of the crates that the tests are built with, so that nothing is built again but the last one, of
/// a few lines; tries it in an empty chroot.
///
/// # Errors
/// That it does not link, or does not run there.
pub(crate) fn prove_static(shell: &Shell) -> Result<()> {
    let format = "json-render-diagnostics";
    let built =
        cmd!(shell, "cargo test --workspace --test program --no-run --message-format {format}").read()?;
    let library = library(&built).context("cargo has built no library blk_cli")?;
    let crates = library.parent().context("a library lies in a folder")?;
    let program = crates.join("blk-static");
    let crates = format!("dependency={}", crates.display());
    let library = format!("blk_cli={}", library.display());
    let input = "blk-cli/src/main.rs";
    cmd!(
        shell,
        "rustc --edition 2024 --crate-name blk {input} {STATIC} -L {crates} --extern {library} -o {program}"
    )
    .run()?;
    chroot::prove(&program)
}

/// The library of the program among what cargo says that it has built.
fn library(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|message| message["target"]["name"] == "blk_cli");
    let files = built.find_map(|message| message["filenames"].as_array().cloned())?;
    let mut files = files.iter().filter_map(|file| file.as_str()).map(PathBuf::from);
    files.find(|file| file.extension().is_some_and(|extension| extension == "rlib"))
}

/// Replaces a program, which may be running.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    let unnamed = to.with_extension(std::process::id().to_string());
    fs::copy(from, &unnamed).with_context(context)?;
    fs::rename(unnamed, to).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_told_from_what_else_is_built() {
        let of = |name: &str, file: &str| {
            format!(r#"{{"target":{{"name":"{name}"}},"filenames":["/t/lib{name}.rmeta","/t/{file}"]}}"#)
        };
        let lines =
            [of("blk_core", "libblk_core.rlib"), of("blk_cli", "libblk_cli-1.rlib"), of("blk", "blk")];
        assert_eq!(library(&lines.join("\n")), Some("/t/libblk_cli-1.rlib".into()));
        assert_eq!(library(&lines[0]), None);
    }
}
