//! `blk verify --crash --faults --race`: scenarios over copies of the image under test, each judged by the
//! oracles that were asked for, which share the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use blk_harness::Outcome as Judged;
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::driver::legal_config;
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::generate::{Generator, Limits};
use blk_harness::picture::Picture;
use blk_harness::race::{RaceEngine, StressOptions, stress_scenario, stress_with};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::session::{Session, SessionOptions};
use blk_harness::space::PLAIN;
use blk_verify::Finding;
use clap::Args;
use serde_json::Value;

use super::arguments::VerifyArguments;
use super::bench::Pair;
use super::copies::Copies;
use super::keep::{Clock, Effort, Judge, keep};
use super::outcome::{Ended, Facts, Outcome};
use super::progress::Progress;

/// Requests of the threads that end a run with races.
const STRESS_REQUESTS: usize = 2000;
/// Faults tried in one scenario: many scenarios find more than all faults of few.
const FAULTS_PER_SCENARIO: usize = 64;
/// Bytes of disk opened and read in the crashes of one scenario: enough for each of its operations.
const CRASH_BYTES_PER_SCENARIO: u64 = 1 << 30;
/// Requests in flight at most.
const LANES: u8 = 3;
/// Threads of a stress.
const THREADS: u8 = 4;

/// Which oracles are asked.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Oracles {
    /// Crash copies of the image under test after every operation of their storage, and judge what is left
    #[arg(long)]
    crash: bool,
    /// Let each operation of the storage of copies fail in turn, and judge what follows
    #[arg(long)]
    faults: bool,
    /// Have several requests in flight on copies, under a deterministic scheduler and with threads
    #[arg(long)]
    race: bool,
}

impl Oracles {
    /// Whether any was asked for.
    pub(super) fn any(self) -> bool {
        self.crash || self.faults || self.race
    }

    /// Those that were asked for.
    pub(super) fn asked(self) -> Vec<Oracle> {
        let all = [(self.crash, Oracle::Crash), (self.faults, Oracle::Fault), (self.race, Oracle::Race)];
        all.into_iter().filter_map(|(is_asked, oracle)| is_asked.then_some(oracle)).collect()
    }
}

/// Who judges a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oracle {
    Crash,
    Fault,
    Race,
    /// Races between threads, which no scenario decides.
    Threads,
}

impl Oracle {
    /// The option that asks for it.
    fn option(self) -> &'static str {
        match self {
            Self::Crash => "--crash",
            Self::Fault => "--faults",
            Self::Race | Self::Threads => "--race",
        }
    }
}

/// One oracle's share of a run.
struct Share {
    oracle: Oracle,
    generator: Generator,
    spent: Duration,
}

/// Asks the oracles about copies of the image under test, which is compared with the reference first.
pub(super) fn run(arguments: &VerifyArguments, pair: &Pair, clock: Clock) -> Result<Outcome> {
    let opened = pair.open()?;
    let copies = Copies::of(opened.test_image(), &pair.formats.objects.objects())?;
    let layers = opened.layers().lock().clone();
    let session = Session::new(opened, SessionOptions { read_only: true, ..SessionOptions::default() });
    if let Err(finding) = session.compare() {
        return pair.judged(|| Outcome::differ_at_first(&session, &layers, *finding));
    }
    let mut run = Run { copies, pair, engines: Engines::default(), done: Arc::default() };
    let progress = Progress::start(arguments.common.quiet, progress_line(clock, Arc::clone(&run.done)));
    let found = run.all(arguments, clock)?;
    progress.end();
    let outcome = match found {
        None => Outcome::new(Ended::Clean),
        Some((oracle, finding, scenario)) => {
            let mut judge = ImageJudge::new(oracle, &run.copies, pair);
            Outcome::found(keep(&mut judge, finding, scenario, arguments.keeping()))
        }
    };
    let total = vec![
        ("requests".to_owned(), run.done.requests.load(Ordering::Relaxed).into()),
        ("seed".to_owned(), arguments.seed.into()),
        ("seconds".to_owned(), clock.started.elapsed().as_secs().into()),
    ];
    Ok(run.engines.facts(arguments.oracles, outcome.with("", total)))
}

