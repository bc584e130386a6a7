//! `cargo blk fuzz TARGET`: the main job.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xshell::Shell;

use crate::arguments::Arguments as Told;
use crate::job::Hang;
use crate::ledger::{self, Entry};
use crate::libfuzzer::{self, Found, Process};
use crate::process::{self, Watched};
use crate::project::Project;
use crate::status::Status;
use crate::units::parse_time;
use crate::{build, kept};

/// An input that a fuzz target turns into bytes instead of fuzzing: `blk_harness::fuzzing` has the same
/// names.
const TO_BYTES: &str = "BLK_TO_BYTES";
const OUT: &str = "BLK_OUT";
/// Where processes write what they count whose output libFuzzer keeps to itself.
const STATS_FOLDER: &str = "BLK_STATS_FOLDER";
/// Where inputs lie that find something, by target, and the ledger of them.
pub(crate) const ARTIFACTS: &str = "fuzz/artifacts";
/// Where the pages about runs lie, by target.
const STATUS: &str = "fuzz/status";

/// What to fuzz, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The fuzz target, such as `verify_qcow2`; an unknown one lists all.
    pub target: String,
    /// Stop after this time, such as 30s, 5m, 1h; default: until something is found.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub time: Option<Duration>,
    /// Processes that share a corpus: what one finds interesting, all go on from.
    #[arg(long, default_value_t = 1)]
    pub jobs: u32,
    /// Seed of the process; of several, each chooses its own.
    #[arg(long)]
    pub seed: Option<u32>,
    /// Start from nothing: neither the kept corpus nor the regression corpus.
    #[arg(long)]
    pub empty_corpus: bool,
    /// When a driver hangs.
    #[command(flatten)]
    pub hang: Hang,
    /// Told to the target: `--NAME VALUE`, such as `--driver qemu-vdi`; all else is passed to libFuzzer.
    #[arg(last = true, value_parser = crate::arguments::word)]
    pub words: Vec<String>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Ended {
    /// The artifact of a finding.
    pub artifact: Option<PathBuf>,
    /// What was found, line by line.
    pub report: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// What all processes did together, as a table.
    pub table: String,
}

/// Where a run reads and writes.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The working corpus: what libFuzzer finds interesting goes here.
    pub corpus: PathBuf,
    /// Corpora that are only read.
    pub seeds: Vec<PathBuf>,
    /// Where inputs go that find something.
    pub artifacts: PathBuf,
    /// Flags of libFuzzer that the target needs.
    pub flags: Vec<String>,
    /// The page about the run, which is written every minute and at its end; none is written without.
    pub status: Option<PathBuf>,
}

/// Fuzzes a target, and says what is reached and what is found. Returns whether nothing is.
///
/// # Errors
/// That there is no such target; what cannot be installed, built, read or written.
pub fn run(project: &Project, arguments: &Arguments) -> Result<bool> {
    project.check(&arguments.target)?;
    println!("building {}: the first time that takes a while", arguments.target);
    println!("{}", libfuzzer::LEGEND);
    run_with(project, arguments, &mut |line| println!("{line}"))
}

/// As [`run`], and what is said goes to `show`, line by line.
///
/// # Errors
/// As [`run`].
pub fn run_with(project: &Project, arguments: &Arguments, show: &mut dyn FnMut(&str)) -> Result<bool> {
    let shell = Shell::new()?;
    project.check(&arguments.target)?;
    let told = Told::of(project, &arguments.target, &arguments.words)?;
    let arguments = &Arguments { words: told.words(), ..arguments.clone() };
    let program = build::build_fuzz_target(&shell, &std::env::current_dir()?, &arguments.target)?;
    let folders = prepare(project, &program, arguments, &told)?;
    let keep_small = || match project.corpus_max() {
        Some(most) => {
            let told = Told { of_libfuzzer: folders.flags.clone(), ..told.clone() };
            kept::minimise(&program, &folders.corpus, &told, most)
        }
        None => Ok(()),
    };
    keep_small()?;
    let ended = drive(&program, &folders, arguments, show)?;
    keep_small()?;
    if let Some(artifact) = &ended.artifact {
        told.write_beside(artifact)?;
    }
    let said = match &ended.artifact {
        None => format!("\n{}\nnothing found in {:.0} s", ended.table, ended.seconds),
        Some(artifact) => format!(
            "\n{}\n\nfound after {:.1} s\nartifact:  {path}\nreproduce: {} repro {path}",
            ended.report.join("\n"),
            ended.seconds,
            project.command(),
            path = artifact.display()
        ),
    };
    said.lines().for_each(&mut *show);
    if let Some(status) = &folders.status {
        show(&format!("status:    {}", status.display()));
    }
    Ok(ended.artifact.is_none())
}

