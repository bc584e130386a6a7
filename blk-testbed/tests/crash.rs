//! The crash oracle on the unbroken driver: no crash point of any seeded scenario, and of all short sequences, is found.

use blk_testbed::Qcow2Target;
use blk_verify::Outcome;
use blk_verify::crash::{CrashEngine, CrashOptions};
use blk_verify::generate::{Generator, Limits};
use blk_verify::scenario::Scenario;

fn run_all(engine: &mut CrashEngine, scenarios: impl Iterator<Item = Scenario>) {
    for scenario in scenarios {
        match engine.run(&Qcow2Target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{}\n{scenario}", finding.report),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
}

fn limits() -> Limits {
    Limits { requests_max: 16, disk_bytes_max: 64 << 10, data_bytes_max: 16 << 10, ..Limits::default() }
}

#[test]
fn seeded_scenarios_survive_every_crash() {
    let mut engine = CrashEngine::new(CrashOptions::default());
    run_all(&mut engine, Generator::new(20_261_125, limits()).take(150));
    let stats = engine.stats();
    eprintln!("{stats}");
    assert!(stats.accepted * 10 > stats.requests * 8, "{stats}");
}
