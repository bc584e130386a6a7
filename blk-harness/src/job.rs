//! Longer jobs of a fuzz target's process: it has the driver and the engines already, so nothing else has to
//! be built for them. `cargo blk soak`, `race`, `exhaust` and `corpus` describe a job to it in the
//! environment ([`JOB`](crate::fuzzing::JOB)).

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::generate::{Generator, Limits};
use crate::scenario::Scenario;
use anyhow::{Context, Result, bail};
use blk_verify::Finding;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::exhaust::{self, Bounds};
use crate::fuzzing::Speaker;
use crate::repro::{self, read_scenario};
use crate::runner::{Purpose, Runner};
use crate::suite::Suite;
use crate::watch::{self, Watched};

/// The exit code of a process that has done its job and found nothing.
pub const CLEAN: i32 = 0;
/// That of one that has found something.
pub const FOUND: i32 = 1;
/// That of one that could not do its job.
pub const FAILED: i32 = 2;
/// That of one whose runs compared, crashed, failed or interleaved nothing: they prove nothing.
pub const PROVES_NOTHING: i32 = 3;

/// What a process is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Job {
    /// Generated scenarios, one after the other.
    Soak(Soak),
    /// All small scenarios.
    Exhaust(Exhaust),
    /// Inputs, once each: artifacts, traces, JSON files.
    Replay {
        /// Their files.
        inputs: Vec<PathBuf>,
        /// Everything that can be tried, however long it takes.
        complete: bool,
    },
    /// Runs inputs once each, and prints what they ask for and reach, as JSON.
    Tally {
        /// Their files.
        inputs: Vec<PathBuf>,
    },
    /// Prints an input as text.
    Show {
        /// Its file.
        input: PathBuf,
    },
}

/// Which part of the work a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its number, from 0.
    pub index: u64,
    /// How many there are.
    pub of: u64,
}

/// Generated scenarios until a counter of the engine has reached a number, or the time is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Soak {
    /// Seed of the scenarios. The processes together run the same ones, however many there are.
    pub seed: u64,
    /// A counter of the engine's summary, such as `requests`.
    pub counter: String,
    /// How far it counts, in all processes together.
    pub count: u64,
    /// When the process ends at the latest, seconds.
    pub seconds: Option<u64>,
    /// Whether requests have to be in flight together.
    pub is_race: bool,
    /// Real threads in place of the scheduler; 0 for none.
    pub threads: u8,
    /// What this process does of it.
    pub part: Part,
}

/// All small scenarios, from where an earlier process has stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exhaust {
    /// How much is tried.
    pub bounds: Bounds,
    /// Where it is written down which units of work are done; those are left out.
    pub progress: PathBuf,
    /// What this process does of it.
    pub part: Part,
}

/// Does a job; returns the exit code of the process.
///
/// # Errors
/// What is wrong with the job or its files.
pub fn run(suite: &Suite, job: &str, out: &Path) -> Result<i32> {
    let job: Job = serde_json::from_str(job).context("the environment describes no job")?;
    match job {
        Job::Soak(soak) => soak.run(suite, out),
        Job::Exhaust(exhaust) => exhaust.run(suite, out),
        Job::Replay { inputs, complete } => replay_all(suite, &inputs, complete, out),
        Job::Tally { inputs } => {
            println!("{}", tally(suite, &inputs, out)?);
            Ok(CLEAN)
        }
        Job::Show { input } => {
            print!("{}", read_scenario(suite, &input)?.to_text());
            Ok(CLEAN)
        }
    }
}

/// A runner that ends the process when the driver hangs, with the finding written to `out`.
fn start(suite: &Suite, purpose: Purpose, out: &Path) -> Watched {
    Watched::new(suite.start(purpose), watch::limit(), repro::on_hang(*suite, out.to_owned(), FOUND))
}

/// Proves, shrinks and writes a finding of a long run.
fn found(suite: &Suite, finding: &Finding, scenario: &Scenario, out: &Path) -> i32 {
    println!("found: {}", finding.headline());
    match repro::reproduce_scenario(suite, scenario.clone(), out) {
        Ok(true) => {}
        Ok(false) => report(finding, scenario, "a replay of the scenario alone finds nothing"),
        Err(error) => report(finding, scenario, &format!("{error:#}")),
    }
    FOUND
}

fn report(finding: &Finding, scenario: &Scenario, why: &str) {
    println!("{}\n{scenario}\nnot shrunk: {why}", finding.report());
}

