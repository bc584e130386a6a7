//! Crashes at every operation of the storage.

use blk_harness::Outcome;
use blk_harness::Purpose;
use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::exhaust::units;
use blk_harness::generate::{Generator, Limits};
use blk_harness::statistics::Counter;

use crate::{QCOW2, Qcow2Target, exhaust};

const SEED: u64 = 4;
/// One sequence in so many of each unit of the exhaustive run; a prime, so that all requests come up in all
/// places.
const STEP: usize = 2503;

pub(super) fn scenarios() {
    run(0, 60);
}

pub(super) fn more_scenarios() {
    run(60, 100);
}

fn run(first: u64, count: usize) {
    let limits =
        Limits { requests_max: 16, disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() };
    let mut engine = CrashEngine::new(CrashOptions::default());
    for scenario in Generator::new(&QCOW2, SEED, limits).starting_at(first).take(count) {
        match engine.run(&Qcow2Target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{}\n{scenario}", finding.report()),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
    let stats = engine.stats();
    assert!(stats.get(Counter::Accepted) * 10 > stats.get(Counter::Requests) * 8, "{stats}");
}

pub(super) fn short_sequences() {
    let suite = crate::suite("verify_crash").expect("the suite of crashes");
    let mut runner = suite.start(Purpose::Exhaust);
    for unit in units(suite, &exhaust::BOUNDS) {
        if let Err(found) = unit.run(&mut *runner, STEP) {
            panic!("{}\n{}", found.0.report(), found.1);
        }
    }
}