fn prepare(project: &Project, program: &Path, arguments: &Arguments, told: &Told) -> Result<Folders> {
    let target = &arguments.target;
    let artifacts = Path::new(ARTIFACTS).join(target);
    fs::create_dir_all(&artifacts)?;
    let suffix = told.suffix();
    let corpus = if arguments.empty_corpus {
        let corpus = PathBuf::from(format!("fuzz/corpus/{target}{suffix}-from-nothing"));
        let _ = fs::remove_dir_all(&corpus);
        corpus
    } else {
        PathBuf::from(format!("fuzz/corpus/{target}{suffix}"))
    };
    fs::create_dir_all(&corpus)?;
    let mut seeds = Vec::new();
    if !arguments.empty_corpus {
        seeds.extend(Project::seeds(target));
        let folder = PathBuf::from(format!("fuzz/corpus/{target}{}-regressions", told.suffix()));
        seeds.extend(regressions_as_bytes(project, program, target, told, &folder)?.then_some(folder));
    }
    let flags = project.libfuzzer_flags(target);
    let status = Some(Path::new(STATUS).join(format!("{target}{suffix}/status.html")));
    Ok(Folders { corpus, seeds, artifacts, flags, status })
}

/// Writes the traces of the regression corpus that belong to this target with these arguments to `folder`, as
/// the bytes that it takes. Returns whether there are any.
pub(crate) fn regressions_as_bytes(
    project: &Project,
    program: &Path,
    target: &str,
    told: &Told,
    folder: &Path,
) -> Result<bool> {
    let mut mine = Vec::new();
    for trace in project.traces()? {
        if project.target_of(&trace).is_ok_and(|of| of == target)
            && Told::of_input(project, target, &trace, &[])?.of_target == told.of_target
        {
            mine.push(trace);
        }
    }
    let _ = fs::remove_dir_all(folder);
    if mine.is_empty() {
        return Ok(false);
    }
    fs::create_dir_all(folder)?;
    let count = mine.len();
    let mut taken = 0;
    for trace in mine {
        let output = folder.join(trace.file_stem().context("a trace has a name")?);
        // A trace may be larger than the bytes form can say; it is replayed as text all the same.
        let mut command = Command::new(program);
        told.tell(&mut command);
        // A container may not let the address sanitizer look for leaks, and it would fail.
        command.env("ASAN_OPTIONS", "detect_leaks=0");
        command.env(TO_BYTES, &trace).env(OUT, &output).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
        taken += usize::from(status.success());
    }
    if taken < count {
        println!("{target}: {} of {count} traces are not read, or are too large for an input", count - taken);
    }
    Ok(taken > 0)
}

/// Runs the processes until one finds something, the time is over, or all have ended.
///
/// # Errors
/// That a process cannot be started, or ended without a finding and without success.
pub fn drive(
    program: &Path,
    folders: &Folders,
    arguments: &Arguments,
    show: &mut dyn FnMut(&str),
) -> Result<Ended> {
    let told = Told::split(&arguments.words)?;
    let mut command = command(program, folders, arguments, &told);
    // libFuzzer looks at the clock between inputs only; a little later we stop it ourselves. What several
    // have found is merged one after the other.
    let patience = Duration::from_secs(10 + 5 * u64::from(arguments.jobs.max(1)));
    let limit = arguments.time.map(|time| time + patience);
    let said = if arguments.jobs > 1 { Some(fork(&mut command, folders, arguments)?) } else { None };
    let page = |file: &PathBuf| Status::new(file.clone(), &arguments.target, Path::new(ARTIFACTS));
    let mut status = folders.status.as_ref().map(page);
    let mut look = |processes: &[Process], seconds: f64| {
        if let Some(status) = &mut status {
            status.look(processes, seconds);
        }
    };
    let ends = process::Ends { time: arguments.time, limit, with: None, said: said.clone() };
    let watched = process::run_all(vec![command], &ends, show, &mut look);
    if let Some(said) = said {
        let _ = fs::remove_dir_all(said);
    }
    let Watched { processes, codes, seconds } = watched?;
    if let Some(mut status) = status {
        let has_failed = codes.iter().any(|code| code.is_some_and(|code| code != 0));
        let end = tell_end(&processes, has_failed, seconds, &arguments.target)?;
        status.end(&processes, seconds, &end)?;
    }
    let found = processes
        .iter()
        .find_map(|process| process.artifact.clone().map(|path| (path, process.report.clone())));
    let table = libfuzzer::table(&processes, seconds);
    if found.is_none() && codes.iter().any(|code| code.is_some_and(|code| code != 0)) {
        let said: Vec<&str> = processes.iter().flat_map(Process::last_words).collect();
        bail!(
            "the fuzzer ended with {codes:?} without a finding; run the target by hand: {}\n{}",
            program.display(),
            said.join("\n")
        );
    }
    let (artifact, report) =
        found.map_or((None, Vec::new()), |(path, report)| (Some(PathBuf::from(path)), report));
    Ok(Ended { artifact, report, seconds, table })
}