/// The exit code after a run in which nothing was found.
fn verdict(suite: &Suite, runner: &dyn Runner) -> i32 {
    let Some(missing) = runner.missing() else { return CLEAN };
    eprintln!("{}: these runs prove nothing: they {missing}", suite.name());
    PROVES_NOTHING
}

/// One scenario in so many is long, unless requests are in flight together.
const LONG_ONE_IN: u64 = 64;
const LONG_REQUESTS_MAX: usize = 400;

impl Soak {
    fn run(&self, suite: &Suite, out: &Path) -> Result<i32> {
        if self.is_race && suite.limits().lanes_max < 2 {
            bail!("{} has no requests in flight together: there is nothing to race", suite.name());
        }
        let until = self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let count = self.count.div_ceil(self.part.of.max(1));
        let mut runner = start(suite, Purpose::Fuzz, out);
        let usual = Generator::new(suite.space(), self.seed, self.limits(suite));
        let long = Limits { requests_max: LONG_REQUESTS_MAX, ..suite.limits() };
        let long = Generator::new(suite.space(), self.seed, long);
        let (mut speaker, mut scenario) = (Speaker::default(), Scenario::default());
        let mut index = self.part.index;
        let mut refused = 0_u64;
        let mut is_counted = false;
        while !is_counted && until.is_none_or(|until| Instant::now() < until) {
            let is_long = suite.limits().lanes_max < 2 && index % LONG_ONE_IN == LONG_ONE_IN - 1;
            let generator = if is_long { &long } else { &usual };
            generator.clone().starting_at(index).next_into(&mut scenario);
            index += self.part.of.max(1);
            match self.judge(&mut runner, &scenario)? {
                Outcome::Clean => {}
                Outcome::Refused(_) => refused += 1,
                Outcome::Finding(finding) => {
                    say(&mut speaker, &runner, refused);
                    return Ok(found(suite, &finding, &scenario, out));
                }
            }
            if speaker.is_due() {
                say(&mut speaker, &runner, refused);
            }
            is_counted = self.is_counted(&runner, count, index)?;
        }
        say(&mut speaker, &runner, refused);
        Ok(verdict(suite, &runner))
    }

    fn limits(&self, suite: &Suite) -> Limits {
        let limits = suite.limits();
        // Threads meet by chance: many requests give it one.
        if self.threads > 0 { Limits { requests_min: 100, requests_max: 400, ..limits } } else { limits }
    }

    fn judge(&self, runner: &mut Watched, scenario: &Scenario) -> Result<Outcome> {
        if self.threads == 0 {
            return Ok(runner.run(scenario));
        }
        let mut scenario = scenario.clone();
        scenario.config.lanes = self.threads;
        runner.stress(&scenario).context("this engine has no requests in flight together: no --threads")
    }

    /// The summary costs something: it is asked for now and then.
    fn is_counted(&self, runner: &Watched, count: u64, index: u64) -> Result<bool> {
        const ASK_EVERY: u64 = 16;
        let nth = index / self.part.of.max(1);
        if count == 0 || !nth.is_multiple_of(ASK_EVERY) {
            return Ok(false);
        }
        let summary = runner.summary();
        let Some(reached) = summary[self.counter.as_str()].as_u64() else {
            let names: Vec<&String> = summary.as_object().into_iter().flat_map(|all| all.keys()).collect();
            bail!("this engine does not count '{}'; it counts {names:?}", self.counter)
        };
        Ok(reached >= count)
    }
}

fn say(speaker: &mut Speaker, runner: &dyn Runner, refused: u64) {
    let mut counts = runner.summary();
    if refused > 0 {
        counts["scenarios_refused"] = refused.into();
    }
    speaker.say(counts);
}

impl Exhaust {
    fn run(&self, suite: &Suite, out: &Path) -> Result<i32> {
        let units = exhaust::units(suite, &self.bounds);
        let done = self.done()?;
        let mut speaker = Speaker::default();
        let mut runner = start(suite, Purpose::Exhaust, out);
        let mut finished = 0_u64;
        let mine = |number: &usize| *number as u64 % self.part.of.max(1) == self.part.index;
        let numbers = (0..units.len()).filter(mine);
        let (before, waiting): (Vec<usize>, Vec<usize>) = numbers.partition(|number| done.contains(number));
        for number in waiting {
            if let Err(found_here) = units[number].run(&mut runner, self.bounds.step) {
                Self::say(&mut speaker, &runner, units.len(), before.len() as u64 + finished);
                return Ok(found(suite, &found_here.0, &found_here.1, out));
            }
            self.note(number)?;
            finished += 1;
            if speaker.is_due() {
                Self::say(&mut speaker, &runner, units.len(), before.len() as u64 + finished);
            }
        }
        Self::say(&mut speaker, &runner, units.len(), before.len() as u64 + finished);
        // What an earlier process has done was judged there.
        Ok(if finished == 0 && !before.is_empty() { CLEAN } else { verdict(suite, &runner) })
    }

