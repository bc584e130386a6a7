//! A finding becomes something that others can run: it is proven on fresh copies, shrunk, and written.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blk_verify::reproduce::{self, Proof, REPLAYS};
use blk_verify::scenario::Scenario;
use blk_verify::scenario::bounds::{DOCUMENT_BYTES_MAX, DOCUMENT_REQUESTS_MAX};
use blk_verify::{Finding, Outcome};

use super::progress::Progress;

/// Shrinking ends after this long; what it has by then is still a smaller finding of the same kind.
const SHRINK_MAX: Duration = Duration::from_mins(1);
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
    /// Runs a scenario from the images as they were at first.
    fn judge(&mut self, scenario: &Scenario, effort: Effort) -> Outcome;

    /// What follows `blk replay NAME.trace`.
    fn words(&self) -> String;

    /// Whether what is found depends on the scenario alone.
    fn is_deterministic(&self) -> bool {
        true
    }
}

/// A finding, and what was made of it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) finding: Finding,
    /// What shows it; `None` if it cannot be told.
    pub(super) scenario: Option<Scenario>,
    /// Requests that were made until it was found.
    pub(super) requests_before: usize,
    pub(super) is_proven: bool,
    /// What was done, a line each.
    pub(super) notes: Vec<String>,
    pub(super) trace: Option<PathBuf>,
    pub(super) replay: Option<String>,
}

/// Proves, shrinks and writes what `scenario` has shown.
pub(super) fn keep(
    judge: &mut dyn Judge,
    finding: Finding,
    scenario: Option<Scenario>,
    traces: &Path,
    quiet: bool,
) -> Kept {
    let requests_before = scenario.as_ref().map_or(0, |scenario| scenario.requests.len());
    let (is_proven, notes, trace, replay) = (false, Vec::new(), None, None);
    let mut kept = Kept { finding, scenario, requests_before, is_proven, notes, trace, replay };
    let Some(scenario) = kept.scenario.take() else {
        let note = "not proven: more requests were made than are remembered; a run with another --seed may find it earlier";
        kept.notes.push(note.to_owned());
        return kept;
    };
    // The driver's panics are findings here; their messages would drown what matters.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    kept.scenario = Some(kept.proven_and_shrunk(judge, scenario, quiet));
    std::panic::set_hook(hook);
    kept.write(&judge.words(), traces);
    kept
}

/// Writes what was found in place: the images are no longer what they were, so nothing can be replayed on them.
pub(super) fn keep_unproven(
    finding: Finding,
    scenario: Option<Scenario>,
    words: &str,
    traces: &Path,
) -> Kept {
    let requests_before = scenario.as_ref().map_or(0, |scenario| scenario.requests.len());
    let note =
        "not proven and not shrunk: it was found in place, and the images are no longer what they were";
    let notes = vec![note.to_owned()];
    let mut kept =
        Kept { finding, scenario, requests_before, is_proven: false, notes, trace: None, replay: None };
    kept.write(words, traces);
    kept
}

impl Kept {
    /// What a replay has shown: it is kept already.
    pub(super) fn seen(finding: Finding, scenario: &Scenario) -> Self {
        Self {
            finding,
            scenario: Some(scenario.clone()),
            requests_before: scenario.requests.len(),
            is_proven: true,
            notes: Vec::new(),
            trace: None,
            replay: None,
        }
    }

    fn proven_and_shrunk(&mut self, judge: &mut dyn Judge, scenario: Scenario, quiet: bool) -> Scenario {
        let progress = Progress::start(quiet, || "proving and shrinking what was found".to_owned());
        let scenario = match reproduce::prove(|scenario| judge.judge(scenario, Effort::Replay), &scenario) {
            Proof::Same(finding) => {
                self.finding = *finding;
                self.is_proven = true;
                self.notes
                    .push(format!("proven: {REPLAYS} replays on fresh copies, the same report each time"));
                self.shrunk(judge, scenario)
            }
            _ if !judge.is_deterministic() => {
                self.notes.push("seen with threads: when they meet differs from run to run".to_owned());
                self.shrunk(judge, scenario)
            }
            Proof::Nothing => {
                self.notes.push("not proven: replayed in order on fresh copies, nothing is found".to_owned());
                scenario
            }
            Proof::Varies(..) => {
                self.notes.push("not proven: replays on fresh copies find different things".to_owned());
                scenario
            }
            Proof::Refused(why) => {
                self.notes.push(format!("not proven: it cannot be replayed: {why}"));
                scenario
            }
        };
        progress.end();
        scenario
    }

    fn shrunk(&mut self, judge: &mut dyn Judge, scenario: Scenario) -> Scenario {
        let started = Instant::now();
        let try_one = |scenario: &Scenario| judge.judge(scenario, Effort::Shrink);
        let smallest =
            reproduce::shrink(try_one, &scenario, &self.finding, || started.elapsed() > SHRINK_MAX);
        let Some(smallest) = smallest else {
            self.notes.push("not shrunk: the first try did not find it again".to_owned());
            return scenario;
        };
        self.notes.push(reproduce::shrunk(&scenario, &smallest, started.elapsed()));
        match reproduce::prove(|scenario| judge.judge(scenario, Effort::Replay), &smallest.scenario) {
            Proof::Same(finding) => {
                self.finding = *finding;
                smallest.scenario
            }
            _ if !judge.is_deterministic() => smallest.scenario,
            _ => {
                self.notes.push("what was shrunk is not found each time: the whole is kept".to_owned());
                scenario
            }
        }
    }

    fn write(&mut self, words: &str, traces: &Path) {
        let Some(scenario) = &self.scenario else { return };
        if scenario.requests.len() > DOCUMENT_REQUESTS_MAX {
            let count = scenario.requests.len();
            self.notes.push(format!(
                "not written: {count} requests, and a trace has at most {DOCUMENT_REQUESTS_MAX}"
            ));
            return;
        }
        let stem = reproduce::file_name(&self.finding.signature, scenario);
        let text = |name: &str| {
            let story = format!("{}\nreplay: blk replay {name} {words}", self.finding.report.trim_end());
            scenario.to_text_with_story(&story)
        };
        match write_new(traces, &stem, &text) {
            Ok((path, name)) => {
                self.notes.push(format!("wrote {}", path.display()));
                let shown = super::bench::quoted(&blk_core::name::from_os(path.as_os_str()));
                self.replay = Some(format!("blk replay {shown} {words}"));
                debug_assert!(text(&name).len() <= DOCUMENT_BYTES_MAX, "requests are short lines");
                self.trace = Some(path);
            }
            Err(error) => self.notes.push(format!("not written into {}: {error}", traces.display())),
        }
    }
}

/// Writes a file whose name is not taken yet by another content. Returns its path and its name.
fn write_new(folder: &Path, stem: &str, text: &dyn Fn(&str) -> String) -> std::io::Result<(PathBuf, String)> {
    for number in 1..=NAMES_MAX {
        let name = if number == 1 { format!("{stem}.trace") } else { format!("{stem}-{number}.trace") };
        let path = if folder == Path::new(".") { PathBuf::from(&name) } else { folder.join(&name) };
        let text = text(&name);
        let made = std::fs::File::options().write(true).create_new(true).open(&path);
        match made {
            Ok(mut file) => {
                std::io::Write::write_all(&mut file, text.as_bytes())?;
                return Ok((path, name));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                    return Ok((path, name));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other(format!("{stem}.trace to {stem}-{NAMES_MAX}.trace exist already")))
}