/// Writes what was found to the ledger; returns how the run has ended, in a sentence.
fn tell_end(processes: &[Process], has_failed: bool, seconds: f64, target: &str) -> Result<String> {
    let Some(process) = processes.iter().find(|process| process.artifact.is_some()) else {
        let verdict = if has_failed { "no verdict: a process has failed" } else { "nothing was found" };
        return Ok(format!("It has ended after {seconds:.0} s: {verdict}."));
    };
    let Found { signature, name, what, requests } = found(process);
    let end = format!("It has ended after {seconds:.0} s with a finding: {what}");
    let entry = Entry {
        times: 1,
        seed: process.seed,
        requests,
        artifact: process.artifact.as_ref().map(PathBuf::from),
        ..Entry::now(target, signature.to_string(), name, what)
    };
    ledger::add(Path::new(ARTIFACTS), entry)?;
    Ok(end)
}

/// What a process has found: as its target says, or the first line of its report, whose numbers make no
/// difference.
fn found(process: &Process) -> Found {
    let line = |line: &&String| !line.starts_with(libfuzzer::REPORT_PREFIX);
    let what = process.report.iter().find(line).or(process.report.first()).cloned().unwrap_or_default();
    let plain = |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word }.to_owned();
    let words: Vec<String> = what.split_whitespace().map(plain).collect();
    process.found.clone().unwrap_or_else(|| Found {
        signature: words.join(" ").into(),
        name: words.join(" ").chars().take(60).collect(),
        what,
        requests: None,
    })
}

/// Has a process fork others, as many as there are jobs. Returns the folder in which they write what they
/// count.
fn fork(command: &mut Command, folders: &Folders, arguments: &Arguments) -> Result<PathBuf> {
    if arguments.seed.is_some() {
        bail!("with --jobs, each process chooses its own seed: from one seed, all would do the same");
    }
    let said = folders.artifacts.join(".said");
    let _ = fs::remove_dir_all(&said);
    fs::create_dir_all(&said)?;
    command.env(STATS_FOLDER, std::path::absolute(&said)?);
    // What ends one process ends the run: whether it was too slow, took too much or was wrong.
    command.args(["-ignore_crashes=0", "-ignore_timeouts=0", "-ignore_ooms=0"]);
    command.arg(format!("-fork={}", arguments.jobs));
    Ok(said)
}

fn command(program: &Path, folders: &Folders, arguments: &Arguments, told: &Told) -> Command {
    let mut command = Command::new(program);
    told.tell(&mut command);
    command.arg(&folders.corpus).args(&folders.seeds);
    command.arg(format!("-artifact_prefix={}/", folders.artifacts.display()));
    // The entropic schedule keeps a sorted list of features for each input, which takes as long as half of
    // all scenarios.
    command.args(&folders.flags).args(["-reload=1", "-len_control=0", "-entropic=0"]);
    // A scenario that takes long on a busy machine is no finding: what hangs, the target says itself.
    command.arg("-report_slow_units=3600");
    if let Some(dictionary) = Project::dictionary(&arguments.target) {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    if let Some(seed) = arguments.seed {
        // libFuzzer takes 0 for a random one.
        command.arg(format!("-seed={}", seed.max(1)));
    }
    if let Some(time) = arguments.time {
        // libFuzzer counts whole seconds, and 0 has no end.
        command.arg(format!("-max_total_time={}", time.as_millis().div_ceil(1000).max(1)));
    }
    arguments.hang.tell(&mut command);
    command.args(&told.of_libfuzzer).env_remove("RUST_BACKTRACE").env("BLK_STATS", "json");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}