    fn say(speaker: &mut Speaker, runner: &dyn Runner, units: usize, finished: u64) {
        let mut counts = runner.summary();
        counts["units_done"] = finished.into();
        counts["units_max"] = units.into();
        speaker.say(counts);
    }

    /// What the numbers of units mean: with other bounds they are others.
    fn key(&self) -> String {
        let Bounds { units, length, points, step } = self.bounds;
        format!("units={units} length={length} points={points} step={step}")
    }

    fn done(&self) -> Result<Vec<usize>> {
        if !self.progress.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&self.progress)
            .with_context(|| format!("cannot read {}", self.progress.display()))?;
        let key = self.key();
        let of_line = |line: &str| {
            let (number, of) = line.split_once(' ')?;
            if of == key { number.parse().ok() } else { None }
        };
        Ok(text.lines().filter_map(of_line).collect())
    }

    fn note(&self, number: usize) -> Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.progress);
        let mut file = file.with_context(|| format!("cannot write {}", self.progress.display()))?;
        // One write, so that lines of several processes do not mix.
        Ok(file.write_all(format!("{number} {}\n", self.key()).as_bytes())?)
    }
}

/// Runs inputs as they are replayed, and counts the words of their configurations and their kinds of request.
fn tally(suite: &Suite, inputs: &[PathBuf], out: &Path) -> Result<Value> {
    let mut runner = start(suite, Purpose::Replay, out);
    let (mut options, mut requests) = (BTreeMap::new(), BTreeMap::new());
    for input in inputs {
        let scenario = read_scenario(suite, input)?;
        for word in scenario.config.to_string().split_whitespace().skip(1) {
            *options.entry(word.to_owned()).or_insert(0_u64) += 1;
        }
        for request in &scenario.requests {
            let name = request.to_string().split_whitespace().next().unwrap_or_default().to_owned();
            *requests.entry(name).or_insert(0_u64) += 1;
        }
        if let Outcome::Finding(finding) = runner.run(&scenario) {
            bail!("{} has a finding: {}", input.display(), finding.headline());
        }
    }
    let transitions = runner.transitions();
    let summary = runner.summary();
    Ok(json!({ "summary": summary, "options": options, "requests": requests, "transitions": transitions }))
}

fn replay_all(suite: &Suite, inputs: &[PathBuf], complete: bool, out: &Path) -> Result<i32> {
    let purpose = if complete { Purpose::Complete } else { Purpose::Replay };
    let mut code = CLEAN;
    for input in inputs {
        let started = Instant::now();
        let scenario = read_scenario(suite, input)?;
        let mut runner = start(suite, purpose, out);
        let outcome = runner.run(&scenario);
        let verdict = match &outcome {
            Outcome::Clean => "ok",
            Outcome::Finding(_) => "FINDING",
            Outcome::Refused(why) => bail!("{}: the scenario cannot be run: {why}", input.display()),
        };
        println!("{:16}{verdict:8}{:>8.1?}  {}", suite.name(), started.elapsed(), input.display());
        if complete {
            println!("{}", runner.summary());
        }
        if let Some(finding) = outcome.finding() {
            println!("{}", finding.report());
            code = FOUND;
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use crate::driver::FormatDriver;
    use crate::memory::MemoryDisk;
    use crate::runner::requests;

    use super::*;

    static DRIVER: FormatDriver = FormatDriver::of_disk("memory", MemoryDisk::open);
    static SUITE: Suite = Suite::new("memory", |purpose| requests(&DRIVER, purpose));

    #[test]
    fn a_tally_counts_options_requests_and_runs() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = ["write 0 4k\nwrite 4k 1\nread 0 8k", "read 0 1"].map(|requests| {
            let input = folder.path().join(format!("{}.trace", requests.len()));
            fs::write(&input, format!("blk-scenario 1\nconfig size-bytes=64k\n{requests}\n")).unwrap();
            input
        });
        let counts = tally(&SUITE, &inputs, folder.path()).unwrap();
        assert_eq!(counts["options"], json!({ "size-bytes=64k": 2 }));
        assert_eq!(counts["requests"], json!({ "read": 2, "write": 2 }));
        assert_eq!(counts["summary"]["scenarios"], 2);
        tally(&SUITE, &[folder.path().join("missing")], folder.path()).unwrap_err();
    }
}
