//! The engines over a target, as fuzz targets, replays and tests run them.

use std::collections::BTreeMap;
use std::fmt;

use crate::crash::{CrashEngine, CrashOptions};
use crate::driver::Driver;
use crate::fault::{FaultEngine, FaultOptions};
use crate::known::{Known, MetOnce};
use crate::race::{RaceEngine, stress_with};
use crate::scenario::Scenario;
use crate::statistics::{Counter, Names, Statistics, Tally};
use crate::{Engine, Outcome, RunOptions};
use blk_verify::Finding;
use blk_verify::finding::Provoked;
use serde_json::Value;

/// What a run is for: it decides what is counted, and how much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// One scenario, thoroughly.
    Replay,
    /// One scenario, with everything that can be tried, however long it takes.
    Complete,
    /// Thousands of scenarios that are much alike, to make one smaller.
    Minimise,
    /// Scenarios without end, as many a second as possible.
    Fuzz,
    /// All small scenarios, each with every state and every failure.
    Exhaust,
}

/// An engine with its target: runs one scenario after the other.
pub trait Runner: fmt::Debug + Send {
    /// Runs a scenario on a fresh disk. What is found depends on the scenario alone.
    fn run(&mut self, scenario: &Scenario) -> Outcome;

    /// As [`Runner::run`] for a scenario whose requests before number `first`, from 0, another one has judged
    /// that begins alike.
    fn run_from(&mut self, scenario: &Scenario, first: usize) -> Outcome {
        let _ = first;
        self.run(scenario)
    }

    /// Makes the requests from real threads, without a schedule: what is found cannot be replayed. `None` if
    /// the engine has no requests in flight together.
    fn stress(&mut self, scenario: &Scenario) -> Option<Outcome> {
        let _ = scenario;
        None
    }

    /// The driver under test, where there is one: a page about a finding shows its images.
    fn driver(&self) -> Option<&'static dyn Driver> {
        None
    }

    /// What all runs so far did: an object whose values are numbers, or what the status line knows by name.
    fn summary(&self) -> Value;

    /// Transitions between kinds of cluster that were watched, as `write: zero to data`, and how often; none
    /// of an engine that does not watch them.
    fn transitions(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// What the engine is there for and has not done in any run so far, such as `compared nothing`: such runs
    /// prove nothing.
    fn missing(&self) -> Option<&'static str>;
}

/// One scenario in so many is watched for kinds of cluster and transitions, which costs two more requests
/// each, and goes on until it is seen whether space is used again.
const WATCH_ONE_IN: u64 = 8;
/// One race in so many is crashed too, which costs far more than the race.
const CRASH_ONE_RACE_IN: u64 = 32;
/// One race in so many has operations of its storage failing too, each in a run of its own.
const FAULT_ONE_RACE_IN: u64 = 32;
/// Faults of one race while fuzzing, and where it is replayed.
const FUZZED_RACE_FAULTS_MAX: usize = 4;
const RACE_FAULTS_MAX: usize = 128;
/// Larger disks are raced without faults, bytes.
const RACE_FAULT_BYTES_MAX: u64 = 1 << 20;

/// Requests, each compared with a reference.
#[derive(Debug)]
struct Requests {
    target: &'static dyn Driver,
    purpose: Purpose,
    plain: Engine,
    watching: Engine,
    asking: Engine,
    count: u64,
    /// While minimising: only the other program finds it.
    pursues_opinion: bool,
}

/// Runs scenarios and compares each answer with the reference.
pub fn requests(target: &'static dyn Driver, purpose: Purpose) -> Box<dyn Runner> {
    let usual = RunOptions::default();
    let plain = RunOptions { track_kinds: false, probes_reuse: false, ..usual };
    let asking = RunOptions { asks_others: true, ..usual };
    Box::new(Requests {
        target,
        purpose,
        plain: Engine::new(plain),
        watching: Engine::new(usual),
        asking: Engine::new(asking),
        count: 0,
        pursues_opinion: false,
    })
}

