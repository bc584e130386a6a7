//! A long seeded run over the unbroken driver: `blk-soak --requests 100M` is the proof that there is no false alarm.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use blk_harness::engine::{Soak, SoakOptions};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::generate::{Generator, Limits};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::statistics::Counter;
use blk_harness::{Engine, Outcome, RunOptions};
use blk_testbed::{QCOW2, Qcow2Target};
use clap::Parser;

#[derive(Parser)]
#[command(about = "A long seeded run of the verifier over the qcow2 driver")]
struct Arguments {
    /// Requests in all: half of them over long-lived disks of each cluster size, half in scenarios of every configuration.
    #[arg(long, default_value = "1M", value_parser = blk_core::units::parse_count)]
    requests: u64,
    /// Failures of the storage, a run of a small scenario each.
    #[arg(long, default_value_t = 10_000)]
    faults: u64,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Requests between two visits of the oracles.
const ROUND: u64 = 100_000;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let soaked = soak_all(&arguments)? && scenarios(&arguments) && faults(&arguments);
    println!("{:.0} s", started.elapsed().as_secs_f64());
    Ok(if soaked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Long-lived disks, one for each cluster size.
fn soak_all(arguments: &Arguments) -> Result<bool> {
    for cluster_bytes in ["65536", "4096", "512"] {
        let config = Config::default().with("cluster_size", cluster_bytes);
        let options = SoakOptions { seed: arguments.seed, requests_per_round: ROUND };
        let mut soak = Soak::new(&Qcow2Target, &config, options)?;
        let started = Instant::now();
        while soak.requests() < arguments.requests / 6 {
            if let Err(finding) = soak.round() {
                println!("{}", finding.report);
                for request in soak.last_requests(20) {
                    println!("{request}");
                }
                return Ok(false);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
        let rate = soak.requests() as f64 / started.elapsed().as_secs_f64();
        let compared = soak.bytes_compared() >> 20;
        println!(
            "clusters of {cluster_bytes}: {} requests, {compared} MiB compared, {rate:.0}/s",
            soak.requests()
        );
    }
    Ok(true)
}

/// Scenarios of every configuration, on fresh disks each.
fn scenarios(arguments: &Arguments) -> bool {
    let mut engine = Engine::new(RunOptions { track_kinds: false, ..RunOptions::default() });
    let mut generator = Generator::new(&QCOW2, arguments.seed, Limits::default());
    let mut scenario = Scenario::default();
    while engine.stats().get(Counter::Requests) < arguments.requests / 2 {
        generator.next_into(&mut scenario);
        if !is_clean(&engine.run(&Qcow2Target, &scenario), &scenario) {
            return false;
        }
    }
    println!("{}", engine.stats());
    true
}

/// Failures of the storage in small scenarios of every configuration.
fn faults(arguments: &Arguments) -> bool {
    let mut engine = FaultEngine::new(FaultOptions { faults_max: 64, ..FaultOptions::default() });
    let limits = Limits { disk_bytes_max: 256 << 10, data_bytes_max: 64 << 10, ..Limits::default() };
    let mut generator = Generator::new(&QCOW2, arguments.seed, limits);
    let mut scenario = Scenario::default();
    while engine.stats().get(Counter::Faults) < arguments.faults {
        generator.next_into(&mut scenario);
        if !is_clean(&engine.run(&Qcow2Target, &scenario), &scenario) {
            return false;
        }
    }
    println!("{}", engine.stats());
    true
}

/// Whether nothing was found; prints what was.
fn is_clean(outcome: &Outcome, scenario: &Scenario) -> bool {
    match outcome {
        Outcome::Clean => return true,
        Outcome::Finding(finding) => println!("{}\n{scenario}", finding.report),
        Outcome::Refused(why) => println!("{why}\n{scenario}"),
    }
    false
}
