//! Races seeded scenarios on the qcow2 driver: `blk-race --schedules 1M` is the proof that no interleaving breaks it.

use std::process::ExitCode;
use std::time::Instant;

use blk_harness::Outcome;
use blk_harness::generate::{Generator, Limits};
use blk_harness::race::RaceEngine;
use blk_harness::scenario::Scenario;
use blk_harness::statistics::Counter;
use blk_testbed::{QCOW2, Qcow2Target};
use blk_verify::Finding;
use clap::Parser;

#[derive(Parser)]
#[command(about = "Races requests in flight on the qcow2 driver, under a deterministic scheduler")]
struct Arguments {
    /// Schedules in all.
    #[arg(long, default_value = "100k", value_parser = blk_core::units::parse_count)]
    schedules: u64,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Scenarios between two lines of progress.
const SAY_EVERY: u64 = 50_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut engine = RaceEngine::new();
    let mut generator = Generator::new(&QCOW2, arguments.seed, Limits::racing());
    let mut scenario = Scenario::default();
    let started = Instant::now();
    while engine.stats().get(Counter::Scenarios) < arguments.schedules {
        generator.next_into(&mut scenario);
        match engine.run(&Qcow2Target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => return found(&engine, &finding, &scenario, started),
            Outcome::Refused(why) => {
                println!("{why}\n{scenario}");
                return ExitCode::FAILURE;
            }
        }
        if engine.stats().get(Counter::Scenarios).is_multiple_of(SAY_EVERY) {
            say(&engine, started);
        }
    }
    say(&engine, started);
    ExitCode::SUCCESS
}

fn found(engine: &RaceEngine, finding: &Finding, scenario: &Scenario, started: Instant) -> ExitCode {
    say(engine, started);
    println!("{}\n# target: verify_race\n{scenario}", finding.report);
    ExitCode::FAILURE
}

fn say(engine: &RaceEngine, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than a few digits")]
    let rate = engine.stats().get(Counter::Scenarios) as f64 / seconds;
    println!("{}; {seconds:.1} s, {rate:.0} schedules/s", engine.stats());
}
