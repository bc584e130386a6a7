//! What a run came to, and how that is printed: a report on standard error, facts on standard output, one a
//! line or as JSON.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use blk_core::{CheckReport, name};
use blk_harness::finding;
use blk_harness::scenario::Scenario;
use blk_harness::session::Session;
use blk_verify::Finding;
use serde_json::{Map, Value, json};

use super::arguments::Output;
use super::keep::Kept;
use crate::spec::Layer;

/// Exit codes, as of compare: 0 nothing found, 1 something, 2 it could not be tried.
const FOUND: u8 = 1;
const TROUBLE: u8 = 2;
/// Requests shown with a finding.
const SHOWN_REQUESTS: usize = 20;
/// Findings of a check that are shown.
const SHOWN_FINDINGS: usize = 8;

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nothing was found.
    Clean,
    /// The image under test was damaged before the first request.
    NotClean { name: String, report: CheckReport },
    /// The images were different before the first request.
    DifferAtFirst { finding: Box<Finding> },
    /// Something was found.
    Found(Box<Kept>),
}

/// Counts by name, in the order in which they are shown.
pub(super) type Facts = Vec<(String, Value)>;

/// A run that has ended.
#[derive(Debug)]
pub(super) struct Outcome {
    ended: Ended,
    /// Where the bytes of a difference are, lines to be shown below the report.
    place: String,
    /// What was done: a title, which may be empty, and counts by name.
    sections: Vec<(&'static str, Facts)>,
}

impl Outcome {
    pub(super) fn new(ended: Ended) -> Self {
        Self { ended, place: String::new(), sections: Vec::new() }
    }

    pub(super) fn found(kept: Kept) -> Self {
        Self::new(Ended::Found(Box::new(kept)))
    }

    pub(super) fn differ_at_first(session: &Session, layers: &[Layer], finding: Finding) -> Self {
        let place = super::locate::difference(session.bench(), layers);
        Self::new(Ended::DifferAtFirst { finding: Box::new(finding) }).at(place)
    }

    pub(super) fn is_clean(&self) -> bool {
        matches!(self.ended, Ended::Clean)
    }

    /// Adds where the bytes of a difference are.
    pub(super) fn at(self, place: String) -> Self {
        Self { place, ..self }
    }

    /// Adds what was done.
    pub(super) fn with(mut self, title: &'static str, facts: Facts) -> Self {
        self.sections.push((title, facts));
        self
    }

    fn code(&self) -> ExitCode {
        match self.ended {
            Ended::Clean => ExitCode::SUCCESS,
            _ => ExitCode::from(FOUND),
        }
    }
}

/// Prints what a run came to, and returns the exit code.
pub(super) fn end(output: Output, outcome: Result<Outcome>) -> ExitCode {
    match outcome {
        Ok(outcome) => {
            say_finding(&outcome);
            match output {
                Output::Human => say(&table(&outcome.sections)),
                Output::Json => say(&format!("{}\n", to_json(&outcome))),
            }
            outcome.code()
        }
        Err(error) => {
            let error = format!("{error:#}");
            tell(&format!("blk: {error}\n"));
            if output == Output::Json {
                let error = String::from_utf8_lossy(&name::to_bytes(&error)).into_owned();
                say(&format!("{}\n", json!({ "result": "error", "error": error })));
            }
            ExitCode::from(TROUBLE)
        }
    }
}

/// Writes to standard error; names in the text have their own bytes.
pub(super) fn tell(text: &str) {
    // That it cannot be written changes nothing: there is nobody left to tell.
    let _ = std::io::stderr().lock().write_all(&name::to_bytes(text));
}

/// Writes to standard output. Who has stopped to read does not change the exit code.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&name::to_bytes(text)).and_then(|()| out.flush());
}

