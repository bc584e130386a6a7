//! `cargo xtask ci`: sets up and passes everything that a change has to pass.

mod testing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use cargo_blk::job::{Hang, Plain};
use cargo_blk::units::parse_time;
use cargo_blk::{corpus, fuzz};

use crate::{tidy, tools};

const REQUIRE_QEMU: &str = "BLK_REQUIRE_QEMU";
/// The target that has a planted bug.
const CANARY: &str = "canary";
/// How long a planted bug may take to be found.
const CANARY_TIME: Duration = Duration::from_secs(10);
/// Likewise a driver in another process, between which and us a reply is made wrong.
const FOREIGN: &str = "verify_foreign";
const FOREIGN_WORDS: [&str; 4] = ["--driver", "nbdkit-memory", "--plant", "wrong-reply=3"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each fuzz target runs.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    fuzz_time: Duration,
}

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    // Inherited by everything below: a missing tool is a failure here, not a reason to skip.
    shell.set_var(REQUIRE_QEMU, "1");
    let steps: Vec<Step<'_>> = vec![
        ("set up", Box::new(|| set_up(&shell))),
        ("format", Box::new(|| format(&shell))),
        ("tidy", Box::new(|| expect(tidy::run(&tidy::Arguments::default())?, "the house rules are broken"))),
        ("clippy", Box::new(|| clippy(&shell))),
        ("rustdoc", Box::new(|| rustdoc(&shell))),
        ("peers", Box::new(|| Ok(cmd!(shell, "cargo test --quiet --manifest-path peers/Cargo.toml").run()?))),
        ("example", Box::new(|| outside_tests(&shell, "examples/log-disk/Cargo.toml"))),
        ("foreign", Box::new(|| outside_tests(&shell, "foreign/Cargo.toml"))),
        ("test", Box::new(|| testing::run(&shell))),
        (
            "corpus",
            Box::new(|| {
                expect(
                    corpus::check(&crate::project()?, &[], false, Plain::default(), &Hang::default())?,
                    "the regression corpus has a finding",
                )
            }),
        ),
        ("fuzz", Box::new(|| fuzz_all(arguments.fuzz_time))),
        ("canary", Box::new(canary)),
    ];
    Ok(run_steps(steps))
}

/// Runs the steps until one fails; prints the time of each, also then. Returns whether all passed.
fn run_steps(steps: Vec<Step<'_>>) -> bool {
    let started = Instant::now();
    let mut times = Vec::new();
    let mut failed = false;
    for (name, step) in steps {
        println!("\n=== {name}");
        let begun = Instant::now();
        let done = step();
        if let Err(error) = &done {
            println!("=== {name} FAILED: {error:#}");
            failed = true;
        }
        times.push((name, begun.elapsed(), if failed { "FAILED" } else { "passed" }));
        if failed {
            break;
        }
    }
    println!();
    for (name, time, verdict) in times {
        println!("{name:10} {:>7.1} s  {verdict}", time.as_secs_f64());
    }
    println!("{} in {:.0} s", if failed { "FAILED" } else { "all passed" }, started.elapsed().as_secs_f64());
    !failed
}

fn expect(good: bool, otherwise: &str) -> Result<()> {
    if good { Ok(()) } else { bail!("{otherwise}") }
}

fn set_up(shell: &Shell) -> Result<()> {
    tools::need_room(shell)?;
    tools::need_components(shell)?;
    tools::need_programs(shell)?;
    cargo_blk::need_cargo_fuzz(shell)
}

/// The workspaces beside ours.
const OTHER_WORKSPACES: [&str; 6] = [
    "fuzz/Cargo.toml",
    "peers/Cargo.toml",
    "examples/log-disk/Cargo.toml",
    "examples/log-disk/fuzz/Cargo.toml",
    "foreign/Cargo.toml",
    "foreign/fuzz/Cargo.toml",
];

fn format(shell: &Shell) -> Result<()> {
    cmd!(shell, "cargo fmt --all --check").run()?;
    for manifest in OTHER_WORKSPACES {
        cmd!(shell, "cargo fmt --all --check --manifest-path {manifest}").run()?;
    }
    Ok(())
}

