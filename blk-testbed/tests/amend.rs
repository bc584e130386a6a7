//! Scenarios in which images are amended, under every engine: disk and snapshots stay what they are, whatever
//! crashes or fails.
//!
//! `BLK_AMENDED=10000` tries so many of each.

use blk_harness::crash::{CrashEngine, CrashOptions};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::generate::{Generator, Limits, Template, template};
use blk_harness::random::Random;
use blk_harness::scenario::{Request, Scenario};
use blk_harness::statistics::Counter;
use blk_harness::{Engine, Outcome, RunOptions};
use blk_testbed::{QCOW2, Qcow2Target};

fn count(usual: u64) -> u64 {
    std::env::var("BLK_AMENDED").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Two templates that amend, on a small disk.
fn amended(seed: u64) -> Scenario {
    let mut rng = Random::new(seed);
    let limits = Limits { disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() };
    let config = Generator::new(&QCOW2, seed, limits.clone()).next().expect("there is no end").config;
    let mut requests = template(&QCOW2, &config, &limits, Template::Amended, seed);
    if rng.chance(1, 2) {
        requests.push(Request::Reopen { kill: rng.chance(1, 2) });
    }
    requests.extend(template(&QCOW2, &config, &limits, Template::Amended, seed + 1));
    Scenario { config, requests, ..Scenario::default() }
}

fn must_be_clean(outcome: Outcome, seed: u64, scenario: &Scenario) {
    match outcome {
        Outcome::Clean => {}
        Outcome::Finding(finding) => panic!("seed {seed}: {}\n{scenario}", finding.report()),
        Outcome::Refused(why) => panic!("seed {seed}: {why}\n{scenario}"),
    }
}

#[test]
fn amended_images_are_the_same_disks() {
    let mut engine = Engine::new(RunOptions::default());
    for seed in 0..count(2000) {
        let scenario = amended(seed);
        must_be_clean(engine.run(&Qcow2Target, &scenario), seed, &scenario);
    }
    let stats = engine.stats();
    assert!(stats.get(Counter::Accepted) * 10 > stats.get(Counter::Requests) * 7, "{stats}");
}

#[test]
fn amendments_survive_every_crash() {
    let mut engine = CrashEngine::new(CrashOptions::default());
    for seed in 0..count(60) {
        let scenario = amended(seed);
        must_be_clean(engine.run(&Qcow2Target, &scenario), seed, &scenario);
    }
    let stats = engine.stats();
    eprintln!("{stats}");
    assert!(stats.get(Counter::WithLosses) > 100, "{stats}");
}

#[test]
fn amendments_survive_every_failure() {
    let mut engine = FaultEngine::new(FaultOptions { faults_max: 4, ..FaultOptions::default() });
    for seed in 0..count(300) {
        let scenario = amended(seed);
        must_be_clean(engine.run(&Qcow2Target, &scenario), seed, &scenario);
    }
    let stats = engine.stats();
    eprintln!("{stats}");
    assert!(stats.get(Counter::FailedRequests) > 0, "{stats}");
}
