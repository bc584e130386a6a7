//! Makes a finding of a broken promise. What becomes text of it is blk-verify's renderer.

use blk_core::Extent;
use blk_core::storage::Step;
use blk_sim::{Durability, Pending};

use crate::finding::{self, Begun, Difference, Fate, Provoked};

use crate::checker::{Ended, Record};
use crate::journal::{Entry, Journal};
use crate::model::Mismatch;
use crate::promise::{Evidence, Promise, Violation};
use crate::report::{self, Finding, SECTOR_BYTES, Sides, Signature};

/// Requests that a report lists.
const LISTED: usize = 40;

/// What surrounds a broken promise.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) journal: &'a Journal,
    /// Size of the disk, bytes.
    pub(crate) size: u64,
    /// What was provoked: the step of the driver whose operation failed. None for crashes and where nothing
    /// was.
    pub(crate) faulted_step: Option<&'static str>,
    pub(crate) provoked: Option<Provoked>,
    /// The last requests, where several may be in flight.
    pub(crate) history: Vec<Begun>,
}

impl<'a> Scene<'a> {
    /// Nothing was provoked, and there is no more to say.
    pub(crate) fn plain(journal: &'a Journal, size: u64) -> Self {
        Self { journal, size, faulted_step: None, provoked: None, history: Vec::new() }
    }
}

/// The finding for a violation.
pub(crate) fn finding(violation: &Violation, scene: Scene<'_>) -> Box<Finding> {
    let request = scene.journal.request(violation.number).filter(|_| violation.number > 0);
    let request = request.map(|request| (violation.number, request));
    let finding = match &violation.evidence {
        Evidence::Bytes(mismatch) if violation.promise == Promise::Answers => {
            answered_bytes(mismatch, request, &scene)
        }
        _ => broken(violation, request, &scene),
    };
    Box::new(Finding {
        request,
        request_number: violation.number,
        notes: violation.notes.clone(),
        provoked: scene.provoked,
        history: scene.history,
        followed: violation.followed.clone(),
        ..finding
    })
}

/// Bytes that a request has read, or that are found at the end.
fn answered_bytes(mismatch: &Mismatch, request: Option<(u32, Entry)>, scene: &Scene<'_>) -> Finding {
    let Mismatch { offset, found, possible } = mismatch;
    let (reference, others) = possible.split_last().expect("something is always possible");
    let sides = Sides { offset: *offset, reference, test: found, size: scene.size };
    let asked = request.and_then(|(_, request)| request.extent());
    let asked = asked.unwrap_or(Extent::new(*offset, found.len() as u64));
    let mut finding = report::content_finding(scene.journal, request, asked, sides);
    if let Some(difference) = &mut finding.difference {
        let at = (difference.offset - offset) as usize;
        let side = |bytes: &Vec<u8>| report::side(scene.journal, bytes, *offset, at, scene.size);
        difference.expected.extend(others.iter().rev().map(side));
    }
    finding
}

fn broken(violation: &Violation, request: Option<(u32, Entry)>, scene: &Scene<'_>) -> Finding {
    let Violation { promise, what, evidence, .. } = violation;
    let difference = match evidence {
        Evidence::Bytes(mismatch) => Some(Box::new(difference(mismatch, scene))),
        _ => None,
    };
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
            let how = match (scene.faulted_step, &difference) {
                (Some(step), _) => step.to_owned(),
                (None, Some(difference)) => format!("{what}: {:?}", difference.found.source.class()),
                (None, None) => report::without_numbers(what),
            };
            Signature::Broken { promise: promise.name(), how }
        }
    };
    let promise = (*promise != Promise::Answers).then(|| promise.name());
    Finding { promise, difference, ..Finding::new(signature, what) }
}

/// The first byte that is in none of the values, if there is one; else the first of the sector.
fn differing(mismatch: &Mismatch) -> usize {
    let differs =
        |at: &usize| mismatch.possible.iter().all(|value| value.get(*at) != mismatch.found.get(*at));
    (0..mismatch.found.len()).find(differs).unwrap_or(0)
}

fn difference(mismatch: &Mismatch, scene: &Scene<'_>) -> Difference {
    let at = differing(mismatch);
    let side = |bytes: &Vec<u8>| report::side(scene.journal, bytes, mismatch.offset, at, scene.size);
    Difference {
        compared: None,
        offset: mismatch.offset + at as u64,
        expected: mismatch.possible.iter().rev().map(side).collect(),
        found: side(&mismatch.found),
    }
}

/// The last requests, each with those that it was in flight with, and all that are in flight.
pub(crate) fn history(records: &[Record]) -> Vec<Begun> {
    let first_listed = records.len().saturating_sub(LISTED);
    let listed = records
        .iter()
        .enumerate()
        .filter(|(index, record)| *index >= first_listed || record.ended == Ended::InFlight);
    listed
        .map(|(_, record)| Begun {
            number: record.number,
            request: record.request.to_string(),
            is_in_flight: record.ended == Ended::InFlight,
            met: record.met.clone(),
        })
        .collect()
}

/// What of the pending operations was lost in a crash, and what persisted.
pub(crate) fn fates(durability: &Durability, kept: &[bool]) -> Vec<finding::Pending> {
    let of = |pending: &Pending| {
        let fate = &kept[pending.items.clone()];
        let fate = match (fate.contains(&true), fate.contains(&false)) {
            (true, true) => {
                let lost = pending.items.clone().filter(|item| !kept[*item]);
                Fate::Torn(lost.map(|item| durability.items()[item].extent).collect())
            }
            (true, false) => Fate::Persisted,
            (false, _) => Fate::Lost,
        };
        let extent = if pending.name == "truncate" { Extent::default() } else { pending.extent };
        finding::Pending { fate, operation: describe(pending), extent }
    };
    durability.pending().iter().map(of).collect()
}

fn describe(pending: &Pending) -> String {
    let (number, name) = (pending.number, pending.name);
    if name == "truncate" {
        return format!("operation {number}: truncate to {}", pending.extent.offset);
    }
    let (start, end) = (pending.extent.offset, pending.extent.end());
    let role = if start < SECTOR_BYTES { "header" } else { pending.step.text };
    let role = if *pending.step == Step::NONE { String::new() } else { format!(" ({role})") };
    format!("operation {number}: {name} {start}..{end}{role}")
}
