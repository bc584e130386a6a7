//! `cargo xtask fuzz TARGET`: the main job.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::libfuzzer::{self, Process};
use crate::units::parse_time;
use crate::{kept, replay, targets, tools};

/// How often the status line is shown.
const SHOW_EVERY: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The fuzz target, such as `verify_qcow2`; an unknown one lists all.
    pub(crate) target: String,
    /// Stop after this time, such as 30s, 5m, 1h; default: until something is found.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) time: Option<Duration>,
    /// Processes.
    #[arg(long, default_value_t = 1)]
    pub(crate) jobs: u32,
    /// Seed of the first process; the others follow.
    #[arg(long)]
    pub(crate) seed: Option<u32>,
    /// Start from nothing: neither the kept corpus nor the regression corpus.
    #[arg(long)]
    pub(crate) empty_corpus: bool,
    /// Passed to libFuzzer.
    #[arg(last = true)]
    pub(crate) libfuzzer: Vec<String>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The artifact of a finding.
    pub(crate) artifact: Option<PathBuf>,
    pub(crate) report: Vec<String>,
    pub(crate) seconds: f64,
    /// The last status line.
    pub(crate) status: String,
}

/// Where a run reads and writes.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    /// The working corpus: what libFuzzer finds interesting goes here.
    pub(crate) corpus: PathBuf,
    /// Corpora that are only read.
    pub(crate) seeds: Vec<PathBuf>,
    pub(crate) artifacts: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let shell = Shell::new()?;
    targets::check(&arguments.target)?;
    tools::need_cargo_fuzz(&shell)?;
    let program = tools::build_fuzz_target(&shell, &std::env::current_dir()?, &arguments.target)?;
    let folders = prepare(&shell, arguments)?;
    kept::minimise(&program, &folders.corpus, target_flags(&arguments.target))?;
    let ended = drive(&program, &folders, arguments, &mut |line| println!("{line}"))?;
    kept::minimise(&program, &folders.corpus, target_flags(&arguments.target))?;
    let Some(artifact) = ended.artifact else {
        println!("{}\nnothing found in {:.0} s", ended.status, ended.seconds);
        return Ok(true);
    };
    println!("\n{}\n\nfound after {:.1} s", ended.report.join("\n"), ended.seconds);
    println!("artifact:  {}", artifact.display());
    println!("reproduce: cargo xtask repro {}", artifact.display());
    Ok(false)
}

fn prepare(shell: &Shell, arguments: &Arguments) -> Result<Folders> {
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
        seeds.extend(regressions_as_bytes(shell, target)?);
    }
    Ok(Folders { corpus, seeds, artifacts })
}

/// The traces of the regression corpus that belong to this target, as the bytes that it takes.
fn regressions_as_bytes(shell: &Shell, target: &str) -> Result<Option<PathBuf>> {
    let mut mine = Vec::new();
    for trace in replay::traces()? {
        if replay::target_of(&trace)? == target {
            mine.push(trace);
        }
    }
    if mine.is_empty() {
        return Ok(None);
    }
    let program = replay::build(shell)?;
    let folder = PathBuf::from(format!("fuzz/corpus/{target}-regressions"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for trace in mine {
        let output = folder.join(trace.file_stem().context("a trace has a name")?);
        // A trace may be larger than the bytes form can say; it is replayed as text all the same.
        let converted =
            cmd!(shell, "{program} to-bytes {trace} {output}").quiet().ignore_status().ignore_stderr();
        converted.run()?;
    }
    Ok(Some(folder))
}

/// The flags of libFuzzer that a target needs.
fn target_flags(target: &str) -> &'static [&'static str] {
    match target {
        // Larger than the largest template: a truncated image only tests its rejection.
        // Memory and time of each image are measured by the target, without what others cost.
        "open_qcow2" => &["-max_len=1048576", "-malloc_limit_mb=256", "-timeout=20"],
        // A header of 32 bytes and 64 records of 16. Longer scenarios (up to 256) find little more, and take their time.
        _ => &["-max_len=1056", "-timeout=10"],
    }
}

/// Runs the processes until one finds something, the time is over, or all have ended.
pub(crate) fn drive(
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
    command.args(target_flags(&arguments.target)).args(["-reload=1", "-len_control=0"]);
    let dictionary = format!("fuzz/{}.dict", arguments.target);
    if Path::new(&dictionary).is_file() {
        command.arg(format!("-dict={dictionary}"));
    }
    if let Some(seed) = arguments.seed {
        command.arg(format!("-seed={}", seed + job));
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
