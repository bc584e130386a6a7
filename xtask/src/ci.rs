//! `cargo xtask ci`: sets up and passes everything that a change has to pass.

mod beside;
mod quick_hash;
mod testing;

use std::cell::Cell;
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

use crate::{api, oss_fuzz, package, tidy, tools, workflows};

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
    /// Only these steps, such as clippy,test.
    #[arg(long, value_name = "STEPS", value_delimiter = ',')]
    only: Vec<String>,
    /// End with the process that has begun this one.
    #[arg(long, hide = true)]
    beside: bool,
}

/// What another process does beside the first steps, in target folders of its own: of either, many crates
/// wait for one that a single processor compiles. How fast a target is while it is fuzzed is not among it.
const BESIDE: [&str; 6] = ["clippy outside", "peers", "example", "foreign", "corpus", "fuzz build"];
/// The step that waits for it: it and those behind it have all processors.
const JOIN: &str = "beside";

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    // Inherited by everything below: a missing tool is a failure here, not a reason to skip.
    shell.set_var(REQUIRE_QEMU, "1");
    if arguments.beside {
        beside::end_with_parent();
    }
    let beside = Cell::new(None);
    let mut steps: Vec<Step<'_>> = vec![
        ("set up", Box::new(|| set_up(&shell))),
        ("format", Box::new(|| format(&shell))),
        ("tidy", Box::new(|| expect(tidy::run(&tidy::Arguments::default())?, "the house rules are broken"))),
        ("workflows", Box::new(|| workflows::check(&shell))),
        ("begin", Box::new(|| beside::begin(&BESIDE).map(|begun| beside.set(Some(begun))))),
        ("clippy", Box::new(|| clippy(&shell))),
        ("rustdoc", Box::new(|| rustdoc(&shell))),
        ("api", Box::new(|| expect(api::run(&api::Arguments::default())?, "public items have changed"))),
        ("package", Box::new(|| expect(package::check(&shell, false)?, "a package is not whole"))),
        ("test", Box::new(|| testing::run(&shell))),
        ("static", Box::new(|| package::prove_static(&shell))),
        (JOIN, Box::new(|| beside.take().map_or(Ok(()), beside::Beside::join))),
        ("clippy outside", Box::new(|| clippy_outside(&shell))),
        ("peers", Box::new(|| Ok(cmd!(shell, "cargo test --quiet --manifest-path peers/Cargo.toml").run()?))),
        ("example", Box::new(|| outside_tests(&shell, "examples/log-disk/Cargo.toml"))),
        ("foreign", Box::new(|| outside_tests(&shell, "foreign/Cargo.toml"))),
        ("corpus", Box::new(replay_corpus)),
        ("fuzz build", Box::new(|| build_fuzz_targets(&shell))),
        ("fuzz", Box::new(|| fuzz_all(arguments.fuzz_time))),
        ("canary", Box::new(canary)),
        (
            "oss-fuzz",
            Box::new(|| expect(oss_fuzz::run(&oss_fuzz::Arguments::default())?, "a target is broken")),
        ),
    ];
    let names: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = arguments.only.iter().find(|only| !names.contains(&only.as_str())) {
        bail!("there is no step '{unknown}', only: {}", names.join(", "));
    }
    steps.retain(|(name, _)| match &arguments.only[..] {
        [] => !BESIDE.contains(name),
        only => only.iter().any(|only| only == name),
    });
    let passed = run_steps(steps);
    // What runs beside a step that has failed is of no use any more.
    beside.take().map_or(Ok(()), beside::Beside::stop)?;
    Ok(passed)
}

/// Runs the steps until one fails; prints the time of each, also then. Returns whether all passed.
fn run_steps(steps: Vec<Step<'_>>) -> bool {
    let started = Instant::now();
    let mut times = Vec::new();
    let mut failed = false;
    for (name, step) in steps {
        println!("\n=== {name}");
        let (begun, used) = (Instant::now(), processor_seconds());
        let done = step();
        let used = processor_seconds() - used;
        if let Err(error) = &done {
            println!("=== {name} FAILED: {error:#}");
            failed = true;
        }
        times.push((name, begun.elapsed(), used, if failed { "FAILED" } else { "passed" }));
        if failed {
            break;
        }
    }
    println!();
    println!("{:14} {:>9} {:>11}", "", "clock", "processors");
    for (name, time, used, verdict) in times {
        println!("{name:14} {:>7.1} s {used:>9.1} s  {verdict}", time.as_secs_f64());
    }
    println!("{} in {:.0} s", if failed { "FAILED" } else { "all passed" }, started.elapsed().as_secs_f64());
    !failed
}

/// What this process and those that it has waited for have used so far: on a machine that does other things,
/// too, only that can be compared.
fn processor_seconds() -> f64 {
    // Behind the name, in parentheses, the 12th to 15th field count hundredths of a second: proc(5).
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
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
    Ok(())
}

fn clippy_outside(shell: &Shell) -> Result<()> {
    let _built = shell.push_env("CARGO_TARGET_DIR", outside(shell));
    // With the settings of the tests there, what builds for both, such as zstd, is compiled once.
    let _level = shell.push_env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
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
    cmd!(shell, "cargo doc --workspace --all-features --no-deps --document-private-items --quiet").run()?;
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

/// Every trace of the regression corpus, replayed by the fuzz targets.
fn replay_corpus() -> Result<()> {
    let passed = corpus::check(&crate::project()?, &[], false, Plain::default(), &Hang::default())?;
    expect(passed, "the regression corpus has a finding")
}

/// All fuzz targets, which then need not be built while others run.
fn build_fuzz_targets(shell: &Shell) -> Result<()> {
    for target in crate::project()?.targets()? {
        cargo_blk::build_fuzz_target(shell, &shell.current_dir(), &target)?;
    }
    Ok(())
}

/// All targets, as many at a time as there are processors.
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
    must_be_found(CANARY, &[], 1)?;
    must_be_found(CANARY, &[], 2)?;
    must_be_found(FOREIGN, &FOREIGN_WORDS, 1)
}

fn must_be_found(target: &str, words: &[&str], jobs: u32) -> Result<()> {
    let shell = Shell::new()?;
    let program = cargo_blk::build_fuzz_target(&shell, &std::env::current_dir()?, target)?;
    let folder = PathBuf::from(format!("target/canary/{target}"));
    let folders = fuzz::Folders {
        corpus: folder.join("corpus"),
        seeds: Vec::new(),
        artifacts: folder.join("artifacts"),
        flags: crate::project()?.libfuzzer_flags(target),
        status: None,
    };
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folders.corpus)?;
    fs::create_dir_all(&folders.artifacts)?;
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let seed = (jobs == 1).then_some(1);
    let arguments = fuzz::Arguments { words, jobs, seed, ..arguments(target, CANARY_TIME, true) };
    let ended = fuzz::drive(&program, &folders, &arguments, &mut |line| println!("{line}"))?;
    expect(
        ended.artifact.as_deref().is_some_and(Path::exists),
        &format!("the planted bug of {target} was not found"),
    )?;
    expect(ended.table.contains("scenarios "), "what the processes did is not counted")?;
    println!("{target}, {jobs} processes: the planted bug was found after {:.1} s", ended.seconds);
    Ok(())
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_time_of_processors_counts_what_has_ended() {
        let before = processor_seconds();
        let busy = "i=0; while test $i -lt 100000; do i=$((i + 1)); done";
        assert!(std::process::Command::new("sh").args(["-c", busy]).status().unwrap().success());
        assert!(processor_seconds() > before);
    }
}
