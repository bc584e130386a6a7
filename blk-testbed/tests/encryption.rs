//! Every engine over encrypted qcow2 images: no false alarm, and what is claimed is reached.

mod engines;

use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::generate::{Generator, Limits};
use blk_harness::race::RaceEngine;
use blk_harness::scenario::{Scenario, Value};
use blk_harness::statistics::Counter;
use blk_harness::{Engine, RunOptions};
use blk_testbed::{QCOW2, Qcow2Target};
use engines::{accepts, check, small};

/// Scenarios of encrypted images, of both methods.
fn encrypted(seed: u64, limits: Limits, count: usize) -> impl Iterator<Item = Scenario> {
    let is_encrypted = |scenario: &Scenario| scenario.config.options.get("encrypt.format").is_some();
    Generator::new(&QCOW2, seed, limits).filter(is_encrypted).take(count)
}

#[test]
fn seeded_scenarios_find_nothing() {
    let mut engine = Engine::new(RunOptions::default());
    let limits = Limits { disk_bytes_max: 1 << 20, ..Limits::default() };
    let mut seen = [0, 0];
    for scenario in encrypted(20_261_201, limits, 300) {
        seen[usize::from(scenario.config.options.get("encrypt.format") == Some(&Value::name("luks")))] += 1;
        check(engine.run(&Qcow2Target, &scenario), &scenario);
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    accepts(engine.stats(), 60);
}

#[test]
fn seeded_scenarios_survive_every_crash() {
    let mut engine = CrashEngine::new(CrashOptions::default());
    for scenario in encrypted(20_261_202, small(), 60) {
        check(engine.run(&Qcow2Target, &scenario), &scenario);
    }
    accepts(engine.stats(), 50);
}

#[test]
fn seeded_scenarios_survive_every_failure() {
    let mut engine = FaultEngine::new(FaultOptions { faults_max: 4, ..FaultOptions::default() });
    for scenario in encrypted(20_261_203, small(), 60) {
        check(engine.run(&Qcow2Target, &scenario), &scenario);
    }
    let stats = engine.stats();
    assert!(stats.get(Counter::Faults) > 100 && stats.get(Counter::Surfaced) > 50, "{stats}");
}

#[test]
fn seeded_schedules_find_nothing() {
    let mut engine = RaceEngine::new();
    for scenario in encrypted(20_261_204, Limits::racing(), 500) {
        check(engine.run(&Qcow2Target, &scenario), &scenario);
    }
    accepts(engine.stats(), 50);
}