impl Requests {
    fn stats(&self) -> Statistics {
        let mut stats = self.plain.stats().clone();
        stats.merge(self.watching.stats());
        stats.merge(self.asking.stats());
        stats
    }

    /// Minimising takes thousands of runs: another program is asked only if that is what the first run finds
    /// something by.
    fn run_smaller(&mut self, scenario: &Scenario) -> Outcome {
        if self.pursues_opinion {
            return self.asking.run(self.target, scenario);
        }
        let outcome = self.watching.run(self.target, scenario);
        if self.count > 1 || outcome != Outcome::Clean {
            return outcome;
        }
        let outcome = self.asking.run(self.target, scenario);
        self.pursues_opinion = outcome.finding().is_some();
        outcome
    }
}

impl Runner for Requests {
    fn run(&mut self, scenario: &Scenario) -> Outcome {
        self.count += 1;
        let engine = match self.purpose {
            Purpose::Minimise => return self.run_smaller(scenario),
            Purpose::Replay | Purpose::Complete => &mut self.asking,
            Purpose::Fuzz if scenario.number().is_multiple_of(self.target.asks_one_in()) => &mut self.asking,
            Purpose::Fuzz if scenario.number().is_multiple_of(WATCH_ONE_IN) => &mut self.watching,
            Purpose::Fuzz | Purpose::Exhaust => &mut self.plain,
        };
        engine.run(self.target, scenario)
    }

    fn driver(&self) -> Option<&'static dyn Driver> {
        Some(self.target)
    }

    fn summary(&self) -> Value {
        self.stats().summary()
    }

    fn transitions(&self) -> BTreeMap<String, u64> {
        let stats = self.stats();
        let entries = stats.entries(Tally::Transitions);
        entries
            .map(|([before, request, after], count)| (format!("{request}: {before} to {after}"), count))
            .collect()
    }

    fn missing(&self) -> Option<&'static str> {
        let engines = [&self.plain, &self.watching, &self.asking];
        let compared: u64 = engines.iter().map(|engine| engine.stats().get(Counter::BytesCompared)).sum();
        (compared == 0).then_some("compared nothing")
    }
}

/// Requests, and a crash at every operation of the storage.
#[derive(Debug)]
struct Crashes {
    target: &'static dyn Driver,
    engine: CrashEngine,
}

/// Runs scenarios and crashes them at each operation of the storage.
pub fn crashes(target: &'static dyn Driver, purpose: Purpose) -> Box<dyn Runner> {
    let options = match purpose {
        Purpose::Fuzz => CrashOptions::fuzzing(),
        Purpose::Exhaust => CrashOptions::exhaustive(),
        Purpose::Minimise => CrashOptions::default().pursuing(),
        _ => CrashOptions::default(),
    };
    Box::new(Crashes { target, engine: CrashEngine::new(options) })
}

impl Runner for Crashes {
    fn run(&mut self, scenario: &Scenario) -> Outcome {
        self.run_from(scenario, 0)
    }

    fn run_from(&mut self, scenario: &Scenario, first: usize) -> Outcome {
        self.engine.judge_from(first);
        self.engine.run(self.target, scenario)
    }

    fn driver(&self) -> Option<&'static dyn Driver> {
        Some(self.target)
    }

    fn summary(&self) -> Value {
        self.engine.stats().summary()
    }

    fn missing(&self) -> Option<&'static str> {
        (self.engine.stats().get(Counter::States) == 0).then_some("crashed nowhere")
    }
}

/// Faults of one scenario, and the largest disk, bytes, while fuzzing.
const FUZZED_FAULTS_MAX: usize = 12;
const FUZZED_FAULT_BYTES_MAX: u64 = 4 << 20;
const FUZZED_LONG_FOLLOW_UP_ONE_IN: u64 = 4;
/// Operations of the storage that the sweep of one scenario takes, about, while fuzzing.
const FUZZED_OPERATIONS_MAX: u64 = 20_000;

/// Requests, with operations of the storage failing.
#[derive(Debug)]
struct Faults {
    target: &'static dyn Driver,
    engine: FaultEngine,
}

