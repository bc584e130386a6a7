//! Requests in flight together on the unbroken drivers: no false alarm, and everything overlaps.

use std::collections::HashSet;

use blk_harness::Outcome;
use blk_harness::generate::{Generator, Limits};
use blk_harness::race::{RaceEngine, StressOptions, stress};
use blk_harness::scenario::{Config, RequestKind, Scenario};
use blk_harness::statistics::{Counter, Tally};
use blk_testbed::{QCOW2, Qcow2Target};

/// Schedules of the seeded test; more of them are for `cargo xtask race`.
const SCHEDULES: usize = 20_000;

#[test]
fn seeded_schedules_find_nothing_and_reach_every_overlap() {
    let mut engine = RaceEngine::new();
    for scenario in Generator::new(&QCOW2, 20_261_125, Limits::racing()).take(SCHEDULES) {
        match engine.run(&Qcow2Target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{}\n{scenario}", finding.report()),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
    let stats = engine.stats();
    println!("{stats}");
    assert!(stats.get(Counter::Interleaved) * 100 >= stats.get(Counter::Scenarios) * 40, "{stats}");
    assert!(stats.get(Counter::Accepted) * 10 > stats.get(Counter::Requests) * 9, "{stats}");
    // A reopen, an amendment, and what is about snapshots or bitmaps, happens alone.
    let alone = [RequestKind::Reopen, RequestKind::Snapshot, RequestKind::Amend, RequestKind::Bitmap];
    let together = || RequestKind::ALL.into_iter().filter(|kind| !alone.contains(kind));
    let pairs = together().flat_map(|earlier| together().map(move |later| (earlier, later)));
    for (earlier, later) in pairs.filter(|pair| *pair != (RequestKind::Resize, RequestKind::Resize)) {
        assert!(
            stats.tallied(Tally::Overlaps, [earlier.name(), later.name(), ""]) > 0,
            "no {later:?} during a {earlier:?}: {stats}"
        );
    }
}

#[test]
fn crashes_in_the_middle_of_races_find_nothing() {
    let mut engine = RaceEngine::with_crashes(1);
    for scenario in Generator::new(&QCOW2, 77, Limits::racing()).take(300) {
        if let Outcome::Finding(finding) = engine.run(&Qcow2Target, &scenario) {
            panic!("{}\n{scenario}", finding.report());
        }
    }
    let stats = engine.crashes();
    println!("{stats}");
    assert!(stats.get(Counter::Scenarios) > 100 && stats.get(Counter::Distinct) > 5000, "{stats}");
    assert!(stats.get(Counter::States) > stats.get(Counter::Distinct), "{stats}");
}

/// The same scenario, run again and again on one engine and on fresh ones.
#[test]
fn a_schedule_is_a_pure_function_of_the_scenario() {
    let mut used = RaceEngine::new();
    for scenario in Generator::new(&QCOW2, 5, Limits::racing()).take(300) {
        let points_of = |engine: &mut RaceEngine, scenario: &Scenario| {
            let before = (engine.stats().get(Counter::Points), engine.stats().get(Counter::Switches));
            assert_eq!(engine.run(&Qcow2Target, scenario), Outcome::Clean, "{scenario}");
            (engine.stats().get(Counter::Points) - before.0, engine.stats().get(Counter::Switches) - before.1)
        };
        let first = points_of(&mut used, &scenario);
        let reread = Scenario::from_text(&scenario.to_text()).unwrap();
        assert_eq!(points_of(&mut RaceEngine::new(), &reread), first, "{scenario}");
        assert!(scenario.fits_bytes(&QCOW2), "{scenario}");
    }
}

/// Which races are crashed depends on the race, not on how many came before it: else a finding would not
/// replay.
#[test]
fn the_order_of_scenarios_does_not_decide_which_are_crashed() {
    let scenarios: Vec<Scenario> = Generator::new(&QCOW2, 9, Limits::racing()).take(40).collect();
    let crashed = |order: &mut dyn Iterator<Item = &Scenario>| -> HashSet<String> {
        let mut engine = RaceEngine::with_crashes(4);
        let was_crashed = |scenario: &&Scenario| {
            let before = engine.crashes().get(Counter::Scenarios);
            assert_eq!(engine.run(&Qcow2Target, scenario), Outcome::Clean, "{scenario}");
            engine.crashes().get(Counter::Scenarios) > before
        };
        order.filter(was_crashed).map(Scenario::to_text).collect()
    };
    let forwards = crashed(&mut scenarios.iter());
    assert!((1..30).contains(&forwards.len()), "{} of 40 are crashed", forwards.len());
    assert_eq!(crashed(&mut scenarios.iter().rev()), forwards);
}

#[test]
fn threads_find_nothing() {
    for (seed, cluster_bytes) in [(1, "512"), (2, "4096"), (3, "65536")] {
        let config =
            Config { size_bytes: 256 << 10, ..Config::default() }.with("cluster_size", cluster_bytes);
        let options = StressOptions { seed, lanes: 4, requests: 4000, config };
        match stress(&Qcow2Target, &options) {
            Ok(stats) => assert!(stats.get(Counter::Met) > 0, "{stats}"),
            Err(finding) => panic!("{}", finding.report()),
        }
    }
}
