//! The tools that other commands need, installed where they are missing.

use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_blk::{host_triple, runs, target_folder};
use xshell::{Shell, cmd};

/// The version of cargo-mutants that is installed where there is none.
const CARGO_MUTANTS_VERSION: &str = "27.1.0";

/// What a whole check of a clean clone leaves on the disk, and some room to work in.
const ROOM_CLEAN: u64 = 5 << 30;
/// What another check needs where most has been built.
const ROOM_BUILT: u64 = 1 << 30;

/// Fails while it can still be said why: a linker that finds the disk full dies of a bus error.
pub(crate) fn need_room(shell: &Shell) -> Result<()> {
    let target = target_folder(Path::new("."));
    let fuzz_targets = target_folder(Path::new("fuzz")).join(host_triple(shell)?);
    let was_built = target.join("doc").is_dir() && fuzz_targets.is_dir();
    let needed = if was_built { ROOM_BUILT } else { ROOM_CLEAN };
    let there = target.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    room(there, needed)
}

fn room(folder: &Path, needed: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot ask for the free space of {}", folder.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        let folder = folder.canonicalize()?;
        bail!("{}: {} MiB are free, {} MiB are needed", folder.display(), free >> 20, needed >> 20);
    }
    println!("{} MiB of the disk are free", free >> 20);
    Ok(())
}

/// Goes to the workspace's root, whatever folder the command was given in.
pub(crate) fn enter_root() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    std::env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))
}

/// Installs cargo-mutants unless it is there.
pub(crate) fn need_cargo_mutants(shell: &Shell) -> Result<()> {
    if runs("cargo-mutants", "mutants --version") {
        return Ok(());
    }
    println!("installing cargo-mutants {CARGO_MUTANTS_VERSION}");
    cmd!(shell, "cargo install cargo-mutants --locked --version {CARGO_MUTANTS_VERSION}")
        .run()
        .context("cannot install cargo-mutants")
}

/// Other people's programs that tests run, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 12] = [
    ("qemu-img", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("qemu-nbd", "qemu-utils"),
    ("qemu-storage-daemon", "qemu-utils"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdcopy", "libnbd-bin"),
    ("nbdkit", "nbdkit"),
    ("fio", "fio"),
    ("groff", "groff-base"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("npm", "npm"),
];

/// The first version of QEMU whose answers are those that the tests expect.
const QEMU_MAJOR: u32 = 10;

/// Installs other people's programs unless they are there.
pub(crate) fn need_programs(shell: &Shell) -> Result<()> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !runs(program, "--version"));
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    if !packages.is_empty() {
        install(shell, packages)?;
    }
    recent_enough(&cmd!(shell, "qemu-img --version").quiet().read()?)
}

/// Fails if QEMU's tools are older than those whose answers the tests expect: a distribution may have others.
fn recent_enough(said: &str) -> Result<()> {
    let version = said.strip_prefix("qemu-img version ").unwrap_or(said);
    let version = version.split_whitespace().next().unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= QEMU_MAJOR) {
        return Ok(());
    }
    bail!(
        "qemu-img has version '{version}', and tests compare with QEMU {QEMU_MAJOR}.0 or later: install a newer \
         qemu-utils (Debian 12 has one in bookworm-backports)"
    );
}

fn install(shell: &Shell, packages: Vec<&str>) -> Result<()> {
    if !runs("apt-get", "--version") {
        bail!("{} missing, and there is no apt-get to install with", packages.join(", "));
    }
    println!("installing {}", packages.join(", "));
    update_packages(shell)?;
    let mut words = vec!["apt-get", "install", "--yes", "--no-install-recommends"];
    words.extend(packages);
    run_as_root(shell, &words)
}

/// Asks for the lists of packages that can be installed.
pub(crate) fn update_packages(shell: &Shell) -> Result<()> {
    run_as_root(shell, &["apt-get", "update"])
}

fn run_as_root(shell: &Shell, words: &[&str]) -> Result<()> {
    let sudo: &[&str] = if cmd!(shell, "id -u").quiet().read()?.trim() == "0" { &[] } else { &["sudo"] };
    run_words(shell, &[sudo, words].concat())
}

/// Installs rustfmt and clippy unless they are there.
pub(crate) fn need_components(shell: &Shell) -> Result<()> {
    if runs("cargo-fmt", "--version") && runs("cargo-clippy", "--version") {
        return Ok(());
    }
    cmd!(shell, "rustup component add rustfmt clippy").run().context("cannot install rustfmt and clippy")
}

fn run_words(shell: &Shell, words: &[&str]) -> Result<()> {
    let (program, arguments) = words.split_first().context("a command has a name")?;
    cmd!(shell, "{program} {arguments...}").env("DEBIAN_FRONTEND", "noninteractive").run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_qemu_is_named() {
        recent_enough("qemu-img version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright").unwrap();
        recent_enough("qemu-img version 11.0.0-rc1").unwrap();
        for (said, version) in
            [("qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"), ("nonsense", "nonsense"), ("", "")]
        {
            let error = recent_enough(said).unwrap_err().to_string();
            assert!(error.contains(&format!("'{version}'")), "{error}");
        }
    }

    #[test]
    fn a_full_disk_is_named() {
        let folder = tempfile::tempdir().unwrap();
        room(folder.path(), 0).unwrap();
        let error = room(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.ends_with(" MiB are free, 17592186044415 MiB are needed"), "{error}");
    }
}