fn clippy(shell: &Shell) -> Result<()> {
    cmd!(shell, "cargo clippy --workspace --all-targets --all-features -- -D warnings").run()?;
    let _built = shell.push_env("CARGO_TARGET_DIR", outside(shell));
    // With the same settings, what they have in common is checked once.
    let _level = shell.push_env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
    let _debug = shell.push_env("CARGO_PROFILE_DEV_DEBUG", "false");
    // Nothing is linked: the C++ part of libFuzzer need not be built.
    let _unlinked = shell.push_env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a");
    for manifest in OTHER_WORKSPACES {
        cmd!(shell, "cargo clippy --all-targets --all-features --manifest-path {manifest} -- -D warnings")
            .run()?;
    }
    Ok(())
}

/// Where the other workspaces are built, and the projects that tests of cargo-blk make: what they have in
/// common is built once.
fn outside(shell: &Shell) -> PathBuf {
    cargo_blk::target_folder(&shell.current_dir()).join("tmp/outside")
}

/// The tests of another workspace: the driver of an outside author, drivers of others.
fn outside_tests(shell: &Shell, manifest: &str) -> Result<()> {
    let _built = shell.push_env("CARGO_TARGET_DIR", outside(shell));
    let _level = shell.push_env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    let _debug = shell.push_env("CARGO_PROFILE_DEV_DEBUG", "false");
    Ok(cmd!(shell, "cargo test --quiet --manifest-path {manifest}").run()?)
}

/// What a thread came to. All of them have ended before the first failure is told.
fn joined(thread: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| bail!("a thread has panicked"))
}

fn rustdoc(shell: &Shell) -> Result<()> {
    let _warnings = shell.push_env("RUSTDOCFLAGS", "-D warnings");
    cmd!(shell, "cargo doc --workspace --no-deps --document-private-items --quiet").run()?;
    Ok(())
}

fn arguments(target: &str, time: Duration, empty_corpus: bool) -> fuzz::Arguments {
    let target = target.to_owned();
    fuzz::Arguments {
        target,
        time: Some(time),
        jobs: 1,
        seed: Some(1),
        empty_corpus,
        hang: Hang::default(),
        words: Vec::new(),
    }
}

/// All targets, as many at a time as there are processors: while one is built, another one runs.
fn fuzz_all(time: Duration) -> Result<()> {
    let project = crate::project()?;
    let mut targets = project.targets()?;
    targets.retain(|target| *target != CANARY);
    println!("{}", cargo_blk::libfuzzer::LEGEND);
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let show = &mut |line: &str| println!("{target:16} {line}");
            let good = fuzz::run_with(&project, &arguments(target, time, false), show)?;
            expect(good, &format!("{target} has a finding"))?;
        }
        Ok(())
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ended: Vec<Result<()>> = workers.into_iter().map(joined).collect();
        ended.into_iter().collect()
    })
}

/// Planted bugs have to be found: otherwise every green run of the other targets means nothing.
fn canary() -> Result<()> {
    must_be_found(CANARY, &[])?;
    must_be_found(FOREIGN, &FOREIGN_WORDS)
}

fn must_be_found(target: &str, words: &[&str]) -> Result<()> {
    let shell = Shell::new()?;
    let program = cargo_blk::build_fuzz_target(&shell, &std::env::current_dir()?, target)?;
    let folder = PathBuf::from(format!("target/canary/{target}"));
    let folders = fuzz::Folders {
        corpus: folder.join("corpus"),
        seeds: Vec::new(),
        artifacts: folder.join("artifacts"),
        flags: crate::project()?.libfuzzer_flags(target),
    };
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folders.corpus)?;
    fs::create_dir_all(&folders.artifacts)?;
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let arguments = fuzz::Arguments { words, ..arguments(target, CANARY_TIME, true) };
    let ended = fuzz::drive(&program, &folders, &arguments, &mut |line| println!("{line}"))?;
    expect(
        ended.artifact.as_deref().is_some_and(Path::exists),
        &format!("the planted bug of {target} was not found"),
    )?;
    println!("{target}: the planted bug was found after {:.1} s", ended.seconds);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_step_that_fails_ends_the_run() {
        let reached = Cell::new(0);
        let good = || -> Result<()> {
            reached.set(reached.get() + 1);
            Ok(())
        };
        assert!(run_steps(vec![("one", Box::new(good)), ("two", Box::new(good))]));
        assert!(!run_steps(vec![("bad", Box::new(|| bail!("no"))), ("never", Box::new(good))]));
        assert_eq!(reached.get(), 2);
    }
}
