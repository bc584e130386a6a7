//! `cargo blk fuzz TARGET`: the main job.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xshell::Shell;

use crate::libfuzzer::{self, Process};
use crate::project::Project;
use crate::units::parse_time;
use crate::{build, kept};

/// An input that a fuzz target turns into bytes instead of fuzzing: `blk_harness::fuzzing` has the same names.
const TO_BYTES: &str = "BLK_TO_BYTES";
const OUT: &str = "BLK_OUT";

/// How often the status line is shown.
const SHOW_EVERY: Duration = Duration::from_secs(3);

/// What to fuzz, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The fuzz target, such as `verify_qcow2`; an unknown one lists all.
    pub target: String,
    /// Stop after this time, such as 30s, 5m, 1h; default: until something is found.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub time: Option<Duration>,
    /// Processes.
    #[arg(long, default_value_t = 1)]
    pub jobs: u32,
    /// Seed of the first process; the others follow.
    #[arg(long)]
    pub seed: Option<u32>,
    /// Start from nothing: neither the kept corpus nor the regression corpus.
    #[arg(long)]
    pub empty_corpus: bool,
    /// Passed to libFuzzer.
    #[arg(last = true)]
    pub libfuzzer: Vec<String>,
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
    /// The last status line.
    pub status: String,
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
}

/// Fuzzes a target, and says what is reached and what is found. Returns whether nothing is.
///
/// # Errors
/// That there is no such target; what cannot be installed, built, read or written.
pub fn run(project: &Project, arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    project.check(&arguments.target)?;
    build::need_cargo_fuzz(&shell)?;
    let program = build::build_fuzz_target(&shell, &std::env::current_dir()?, &arguments.target)?;
    let folders = prepare(project, &program, arguments)?;
    let keep_small = || match project.corpus_max() {
        Some(most) => kept::minimise(&program, &folders.corpus, &folders.flags, most),
        None => Ok(()),
    };
    keep_small()?;
    println!("{}", libfuzzer::LEGEND);
    let ended = drive(&program, &folders, arguments, &mut |line| println!("{line}"))?;
    keep_small()?;
    let Some(artifact) = ended.artifact else {
        println!("{}\nnothing found in {:.0} s", ended.status, ended.seconds);
        return Ok(true);
    };
    println!("\n{}\n\nfound after {:.1} s", ended.report.join("\n"), ended.seconds);
    println!("artifact:  {}", artifact.display());
    println!("reproduce: {} repro {}", project.command(), artifact.display());
    Ok(false)
}

fn prepare(project: &Project, program: &Path, arguments: &Arguments) -> Result<Folders> {
    let target = &arguments.target;
    let artifacts = PathBuf::from(format!("fuzz/artifacts/{target}"));
    fs::create_dir_all(&artifacts)?;
    let corpus = if arguments.empty_corpus {
        let corpus = PathBuf::from(format!("fuzz/corpus/{target}-from-nothing"));
        let _ = fs::remove_dir_all(&corpus);
        corpus
    } else {
        PathBuf::from(format!("fuzz/corpus/{target}"))
    };
    fs::create_dir_all(&corpus)?;
    let mut seeds = Vec::new();
    if !arguments.empty_corpus {
        let kept = PathBuf::from(format!("fuzz/seeds/{target}"));
        seeds.extend(kept.is_dir().then_some(kept));
        seeds.extend(regressions_as_bytes(project, program, target)?);
    }
    let flags = project.libfuzzer_flags(target);
    Ok(Folders { corpus, seeds, artifacts, flags })
}