/// What was done so far, as the line of progress shows it.
#[derive(Debug, Default)]
struct Done {
    scenarios: AtomicU64,
    requests: AtomicU64,
}

fn progress_line(clock: Clock, done: Arc<Done>) -> impl Fn() -> String + Send + 'static {
    move || {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (scenarios, requests) = (count(&done.scenarios), count(&done.requests));
        let made = format!("{scenarios} scenarios, {requests} requests");
        match clock.left() {
            Some(left) => format!("{:>4} s left  {made}", left.as_secs()),
            None => format!("{:>4} requests left  {made}", clock.until.requests.saturating_sub(requests)),
        }
    }
}

struct Run<'a> {
    copies: Copies,
    pair: &'a Pair,
    engines: Engines,
    done: Arc<Done>,
}

type Found = Option<(Oracle, Finding, Scenario)>;

impl Run<'_> {
    fn all(&mut self, arguments: &VerifyArguments, clock: Clock) -> Result<Found> {
        let asked = arguments.oracles.asked();
        let share = |oracle| {
            let generator =
                Generator::new(&PLAIN, arguments.seed, limits_of(&self.copies, oracle == Oracle::Race));
            Share { oracle, generator, spent: Duration::ZERO }
        };
        let mut shares: Vec<Share> = asked.iter().map(|oracle| share(*oracle)).collect();
        // Threads come last, and take less than a second.
        let reserve = match clock.until.time {
            Some(time) if asked.contains(&Oracle::Race) => (time / 10).min(Duration::from_secs(1)),
            _ => Duration::ZERO,
        };
        while self.done.requests.load(Ordering::Relaxed) < clock.until.requests && !clock.is_over(reserve) {
            let next = shares.iter_mut().min_by_key(|share| share.spent).expect("one at least was asked");
            let scenario = next.generator.next().expect("generators do not end");
            let started = Instant::now();
            let found = self.engines.run(next.oracle, &self.copies, &scenario)?;
            next.spent += started.elapsed();
            self.done.scenarios.fetch_add(1, Ordering::Relaxed);
            self.done.requests.fetch_add(scenario.requests.len() as u64, Ordering::Relaxed);
            if let Some(finding) = found {
                self.pair.sound()?;
                return Ok(Some((next.oracle, finding, scenario)));
            }
        }
        Ok(if asked.contains(&Oracle::Race) { self.threads(arguments.seed) } else { None })
    }

    /// Real threads, on a copy.
    fn threads(&self, seed: u64) -> Found {
        let config = self.copies.config().clone();
        let options = StressOptions { seed, lanes: THREADS, requests: STRESS_REQUESTS, config };
        let scenario = stress_scenario(&self.copies, &options);
        let finding = stress_with(&self.copies, &scenario).err()?;
        Some((Oracle::Threads, *finding, scenario))
    }
}

#[derive(Debug)]
struct Engines {
    crash: CrashEngine,
    fault: FaultEngine,
    race: RaceEngine,
}

impl Default for Engines {
    fn default() -> Self {
        let faults = FaultOptions { faults_max: FAULTS_PER_SCENARIO, ..FaultOptions::default() };
        Self {
            crash: CrashEngine::new(crash_options()),
            fault: FaultEngine::new(faults),
            race: RaceEngine::with_crashes(8),
        }
    }
}

fn crash_options() -> CrashOptions {
    CrashOptions {
        states_per_point: 16,
        bytes_per_scenario: CRASH_BYTES_PER_SCENARIO,
        ..CrashOptions::default()
    }
}

