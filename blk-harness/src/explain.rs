//! Makes a finding of a broken promise: the one place where it becomes text.
//!
//! ```text
//! blkverify: C3, durable data is there, and nothing but that or what came later: a sector holds Zeroes
//!   crash:     in request #2 (write 512 512), after operation 9 of the storage
//!   lost:      operation 8: write 1536..2048 (refcount block)
//!   persisted: operation 9: write 2048..2560 (L2 table)
//!   differing: offset 0, sector 0
//!   expected:  00000000: ...  what request #1 (write 0 512) wrote to sector 0
//!   found:     00000000: ...  zeroes
//! ```

use std::fmt::Write;

use blk_core::Extent;
use blk_sim::{Durability, Pending};

use crate::checker::{Ended, Record};
use crate::journal::{Entry, Journal};
use crate::model::Mismatch;
use crate::promise::{Evidence, Promise, Violation};
use crate::report::{self, Finding, OriginClass, SECTOR_BYTES, Sides, Signature};

/// Requests that a report lists.
const LISTED: usize = 40;

/// What surrounds a broken promise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) journal: &'a Journal,
    /// Size of the disk, bytes.
    pub(crate) size: u64,
    /// What was provoked: the step of the driver whose operation failed. None for crashes and where nothing
    /// was.
    pub(crate) faulted_step: Option<&'static str>,
    /// Lines that say where it happened.
    pub(crate) place: &'a str,
}

impl<'a> Scene<'a> {
    /// Nothing was provoked, and there is no more to say.
    pub(crate) fn plain(journal: &'a Journal, size: u64) -> Self {
        Self { journal, size, faulted_step: None, place: "" }
    }
}

/// The finding for a violation.
pub(crate) fn finding(violation: &Violation, scene: Scene<'_>) -> Box<Finding> {
    let request = scene.journal.request(violation.number).filter(|_| violation.number > 0);
    let request = request.map(|request| (violation.number, request));
    let mut finding = match &violation.evidence {
        Evidence::Bytes(mismatch) if violation.promise == Promise::Answers => {
            answered_bytes(violation, mismatch, request, scene)
        }
        _ => told(violation, request, scene),
    };
    finding.report.push_str(scene.place);
    for note in &violation.notes {
        let _ = writeln!(finding.report, "  {note}");
    }
    finding.request_number = violation.number;
    Box::new(finding)
}

/// Bytes that a request has read, or that are found at the end.
fn answered_bytes(
    violation: &Violation,
    mismatch: &Mismatch,
    request: Option<(u32, Entry)>,
    scene: Scene<'_>,
) -> Finding {
    let Mismatch { offset, found, possible } = mismatch;
    let (reference, others) = possible.split_last().expect("something is always possible");
    let sides = Sides { offset: *offset, reference, test: found, size: scene.size };
    let asked = request.and_then(|(_, request)| request.extent());
    let asked = asked.unwrap_or(Extent::new(*offset, found.len() as u64));
    let mut finding = report::content_finding(scene.journal, request, asked, sides);
    if violation.number == 0 {
        finding.request_number = 0;
    }
    for other in others.iter().rev() {
        let (_, origin) = report::origin(scene.journal, other, *offset, 0, scene.size);
        let _ = writeln!(finding.report, "  or:        {origin}");
    }
    finding
}

fn told(violation: &Violation, request: Option<(u32, Entry)>, scene: Scene<'_>) -> Finding {
    let Violation { promise, what, evidence, .. } = violation;
    let signature = match (promise, evidence) {
        (Promise::Answers, Evidence::Status) => Signature::Status { claim: "zero" },
        (Promise::Answers, Evidence::Image(message)) => Signature::Image { message: message.clone() },
        (Promise::Answers, Evidence::Failure(what, error)) => {
            Signature::Failed { what, error: error.clone() }
        }
        (Promise::Answers, Evidence::Answer(error)) if request.is_some() => {
            let kind = request.map(|(_, request)| request.kind()).expect("there is one");
            Signature::Result { request: kind, error: error.clone() }
        }
        _ => {
            let how = match (scene.faulted_step, evidence) {
                (Some(step), _) => step.to_owned(),
                (None, Evidence::Bytes(mismatch)) => format!("{what}: {:?}", class(mismatch, scene)),
                (None, _) => report::without_numbers(what),
            };
            Signature::Broken { promise: promise.name(), how }
        }
    };
    let mut report = match (promise, request) {
        (Promise::Answers, Some((number, request))) => {
            return report::request_finding(number, request, signature, what);
        }
        (Promise::Answers, None) => format!("blkverify: {what}\n"),
        _ => format!("blkverify: {}: {what}\n", promise.name()),
    };
    if let Evidence::Bytes(mismatch) = evidence {
        bytes(&mut report, mismatch, scene);
    }
    Finding { signature, report, request_number: violation.number }
}

