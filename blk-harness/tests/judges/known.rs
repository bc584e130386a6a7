//! What is known of a driver is counted, hides nothing else of the same scenario, and is never told in place
//! of it: by faults, by crashes, by crashes of races, and where the driver panics.

use std::ops::Range;
use std::sync::Arc;

use super::{Planted, lanes, ledger, plain, scenario};
use blk_core::{Disk, Result, Storage};
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::driver::{Driver, ImageMaker};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::finding::{Finding, Provoked};
use blk_harness::race::RaceEngine;
use blk_harness::runner::{self, Purpose, Runner};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::statistics::{Statistics, Tally};
use blk_harness::{Outcome, Signature, Tolerant};

/// Knows what is found by a fault, or a crash, at one of these operations, or by a panic.
#[derive(Debug)]
struct Knowing {
    target: Planted,
    operations: Range<u64>,
    knows_panics: bool,
    /// It panics at the open of some images that a crash has left.
    panics: bool,
}

const NAME: &str = "known";

impl Knowing {
    fn new(target: Planted, operations: Range<u64>) -> Self {
        Self { target, operations, knows_panics: false, panics: false }
    }
}

impl Driver for Knowing {
    fn name(&self) -> &'static str {
        self.target.name()
    }

    fn image_config(&self) -> Option<&Config> {
        self.target.image_config()
    }

    fn known(&self, finding: &Finding, _scenario: &Scenario) -> Option<&'static str> {
        assert!(!finding.engine.is_empty(), "what is known may depend on the engine");
        let is_panic = matches!(finding.signature, Signature::Panic { .. });
        let is_known =
            if is_panic { self.knows_panics } else { self.operations.contains(&operation(finding)) };
        is_known.then_some(NAME)
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        let images = self.target.images(config)?;
        Ok(if self.panics { Box::new(Panicking(images)) } else { images })
    }
}

/// The number of the operation that fails, or after which the crash comes.
fn operation(finding: &Finding) -> u64 {
    match &finding.provoked {
        Some(Provoked::Fault(fault)) => fault.operation,
        Some(Provoked::Crash(crash)) => crash.operation,
        None => panic!("no fault, and no crash: {}", finding.report()),
    }
}

#[derive(Debug)]
struct Panicking(Box<dyn ImageMaker>);

impl ImageMaker for Panicking {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        self.0.create(storage)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        self.0.open(storage)
    }

    fn open_left(&self, storage: Arc<dyn Storage>, origin: u64) -> Result<Disk> {
        assert!(origin.is_multiple_of(3), "an image that is not opened");
        self.0.open(storage)
    }

    fn reference(&self) -> Result<Disk> {
        self.0.reference()
    }
}

/// Runs a scenario; returns what is told, and how often something known was counted.
type Run = fn(&Knowing, &Scenario) -> (Outcome, u64);

fn counted(stats: &Statistics) -> u64 {
    stats.tallied(Tally::Known, [NAME, "", ""])
}

fn faults(target: &Knowing, scenario: &Scenario) -> (Outcome, u64) {
    let mut engine = FaultEngine::new(FaultOptions::default());
    (engine.run(target, scenario), counted(engine.stats()))
}

fn crashes(target: &Knowing, scenario: &Scenario) -> (Outcome, u64) {
    let mut engine = CrashEngine::new(CrashOptions::default());
    (engine.run(target, scenario), counted(engine.stats()))
}

fn races(target: &Knowing, scenario: &Scenario) -> (Outcome, u64) {
    let mut engine = RaceEngine::with_crashes(1);
    (engine.run(target, scenario), counted(engine.stats()))
}

const REWRITES: &str =
    "write 0 2k\nflush\ndiscard 0 1k\nflush\nwrite 4k 1k\nflush\ndiscard 1k 1k\nflush\nwrite 6k 1k\nflush";
const UNSYNCED: Planted = Planted::Ledger(ledger::Bug::DataAreNotSynced, ledger::Way::Dirty);

#[test]
fn a_known_finding_is_told_only_if_the_scenario_has_no_other() {
    let done = Planted::Plain(plain::Bug::FailedWriteIsDone);
    let writes = "write 0 512\nwrite 1k 512\nwrite 2k 512";
    for (run, target, requests, lanes) in [
        (faults as Run, done, writes, 0),
        (crashes, UNSYNCED, REWRITES, 0),
        (races, UNSYNCED, REWRITES, lanes(super::By::Races)),
    ] {
        let scenario = scenario(requests, lanes);
        let found = |known: Range<u64>| {
            let (outcome, counted) = run(&Knowing::new(target, known), &scenario);
            (outcome.finding().map(operation), counted)
        };
        let (first, counted) = found(0..0);
        assert_eq!(counted, 0, "{requests}");
        let first = first.unwrap();
        assert_eq!(
            found(0..u64::MAX),
            (Some(first), 1),
            "where all are known, the first is told: {requests}"
        );
        let (other, counted) = found(first..first + 1);
        let other = other.unwrap();
        assert!(other != first && counted == 1, "what is known hides no other: {first}, {other}");
        assert_eq!(found(other..other + 1).0, Some(first), "{other}");
    }
}

#[test]
fn a_known_panic_hides_no_other_state() {
    let scenario = scenario(REWRITES, 0);
    let run = |knows_panics| {
        let target = Knowing { knows_panics, panics: true, ..Knowing::new(UNSYNCED, 0..0) };
        let (outcome, counted) = crashes(&target, &scenario);
        let is_panic = outcome.finding().map(|finding| matches!(finding.signature, Signature::Panic { .. }));
        (is_panic, counted)
    };
    assert_eq!(run(false), (Some(true), 0), "the first that is met is a panic");
    assert_eq!(run(true), (Some(false), 1));
}

#[test]
fn races_count_the_scenarios_that_have_met_what_is_known() {
    static ALL: Knowing =
        Knowing { target: UNSYNCED, operations: 0..u64::MAX, knows_panics: false, panics: false };
    let scenario = |requests| scenario(requests, lanes(super::By::Races));
    let mut runner = runner::races(&ALL, Purpose::Replay);
    for (requests, count) in [(REWRITES, 1), (&REWRITES[..REWRITES.len() - 6], 2)] {
        let scenario = scenario(requests);
        assert!(runner.run(&scenario).finding().is_some());
        assert_eq!(runner.summary()["known_known"].as_u64(), Some(count), "{requests}");
    }
}

#[test]
fn who_tolerates_what_is_known_tells_all_else() {
    static ALL: Knowing =
        Knowing { target: UNSYNCED, operations: 0..u64::MAX, knows_panics: false, panics: false };
    static NOTHING: Knowing =
        Knowing { target: UNSYNCED, operations: 0..0, knows_panics: false, panics: false };
    let scenario = scenario(REWRITES, 0);
    for (target, is_clean) in [(&ALL, true), (&NOTHING, false)] {
        let mut runner = Tolerant::new(runner::crashes(target, Purpose::Replay), target);
        assert_eq!(runner.run(&scenario) == Outcome::Clean, is_clean);
        assert_eq!(runner.summary()["known_known"].as_u64(), is_clean.then_some(1));
        assert_eq!(runner.missing(), None);
    }
}