impl Engines {
    fn run(&mut self, oracle: Oracle, copies: &Copies, scenario: &Scenario) -> Result<Option<Finding>> {
        let outcome = match oracle {
            Oracle::Crash => self.crash.run(copies, scenario),
            Oracle::Fault => self.fault.run(copies, scenario),
            Oracle::Race => self.race.run(copies, scenario),
            Oracle::Threads => threads_outcome(copies, scenario),
        };
        match outcome {
            Judged::Clean => Ok(None),
            Judged::Finding(finding) => Ok(Some(*finding)),
            Judged::Refused(why) => anyhow::bail!("the image cannot be tried: {why}"),
        }
    }

    fn facts(&self, asked: Oracles, mut outcome: Outcome) -> Outcome {
        let object =
            |value: Value| -> Facts { value.as_object().cloned().unwrap_or_default().into_iter().collect() };
        for oracle in asked.asked() {
            let (title, facts) = match oracle {
                Oracle::Crash => ("crashes", object(self.crash.stats().summary())),
                Oracle::Fault => ("faults", object(self.fault.stats().summary())),
                Oracle::Race | Oracle::Threads => ("races", object(self.race.stats().summary())),
            };
            outcome = outcome.with(title, facts);
        }
        outcome
    }
}

fn threads_outcome(copies: &Copies, scenario: &Scenario) -> Judged {
    match stress_with(copies, scenario) {
        Ok(_) => Judged::Clean,
        Err(finding) => Judged::Finding(finding),
    }
}

/// Runs scenarios over copies of an image, each on an engine of its own.
#[derive(Debug)]
pub(super) struct ImageJudge<'a> {
    oracle: Oracle,
    copies: &'a Copies,
    pair: &'a Pair,
    /// The engine of all tries of a shrinking: it looks for one fault only.
    pursuing: FaultEngine,
}

impl<'a> ImageJudge<'a> {
    pub(super) fn new(oracle: Oracle, copies: &'a Copies, pair: &'a Pair) -> Self {
        let pursuing = FaultEngine::new(FaultOptions { pursues: true, ..FaultOptions::default() });
        Self { oracle, copies, pair, pursuing }
    }
}

impl Judge for ImageJudge<'_> {
    fn judge(&mut self, scenario: &Scenario, effort: Effort) -> Judged {
        // The image is what it is: no other configuration can be tried.
        if legal_config(self.copies, &scenario.config).as_ref() != Ok(&scenario.config) {
            return Judged::Clean;
        }
        match (self.oracle, effort) {
            (Oracle::Crash, _) => CrashEngine::new(crash_options()).run(self.copies, scenario),
            (Oracle::Fault, Effort::Shrink) => self.pursuing.run(self.copies, scenario),
            (Oracle::Fault, Effort::Replay) => {
                FaultEngine::new(FaultOptions::default()).run(self.copies, scenario)
            }
            (Oracle::Race, _) => RaceEngine::with_crashes(1).run(self.copies, scenario),
            (Oracle::Threads, _) => threads_outcome(self.copies, scenario),
        }
    }

    fn picture(&mut self, scenario: &Scenario, count: usize) -> Option<Picture> {
        Picture::of(self.copies, scenario, count)
    }

    fn words(&self) -> String {
        format!("{} {}", self.pair.words(), self.oracle.option())
    }

    fn has_threads(&self) -> bool {
        self.oracle == Oracle::Threads
    }
}

/// What fits the image: few requests at a time, so that each crash is near to its cause.
fn limits_of(copies: &Copies, racing: bool) -> Limits {
    let config = Config { lanes: if racing { LANES } else { 0 }, ..copies.config().clone() };
    let usual = if racing { Limits::racing() } else { Limits { requests_max: 16, ..Limits::default() } };
    Limits {
        disk_bytes_max: config.size_bytes,
        data_bytes_max: usual.data_bytes_max.min(256 << 10),
        config: Some(config),
        ..usual
    }
}
