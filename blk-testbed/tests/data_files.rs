//! All engines over images with an external data file: whatever crashes, fails or races, nothing is found,
//! and a raw data file is the disk.

use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::generate::{Generator, Limits};
use blk_harness::race::RaceEngine;
use blk_harness::scenario::{Backing, Config, Scenario};
use blk_harness::statistics::Counter;
use blk_harness::{Engine, Outcome, RunOptions};
use blk_testbed::{QCOW2, Qcow2Target};

/// Options of images, and whether they lie over a backing file.
const SHAPES: [(&[(&str, &str)], bool); 8] = [
    (&[("x-data-file", "plain"), ("cluster_size", "512")], false),
    (&[("x-data-file", "plain"), ("cluster_size", "4096"), ("x-growth", "full")], true),
    (&[("x-data-file", "plain"), ("extended_l2", "on"), ("cluster_size", "16384")], true),
    (&[("x-data-file", "plain"), ("lazy_refcounts", "on"), ("refcount_bits", "1")], false),
    (&[("x-data-file", "raw"), ("cluster_size", "512"), ("refcount_bits", "64")], false),
    (&[("x-data-file", "raw"), ("cluster_size", "4096"), ("x-growth", "metadata")], false),
    (&[("x-data-file", "raw"), ("extended_l2", "on"), ("cluster_size", "16384")], false),
    (&[("x-data-file", "raw"), ("lazy_refcounts", "on"), ("l2-cache-slices", "1")], false),
];

/// Scenarios of all shapes.
fn scenarios(seed: u64, count: usize, limits: &Limits) -> impl Iterator<Item = Scenario> + use<'_> {
    (seed..).zip(SHAPES).flat_map(move |(seed, (options, is_over))| {
        let size_bytes = 48 << 10;
        let mut config = Config { size_bytes, lanes: limits.lanes_max.min(3), ..Config::default() };
        if is_over {
            (config.backing, config.backing_bytes) = (Backing::Raw, size_bytes - 5000);
        }
        let config = options.iter().fold(config, |config, (name, value)| config.with(name, value));
        let limits = Limits { config: Some(config), ..limits.clone() };
        Generator::new(&QCOW2, seed, limits).take(count)
    })
}

fn must_be_clean(outcome: &Outcome, scenario: &Scenario) {
    match outcome {
        Outcome::Clean => {}
        Outcome::Finding(finding) => panic!("{}\n{scenario}", finding.report()),
        Outcome::Refused(why) => panic!("{why}\n{scenario}"),
    }
}

fn small() -> Limits {
    Limits { requests_max: 14, disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() }
}

#[test]
fn what_is_written_is_read() {
    let mut engine = Engine::new(RunOptions::default());
    for scenario in scenarios(1, 25, &Limits::default()) {
        must_be_clean(&engine.run(&Qcow2Target, &scenario), &scenario);
    }
    let stats = engine.stats();
    assert!(stats.get(Counter::Accepted) * 10 > stats.get(Counter::Requests) * 9, "{stats}");
}

#[test]
fn crashes_of_both_files_at_once_are_survived() {
    let options = CrashOptions { states_per_scenario: 300, follow_up_one_in: 4, ..CrashOptions::default() };
    let mut engine = CrashEngine::new(options);
    for scenario in scenarios(2, 6, &small()) {
        must_be_clean(&engine.run(&Qcow2Target, &scenario), &scenario);
    }
    let stats = engine.stats();
    assert!(stats.get(Counter::WithLosses) > 500, "{stats}");
}

#[test]
fn failures_of_either_file_are_survived() {
    let mut engine = FaultEngine::new(FaultOptions { faults_max: 4, ..FaultOptions::default() });
    for scenario in scenarios(3, 20, &small()) {
        must_be_clean(&engine.run(&Qcow2Target, &scenario), &scenario);
    }
    let stats = engine.stats();
    assert!(stats.get(Counter::Faults) > 300 && stats.get(Counter::LossySyncs) > 0, "{stats}");
}

#[test]
fn requests_in_flight_together_agree() {
    let mut engine = RaceEngine::with_crashes(8);
    for scenario in scenarios(4, 60, &Limits::racing()) {
        must_be_clean(&engine.run(&Qcow2Target, &scenario), &scenario);
    }
    let stats = engine.stats();
    assert!(stats.get(Counter::Interleaved) * 100 > stats.get(Counter::Scenarios) * 20, "{stats}");
}