fn class(mismatch: &Mismatch, scene: Scene<'_>) -> OriginClass {
    report::origin(scene.journal, &mismatch.found, mismatch.offset, differing(mismatch), scene.size).0
}

/// The first byte that is in none of the values, if there is one; else the first of the sector.
fn differing(mismatch: &Mismatch) -> usize {
    let differs =
        |at: &usize| mismatch.possible.iter().all(|value| value.get(*at) != mismatch.found.get(*at));
    (0..mismatch.found.len()).find(differs).unwrap_or(0)
}

fn bytes(text: &mut String, mismatch: &Mismatch, scene: Scene<'_>) {
    let at = differing(mismatch);
    let address = mismatch.offset + at as u64;
    let _ = writeln!(text, "  differing: offset {address}, sector {}", address / SECTOR_BYTES);
    let sides = std::iter::once(("found:    ", &mismatch.found));
    let possible = mismatch.possible.iter().rev().map(|value| ("expected: ", value));
    for ((name, side), is_first) in
        sides.chain(possible).zip([true, true].into_iter().chain(std::iter::repeat(false)))
    {
        if at >= side.len() {
            let _ = writeln!(text, "  {name} nothing: the disk ends here");
            continue;
        }
        let (_, origin) = report::origin(scene.journal, side, mismatch.offset, at, scene.size);
        let name = if is_first { name } else { "or:       " };
        let _ = writeln!(text, "  {name} {}  {origin}", report::dump(side, address, at));
    }
}

/// The requests so far, each with those that it was in flight with.
pub(crate) fn list(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records.iter().filter(|record| record.ended == Ended::InFlight) {
        let _ = writeln!(text, "  in flight: #{} {}", record.number, record.request);
    }
    for record in &records[records.len().saturating_sub(LISTED)..] {
        let _ = write!(text, "  begun:     #{} {}", record.number, record.request);
        let label = if record.met.is_empty() { "" } else { "   in flight with" };
        let _ = write!(text, "{label}");
        for other in &record.met {
            let _ = write!(text, " #{other}");
        }
        text.push('\n');
    }
    text
}

/// What of the pending operations was lost in a crash, and what persisted.
pub(crate) fn fate(durability: &Durability, kept: &[bool]) -> String {
    let mut text = String::new();
    for pending in durability.pending() {
        let fate = &kept[pending.items.clone()];
        let word = match (fate.contains(&true), fate.contains(&false)) {
            (true, true) => "torn:     ",
            (true, false) => "persisted:",
            (false, _) => "lost:     ",
        };
        let _ = write!(text, "  {word} {}", describe(pending));
        if fate.contains(&true) && fate.contains(&false) {
            let lost = pending.items.clone().filter(|item| !kept[*item]);
            let lost: Vec<String> = lost
                .map(|item| durability.items()[item].extent)
                .map(|extent| format!("{}..{}", extent.offset, extent.end()))
                .collect();
            let _ = write!(text, ", lost {}", lost.join(" "));
        }
        text.push('\n');
    }
    text
}

fn describe(pending: &Pending) -> String {
    let (number, name) = (pending.number, pending.name);
    if name == "truncate" {
        return format!("operation {number}: truncate to {}", pending.extent.offset);
    }
    let (start, end) = (pending.extent.offset, pending.extent.end());
    let role = if start < SECTOR_BYTES { "header" } else { pending.step.text };
    format!("operation {number}: {name} {start}..{end} ({role})")
}
