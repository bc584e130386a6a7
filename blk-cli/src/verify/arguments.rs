//! What the command lines of `blk verify` and `blk replay` say.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use blk_core::units::{parse_count, parse_time};
use blk_core::{name, parse_size};
use blk_foreign::Plant;
use clap::{Args, ValueEnum, ValueHint};

use super::bench::Pair;
use super::keep::{Keeping, Until};
use super::oracles::Oracles;
use crate::spec::{CacheMode, ObjectArgs, Origins};

/// How long a run takes that is limited by nothing else.
const USUAL_TIME: Duration = Duration::from_mins(1);

/// Compares every answer of two images to generated requests. Neither image is changed, unless --in-place is
/// given.
///
/// Both images have the same content. They are opened read-only and locked against writers; the requests are
/// made of copies: what is written is kept in memory, or in an unnamed temporary file, and is gone at the
/// end. With --in-place the images themselves are overwritten with random data; what they held is kept until
/// the end of the run, so that a finding can be replayed.
///
/// The image under test is checked first. A finding is proven by replays on fresh copies, shrunk, and written
/// to NAME.trace with the line that replays it.
///
/// --crash, --faults and --race try copies in memory of the image under test, a small one, and share the
/// time.
///
/// Exit code: 0 nothing found; 1 the images differ, or the image under test is not clean; 2 it could not be
/// tried.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The image that is trusted: any image specification
    #[arg(required_unless_present = "driver")]
    reference: Option<String>,
    /// The image under test
    #[arg(required_unless_present = "driver")]
    test: Option<String>,
    /// Test a driver in another process, in place of two images: by the name of one that is known, or a file
    /// NAME.toml that describes it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["reference", "test"])]
    pub(super) driver: Option<String>,
    /// With --driver: so many requests in flight together at most, alone or with --crash [default: now and
    /// then, up to 4]
    #[arg(long, value_name = "COUNT", requires = "driver", value_parser = clap::value_parser!(u8).range(2..=8))]
    pub(super) lanes: Option<u8>,
    /// With --driver: stop at deviations of the driver that are known, too
    #[arg(long, requires = "driver")]
    pub(super) strict: bool,
    #[command(flatten)]
    pub(super) planted: Planted,
    #[command(flatten)]
    formats: Formats,
    /// Stop after so many requests, such as 100k [default: no limit]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    requests: Option<u64>,
    /// Stop after this time, such as 30s, 5m, 1h [default: 60s, or none with --requests]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Seed of the requests
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Threads that make requests at the same time; with --driver, each has processes of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) jobs: u32,
    /// Make only requests that change nothing
    #[arg(short, long)]
    pub(super) read_only: bool,
    /// How long a finding is proven and shrunk at most, such as 5m
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_time)]
    pub(super) shrink: Duration,
    /// Resize the disks too; with one thread only
    #[arg(long)]
    pub(super) resize: bool,
    #[command(flatten)]
    pub(super) oracles: Oracles,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Makes the requests of a trace of two images, and compares every answer. Neither image is changed, unless
/// --in-place is given.
///
/// The trace is a scenario as text, JSON or a fuzzer's bytes, or a pasted report. With --crash, --faults or
/// --race it is run by those on copies of the image under test.
///
/// Exit code: 0 nothing found; 1 the images differ, or the image under test is not clean; 2 it could not be
/// tried.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// A scenario: text in qemu-io's grammar, a pasted report, JSON, or a fuzzer's bytes
    #[arg(value_parser = parse_path, value_hint = ValueHint::FilePath)]
    pub(super) trace: PathBuf,
    /// The image that is trusted: any image specification
    #[arg(long, required_unless_present = "driver")]
    reference: Option<String>,
    /// The image under test
    #[arg(long, required_unless_present = "driver")]
    test: Option<String>,
    /// Replay on a driver in another process: its name, or a file NAME.toml
    #[arg(long, value_name = "NAME", conflicts_with_all = ["reference", "test"])]
    pub(super) driver: Option<String>,
    #[command(flatten)]
    pub(super) planted: Planted,
    /// Write a shell script that makes the same requests by programs of others alone: it exits with 1 where
    /// something is wrong
    #[arg(long, value_name = "FILE", requires = "driver", value_parser = parse_path)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(super) script: Option<PathBuf>,
    #[command(flatten)]
    formats: Formats,
    /// Read FILE, in which one of the images lies, as it was before a run in place: COPY holds that
    #[arg(long, value_names = ["FILE", "COPY"], num_args = 2, value_parser = parse_path)]
    #[arg(value_hint = ValueHint::FilePath, conflicts_with = "in_place")]
    start: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) oracles: Oracles,
    #[command(flatten)]
    pub(super) common: Common,
}

