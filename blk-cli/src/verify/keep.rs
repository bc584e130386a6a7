//! A finding becomes something that others can run: it is proven and shrunk on fresh copies (see `proof`),
//! and written.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blk_harness::Outcome;
use blk_harness::page::Surroundings;
use blk_harness::picture::Picture;
use blk_harness::reproduce;
use blk_harness::scenario::Scenario;
use blk_harness::scenario::bounds::DOCUMENT_REQUESTS_MAX;
use blk_harness::space::{PLAIN, Space};
use blk_verify::Finding;

use super::bench::{START_BYTES_MAX, quoted};
use super::page;
use super::proof::Prover;
use crate::spec::{Origins, write_sparse};

/// Files of one name that are told apart by a number.
const NAMES_MAX: u32 = 1000;

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    pub(super) requests: u64,
    pub(super) time: Option<Duration>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) started: Instant,
    pub(super) until: Until,
}

impl Clock {
    pub(super) fn start(until: Until) -> Self {
        Self { started: Instant::now(), until }
    }

    /// What is left of the time; `None` where it has no limit.
    pub(super) fn left(&self) -> Option<Duration> {
        self.until.time.map(|time| time.saturating_sub(self.started.elapsed()))
    }

    /// Whether less than `reserve` is left.
    pub(super) fn is_over(&self, reserve: Duration) -> bool {
        self.left().is_some_and(|left| left <= reserve)
    }
}

/// How thoroughly a scenario is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Once, with everything that can be found.
    Replay,
    /// One of thousands that are much alike.
    Shrink,
}

/// Runs scenarios as the run did in which something was found.
pub(super) trait Judge {
    /// Runs a scenario from the images as they were at first. It is interrupted when the time is over, at
    /// its next step: that unwinds out of it, after which no other try to shrink follows.
    fn judge(&mut self, scenario: &Scenario, effort: Effort) -> Outcome;

    /// What follows `blk replay NAME.trace`.
    fn words(&self) -> String;

    /// Whether requests of several lanes are made by threads, so that chance decides what is found.
    fn has_threads(&self) -> bool {
        false
    }

    /// What scenarios choose from.
    fn space(&self) -> &'static Space {
        &PLAIN
    }

    /// A shell script that shows the finding by programs of others alone; the error is why there is none.
    /// `None` where nobody asks for one.
    fn script(&self, scenario: &Scenario) -> Option<anyhow::Result<String>> {
        let _ = scenario;
        None
    }

    /// What the disk under test and its image look like before and after so many requests of a scenario, as
    /// far as that can be told.
    fn picture(&mut self, scenario: &Scenario, count: usize) -> Option<Picture> {
        let _ = (scenario, count);
        None
    }

    /// Files that have changed since: a replay needs what they held.
    fn origins(&self) -> Origins {
        Origins::default()
    }
}

/// How findings are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping<'a> {
    /// The folder for traces.
    pub(super) traces: &'a Path,
    /// No progress is shown.
    pub(super) quiet: bool,
    /// How long it may take.
    pub(super) time: Duration,
}

/// A finding, and what was made of it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) finding: Finding,
    /// What shows it; `None` if it cannot be told.
    pub(super) scenario: Option<Scenario>,
    /// Requests that were made until it was found.
    pub(super) requests_before: u64,
    pub(super) is_proven: bool,
    /// Where chance decides: how many replays have found it, of how many.
    pub(super) seen: Option<(u32, u32)>,
    /// What was done, a line each.
    pub(super) notes: Vec<String>,
    pub(super) trace: Option<PathBuf>,
    pub(super) replay: Option<String>,
}

/// Proves, shrinks and writes what `scenario` has shown.
pub(super) fn keep(
    judge: &mut dyn Judge,
    finding: Finding,
    scenario: Scenario,
    keeping: Keeping<'_>,
) -> Kept {
    let mut kept = Kept::new(finding, scenario.requests.len() as u64);
    let scenario = Prover::new(judge, keeping).prove_and_shrink(&mut kept, scenario);
    kept.write(scenario, &judge.words(), &judge.origins(), keeping.traces);
    if let Some(script) = kept.scenario.as_ref().and_then(|scenario| judge.script(scenario)) {
        kept.write_script(script);
    }
    let around = page::surroundings(judge, &kept, keeping.time);
    kept.write_page(&around);
    kept
}

/// Writes what cannot be replayed; `why` says why it cannot.
pub(super) fn keep_unproven(
    finding: Finding,
    scenario: Scenario,
    why: String,
    words: &str,
    traces: &Path,
) -> Kept {
    let mut kept = Kept::new(finding, scenario.requests.len() as u64);
    kept.notes.push(why);
    kept.write(scenario, words, &Origins::default(), traces);
    kept.write_page(&Surroundings::default());
    kept
}

impl Kept {
    /// Found after so many requests.
    pub(super) fn new(finding: Finding, requests_before: u64) -> Self {
        Self {
            finding,
            scenario: None,
            requests_before,
            is_proven: false,
            seen: None,
            notes: Vec::new(),
            trace: None,
            replay: None,
        }
    }

