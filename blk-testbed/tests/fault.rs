//! The fault oracle on the unbroken drivers: whatever fails, nothing is found.

use blk_testbed::{Qcow2Target, RawTarget};
use blk_verify::Outcome;
use blk_verify::fault::{FaultEngine, FaultOptions};
use blk_verify::generate::{Generator, Limits};
use blk_verify::scenario::Scenario;
use blk_verify::target::ImageTarget;

fn sweep(engine: &mut FaultEngine, target: &dyn ImageTarget, scenarios: impl Iterator<Item = Scenario>) {
    for scenario in scenarios {
        match engine.run(target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{}\n{scenario}\n{}", finding.report, engine.stats()),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
}

fn limits() -> Limits {
    Limits { requests_max: 16, disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() }
}

#[test]
fn seeded_scenarios_survive_every_failure() {
    let options = FaultOptions { faults_max: 16, ..FaultOptions::default() };
    let mut engine = FaultEngine::new(options);
    sweep(&mut engine, &Qcow2Target, Generator::new(20_261_125, limits()).take(200));
    eprintln!("{}", engine.stats());
}

#[test]
fn raw() {
    let options = FaultOptions { faults_max: 16, ..FaultOptions::default() };
    let mut engine = FaultEngine::new(options);
    sweep(&mut engine, &RawTarget, Generator::new(20_261_125, limits()).take(200));
    eprintln!("{}", engine.stats());
}
