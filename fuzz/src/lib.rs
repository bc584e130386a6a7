//! What the fuzz targets share: running an input, reporting a finding, telling every few seconds what was reached.

mod cost;
mod status;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use blk_cli::spec::fuzzing::specification as specification_of;
use blk_testbed::hostile::{self, ImageStats};
use blk_testbed::{Purpose, Runner, Suite};
use blk_verify::Outcome;
use blk_verify::scenario::Scenario;
use cost::Cost;
use libfuzzer_sys::Corpus;

/// How often a process says what it did.
const SAY_EVERY: Duration = Duration::from_secs(2);
struct Session {
    /// The engine of the suite that this process runs, from its first scenario on.
    runner: Option<Box<dyn Runner>>,
    images: ImageStats,
    /// Image specifications: refused, parsed, opened.
    specifications: [u64; 3],
    /// The most that an image has cost so far.
    image_cost_max: Cost,
    started: Instant,
    said: Instant,
    /// Who started the process reads what is said (`BLK_STATS=json`, as `cargo xtask fuzz` sets it).
    says_json: bool,
}

static SESSION: LazyLock<Mutex<Session>> = LazyLock::new(|| {
    let now = Instant::now();
    Mutex::new(Session {
        runner: None,
        images: ImageStats::default(),
        specifications: [0; 3],
        image_cost_max: Cost::default(),
        started: now,
        said: now,
        says_json: std::env::var_os("BLK_STATS").is_some_and(|form| form == "json"),
    })
});

/// Runs an input as a scenario in `suite`; ends the process with a report if something is found.
pub fn scenario(suite: &Suite, data: &[u8]) -> Corpus {
    let scenario = Scenario::decode(data);
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = session.runner.get_or_insert_with(|| suite.start(Purpose::Fuzz)).run(&scenario);
    if session.said.elapsed() >= SAY_EVERY {
        session.say_scenarios();
    }
    match outcome {
        Outcome::Clean => Corpus::Keep,
        Outcome::Refused(_) => Corpus::Reject,
        Outcome::Finding(finding) => {
            session.say_scenarios();
            stop(suite.name(), &finding.report, &scenario.to_string())
        }
    }
}

/// Runs an input as a qcow2 image; ends the process with a report if something is found.
pub fn image(data: &[u8]) -> Corpus {
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    let (judged, cost) = cost::of(|| hostile::judge(data, &mut session.images));
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

/// Runs an input as an image specification; ends the process with a report if it costs too much.
pub fn specification(data: &[u8]) -> Corpus {
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    let (reached, cost) = cost::of(|| specification_of(data));
    session.image_cost_max = session.image_cost_max.max(cost);
    session.specifications[reached as usize] += 1;
    if session.said.elapsed() >= SAY_EVERY {
        session.say_specifications();
    }
    if let Some(report) = cost.excess() {
        stop("cli_spec", &report, "the input is an image specification")
    }
    Corpus::Keep
}

fn stop(target: &str, report: &str, input: &str) -> ! {
    eprintln!("== blk-verify: finding in {target}\n{report}\n{input}");
    // libFuzzer keeps the input of a process that aborts.
    std::process::abort()
}

impl Session {
    fn say_scenarios(&mut self) {
        if let Some(runner) = &self.runner {
            let summary = runner.summary();
            self.say(Ok(summary));
        }
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

    fn say_specifications(&mut self) {
        let [refused, parsed, opened] = self.specifications;
        let counts = serde_json::json!({
            "specifications": refused + parsed + opened,
            "parsed_percent": (parsed + opened) * 100 / (refused + parsed + opened).max(1),
            "opened_percent": opened * 100 / (refused + parsed + opened).max(1),
            "image_mib_max": self.image_cost_max.bytes >> 20,
        });
        self.say(Ok(counts));
    }

    fn say(&mut self, counts: serde_json::Result<serde_json::Value>) {
        self.said = Instant::now();
        if let Ok(mut counts) = counts {
            let elapsed = self.started.elapsed();
            if self.says_json {
                counts["elapsed_s"] = elapsed.as_secs_f64().into();
                eprintln!("blk-stats {counts}");
            } else {
                eprintln!("{}", status::line(elapsed, &counts));
            }
        }
    }
}

/// Defines a fuzz target that runs scenarios in a suite of the testbed: its entry point, mutator and crossover.
#[macro_export]
macro_rules! scenario_target {
    ($name:literal) => {
        $crate::scenario_target!($name, blk_verify::generate::Limits::default());
    };
    // What mutation makes stays within these limits.
    ($name:literal, $limits:expr) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| -> libfuzzer_sys::Corpus {
            let suite = blk_testbed::suite($name).expect("the testbed knows this suite");
            $crate::scenario(suite, data)
        });

        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            let limits = $limits;
            blk_verify::mutate::mutate_within(
                &limits,
                data,
                size,
                max_size,
                seed,
                libfuzzer_sys::fuzzer_mutate,
            )
        });

        libfuzzer_sys::fuzz_crossover!(|first: &[u8], second: &[u8], out: &mut [u8], seed: u32| {
            blk_verify::mutate::crossover(first, second, out, seed)
        });
    };
}