/// Runs scenarios and lets each operation of the storage fail.
pub fn faults(target: &'static dyn Driver, purpose: Purpose) -> Box<dyn Runner> {
    let thorough = FaultOptions::default();
    let options = match purpose {
        Purpose::Replay => thorough,
        Purpose::Complete | Purpose::Exhaust => {
            FaultOptions { faults_max: usize::MAX, operations_max: u64::MAX, ..thorough }
        }
        Purpose::Minimise => FaultOptions { pursues: true, ..thorough },
        Purpose::Fuzz => FaultOptions {
            faults_max: FUZZED_FAULTS_MAX,
            operations_max: FUZZED_OPERATIONS_MAX,
            size_bytes_max: FUZZED_FAULT_BYTES_MAX,
            long_follow_up_one_in: FUZZED_LONG_FOLLOW_UP_ONE_IN,
            ..thorough
        },
    };
    Box::new(Faults { target, engine: FaultEngine::new(options) })
}

impl Runner for Faults {
    fn run(&mut self, scenario: &Scenario) -> Outcome {
        self.engine.run(self.target, scenario)
    }

    fn driver(&self) -> Option<&'static dyn Driver> {
        Some(self.target)
    }

    fn summary(&self) -> Value {
        self.engine.stats().summary()
    }

    fn missing(&self) -> Option<&'static str> {
        let count = |counter| self.engine.stats().get(counter);
        (count(Counter::Faults) == count(Counter::SkippedFaults)).then_some("let nothing fail")
    }
}

/// Requests in flight together, under a deterministic scheduler; some races are crashed, or have operations
/// failing.
#[derive(Debug)]
struct Races {
    target: &'static dyn Driver,
    engine: RaceEngine,
    /// What threads did.
    stressed: Statistics,
    faults: FaultEngine,
    fault_one_in: u64,
    /// It is asked to make one scenario smaller.
    minimises: bool,
    /// What has found something, where that is pursued.
    pursued: Option<Stage>,
    /// Known deviations, each once for a scenario, whichever stages have met it.
    met: MetOnce,
}

/// Runs scenarios with several requests in flight, under a deterministic scheduler.
pub fn races(target: &'static dyn Driver, purpose: Purpose) -> Box<dyn Runner> {
    let (crash_one_in, fault_one_in, faults_max) = match purpose {
        Purpose::Fuzz | Purpose::Exhaust => (CRASH_ONE_RACE_IN, FAULT_ONE_RACE_IN, FUZZED_RACE_FAULTS_MAX),
        Purpose::Complete => (1, 1, usize::MAX),
        Purpose::Replay | Purpose::Minimise => (1, 1, RACE_FAULTS_MAX),
    };
    let options = FaultOptions {
        faults_max,
        size_bytes_max: RACE_FAULT_BYTES_MAX,
        long_follow_up_one_in: if purpose == Purpose::Fuzz { FUZZED_LONG_FOLLOW_UP_ONE_IN } else { 1 },
        pursues: purpose == Purpose::Minimise,
        ..FaultOptions::default()
    };
    let crashing = match purpose {
        Purpose::Fuzz => CrashOptions::racing_without_end(),
        Purpose::Minimise => CrashOptions::racing().pursuing(),
        _ => CrashOptions::racing(),
    };
    let (engine, faults) = (RaceEngine::crashing(crash_one_in, crashing), FaultEngine::new(options));
    let minimises = purpose == Purpose::Minimise;
    let stressed = Statistics::default();
    let met = MetOnce::default();
    Box::new(Races { target, engine, stressed, faults, fault_one_in, minimises, pursued: None, met })
}

/// What of a race has found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Race,
    Crash,
    Fault,
}

impl Stage {
    fn of(finding: &Finding) -> Self {
        match finding.provoked {
            None => Self::Race,
            Some(Provoked::Crash(_)) => Self::Crash,
            Some(Provoked::Fault(_)) => Self::Fault,
        }
    }
}

