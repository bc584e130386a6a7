//! What a driver promises, and how a promise is broken.

use blk_core::{CheckReport, Error};

use crate::finding::Pending;
use crate::journal::Entry;
use crate::model::Mismatch;
use crate::report;

/// The promises of the crash model (C1 to C6, docs/crashes.md), and those about failures of the storage
/// (docs/faults.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    /// With nothing provoked, every answer is right.
    Answers,
    /// The image opens: after a crash, and once a fault is gone.
    Opens,
    /// The metadata is consistent.
    Consistent,
    /// Each sector holds its last durable value, or a later one; what no request in doubt has touched is
    /// exact.
    Content,
    /// The size is the old or the new one.
    Size,
    /// The disk goes on working: after a crash, and once a fault is gone.
    Works,
    /// Reading twice gives the same bytes.
    Stable,
    /// A crash during recovery is recovered from.
    Recovery,
    /// No more is leaked than was touched.
    Leaks,
    /// A repair leaves nothing to repair, and changes no guest byte.
    Repair,
    /// A failure is reported: by the request, or by the next flush.
    Surfaces,
    /// What a flush has made durable is there when the image is opened again.
    Durable,
    /// Space is given back, kept and used again as the driver promises it.
    Space,
    /// What a block status tells of the storage is so.
    Places,
    /// What others keep in the image stays as it is.
    Others,
    /// A handle that refuses requests because of an earlier failure changes nothing any more.
    Poisoned,
    /// What has completed touches the storage no more.
    Completed,
    /// The list of snapshots is the old or the new one, and each holds what it held.
    Snapshots,
    /// The list of dirty bitmaps is the old or the new one, and each has what was asked for, or says that it
    /// has not.
    Bitmaps,
}

impl Promise {
    /// Those that every driver keeps: the others are asked of drivers that promise them.
    pub const ALL: [Self; 13] = [
        Self::Answers,
        Self::Opens,
        Self::Consistent,
        Self::Content,
        Self::Size,
        Self::Works,
        Self::Stable,
        Self::Recovery,
        Self::Leaks,
        Self::Repair,
        Self::Surfaces,
        Self::Durable,
        Self::Completed,
    ];

    /// Its name, with what it asks for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answers => "every answer is right",
            Self::Opens => "C1, the image opens",
            Self::Consistent => "C2, the metadata is consistent",
            Self::Content => "C3, a sector holds what was last flushed to it, or what was written later",
            Self::Size => "C4, the size is the old or the new one",
            Self::Works => "C5, the disk goes on working",
            Self::Stable => "C6, reading twice gives the same bytes",
            Self::Recovery => "a crash during recovery is recovered from",
            Self::Leaks => "no more is leaked than was touched",
            Self::Repair => "a repair leaves nothing to repair and changes no guest byte",
            Self::Surfaces => "a failure is reported, by the request or by the next flush",
            Self::Durable => "what a flush has made durable is there",
            Self::Space => "space is given back, kept and used again as promised",
            Self::Places => "what a block status tells of the storage is so",
            Self::Others => "what others keep in the image stays as it is",
            Self::Poisoned => "a handle that has failed changes nothing any more",
            Self::Completed => "what has completed touches the storage no more",
            Self::Snapshots => "C4, the snapshots are the old or the new ones, and hold what they held",
            Self::Bitmaps => "C4, the dirty bitmaps have what was asked for, or say that they have not",
        }
    }
}

/// What shows that a promise is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// What is said in words.
    Words,
    /// Bytes that cannot be there.
    Bytes(Mismatch),
    /// A block status that claims what the content contradicts.
    Status,
    /// The answer to a request: the error's kind.
    Answer(String),
    /// A check of the image: its worst message.
    Image(String),
    /// Something failed that had to succeed: what was tried, and the error's kind.
    Failure(&'static str, String),
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    /// In one line; numbers in it do not count for the signature.
    pub(crate) what: String,
    pub(crate) evidence: Evidence,
    /// More lines.
    pub(crate) notes: Vec<String>,
    /// The request that noticed; 0 for none.
    pub(crate) number: u32,
    /// Requests that follow a crash or a fault, and are none of the scenario, up to this.
    pub(crate) followed: Vec<(u32, Entry)>,
    /// What became of the operations that were not durable, where a failed sync was followed by a crash.
    pub(crate) pending: Vec<Pending>,
}

/// The result of a step that may break a promise.
pub(crate) type Kept<T = ()> = Result<T, Box<Violation>>;

impl Violation {
    pub(crate) fn new(promise: Promise, what: impl Into<String>) -> Box<Self> {
        Self::with(promise, what, Evidence::Words)
    }

    pub(crate) fn with(promise: Promise, what: impl Into<String>, evidence: Evidence) -> Box<Self> {
        let (what, notes, followed, pending) = (what.into(), Vec::new(), Vec::new(), Vec::new());
        Box::new(Self { promise, what, evidence, notes, number: 0, followed, pending })
    }

    /// Something failed that had to succeed.
    pub(crate) fn failed(promise: Promise, what: &'static str, error: &Error) -> Box<Self> {
        let evidence = Evidence::Failure(what, format!("{:?}", error.kind()));
        Self::with(promise, format!("{what} failed: {error}"), evidence)
    }

    pub(crate) fn bytes(promise: Promise, what: impl Into<String>, mismatch: Mismatch) -> Box<Self> {
        Self::with(promise, what, Evidence::Bytes(mismatch))
    }

    /// A check that has found something.
    pub(crate) fn image(promise: Promise, when: &str, checked: &CheckReport) -> Box<Self> {
        let worst = worst(checked);
        let evidence = Evidence::Image(report::without_numbers(&worst));
        let mut violation = Self::with(promise, format!("{when}: {worst}"), evidence);
        violation.notes.extend(checked.to_string().lines().map(str::to_owned));
        violation
    }

    /// The memory of the simulation fails only where an image grows without bound.
    pub(crate) fn memory(error: &Error) -> Box<Self> {
        Self::failed(Promise::Answers, "the memory of the simulation", error)
    }

    /// The same as a violation of another promise.
    pub(crate) fn of(mut self: Box<Self>, promise: Promise) -> Box<Self> {
        self.promise = promise;
        self
    }

    pub(crate) fn note(mut self: Box<Self>, note: impl Into<String>) -> Box<Self> {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn noticed_by(mut self: Box<Self>, number: u32) -> Box<Self> {
        self.number = number;
        self
    }
}

/// The worst that a check has found, in one line.
pub(crate) fn worst(checked: &CheckReport) -> String {
    if checked.is_clean() && checked.leaks_past_end > 0 {
        return format!("{} clusters past the end of the file are counted", checked.leaks_past_end);
    }
    let worst = checked.findings.iter().max_by_key(|finding| finding.severity);
    worst
        .map_or_else(|| checked.to_string(), |finding| format!("{:?}: {}", finding.severity, finding.message))
}
