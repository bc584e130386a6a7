//! Every engine over LUKS disks: no false alarm, and what is claimed is reached.

mod engines;

use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::driver::Driver;
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::generate::{Generator, Limits};
use blk_harness::race::RaceEngine;
use blk_harness::statistics::Counter;
use blk_harness::{Engine, RunOptions};
use blk_testbed::{LUKS, LuksTarget};
use engines::{accepts, check, small};

/// Sizes that change are for the sequence engine.
const RIGID: LuksTarget = LuksTarget { is_rigid: true };
const GROWING: LuksTarget = LuksTarget { is_rigid: false };

#[test]
fn seeded_scenarios_find_nothing() {
    let mut engine = Engine::new(RunOptions::default());
    let limits = Limits { disk_bytes_max: 1 << 20, ..Limits::default() };
    for scenario in Generator::new(&LUKS, 20_261_130, limits).take(400) {
        check(engine.run(&GROWING as &dyn Driver, &scenario), &scenario);
    }
    accepts(engine.stats(), 70);
    assert_eq!(engine.stats().get(Counter::BytesCompared), engine.stats().get(Counter::BytesRead));
}

#[test]
fn seeded_scenarios_survive_every_crash() {
    let mut engine = CrashEngine::new(CrashOptions::default());
    for scenario in Generator::new(&LUKS, 20_261_131, small()).take(100) {
        check(engine.run(&RIGID, &scenario), &scenario);
    }
    let stats = engine.stats();
    accepts(stats, 60);
    assert!(stats.get(Counter::WithLosses) * 2 > stats.get(Counter::Distinct), "{stats}");
}

#[test]
fn seeded_scenarios_survive_every_failure() {
    let mut engine = FaultEngine::new(FaultOptions { faults_max: 4, ..FaultOptions::default() });
    for scenario in Generator::new(&LUKS, 20_261_132, small()).take(100) {
        check(engine.run(&RIGID, &scenario), &scenario);
    }
    let stats = engine.stats();
    println!("{stats}");
    assert!(stats.get(Counter::Faults) > 200 && stats.get(Counter::Surfaced) > 100, "{stats}");
}

#[test]
fn seeded_schedules_find_nothing() {
    let mut engine = RaceEngine::new();
    for scenario in Generator::new(&LUKS, 20_261_133, Limits::racing()).take(2000) {
        check(engine.run(&RIGID, &scenario), &scenario);
    }
    accepts(engine.stats(), 60);
    assert!(engine.stats().get(Counter::Interleaved) * 100 >= engine.stats().get(Counter::Scenarios) * 20);
}
