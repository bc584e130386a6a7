//! The seeded engine on the unbroken drivers, and all short sequences: no false alarm, and everything is
//! reached.

use blk_harness::driver::Driver;
use blk_harness::engine::{Soak, SoakOptions};
use blk_harness::generate::{Generator, Limits, exhaustive};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::statistics::{Counter, Tally};
use blk_harness::{Engine, Outcome, RunOptions};
use blk_testbed::{QCOW2, Qcow2Target, RAW, RawTarget, exhaust};

fn run_all(target: &dyn Driver, scenarios: impl Iterator<Item = Scenario>) -> Engine {
    let mut engine = Engine::new(RunOptions::default());
    for scenario in scenarios {
        match engine.run(target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{}\n{scenario}", finding.report()),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
    engine
}

#[test]
fn seeded_scenarios_find_nothing_on_qcow2_and_reach_every_kind_of_cluster() {
    let engine = run_all(&Qcow2Target, Generator::new(&QCOW2, 20_261_124, Limits::default()).take(1500));
    let stats = engine.stats();
    let kinds: Vec<&str> = stats.entries(Tally::Kinds).map(|([kind, ..], _)| kind).collect();
    assert_eq!(kinds, ["compressed", "data", "reserved", "unallocated", "zero", "zero-allocated"]);
    assert!(stats.get(Counter::Accepted) * 10 > stats.get(Counter::Requests) * 9, "{stats}");
    assert!(stats.different(Tally::Transitions) >= 40, "{stats}");
    assert_eq!(stats.get(Counter::BytesCompared), stats.get(Counter::BytesRead));
}

#[test]
fn seeded_scenarios_find_nothing_on_raw_files() {
    let engine = run_all(&RawTarget, Generator::new(&RAW, 7, Limits::default()).take(300));
    assert!(
        engine.stats().get(Counter::Accepted) * 10 > engine.stats().get(Counter::Requests) * 8,
        "{}",
        engine.stats()
    );
}

/// Every sequence of up to 3 requests over 3 clusters, on each layout that differs in what a request has to
/// do.
#[test]
fn all_short_sequences_find_nothing() {
    for config in exhaust::layouts() {
        let mut sequences = exhaustive(&QCOW2, 3, 3, config);
        let total = sequences.total();
        assert!(total > 10_000, "{total}");
        let mut scenario = Scenario::default();
        let mut engine = Engine::new(RunOptions { track_kinds: false, ..RunOptions::default() });
        while sequences.next_into(&mut scenario) {
            if let Outcome::Finding(finding) = engine.run(&Qcow2Target, &scenario) {
                panic!("{}\n{scenario}", finding.report());
            }
        }
        assert_eq!(engine.stats().get(Counter::Scenarios), total);
    }
}

#[test]
fn a_soak_of_every_cluster_size_finds_nothing() {
    for (seed, cluster_bytes) in [(9, "512"), (12, "4096"), (16, "65536")] {
        let config = Config::default().with("cluster_size", cluster_bytes);
        let options = SoakOptions { seed, requests_per_round: 50_000 };
        let mut soak = Soak::new(&Qcow2Target, &config, options).unwrap();
        for _ in 0..2 {
            if let Err(finding) = soak.round() {
                panic!("{}", finding.report());
            }
        }
        assert_eq!(soak.requests(), 100_000);
        assert!(soak.bytes_compared() > 100_000 * 512);
    }
}

/// Also where a cluster is smaller than what the host takes: a metadata write rewrites what lies around it.
#[test]
fn a_host_that_demands_an_alignment_finds_nothing() {
    let aligned = |mut scenario: Scenario, at: usize| {
        scenario.config.host_alignment = [512, 4096][at % 2];
        scenario.config.probe_flush = 1;
        if at.is_multiple_of(3) {
            scenario.config = scenario.config.with("cluster_size", "512");
        }
        scenario
    };
    let limits = || Limits { disk_bytes_max: 256 << 10, ..Limits::default() };
    let scenarios = |space, count| Generator::new(space, 7, limits()).take(count).zip(0..);
    run_all(&Qcow2Target, scenarios(&QCOW2, 400).map(|(scenario, at)| aligned(scenario, at)));
    run_all(&RawTarget, scenarios(&RAW, 200).map(|(scenario, at)| aligned(scenario, at)));
}