fn say_finding(outcome: &Outcome) {
    match &outcome.ended {
        Ended::Clean => {}
        Ended::NotClean { name, report } => {
            tell(&format!("blk: '{name}' is not clean, before the first request:\n"));
            for line in first_findings(report) {
                tell(&format!("  {line}\n"));
            }
            tell("no request was made; --repair repairs it first, on the copy\n");
        }
        Ended::DifferAtFirst { finding } => {
            tell("blk: the two images differ before the first request\n");
            tell(&format!("{}{}", finding.report(), outcome.place));
        }
        Ended::Found(kept) => {
            tell(&format!("{}{}", kept.finding.report(), outcome.place));
            kept.scenario.as_ref().inspect(|scenario| say_requests(scenario));
            tell("\n");
            kept.notes.iter().for_each(|note| tell(&format!("{note}\n")));
            if let Some(replay) = &kept.replay {
                tell(&format!("replay: {replay}\n"));
            }
        }
    }
}

/// A short scenario whole, the end of a long one.
fn say_requests(scenario: &Scenario) {
    let count = scenario.requests.len();
    if count <= SHOWN_REQUESTS {
        tell(&format!("\n{scenario}"));
        return;
    }
    tell(&format!("the last {SHOWN_REQUESTS} of {count} requests:\n"));
    for (number, request) in (1..).zip(&scenario.requests).skip(count - SHOWN_REQUESTS) {
        tell(&format!("  #{number} {request}\n"));
    }
}

/// The first lines of a check's report, and its last.
fn first_findings(report: &CheckReport) -> Vec<String> {
    let text = report.to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let counts = lines.pop().unwrap_or_default();
    if lines.len() > SHOWN_FINDINGS {
        let more = lines.len() - SHOWN_FINDINGS;
        lines.truncate(SHOWN_FINDINGS);
        lines.push(format!("... and {more} more"));
    }
    lines.push(counts);
    lines
}

fn table(sections: &[(&'static str, Facts)]) -> String {
    let names = sections.iter().flat_map(|(_, facts)| facts.iter().map(|(name, _)| name));
    let width = names.map(String::len).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for (title, facts) in sections {
        let indent = if title.is_empty() { "" } else { "  " };
        if !title.is_empty() {
            text = format!("{text}{title}\n");
        }
        for (name, value) in facts {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text = format!("{text}{indent}{:<width$}{shown}\n", name.replace('_', " "));
        }
    }
    text
}

fn to_json(outcome: &Outcome) -> Value {
    let mut object = Map::new();
    let result = match &outcome.ended {
        Ended::Clean => "clean",
        Ended::NotClean { .. } => "not-clean",
        Ended::DifferAtFirst { .. } => "differ-before-first-request",
        Ended::Found(_) => "finding",
    };
    object.insert("result".into(), result.into());
    match &outcome.ended {
        Ended::Clean => {}
        Ended::NotClean { report, .. } => {
            object.insert("check".into(), first_findings(report).into());
        }
        Ended::DifferAtFirst { finding } => {
            object.insert("report".into(), (finding.report().clone() + &outcome.place).into());
        }
        Ended::Found(kept) => {
            let requests = kept.scenario.as_ref().map(|scenario| scenario.requests.len());
            // The requests of a long run are not listed.
            let listed = kept.scenario.as_ref().filter(|scenario| scenario.requests.len() <= SHOWN_REQUESTS);
            let data = listed.map(|scenario| finding::to_json(&kept.finding, "blk verify", scenario));
            object.insert("finding".into(), data.into());
            object.insert("report".into(), (kept.finding.report().clone() + &outcome.place).into());
            object.insert("proven".into(), kept.is_proven.into());
            if let Some((found, replays)) = kept.seen {
                object.insert("replays".into(), replays.into());
                object.insert("replays_that_found_it".into(), found.into());
            }
            object.insert("requests_before".into(), kept.requests_before.into());
            object.insert("requests_shrunk".into(), requests.into());
            object.insert("trace".into(), kept.trace.as_ref().map(|path| path.to_string_lossy()).into());
            object.insert("replay".into(), kept.replay.clone().into());
            object.insert("notes".into(), kept.notes.clone().into());
        }
    }
    for (title, facts) in &outcome.sections {
        if title.is_empty() {
            object.extend(facts.clone());
        } else {
            object.insert((*title).to_owned(), Map::from_iter(facts.clone()).into());
        }
    }
    object.into()
}
