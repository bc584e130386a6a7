//! `blk verify` and `blk replay`: the verifier over any two images.

mod bench;
mod copies;
mod oracles;
mod progress;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use blk_core::Access;
use blk_verify::Finding;
use blk_verify::scenario::Scenario;
use blk_verify::session::{Session, SessionOptions};
use clap::Args;

use crate::spec::{CacheMode, Request};
use bench::SpecBench;
use copies::Copies;
use oracles::{Oracles, Until};
use progress::Progress;

/// Requests between two visits of the oracles.
const ROUND_REQUESTS: u64 = 20_000;
/// Requests shown with a finding.
const SHOWN_REQUESTS: u64 = 20;
/// Largest trace, bytes.
const TRACE_BYTES_MAX: u64 = 16 << 20;

/// Exit codes, as of compare: 0 nothing found, 1 a mismatch, 2 it could not be tried.
const MISMATCH: u8 = 1;
const TROUBLE: u8 = 2;

/// Makes generated requests of two images that have the same content, and compares every answer.
///
/// Both images are written to, unless --read-only is given, or --crash, --faults or --race: these compare the two images once,
/// and then try copies in memory of the image under test, a small one.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The image that is trusted: any image specification
    reference: String,
    /// The image under test
    test: String,
    #[command(flatten)]
    formats: Formats,
    /// Stop after so many requests [default: 1000000, or none with --time]
    #[arg(long)]
    requests: Option<u64>,
    /// Stop after so many seconds
    #[arg(long)]
    time: Option<u64>,
    /// Seed of the requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that make requests at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: u32,
    /// Make only requests that change nothing
    #[arg(short, long)]
    read_only: bool,
    /// Resize the disks too; with one thread only
    #[arg(long)]
    resize: bool,
    #[command(flatten)]
    oracles: Oracles,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Makes the requests of a trace of two images that have the same content, and compares every answer.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// A scenario: text in qemu-io's grammar, JSON, or a fuzzer's bytes
    trace: std::path::PathBuf,
    /// The image that is trusted: any image specification
    #[arg(long)]
    reference: String,
    /// The image under test
    #[arg(long)]
    test: String,
    #[command(flatten)]
    formats: Formats,
}

#[derive(Debug, Args)]
struct Formats {
    /// Format of the reference; probed where it is not given
    #[arg(long)]
    reference_format: Option<String>,
    /// Format of the image under test
    #[arg(long)]
    test_format: Option<String>,
    /// Both names are option strings, key=value,...
    #[arg(long)]
    image_opts: bool,
    /// How writes reach the disk; unsafe leaves out syncs, which only a crash of the host would show
    #[arg(short = 't', long, default_value = "unsafe")]
    cache: CacheMode,
}

impl Formats {
    fn request(&self, name: &str, format: Option<&String>, access: Access) -> Request {
        Request {
            name: name.to_owned(),
            image_opts: self.image_opts,
            format: format.cloned(),
            access,
            cache: self.cache,
            writes_short_zeroes: true,
            ..Request::default()
        }
    }

    fn bench(&self, reference: &str, test: &str, access: Access) -> Result<Box<SpecBench>> {
        let reference = self.request(reference, self.reference_format.as_ref(), access);
        let test = self.request(test, self.test_format.as_ref(), access);
        Ok(Box::new(SpecBench::open(&reference, test)?))
    }
}

/// Runs `blk verify`.
pub fn verify(arguments: &VerifyArguments) -> ExitCode {
    if arguments.oracles.any() { ask_oracles(arguments) } else { end(run_verify(arguments)) }
}

fn ask_oracles(arguments: &VerifyArguments) -> ExitCode {
    match run_oracles(arguments) {
        Ok(Asked::Differ(found)) => end(Ok(Some(*found))),
        Ok(Asked::Nothing) => ExitCode::SUCCESS,
        Ok(Asked::Found(finding, scenario)) => {
            eprint!("{}", finding.report);
            if let Some(scenario) = scenario {
                eprint!("\n{scenario}");
            }
            ExitCode::from(MISMATCH)
        }
        Err(error) => end(Err(error)),
    }
}

/// What the oracles came to.
enum Asked {
    Nothing,
    /// The images were different before anything was tried.
    Differ(Box<(Box<Finding>, Session)>),
    Found(Box<Finding>, Option<Box<Scenario>>),
}