impl Races {
    /// A smaller scenario has the same finding only in the stage that found it: the others, which take far
    /// longer than a race, are left out.
    fn pursue(&mut self, outcome: &Outcome) {
        let Some(finding) = outcome.finding().filter(|_| self.minimises && self.pursued.is_none()) else {
            return;
        };
        let stage = Stage::of(finding);
        if stage == Stage::Race {
            self.engine = RaceEngine::new();
        }
        self.pursued = Some(stage);
    }

    /// With operations failing. `raced` is clean or known: it is told if the failures find nothing else.
    fn with_faults(&mut self, raced: Outcome, scenario: &Scenario) -> Outcome {
        let failed = self.faults.run(self.target, scenario);
        let is_told = match (&raced, &failed) {
            (Outcome::Finding(_), Outcome::Finding(finding)) => {
                self.target.known(finding, scenario).is_none()
            }
            (Outcome::Finding(_), _) => false,
            _ => true,
        };
        if is_told { failed } else { raced }
    }

    /// Whether operations fail in a scenario too. The scenario alone decides.
    fn has_faults(&self, scenario: &Scenario) -> bool {
        scenario.config.lanes > 1
            && scenario.config.size_bytes <= RACE_FAULT_BYTES_MAX
            && scenario.number() % self.fault_one_in == self.fault_one_in / 2
            && self.target.images(&scenario.config).is_ok_and(|images| images.elsewhere().is_none())
    }
}

impl Runner for Races {
    fn run(&mut self, scenario: &Scenario) -> Outcome {
        let before = self.known();
        let outcome = self.run_stages(scenario);
        self.met.add(scenario, &before, &self.known());
        self.pursue(&outcome);
        outcome
    }

    fn stress(&mut self, scenario: &Scenario) -> Option<Outcome> {
        let before = self.known();
        let outcome = match stress_with(self.target, scenario) {
            Ok(stats) => {
                self.stressed.merge(&stats);
                Outcome::Clean
            }
            Err(finding) => {
                let known = Known::new(self.target, scenario, "stress");
                known.end(Outcome::Finding(finding), &mut self.stressed)
            }
        };
        self.met.add(scenario, &before, &self.known());
        Some(outcome)
    }

    fn driver(&self) -> Option<&'static dyn Driver> {
        Some(self.target)
    }

    fn summary(&self) -> Value {
        let (mut stats, faults) = (self.stats(), self.faults.stats());
        stats.forget(Tally::Known);
        stats.merge(self.met.scenarios());
        let mut summary = stats.summary();
        summary[Counter::Faults.key()] = faults.get(Counter::Faults).into();
        summary[Counter::FaultsInFlight.key()] = faults.get(Counter::FaultsInFlight).into();
        summary
    }

    fn missing(&self) -> Option<&'static str> {
        (self.stats().get(Counter::Interleaved) == 0).then_some("interleaved nothing")
    }
}

impl Races {
    /// A race, and failures in it.
    fn run_stages(&mut self, scenario: &Scenario) -> Outcome {
        let raced = match self.pursued {
            Some(Stage::Fault) => Outcome::Clean,
            _ => self.engine.run(self.target, scenario),
        };
        let has_faults = matches!(self.pursued, None | Some(Stage::Fault)) && self.has_faults(scenario);
        let goes_on = match &raced {
            Outcome::Clean => true,
            Outcome::Finding(finding) => self.target.known(finding, scenario).is_some(),
            Outcome::Refused(_) => false,
        };
        if goes_on && has_faults { self.with_faults(raced, scenario) } else { raced }
    }

    /// What the stages have counted of known deviations, each for itself.
    fn known(&self) -> BTreeMap<Names, u64> {
        let mut known = BTreeMap::new();
        for stats in [self.engine.stats(), &self.stressed, self.faults.stats()] {
            for (names, count) in stats.entries(Tally::Known) {
                *known.entry(names).or_default() += count;
            }
        }
        known
    }

    fn stats(&self) -> Statistics {
        let mut stats = self.engine.stats().clone();
        stats.merge(&self.stressed);
        stats
    }
}
