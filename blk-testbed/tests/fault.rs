//! The fault oracle on the unbroken drivers: whatever fails, nothing is found.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use blk_core::storage::Step;
use blk_harness::Outcome;
use blk_harness::driver::Driver;
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::generate::{Generator, Limits};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::statistics::{Counter, Tally};
use blk_qcow2::steps;
use blk_testbed::{QCOW2, Qcow2Target, RAW, RawTarget};

fn sweep(engine: &mut FaultEngine, target: &dyn Driver, scenarios: impl Iterator<Item = Scenario>) {
    for scenario in scenarios {
        match engine.run(target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{}\n{scenario}\n{}", finding.report(), engine.stats()),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
    assert_eq!(engine.stats().get(Counter::SkippedFaults), 0, "our drivers do the same each time");
}

fn limits() -> Limits {
    Limits { requests_max: 16, disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() }
}

#[test]
fn seeded_scenarios_survive_every_failure() {
    let options = FaultOptions { faults_max: 2, ..FaultOptions::default() };
    let mut engine = FaultEngine::new(options);
    sweep(&mut engine, &Qcow2Target, Generator::new(&QCOW2, 20_261_125, limits()).take(2000));
    // Clusters that are used again, as tables and as refcount blocks, have to be zeroed first.
    let reusing = Config { size_bytes: 64 << 10, ..Config::default() };
    let reusing = reusing.with("cluster_size", "512").with("refcount_bits", "64");
    let limits = Limits { requests_min: 12, config: Some(reusing), ..limits() };
    sweep(&mut engine, &Qcow2Target, Generator::new(&QCOW2, 2, limits).take(500));
    let stats = engine.stats();
    eprintln!("{stats}");
    assert!(stats.get(Counter::Accepted) * 10 > stats.get(Counter::Requests) * 8, "{stats}");
    // Of each kind of operation but one (the driver asks for no status of its file), and in each way: the
    // request fails, or only the next flush; the handle is poisoned, or goes on.
    assert!(stats.different(Tally::KindsFaulted) == 7, "{stats}");
    assert!(stats.get(Counter::Surfaced) * 100 > stats.get(Counter::Faults) * 95, "{stats}");
    assert!(
        stats.get(Counter::FailedRequests) > 0
            && stats.get(Counter::FailedRequests) < stats.get(Counter::Faults),
        "{stats}"
    );
    assert!(
        stats.get(Counter::Poisoned) > 0 && stats.get(Counter::Reopened) < stats.get(Counter::Faults),
        "{stats}"
    );
    assert!(
        stats.get(Counter::LossySyncs) > 0
            && stats.get(Counter::Repairs) > 0
            && stats.get(Counter::RepairFaults) > 0,
        "{stats}"
    );
    assert!(stats.get(Counter::FollowUps) >= 50 * stats.get(Counter::Faults), "{stats}");
}

/// Requests are in flight together while an operation fails.
#[test]
fn requests_in_flight_survive_every_failure() {
    let options = FaultOptions { faults_max: 6, ..FaultOptions::default() };
    let mut engine = FaultEngine::new(options);
    sweep(&mut engine, &Qcow2Target, Generator::new(&QCOW2, 20_261_128, Limits::racing()).take(400));
    sweep(&mut engine, &RawTarget, Generator::new(&RAW, 3, Limits::racing()).take(100));
    let stats = engine.stats();
    eprintln!("{stats}");
    assert!(stats.get(Counter::FaultsInFlight) * 3 > stats.get(Counter::Faults), "{stats}");
    assert!(stats.different(Tally::KindsFaulted) == 8, "{stats}");
    assert!(stats.get(Counter::Surfaced) * 100 > stats.get(Counter::Faults) * 90, "{stats}");
    assert!(stats.get(Counter::Poisoned) > 0 && stats.get(Counter::LossySyncs) > 0, "{stats}");
}

/// All ways in which anything can fail, in scenarios of few requests over few clusters.
#[test]
fn small_scenarios_survive_everything_that_is_possible() {
    let limits =
        Limits { requests_max: 6, disk_bytes_max: 16 << 10, data_bytes_max: 8 << 10, ..Limits::default() };
    // An amendment, or a change of snapshots, has more operations than are swept otherwise.
    let options =
        FaultOptions { faults_max: usize::MAX, operations_max: u64::MAX, ..FaultOptions::default() };
    let mut engine = FaultEngine::new(options);
    sweep(&mut engine, &Qcow2Target, Generator::new(&QCOW2, 4, limits).take(25));
    let stats = engine.stats();
    eprintln!("{stats}");
    assert_eq!(
        (stats.get(Counter::Sampled), stats.get(Counter::Faults)),
        (0, stats.get(Counter::PossibleFaults)),
        "{stats}"
    );
    assert!(stats.get(Counter::Faults) > 2000, "{stats}");
}

#[test]
fn raw_disks_survive_every_failure() {
    let options = FaultOptions { faults_max: 4, ..FaultOptions::default() };
    let mut engine = FaultEngine::new(options);
    sweep(&mut engine, &RawTarget, Generator::new(&RAW, 7, limits()).take(300));
    let stats = engine.stats();
    eprintln!("{stats}");
    assert!(stats.different(Tally::KindsFaulted) == 8, "{stats}");
    assert!(stats.get(Counter::Poisoned) > 0 && stats.get(Counter::LossySyncs) > 0, "{stats}");
}

/// Steps that the driver tells right before an operation of the storage, as far as its own images have what
/// it takes: nothing is copied from plain clusters where there are no snapshots.
const STEPS: [&Step; 19] = [
    &steps::L1_UPDATE,
    &steps::L1_GROW_WRITE_TABLE,
    &steps::L1_GROW_ACTIVATE_TABLE,
    &steps::L2_LOAD,
    &steps::L2_UPDATE,
    &steps::L2_UPDATE_COMPRESSED,
    &steps::READ_AIO,
    &steps::READ_COMPRESSED,
    &steps::WRITE_AIO,
    &steps::WRITE_COMPRESSED,
    &steps::REFTABLE_LOAD,
    &steps::REFBLOCK_LOAD,
    &steps::REFBLOCK_UPDATE_PART,
    &steps::REFBLOCK_ALLOC_HOOKUP,
    &steps::REFBLOCK_ALLOC_WRITE_BLOCKS,
    &steps::REFBLOCK_ALLOC_WRITE_TABLE,
    &steps::REFBLOCK_ALLOC_SWITCH_TABLE,
    &steps::CLUSTER_FREE,
    &steps::FLUSH_TO_DISK,
];

/// Every trace of the regression corpus, whatever suite it was found in.
#[test]
fn the_corpus_survives_every_failure_and_reaches_every_step() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "trace"));
    paths.sort();
    assert!(paths.len() >= 19, "{} traces", paths.len());
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    for path in paths {
        let scenario = Scenario::from_text(&fs::read_to_string(&path).unwrap()).unwrap();
        // Clusters of 2 MiB, compressed again and again, take their time.
        let faults_max = if scenario.config.size_bytes > 1 << 30 { 2 } else { 30 };
        let mut engine = FaultEngine::new(FaultOptions { faults_max, ..FaultOptions::default() });
        sweep(&mut engine, &Qcow2Target, std::iter::once(scenario));
        reached.extend(engine.stats().entries(Tally::StepsFaulted).map(|([step, ..], _)| step));
    }
    let missing: Vec<&Step> = STEPS.into_iter().filter(|step| !reached.contains(step.name)).collect();
    assert!(missing.is_empty(), "no fault at {missing:?}, only at {reached:?}");
}