    /// What a replay has shown: it is kept already.
    pub(super) fn seen(finding: Finding, scenario: &Scenario) -> Self {
        let requests = scenario.requests.len() as u64;
        Self { scenario: Some(scenario.clone()), is_proven: true, ..Self::new(finding, requests) }
    }

    fn write(&mut self, scenario: Scenario, words: &str, origins: &Origins, traces: &Path) {
        let count = scenario.requests.len();
        if count > DOCUMENT_REQUESTS_MAX {
            self.notes.push(format!(
                "not written: {count} requests, and a trace has at most {DOCUMENT_REQUESTS_MAX}; the same command makes them \
                 again, and --shrink TIME has them shrunk for longer"
            ));
        } else if let Err(error) = self.write_trace(&scenario, words, origins, traces) {
            self.notes.push(format!("not written into {}: {error}", traces.display()));
        }
        self.scenario = Some(scenario);
    }

    /// Writes the script beside the trace.
    fn write_script(&mut self, script: anyhow::Result<String>) {
        let Some(trace) = &self.trace else { return };
        let path = trace.with_extension("sh");
        let written = script.and_then(|script| Ok(std::fs::write(&path, script)?));
        self.notes.push(match written {
            Ok(()) => {
                format!("wrote {}: it fails where programs of others alone show the same", path.display())
            }
            Err(why) => format!("no script of programs of others: {why:#}"),
        });
    }

    /// Writes the page beside the trace.
    fn write_page(&mut self, around: &Surroundings) {
        let Some(trace) = self.trace.clone() else { return };
        self.notes.push(match page::write(self, around, &trace) {
            Ok(path) => format!("wrote {}: a page about it", path.display()),
            Err(why) => format!("no page about it: {why:#}"),
        });
    }

    fn write_trace(
        &mut self,
        scenario: &Scenario,
        words: &str,
        origins: &Origins,
        traces: &Path,
    ) -> std::io::Result<()> {
        let stem = reproduce::file_name(&self.finding.signature, scenario);
        let report = self.finding.report();
        let report = report.trim_end();
        let text = |stem: &str| {
            let starts = start_words(origins, |name| PathBuf::from(start_name(stem, name)));
            let name = format!("{stem}.trace");
            scenario.to_text_with_story(&format!("{report}\nreplay: blk replay {name} {words}{starts}"))
        };
        // What a run in place has left is another start each time.
        let (path, stem) = write_new(traces, &stem, origins.all().next().is_some(), &text)?;
        self.notes.push(format!("wrote {}", path.display()));
        let folder = path.parent().unwrap_or(Path::new(""));
        let copy = |name: &str| folder.join(start_name(&stem, name));
        for origin in origins.all() {
            let copy = copy(&origin.name);
            let name = quoted(&origin.name);
            let note = match write_sparse(&*origin.content, &copy, START_BYTES_MAX) {
                Ok(()) => {
                    format!("wrote {}: {name} as it was before the requests", copy.display())
                }
                Err(error) => {
                    format!(
                        "not written: {name} as it was before the requests, which the replay needs: {error}"
                    )
                }
            };
            self.notes.push(note);
        }
        let shown = quoted(&blk_core::name::from_os(path.as_os_str()));
        self.replay = Some(format!("blk replay {shown} {words}{}", start_words(origins, copy)));
        self.trace = Some(path);
        Ok(())
    }
}

/// The options of a replay that name what files held at first.
fn start_words(origins: &Origins, copy: impl Fn(&str) -> PathBuf) -> String {
    let words = origins.all().map(|origin| {
        let copy = blk_core::name::from_os(copy(&origin.name).as_os_str());
        format!(" --start {} {}", quoted(&origin.name), quoted(&copy))
    });
    words.collect()
}

/// The name for what a file held at first, beside the trace of that stem.
fn start_name(stem: &str, name: &str) -> std::ffi::OsString {
    let path = blk_core::name::to_path(name);
    let mut made = std::ffi::OsString::from(format!("{stem}."));
    made.push(path.file_name().unwrap_or(path.as_os_str()));
    made.push(".start");
    made
}

/// Writes a file whose name is not taken yet by another content, or by any if it is to be new. Returns its
/// path, and its name without the end.
fn write_new(
    folder: &Path,
    stem: &str,
    is_new: bool,
    text: &dyn Fn(&str) -> String,
) -> std::io::Result<(PathBuf, String)> {
    for number in 1..=NAMES_MAX {
        let stem = if number == 1 { stem.to_owned() } else { format!("{stem}-{number}") };
        let name = format!("{stem}.trace");
        let path = if folder == Path::new(".") { PathBuf::from(&name) } else { folder.join(&name) };
        let text = text(&stem);
        let made = std::fs::File::options().write(true).create_new(true).open(&path);
        match made {
            Ok(mut file) => {
                std::io::Write::write_all(&mut file, text.as_bytes())?;
                return Ok((path, stem));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if !is_new && std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                    return Ok((path, stem));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other(format!("{stem}.trace to {stem}-{NAMES_MAX}.trace exist already")))
}