/// The traces of the regression corpus that belong to this target, as the bytes that it takes.
fn regressions_as_bytes(project: &Project, program: &Path, target: &str) -> Result<Option<PathBuf>> {
    let mut mine = Vec::new();
    for trace in project.traces()? {
        if project.target_of(&trace).is_ok_and(|of| of == target) {
            mine.push(trace);
        }
    }
    if mine.is_empty() {
        return Ok(None);
    }
    let folder = PathBuf::from(format!("fuzz/corpus/{target}-regressions"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let count = mine.len();
    let mut taken = 0;
    for trace in mine {
        let output = folder.join(trace.file_stem().context("a trace has a name")?);
        // A trace may be larger than the bytes form can say; it is replayed as text all the same.
        let mut command = Command::new(program);
        command.env(TO_BYTES, &trace).env(OUT, &output).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
        taken += usize::from(status.success());
    }
    if taken < count {
        println!(
            "corpus:    {} of {count} traces are not read, or are too large for an input",
            count - taken
        );
    }
    Ok(Some(folder))
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
    let (sender, receiver) = mpsc::channel();
    let mut children = Children::default();
    for job in 0..arguments.jobs.max(1) {
        children.0.push(spawn(program, folders, arguments, job, sender.clone())?);
    }
    drop(sender);
    let watched = watch(&receiver, children.0.len(), arguments.time, show);
    let codes = children.stop();
    let (processes, seconds) = watched;
    let found = processes
        .iter()
        .find_map(|process| process.artifact.clone().map(|path| (path, process.report.clone())));
    let status = libfuzzer::status(&processes, seconds);
    if found.is_none() && codes.iter().any(|code| code.is_some_and(|code| code != 0)) {
        bail!(
            "the fuzzer ended with {codes:?} without a finding; run the target by hand: {}",
            program.display()
        );
    }
    let (artifact, report) =
        found.map_or((None, Vec::new()), |(path, report)| (Some(PathBuf::from(path)), report));
    Ok(Ended { artifact, report, seconds, status })
}

fn spawn(
    program: &Path,
    folders: &Folders,
    arguments: &Arguments,
    job: u32,
    lines: Sender<(usize, Option<String>)>,
) -> Result<Child> {
    let mut command = Command::new(program);
    command.arg(&folders.corpus).args(&folders.seeds);
    command.arg(format!("-artifact_prefix={}/", folders.artifacts.display()));
    // The entropic schedule keeps a sorted list of features for each input, which takes as long as half of all scenarios.
    command.args(&folders.flags).args(["-reload=1", "-len_control=0", "-entropic=0"]);
    let dictionary = format!("fuzz/{}.dict", arguments.target);
    if Path::new(&dictionary).is_file() {
        command.arg(format!("-dict={dictionary}"));
    }
    if let Some(seed) = arguments.seed {
        // libFuzzer takes 0 for a random one.
        command.arg(format!("-seed={}", seed.wrapping_add(job).max(1)));
    }
    if let Some(time) = arguments.time {
        // libFuzzer counts whole seconds, and 0 has no end.
        command.arg(format!("-max_total_time={}", time.as_millis().div_ceil(1000).max(1)));
    }
    command.args(&arguments.libfuzzer).env_remove("RUST_BACKTRACE").env("BLK_STATS", "json");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let output = child.stderr.take().context("the process has a standard error")?;
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if lines.send((job as usize, Some(text))).is_err() {
                return;
            }
        }
        let _ = lines.send((job as usize, None));
    });
    Ok(child)
}

fn watch(
    lines: &Receiver<(usize, Option<String>)>,
    jobs: usize,
    time: Option<Duration>,
    show: &mut dyn FnMut(&str),
) -> (Vec<Process>, f64) {
    let started = Instant::now();
    let mut processes = vec![Process::default(); jobs];
    let mut running = jobs;
    let mut shown = Instant::now();
    // libFuzzer looks at the clock between inputs only; a little later we stop it ourselves.
    let limit = time.map(|time| time + Duration::from_secs(15));
    while running > 0 && limit.is_none_or(|limit| started.elapsed() < limit) {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok((job, Some(line))) => processes[job].line(&line),
            Ok((job, None)) => {
                running -= 1;
                if processes[job].artifact.is_some() {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if shown.elapsed() >= SHOW_EVERY {
            show(&libfuzzer::status(&processes, started.elapsed().as_secs_f64()));
            shown = Instant::now();
        }
    }
    (processes, started.elapsed().as_secs_f64())
}

/// Processes that do not outlive this one's interest in them.
#[derive(Debug, Default)]
struct Children(Vec<Child>);

impl Children {
    /// Stops those that still run; returns the exit codes of the others.
    fn stop(&mut self) -> Vec<Option<i32>> {
        let mut codes = Vec::new();
        for child in &mut self.0 {
            if let Ok(Some(status)) = child.try_wait() {
                codes.push(status.code());
            } else {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        self.0.clear();
        codes
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}
