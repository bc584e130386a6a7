//! What the fuzz targets share: running an input, reporting a finding, telling every few seconds what was reached.

mod cost;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use blk_testbed::hostile::{self, ImageStats};
use blk_verify::scenario::Scenario;
use blk_verify::target::Target;
use blk_verify::{Engine, Outcome, RunOptions};
use cost::Cost;
use libfuzzer_sys::Corpus;

/// How often a process says what it did.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// One scenario in so many is watched for kinds of cluster and transitions, which costs two more requests each.
const WATCH_ONE_IN: u64 = 8;

struct Session {
    plain: Engine,
    watching: Engine,
    count: u64,
    images: ImageStats,
    /// The most that an image has cost so far.
    image_cost_max: Cost,
    started: Instant,
    said: Instant,
}

static SESSION: LazyLock<Mutex<Session>> = LazyLock::new(|| {
    let now = Instant::now();
    // The largest disk that the bytes form can ask for is far below this.
    let options = RunOptions { size_bytes_max: 64 << 20, track_kinds: false, ..RunOptions::default() };
    let plain = Engine::new(options);
    let watching = Engine::new(RunOptions { track_kinds: true, ..options });
    let images = ImageStats::default();
    Mutex::new(Session {
        plain,
        watching,
        count: 0,
        images,
        image_cost_max: Cost::default(),
        started: now,
        said: now,
    })
});

/// Runs an input as a scenario on `target`; ends the process with a report if something is found.
pub fn scenario(target: &dyn Target, data: &[u8]) -> Corpus {
    let scenario = Scenario::decode(data);
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    session.count += 1;
    let watched = session.count.is_multiple_of(WATCH_ONE_IN);
    let engine = if watched { &mut session.watching } else { &mut session.plain };
    let outcome = engine.run(target, &scenario);
    if session.said.elapsed() >= SAY_EVERY {
        session.say_scenarios();
    }
    match outcome {
        Outcome::Clean => Corpus::Keep,
        Outcome::Refused(_) => Corpus::Reject,
        Outcome::Finding(finding) => {
            session.say_scenarios();
            stop(target.name(), &finding.report, &scenario.to_string())
        }
    }
}

/// Runs an input as a qcow2 image; ends the process with a report if something is found.
pub fn image(data: &[u8]) -> Corpus {
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    let before = cost::before();
    let judged = hostile::judge(data, &mut session.images);
    let cost = before.cost();
    session.image_cost_max = session.image_cost_max.max(cost);
    if session.said.elapsed() >= SAY_EVERY {
        session.say_images();
    }
    if let Some(report) = cost.excess() {
        stop("open_qcow2", &report, "the input is a qcow2 image")
    }
    match judged {
        Ok(true) => Corpus::Keep,
        Ok(false) => Corpus::Reject,
        Err(report) => stop("open_qcow2", &report, "the input is a qcow2 image"),
    }
}

fn stop(target: &str, report: &str, input: &str) -> ! {
    eprintln!("== blk-verify: finding in {target}\n{report}\n{input}");
    // libFuzzer keeps the input of a process that aborts.
    std::process::abort()
}

impl Session {
    fn say_scenarios(&mut self) {
        let mut stats = self.plain.stats().clone();
        stats.merge(self.watching.stats());
        self.say(serde_json::to_value(stats.summary()));
    }

    fn say_images(&mut self) {
        let counts = serde_json::to_value(self.images.clone()).map(|mut counts| {
            counts["image_mib_max"] = (self.image_cost_max.bytes >> 20).into();
            counts["image_ms_max"] =
                u64::try_from(self.image_cost_max.time.as_millis()).unwrap_or(u64::MAX).into();
            counts
        });
        self.say(counts);
    }

    fn say(&mut self, counts: serde_json::Result<serde_json::Value>) {
        self.said = Instant::now();
        if let Ok(mut counts) = counts {
            counts["elapsed_s"] = self.started.elapsed().as_secs_f64().into();
            eprintln!("blk-stats {counts}");
        }
    }
}

/// Defines a fuzz target that runs scenarios on a target of the testbed: its entry point, mutator and crossover.
#[macro_export]
macro_rules! scenario_target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| -> libfuzzer_sys::Corpus {
            let target = blk_testbed::target($name).expect("the testbed knows this target");
            $crate::scenario(target, data)
        });

        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            blk_verify::mutate::mutate(data, size, max_size, seed, libfuzzer_sys::fuzzer_mutate)
        });

        libfuzzer_sys::fuzz_crossover!(|first: &[u8], second: &[u8], out: &mut [u8], seed: u32| {
            blk_verify::mutate::crossover(first, second, out, seed)
        });
    };
}
