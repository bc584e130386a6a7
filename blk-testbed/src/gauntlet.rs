//! The gauntlet: every engine, seeded, over both drivers, in one test that `cargo xtask mutants` sends each mutant through.
//!
//! The cheapest and most telling stages come first, and the first that finds something ends it: most mutants die within a
//! fraction of a second. It stands in the library rather than in `tests/`, because cargo would link the programs of this package
//! for an integration test, which costs more than most mutants live.

mod crashes;
mod damage;
mod makers;
mod others;
mod requests;

use std::time::Instant;

/// A part of it by its name; it panics with what it has found.
type Stage = (&'static str, fn());

const STAGES: [Stage; 16] = [
    ("short sequences", requests::short_sequences),
    ("scenarios", requests::scenarios),
    ("damage", damage::damaged_images),
    ("snapshots and bitmaps", others::snapshots_and_bitmaps),
    ("raw conformance", makers::raw_conforms),
    ("qcow2 conformance", makers::qcow2_conforms),
    ("corpus", requests::corpus),
    ("crashes", crashes::scenarios),
    ("hostile images", damage::hostile_images),
    ("other suites", requests::other_suites),
    ("long sequences", requests::long_sequences),
    ("raw scenarios", requests::raw_scenarios),
    ("exhaustive crashes", crashes::short_sequences),
    ("more crashes", crashes::more_scenarios),
    ("more scenarios", requests::more_scenarios),
    ("soak", requests::soak),
];

#[test]
fn the_drivers_run_the_gauntlet() {
    for (name, stage) in STAGES {
        let begun = Instant::now();
        stage();
        println!("{name:21} {:6.2} s", begun.elapsed().as_secs_f64());
    }
}