fn run_oracles(arguments: &VerifyArguments) -> Result<Asked> {
    let formats = &arguments.formats;
    let bench = formats.bench(&arguments.reference, &arguments.test, Access::ReadOnly)?;
    let copies = Copies::of(bench.test_image())?;
    let session = Session::new(bench, SessionOptions { read_only: true, ..SessionOptions::default() });
    if let Err(finding) = session.compare() {
        eprintln!("blk: the two images differ before the first request");
        return Ok(Asked::Differ(Box::new((finding, session))));
    }
    let VerifyArguments { requests, seed, quiet, .. } = *arguments;
    let until = Until { requests, time: arguments.time.map(Duration::from_secs), seed, quiet };
    Ok(match arguments.oracles.run(&copies, until)? {
        Some((finding, scenario)) => Asked::Found(Box::new(finding), scenario.map(Box::new)),
        None => Asked::Nothing,
    })
}

/// Runs `blk replay`.
pub fn replay(arguments: &ReplayArguments) -> ExitCode {
    end(run_replay(arguments))
}

/// What a run came to: nothing, or a finding with the requests that led to it.
type Verdict = Result<Option<(Box<Finding>, Session)>>;

fn end(verdict: Verdict) -> ExitCode {
    match verdict {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some((finding, session))) => {
            eprint!("{}", finding.report);
            let last = session.last_requests(SHOWN_REQUESTS);
            if !last.is_empty() {
                eprintln!("the last {} of {} requests:", last.len(), session.counts().requests());
            }
            for (number, request) in last {
                eprintln!("  #{number} {request}");
            }
            ExitCode::from(MISMATCH)
        }
        Err(error) => {
            eprintln!("blk: {error:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

fn run_verify(arguments: &VerifyArguments) -> Verdict {
    if arguments.resize && arguments.jobs > 1 {
        bail!("--resize needs --jobs 1: requests past the end would be ordered by chance");
    }
    let access = if arguments.read_only { Access::ReadOnly } else { Access::ReadWrite };
    let bench = arguments.formats.bench(&arguments.reference, &arguments.test, access)?;
    let VerifyArguments { seed, jobs, read_only, resize, .. } = *arguments;
    let mut session = Session::new(bench, SessionOptions { seed, jobs, read_only, resize });
    let requests = match (arguments.requests, arguments.time) {
        (None, None) => 1_000_000,
        (requests, _) => requests.unwrap_or(u64::MAX),
    };
    let started = Instant::now();
    let time = arguments.time.map_or(Duration::MAX, Duration::from_secs);
    let progress = Progress::start(session.counts(), arguments.quiet);
    if let Err(finding) = session.compare() {
        progress.end();
        eprintln!("blk: the two images differ before the first request");
        return Ok(Some((finding, session)));
    }
    loop {
        let left = requests.saturating_sub(session.counts().requests());
        if left == 0 || started.elapsed() >= time {
            break;
        }
        if let Err(finding) = session.round(left.min(ROUND_REQUESTS), &|| started.elapsed() >= time) {
            progress.end();
            return Ok(Some((finding, session)));
        }
    }
    if let Err(finding) = session.finish() {
        progress.end();
        return Ok(Some((finding, session)));
    }
    progress.end();
    println!("{}", progress::summary(session.counts(), started.elapsed()));
    Ok(None)
}

fn run_replay(arguments: &ReplayArguments) -> Verdict {
    let path = &arguments.trace;
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > TRACE_BYTES_MAX {
        bail!("{} has {length} bytes; a trace has at most {TRACE_BYTES_MAX}", path.display());
    }
    let input = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let scenario = Scenario::parse_any(&input).with_context(|| path.display().to_string())?;
    let bench = arguments.formats.bench(&arguments.reference, &arguments.test, Access::ReadWrite)?;
    let mut session = Session::new(bench, SessionOptions::default());
    let started = Instant::now();
    if let Err(finding) = session.compare() {
        eprintln!("blk: the two images differ before the first request");
        return Ok(Some((finding, session)));
    }
    if let Err(finding) = session.replay(&scenario.requests) {
        return Ok(Some((finding, session)));
    }
    println!("{}", progress::summary(session.counts(), started.elapsed()));
    Ok(None)
}
