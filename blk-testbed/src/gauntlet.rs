//! The gauntlet: every engine, seeded, over both drivers, in two tests that `cargo xtask mutants` sends each
//! mutant through.
//!
//! The short one has the cheapest and most telling stages and finds nearly all that there is to find; a
//! mutant that neither it nor the drivers' own tests find runs the long one too. The first stage that finds
//! something ends it: most mutants die within a fraction of a second. It stands in the library rather than in
//! `tests/`, because cargo would link the programs of this package for an integration test, which costs more
//! than most mutants live.

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

const SHORT: [Stage; 9] = [
    ("short sequences", requests::short_sequences),
    ("scenarios", requests::scenarios),
    ("damage", damage::damaged_images),
    ("snapshots and bitmaps", others::snapshots_and_bitmaps),
    ("raw conformance", makers::raw_conforms),
    ("qcow2 conformance", makers::qcow2_conforms),
    ("crashes", crashes::scenarios),
    ("long sequences", requests::long_sequences),
    ("raw scenarios", requests::raw_scenarios),
];

const LONG: [Stage; 7] = [
    ("corpus", requests::corpus),
    ("hostile images", damage::hostile_images),
    ("other suites", requests::other_suites),
    ("exhaustive crashes", crashes::short_sequences),
    ("more crashes", crashes::more_scenarios),
    ("more scenarios", requests::more_scenarios),
    ("soak", requests::soak),
];

/// A stage that takes so much time of the processor does not end: the longest of either part takes a fifth
/// of it.
const SHORT_TIME_MAX: Duration = Duration::from_secs(80);
const LONG_TIME_MAX: Duration = Duration::from_secs(200);

#[test]
fn the_drivers_run_the_short_gauntlet() {
    run(&SHORT, SHORT_TIME_MAX);
}

#[test]
fn the_drivers_run_the_long_gauntlet() {
    run(&LONG, LONG_TIME_MAX);
}

/// Held by the part that runs: the time of the process is its own.
static ALONE: Mutex<()> = Mutex::new(());

fn run(stages: &[Stage], time_max: Duration) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Arc::new(Mutex::new(("nothing", processor_time())));
    let watched = Arc::clone(&now);
    // The watch ends with this function, also where a stage panics.
    let (_end, ended) = mpsc::channel();
    thread::spawn(move || watch(&watched, &ended, time_max));
    for (name, stage) in stages {
        let begun = processor_time();
        *now.lock().unwrap_or_else(PoisonError::into_inner) = (name, begun);
        stage();
        println!("{name:21} {:6.2} s", processor_time().saturating_sub(begun).as_secs_f64());
    }
}

/// Ends the process with a failure once a stage has run for too long. Time of the processor is counted, not
/// of the clock: a busy machine makes nobody late.
fn watch(now: &Mutex<(&str, Duration)>, ended: &Receiver<()>, time_max: Duration) {
    while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        let (name, begun) = *now.lock().unwrap_or_else(PoisonError::into_inner);
        if processor_time().saturating_sub(begun) > time_max {
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
