//! `cargo xtask oss-fuzz`: what OSS-Fuzz and `ClusterFuzzLite` ask of a build, asked here without their
//! containers.

mod description;
mod sandbox;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use cargo_blk::ship::{SEEDS_SUFFIX, unpack};
use xshell::{Shell, cmd};

use sandbox::Sandbox;
use target::Checked;

/// The target that has a planted bug.
const CANARY: &str = "canary";
/// How a build is made here and there, both from the root of the repository.
const BUILDS: [&str; 2] = [".clusterfuzzlite/build.sh", "oss-fuzz/build.sh"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the targets are built with: none or address.
    #[arg(long, default_value = "none", value_parser = ["none", "address"])]
    sanitizer: String,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { sanitizer: "none".to_owned() }
    }
}

/// Builds as they do, moves what is built elsewhere, and asks of each target what they ask. Returns whether
/// all is well.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    let broken = description::check_all()?;
    for line in &broken {
        println!("{line}");
    }
    let work = cargo_blk::target_folder(&shell.current_dir()).join("oss-fuzz");
    let _ = fs::remove_dir_all(&work);
    let built = build(&shell, BUILDS[0], &work.join("out"), &arguments.sanitizer)?;
    same(&built, &build(&shell, BUILDS[1], &work.join("again"), &arguments.sanitizer)?)?;
    fs::remove_dir_all(work.join("again"))?;
    let moved = work.join(format!("{:016x}", RandomState::new().build_hasher().finish()));
    fs::create_dir_all(&moved)?;
    fs::rename(work.join("out"), moved.join("out"))?;
    let targets = target::find(&moved.join("out"))?;
    expected(&targets)?;
    for target in &targets {
        let archive = moved.join("out").join(format!("{target}{SEEDS_SUFFIX}"));
        let corpus = moved.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        if archive.is_file() {
            unpack(&archive, &corpus)?;
        }
    }
    let here = shell.current_dir();
    let canary = cargo_blk::build_fuzz_target(&shell, &here, CANARY)?;
    fs::copy(&canary, moved.join(CANARY))?;
    let sandbox = Sandbox::new(&moved)?;
    let checked = check_all(&sandbox, &targets, arguments.sanitizer == "address")?;
    println!("{}", target::table(&checked));
    let found = target::canary(&sandbox, CANARY)?;
    println!("{CANARY}: not shipped; {found}");
    same(&built, &listing(&moved.join("out"))?).context("running the targets has changed their folder")?;
    let is_good = broken.is_empty() && checked.iter().all(Checked::is_good);
    // What was built takes room, and is made of what is there.
    fs::remove_dir_all(&work)?;
    Ok(is_good)
}

/// Runs a script as they do: its environment has no more of theirs than they promise. Returns what it has
/// written.
fn build(shell: &Shell, script: &str, out: &Path, sanitizer: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let here = shell.current_dir();
    let (source, work) = (here.parent().unwrap_or(&here), out.with_extension("work"));
    fs::create_dir_all(out)?;
    fs::create_dir_all(&work)?;
    let words = ["-eu", script];
    cmd!(shell, "bash {words...}")
        .env("SRC", source)
        .env("OUT", out)
        .env("WORK", &work)
        .env("SANITIZER", sanitizer)
        .env("FUZZING_ENGINE", "libfuzzer")
        .env("FUZZING_LANGUAGE", "rust")
        .env("ARCHITECTURE", "x86_64")
        .run()
        .with_context(|| format!("{script} has failed"))?;
    fs::remove_dir_all(work)?;
    listing(out)
}

/// The files of a folder, and what tells them apart: of a program its length, else all bytes.
fn listing(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_program = path.extension().is_none();
        let length = || Ok(path.metadata()?.len().to_le_bytes().to_vec());
        files.insert(name, if is_program { length() } else { fs::read(&path) }?);
    }
    Ok(files)
}

fn same(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let different: Vec<&String> =
        names.into_iter().filter(|name| one.get(*name) != other.get(*name)).collect();
    if different.is_empty() {
        return Ok(());
    }
    bail!("{different:?} are not the same in both")
}

/// Fails unless these are the targets that the project ships.
fn expected(found: &[String]) -> Result<()> {
    let mut shipped = crate::project()?.shipped()?;
    shipped.sort();
    if found != shipped {
        bail!("the build has the targets {found:?}, and the project ships {shipped:?}");
    }
    Ok(())
}

/// Checks all targets, as many at a time as there are processors.
fn check_all(sandbox: &Sandbox, targets: &[String], is_sanitized: bool) -> Result<Vec<Checked>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<Checked>> {
        let mut checked = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            checked.push(target::check(sandbox, target, is_sanitized)?);
        }
        Ok(checked)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let ended: Vec<Result<Vec<Checked>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| bail!("a thread has panicked"))
        };
        workers.into_iter().map(joined).collect()
    });
    let mut checked = ended.into_iter().collect::<Result<Vec<_>>>()?.concat();
    checked.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(checked)
}

/// The folder of descriptions of a project, for both.
fn descriptions() -> [PathBuf; 2] {
    BUILDS.map(|build| Path::new(build).with_file_name("project.yaml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("mine", "program");
        write("mine.options", "[libfuzzer]");
        let before = listing(folder.path()).unwrap();
        same(&before, &before).unwrap();
        write("mine.options", "[libFuzzer]");
        write("crash-1", "");
        let error = same(&before, &listing(folder.path()).unwrap()).unwrap_err().to_string();
        assert!(error.contains(r#"["crash-1", "mine.options"]"#), "{error}");
    }
}