/// A fault of our own, to see that it would be found.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Planted {
    /// With --driver: plant a fault around the driver, which the run has to find: wrong-reply=N,
    /// wrong-medium=N, lost-syncs=N or early-flushes=N, where N counts from 1 at each open
    #[arg(long, value_name = "FAULT=N", requires = "driver", value_parser = parse_plant)]
    pub(super) plant: Option<Plant>,
}

fn parse_plant(text: &str) -> Result<Plant, String> {
    Plant::parse(text).map_err(|error| error.to_string())
}

/// What both commands take.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Write to the images themselves: their content is lost
    #[arg(long)]
    pub(super) in_place: bool,
    /// Repair what the check of the image under test finds, before the first request
    #[arg(long)]
    pub(super) repair: bool,
    /// How much of each image's changes is kept in memory; more go to a temporary file
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    memory: u64,
    /// The folder for NAME.trace of a finding
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    #[arg(value_parser = parse_path, value_hint = ValueHint::DirPath)]
    pub(super) traces: PathBuf,
    /// Form of what is printed at the end
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
    /// Show no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Human,
    /// One object, for programs
    Json,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Formats {
    /// Format of the reference; probed where it is not given
    #[arg(long)]
    pub(super) reference_format: Option<String>,
    /// Format of the image under test
    #[arg(long)]
    pub(super) test_format: Option<String>,
    /// Both names are option strings, key=value,...
    #[arg(long)]
    pub(super) image_opts: bool,
    #[command(flatten)]
    pub(super) objects: ObjectArgs,
    /// How writes reach the disk, in place; unsafe leaves out syncs, which only a crash of the host would
    /// show
    #[arg(short = 't', long, default_value = "unsafe")]
    pub(super) cache: CacheMode,
}

/// The path that an argument carries, as [`name`] says.
#[expect(clippy::unnecessary_wraps, reason = "a value parser returns a result")]
pub(crate) fn parse_path(text: &str) -> std::result::Result<PathBuf, Infallible> {
    Ok(name::to_path(text))
}

impl VerifyArguments {
    pub(super) fn output(&self) -> Output {
        self.common.output
    }

    pub(super) fn until(&self) -> Until {
        let time = match (self.requests, self.time) {
            (None, None) => Some(USUAL_TIME),
            (_, time) => time,
        };
        Until { requests: self.requests.unwrap_or(u64::MAX), time }
    }

    /// Makes the folder for traces: what goes wrong there is said before anything is found, not afterwards.
    pub(super) fn make_traces_folder(&self) -> Result<()> {
        let folder = &self.common.traces;
        std::fs::create_dir_all(folder).with_context(|| format!("--traces: {}", folder.display()))
    }

    pub(super) fn keeping(&self) -> Keeping<'_> {
        Keeping { traces: &self.common.traces, quiet: self.common.quiet, time: self.shrink }
    }

    pub(super) fn pair(&self) -> Pair {
        let mut pair = pair(self.reference.as_ref(), self.test.as_ref(), &self.formats, &self.common);
        pair.read_only = self.read_only;
        pair
    }
}

impl ReplayArguments {
    pub(super) fn output(&self) -> Output {
        self.common.output
    }

    pub(super) fn pair(&self) -> Result<Pair> {
        let mut pair = pair(self.reference.as_ref(), self.test.as_ref(), &self.formats, &self.common);
        let pairs = self.start.chunks_exact(2).map(|pair| (pair[0].as_path(), pair[1].as_path()));
        pair.origins = Origins::from_files(pairs).context("--start")?;
        Ok(pair)
    }
}

fn pair(reference: Option<&String>, test: Option<&String>, formats: &Formats, common: &Common) -> Pair {
    Pair {
        reference: reference.cloned().unwrap_or_default(),
        test: test.cloned().unwrap_or_default(),
        formats: formats.clone(),
        in_place: common.in_place,
        repair: common.repair,
        read_only: false,
        memory_bytes_max: common.memory,
        trouble: std::cell::RefCell::default(),
        start: std::cell::RefCell::default(),
        origins: Origins::default(),
    }
}
