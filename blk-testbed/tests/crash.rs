//! The crash oracle on the unbroken driver: nothing is found at any crash point, and what is claimed is
//! reached.

use blk_core::storage::Step;
use blk_harness::Outcome;
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::generate::{Generator, Limits};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::statistics::{Counter, Tally};
use blk_harness::{Purpose, exhaust};
use blk_qcow2::steps;
use blk_testbed::exhaust::BOUNDS;
use blk_testbed::{QCOW2, Qcow2Target};

fn run_all(engine: &mut CrashEngine, scenarios: impl Iterator<Item = Scenario>) {
    for scenario in scenarios {
        match engine.run(&Qcow2Target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{}\n{scenario}", finding.report()),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
}

fn limits() -> Limits {
    Limits { requests_max: 16, disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() }
}

/// Steps of the driver that a seeded run has to crash at.
const STEPS: [&Step; 9] = [
    &steps::WRITE_AIO,
    &steps::WRITE_COMPRESSED,
    &steps::L2_UPDATE,
    &steps::L1_UPDATE,
    &steps::REFBLOCK_UPDATE_PART,
    &steps::REFBLOCK_ALLOC_HOOKUP,
    &steps::CLUSTER_FREE,
    &steps::L1_GROW_WRITE_TABLE,
    &steps::REFBLOCK_ALLOC_WRITE_TABLE,
];

#[test]
fn seeded_scenarios_survive_every_crash() {
    let mut engine = CrashEngine::new(CrashOptions::default());
    run_all(&mut engine, Generator::new(&QCOW2, 20_261_125, limits()).take(250));
    let mut stats = engine.stats().clone();
    // Many small clusters and wide refcounts: blocks and tables grow.
    let options = CrashOptions { bytes_per_scenario: 512 << 20, ..CrashOptions::default() };
    let mut engine = CrashEngine::new(options);
    for (size_bytes, count) in [(128 << 10, 25), (2 << 20, 10)] {
        let many = Config { size_bytes, ..Config::default() };
        let many = many.with("cluster_size", "512").with("refcount_bits", "64");
        let growing = Limits { config: Some(many), requests_max: 12, ..Limits::default() };
        run_all(&mut engine, Generator::new(&QCOW2, 1, growing).take(count));
    }
    stats.merge(engine.stats());
    println!("{stats}");
    assert!(stats.get(Counter::Accepted) * 10 > stats.get(Counter::Requests) * 9, "{stats}");
    assert!(stats.get(Counter::WithLosses) * 2 > stats.get(Counter::Distinct), "{stats}");
    assert!(
        stats.get(Counter::Recoveries) > 100
            && stats.get(Counter::RecoveryStates) > stats.get(Counter::Recoveries),
        "{stats}"
    );
    assert!(stats.get(Counter::FollowUps) >= 50 * stats.get(Counter::Distinct), "{stats}");
    for step in [&steps::WRITE_AIO, &steps::L2_UPDATE, &steps::REFBLOCK_UPDATE_PART, &steps::CLUSTER_FREE] {
        assert!(stats.tallied(Tally::StepsLost, [step.name, "", ""]) > 0, "{step:?} was never lost: {stats}");
    }
    for step in STEPS {
        assert!(stats.tallied(Tally::Steps, [step.name, "", ""]) > 0, "never crashed at {step:?}: {stats}");
    }
}

/// One sequence in so many; all of them are `cargo xtask exhaust`.
const STEP: usize = 997;

#[test]
fn short_sequences_over_clusters_of_every_kind_survive_every_crash() {
    let suite = blk_testbed::suite("verify_crash").unwrap();
    let units = exhaust::units(suite, &BOUNDS);
    assert_eq!((units.len(), units[0].total()), (5 * 125, 25 + 25 * 25 + 25 * 25 * 25));
    let mut runner = suite.start(Purpose::Exhaust);
    for unit in units {
        if let Err(found) = unit.run(&mut *runner, STEP) {
            panic!("{}\n{}", found.0.report(), found.1);
        }
    }
    println!("{}", runner.summary());
    assert!(runner.summary()["distinct_states"].as_u64().unwrap() > 50_000, "{}", runner.summary());
}
