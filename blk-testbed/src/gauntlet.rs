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

use std::io::Write as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

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

/// A stage that takes so much time of the processor does not end: the longest takes an eighth of it.
const STAGE_TIME_MAX: Duration = Duration::from_secs(20);

#[test]
fn the_drivers_run_the_gauntlet() {
    let now = Arc::new(Mutex::new(("nothing", processor_time())));
    let watched = Arc::clone(&now);
    // The watch ends with this function, also where a stage panics.
    let (_end, ended) = mpsc::channel();
    thread::spawn(move || watch(&watched, &ended));
    for (name, stage) in STAGES {
        let begun = processor_time();
        *now.lock().unwrap_or_else(PoisonError::into_inner) = (name, begun);
        stage();
        println!("{name:21} {:6.2} s", processor_time().saturating_sub(begun).as_secs_f64());
    }
}

/// Ends the process with a failure once a stage has run for too long. Time of the processor is counted, not of the clock: a busy
/// machine makes nobody late.
fn watch(now: &Mutex<(&str, Duration)>, ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        let (name, begun) = *now.lock().unwrap_or_else(PoisonError::into_inner);
        if processor_time().saturating_sub(begun) > STAGE_TIME_MAX {
            // What goes through `eprintln!` is kept for a test that ends.
            let _ = writeln!(std::io::stderr(), "the stage '{name}' does not end");
            std::process::exit(101);
        }
    }
}

/// What this process has used so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("time goes forward")
}
