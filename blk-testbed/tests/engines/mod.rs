//! What tests of every engine over one kind of image share.

use blk_harness::Outcome;
use blk_harness::generate::Limits;
use blk_harness::scenario::Scenario;
use blk_harness::statistics::{Counter, Statistics};

/// Fails with what was found, or with why the scenario was refused.
pub(crate) fn check(outcome: Outcome, scenario: &Scenario) {
    match outcome {
        Outcome::Clean => {}
        Outcome::Finding(finding) => panic!("{}\n{scenario}", finding.report()),
        Outcome::Refused(why) => panic!("{why}\n{scenario}"),
    }
}

/// Scenarios that engines which run each many times get through.
pub(crate) fn small() -> Limits {
    Limits { requests_max: 16, disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() }
}

/// More than `percent` of all requests were accepted.
pub(crate) fn accepts(stats: &Statistics, percent: u64) {
    println!("{stats}");
    assert!(stats.get(Counter::Accepted) * 100 > stats.get(Counter::Requests) * percent, "{stats}");
}
