//! Requests, each compared with a reference: the corpus, seeded scenarios, short sequences, a soak.

use std::fs;
use std::path::Path;

use blk_harness::driver::Driver;
use blk_harness::engine::{Soak, SoakOptions};
use blk_harness::generate::{Generator, Limits, exhaustive};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::statistics::Counter;
use blk_harness::{Engine, Outcome, RunOptions};

use blk_harness::Purpose;

use crate::{QCOW2, Qcow2Target, RAW, RawTarget, exhaust, replay_text, suite, suite_names};

const SEED: u64 = 4;

pub(super) fn corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("the corpus can be listed").path();
        if path.extension().is_some_and(|extension| extension == "trace") {
            let text = fs::read_to_string(&path).expect("a trace is text");
            let target =
                text.lines().find_map(|line| line.strip_prefix("# target: ")).unwrap_or("verify_qcow2");
            if let Err(report) = replay_text(target, &text) {
                panic!("{}:\n{report}", path.display());
            }
            count += 1;
        }
    }
    assert!(count >= 19, "{count} traces");
}

fn run_all(target: &dyn Driver, scenarios: impl Iterator<Item = Scenario>) {
    let mut engine = Engine::new(RunOptions::default());
    for scenario in scenarios {
        must_be_clean(engine.run(target, &scenario), &scenario);
    }
    let stats = engine.stats();
    assert!(stats.get(Counter::Accepted) * 10 > stats.get(Counter::Requests) * 8, "{stats}");
}

fn must_be_clean(outcome: Outcome, scenario: &Scenario) {
    match outcome {
        Outcome::Clean => {}
        Outcome::Finding(finding) => panic!("{}\n{scenario}", finding.report()),
        Outcome::Refused(why) => panic!("{why}\n{scenario}"),
    }
}

/// All sequences of so many requests over a few clusters, on each layout that differs in what a request has
/// to do.
fn sequences(requests: u32, step: usize) {
    for config in exhaust::layouts() {
        run_all(&Qcow2Target, exhaustive(&QCOW2, 3, requests, config).step_by(step));
    }
}

pub(super) fn short_sequences() {
    sequences(2, 1);
}

pub(super) fn long_sequences() {
    sequences(3, 3);
}

pub(super) fn scenarios() {
    run_all(&Qcow2Target, Generator::new(&QCOW2, SEED, Limits::default()).take(1000));
}

pub(super) fn more_scenarios() {
    run_all(&Qcow2Target, Generator::new(&QCOW2, SEED, Limits::default()).starting_at(1000).take(4000));
}

pub(super) fn raw_scenarios() {
    run_all(&RawTarget, Generator::new(&RAW, SEED, Limits::default()).take(60));
}

/// The suites that no other stage is about.
pub(super) fn other_suites() {
    let known = ["verify_qcow2", "verify_raw", "verify_crash"];
    let limits =
        Limits { requests_max: 12, disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() };
    for name in suite_names().into_iter().filter(|name| !known.contains(name)) {
        let suite = suite(name).expect("a suite that is listed");
        let mut runner = suite.start(Purpose::Fuzz);
        for scenario in Generator::new(suite.space(), SEED, limits.clone()).take(150) {
            must_be_clean(runner.run(&scenario), &scenario);
        }
    }
}

pub(super) fn soak() {
    for (seed, cluster_bytes) in [(9, "512"), (12, "4096")] {
        let config = Config::default().with("cluster_size", cluster_bytes);
        let options = SoakOptions { seed, requests_per_round: 40_000 };
        let mut soak = Soak::new(&Qcow2Target, &config, options).expect("the disks can be made");
        if let Err(finding) = soak.round() {
            panic!("{}", finding.report());
        }
    }
}
