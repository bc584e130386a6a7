//! What a fuzz target does with an input: runs it as a scenario, reports a finding, says every few seconds
//! what was reached.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::scenario::Scenario;
use blk_verify::Finding;
use serde_json::{Value, json};

use crate::finding;
use crate::job;
use crate::repro;
use crate::reproduce;
use crate::runner::{Purpose, Runner};
use crate::status;
use crate::suite::Suite;
use crate::watch::{self, Hang, Watched};

/// An input that the target reproduces instead of fuzzing: an artifact, a trace or a JSON file.
pub const REPRODUCE: &str = "BLK_REPRODUCE";
/// An input that the target writes as the bytes that it takes, to [`OUT`], instead of fuzzing.
pub const TO_BYTES: &str = "BLK_TO_BYTES";
/// A [`Job`](crate::job::Job) as JSON, done instead of fuzzing.
pub const JOB: &str = "BLK_JOB";
/// The folder that a reproduction is written to, or the file.
pub const OUT: &str = "BLK_OUT";
/// What the target is told, words with spaces in between: of a target that tests more than one driver.
pub const ARGUMENTS: &str = "BLK_ARGUMENTS";
/// What a process says of itself is JSON if this is `json`.
pub const STATS: &str = "BLK_STATS";

/// A folder in which each process writes what it says of itself, as JSON, to a file of its own: where
/// libFuzzer forks processes, it keeps their output.
pub const STATS_FOLDER: &str = "BLK_STATS_FOLDER";

const OUT_USUAL: &str = "repros";
/// How often a process says what it did.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// The same where processes are forked, the first of which live for a second.
const WRITE_EVERY: Duration = Duration::from_millis(300);

/// Says every few seconds what a process did.
#[derive(Debug)]
pub struct Speaker {
    started: Instant,
    said: Instant,
    /// Whoever started the process reads what is said.
    says_json: bool,
    /// The file for it.
    file: Option<PathBuf>,
}

impl Default for Speaker {
    fn default() -> Self {
        let now = Instant::now();
        let says_json = std::env::var_os(STATS).is_some_and(|form| form == "json");
        let folder = std::env::var_os(STATS_FOLDER).map(PathBuf::from);
        let file = folder.map(|folder| folder.join(format!("{}.json", std::process::id())));
        Self { started: now, said: now, says_json, file }
    }
}

impl Speaker {
    /// Whether the time has come.
    pub fn is_due(&self) -> bool {
        self.said.elapsed() >= if self.file.is_some() { WRITE_EVERY } else { SAY_EVERY }
    }

    /// Says `counts`, an object.
    pub fn say(&mut self, mut counts: Value) {
        self.said = Instant::now();
        let elapsed = self.started.elapsed();
        if let Some(file) = &self.file {
            counts["elapsed_s"] = elapsed.as_secs_f64().into();
            // Counts that are lost are no reason to end.
            let _ = std::fs::write(file, counts.to_string());
        } else if self.says_json {
            counts["elapsed_s"] = elapsed.as_secs_f64().into();
            eprintln!("blk-stats {counts}");
        } else {
            eprintln!("{}", status::line(elapsed, &counts));
        }
    }
}

#[derive(Default)]
struct Session {
    /// The engine of the suite that this process runs, from its first scenario on.
    runner: Option<Box<dyn Runner>>,
    speaker: Speaker,
}

static SESSION: LazyLock<Mutex<Session>> = LazyLock::new(Mutex::default);

/// What a fuzz target does before its first input: where the environment names one to be reproduced, or to be
/// written as bytes, it does that, and ends.
pub fn begin(suite: &Suite) {
    if let Some(input) = std::env::var_os(REPRODUCE) {
        end_with(repro::reproduce(suite, Path::new(&input), &out()));
    }
    if let Some(input) = std::env::var_os(TO_BYTES) {
        end_with(repro::to_bytes(suite, Path::new(&input), &out()));
    }
    if let Ok(job) = std::env::var(JOB) {
        end_with_code(job::run(suite, &job, &out()));
    }
}

/// As [`begin`] for a target whose inputs are no scenarios; `reproduce` gets the input and the folder to
/// write to, and returns whether something is found.
pub fn begin_with(reproduce: impl FnOnce(&Path, &Path) -> anyhow::Result<bool>) {
    if let Some(input) = std::env::var_os(REPRODUCE) {
        end_with(reproduce(Path::new(&input), &out()));
    }
    if std::env::var_os(TO_BYTES).or_else(|| std::env::var_os(JOB)).is_some() {
        end_with(Err(anyhow::anyhow!("the inputs of this target are no scenarios")));
    }
}

/// The words that the target is told.
pub fn arguments() -> Vec<String> {
    let text = std::env::var(ARGUMENTS).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// What a target gets that it cannot do without; what is missing is said, and ends the process.
pub fn needed<T>(what: anyhow::Result<T>) -> T {
    match what {
        Ok(there) => there,
        Err(error) => end_with(Err(error)),
    }
}

fn out() -> PathBuf {
    std::env::var_os(OUT).map_or_else(|| PathBuf::from(OUT_USUAL), PathBuf::from)
}

/// Ends the process: 0 if nothing was found, 1 if something was, 2 if that is not known.
fn end_with(done: anyhow::Result<bool>) -> ! {
    end_with_code(done.map(i32::from))
}

fn end_with_code(done: anyhow::Result<i32>) -> ! {
    let code = done.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        job::FAILED
    });
    std::process::exit(code)
}

/// Runs an input as a scenario; ends the process with a report if something is found. Returns whether the
/// input is worth keeping.
pub fn scenario(suite: &Suite, data: &[u8]) -> bool {
    let scenario = Scenario::decode(suite.space(), data);
    let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
    let Session { runner, speaker } = &mut *session;
    let runner = runner.get_or_insert_with(|| {
        let name = suite.name();
        let on_hang = move |hang: &Hang| {
            say_finding(&hang.finding(), &hang.scenario);
            stop(name, &hang.finding().report(), &hang.scenario.to_string())
        };
        Box::new(Watched::new(suite.start(Purpose::Fuzz), watch::limit(), Box::new(on_hang)))
    });
    let outcome = runner.run(&scenario);
    if speaker.is_due() || outcome.finding().is_some() {
        speaker.say(runner.summary());
    }
    match outcome {
        Outcome::Clean => true,
        Outcome::Refused(_) => false,
        Outcome::Finding(finding) => {
            say_finding(&finding, &scenario);
            stop(suite.name(), &finding.report(), &scenario.to_string())
        }
    }
}

/// Prints one line of JSON about a finding for the process that runs this one, which counts findings by their
/// signatures.
fn say_finding(finding: &Finding, scenario: &Scenario) {
    if std::env::var_os(STATS).is_none_or(|form| form != "json") {
        return;
    }
    let said = json!({
        "signature": finding::signature_to_json(&finding.signature),
        "name": reproduce::file_name(&finding.signature, scenario),
        "what": finding.headline(),
        "requests": scenario.requests.len(),
    });
    eprintln!("blk-finding {said}");
}

/// Reports a finding of the target `name`, and ends the process so that libFuzzer keeps its input.
pub fn stop(name: &str, report: &str, input: &str) -> ! {
    eprintln!("== blk-verify: finding in {name}\n{report}\n{input}");
    std::process::abort()
}
