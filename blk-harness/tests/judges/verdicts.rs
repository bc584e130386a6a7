//! What an engine says depends on the scenario and its options alone, and nothing that was not done counts as
//! clean.

use blk_harness::generate::{Generator, Limits};
use blk_harness::runner::{self, Purpose, Runner};
use blk_harness::space::PLAIN;
use blk_harness::{Outcome, Suite, tests};

use crate::ledger::{self, Way};
use crate::{IMAGE, Planted, Scenario, scenario};

static RIGHT: Planted = Planted::Ledger(ledger::Bug::None, Way::Ordered);
static WRONG: Planted = Planted::Ledger(ledger::Bug::LeakyImageLeaksOn, Way::Ordered);
static SECOND: Planted = Planted::Ledger(ledger::Bug::SecondReadIsLeftOut, Way::Dirty);
static UNLOCKED: Planted = Planted::Ledger(ledger::Bug::ReadsAreUnlocked, Way::Ordered);

const PURPOSES: [Purpose; 2] = [Purpose::Replay, Purpose::Fuzz];

type Start = fn(&'static Planted, Purpose) -> Box<dyn Runner>;

const ENGINES: [(&str, Start); 4] = [
    ("sequence", |target, purpose| runner::requests(target, purpose)),
    ("crash", |target, purpose| runner::crashes(target, purpose)),
    ("fault", |target, purpose| runner::faults(target, purpose)),
    ("race", |target, purpose| runner::races(target, purpose)),
];

fn generated(seed: u64, count: usize) -> Vec<Scenario> {
    let limits = Limits {
        requests_min: 3,
        requests_max: 5,
        disk_bytes_max: 24 << 10,
        data_bytes_max: 8 << 10,
        lanes_max: 3,
        config: Some(IMAGE.clone()),
        ..Limits::default()
    };
    let mut all: Vec<Scenario> = Generator::new(&PLAIN, seed, limits).take(count).collect();
    for (place, scenario) in all.iter_mut().enumerate() {
        scenario.config.lanes = [0, 3][place % 2];
    }
    all.push(scenario("write 0 8k\nread 0 8k\nread 0 8k\nflush\nwrite 4k 1k", 0));
    all.push(scenario("write 0 1k\nflush\n@5 read 0 1k\ndiscard 0 1k\nwrite 4k 1k", 3));
    all
}

fn outcomes(runner: &mut dyn Runner, scenarios: &[Scenario], is_backwards: bool) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = if is_backwards {
        scenarios.iter().rev().map(|scenario| runner.run(scenario)).collect()
    } else {
        scenarios.iter().map(|scenario| runner.run(scenario)).collect()
    };
    if is_backwards {
        outcomes.reverse();
    }
    outcomes
}

#[test]
fn a_verdict_is_the_same_whatever_was_asked_before() {
    let scenarios = generated(5, 4);
    for ((name, start), target) in ENGINES.into_iter().zip([&SECOND, &WRONG, &WRONG, &UNLOCKED]) {
        for purpose in [Purpose::Replay, Purpose::Fuzz] {
            let (mut one, mut other) = (start(target, purpose), start(target, purpose));
            let first = outcomes(&mut *one, &scenarios, false);
            let summary = one.summary();
            assert_eq!(outcomes(&mut *other, &scenarios, true), first, "{name} {purpose:?}: backwards");
            assert_eq!(other.summary(), summary, "{name} {purpose:?}: what was done differs");
            assert_eq!(outcomes(&mut *other, &scenarios, false), first, "{name} {purpose:?}: asked twice");
            let found = first.iter().filter(|outcome| outcome.finding().is_some()).count();
            assert!(found > 0, "{name} {purpose:?} finds something: {first:?}");
        }
    }
}

/// While fuzzing some scenarios are judged more closely: which ones is said by the scenario.
#[test]
fn what_is_watched_more_closely_is_said_by_the_scenario() {
    let scenarios = generated(9, 60);
    let (mut one, mut other) =
        (runner::requests(&RIGHT, Purpose::Fuzz), runner::requests(&RIGHT, Purpose::Fuzz));
    outcomes(&mut *one, &scenarios, false);
    outcomes(&mut *other, &scenarios, true);
    assert_eq!(one.summary(), other.summary());
    let kinds = |runner: &dyn Runner| runner.summary()["transitions"].as_u64();
    assert!(kinds(&*one).is_some_and(|count| count > 0), "some are watched: {}", one.summary());
}

#[test]
fn an_engine_says_what_it_has_not_done() {
    let idle = [
        // Nothing is read, nothing is written, nothing is in flight with anything.
        ("sequence", "compared nothing", None),
        ("crash", "crashed nowhere", None),
        ("fault", "let nothing fail", None),
        ("race", "interleaved nothing", Some("write 0 1k\nread 0 1k")),
    ];
    for ((name, start), (same, missing, requests)) in ENGINES.into_iter().zip(idle) {
        assert_eq!(name, same);
        for purpose in PURPOSES {
            let mut runner = start(&RIGHT, purpose);
            assert_eq!(runner.missing(), Some(missing), "{name}: before the first run");
            if let Some(requests) = requests {
                assert_eq!(runner.run(&scenario(requests, 0)), Outcome::Clean, "{name}");
                assert_eq!(runner.missing(), Some(missing), "{name}: {requests}");
            }
            let requests = "write 0 1k\n@2 write 512 1k\nflush\nread 0 1k";
            assert_eq!(runner.run(&scenario(requests, 3)), Outcome::Clean, "{name}");
            assert_eq!(runner.missing(), None, "{name} {purpose:?}: {}", runner.summary());
        }
    }
}

/// A test of generated scenarios that did nothing is no test that passes.
#[test]
fn a_test_that_has_done_nothing_fails() {
    let suites = [
        Suite::new("sequence", |purpose| runner::requests(&RIGHT, purpose)),
        Suite::new("crash", |purpose| runner::crashes(&RIGHT, purpose)),
        Suite::new("fault", |purpose| runner::faults(&RIGHT, purpose)),
        Suite::new("race", |purpose| runner::races(&RIGHT, purpose)),
    ];
    for suite in suites {
        let limits = Limits { lanes_max: 3, ..Limits::default() };
        let none = std::panic::catch_unwind(|| tests::explore(&suite, &limits, 1, 0));
        let text = none.expect_err("no scenario proves nothing");
        let text = text.downcast_ref::<String>().expect("a message");
        assert!(text.contains(suite.name()) && text.contains("0 scenarios"), "{text}");
    }
}
