//! Longer jobs, done by the processes of a fuzz target: `blk_harness::job` is the other side of this.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xshell::Shell;

use crate::arguments::Arguments as Told;
use crate::build;
use crate::process::{self, Ends, Watched};
use crate::project::Project;
use crate::units::parse_time;

/// The job, the folder for what is found, and how long no request may complete.
const JOB: &str = "BLK_JOB";
const OUT: &str = "BLK_OUT";
const HANG: &str = "BLK_HANG_SECONDS";
/// Where findings are written.
pub(crate) const REPROS: &str = "fuzz/repros";

/// Exit codes of a process.
const FOUND: i32 = 1;
const PROVES_NOTHING: i32 = 3;

/// What all long jobs take.
#[derive(Debug, Clone, clap::Args)]
pub struct Work {
    /// The fuzz target, such as `verify_qcow2`; an unknown one lists all.
    pub target: String,
    /// Processes that share the work.
    #[arg(long, short, default_value_t = 1)]
    pub jobs: u64,
    /// When a driver hangs.
    #[command(flatten)]
    pub hang: Hang,
    /// Told to the target, as of `fuzz`
    #[arg(last = true, value_parser = crate::arguments::word)]
    pub words: Vec<String>,
}

/// When a driver hangs.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Hang {
    /// A driver hangs when no request has completed for this time; default: 20s.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    hang: Option<Duration>,
}

/// Which build of the target runs where a fuzzer's would do.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Plain {
    /// Run a build without coverage, as soak does: it needs no cargo-fuzz.
    #[arg(long)]
    plain: bool,
}

impl Plain {
    /// Builds targets of the project in this folder, and returns the programs.
    pub(crate) fn build(self, shell: &Shell, targets: &[&str]) -> Result<Vec<PathBuf>> {
        if self.plain {
            return targets.iter().map(|target| build::build_job_target(shell, target)).collect();
        }
        build::build_fuzz_targets(shell, &std::env::current_dir()?, targets)
    }
}

impl Hang {
    /// Tells a process.
    pub(crate) fn tell(&self, command: &mut Command) {
        if let Some(time) = self.hang {
            command.env(HANG, time.as_secs().max(1).to_string());
        }
    }
}

/// A process of `program` that does `job`, its finding to be written to [`REPROS`].
pub(crate) fn command(program: &Path, job: &Value, hang: &Hang) -> Command {
    let mut command = Command::new(program);
    command.env(JOB, job.to_string()).env(OUT, REPROS).env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    hang.tell(&mut command);
    command
}

/// Builds the target, and has its processes do a job, of which `part` makes that of each. Shows what is
/// reached, and the verdict. Returns whether nothing was found.
///
/// # Errors
/// That there is no such target; what cannot be built; that a process could not do its job, or that what it
/// did proves nothing.
pub(crate) fn run(project: &Project, arguments: &Work, part: impl Fn(u64, u64) -> Value) -> Result<bool> {
    let shell = Shell::new()?;
    project.check(&arguments.target)?;
    let told = Told::of(project, &arguments.target, &arguments.words)?;
    let program = build::build_job_target(&shell, &arguments.target)?;
    let jobs = arguments.jobs.max(1);
    let commands = (0..jobs).map(|index| {
        let mut command = command(&program, &part(index, jobs), &arguments.hang);
        told.tell(&mut command);
        command.env("BLK_STATS", "json").stdout(Stdio::inherit()).stderr(Stdio::piped());
        command
    });
    println!("{}", crate::libfuzzer::LEGEND);
    let ends = Ends { with: Some(FOUND), ..Ends::default() };
    let watched =
        process::run_all(commands.collect(), &ends, &mut |line| println!("{line}"), &mut |_, _| {})?;
    verdict(&arguments.target, &watched)
}

fn verdict(target: &str, watched: &Watched) -> Result<bool> {
    println!("\n{}", crate::libfuzzer::table(&watched.processes, watched.seconds));
    let codes = &watched.codes;
    if codes.contains(&Some(FOUND)) {
        println!("NOT CLEAN: {target} has a finding, which is in {REPROS}");
        return Ok(false);
    }
    if codes.iter().all(|code| *code == Some(PROVES_NOTHING)) {
        bail!("{target}: no verdict: nothing was found, and nothing was tried");
    }
    if codes.iter().any(|code| !matches!(code, Some(0 | PROVES_NOTHING))) {
        bail!("{target}: a process has ended with {codes:?}: no verdict");
    }
    println!("clean: {target}, {:.0} s", watched.seconds);
    Ok(true)
}

/// Has one process of the target do `job`, with its output shown as it is. Returns its exit code.
///
/// # Errors
/// That it cannot be started, or was killed.
pub(crate) fn run_one(program: &Path, job: &Value, hang: &Hang, told: &Told) -> Result<i32> {
    let mut command = command(program, job, hang);
    told.tell(&mut command);
    command.stderr(Stdio::piped());
    let status = process::run_shown(command)?;
    status.code().with_context(|| format!("{} was killed: {status}", program.display()))
}
