//! What a driver owed and did not give.

use super::content::Wrong;
use super::drive::Trouble;
use crate::report;

/// The clauses of the crash model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clause {
    /// C1: the image opens.
    Opens,
    /// C2: its metadata is consistent, and a repair finishes and changes nothing that the guest sees.
    Check,
    /// C3: each sector holds its last flushed value, or that of a later request.
    Content,
    /// C4: the size is the old or the new one.
    Size,
    /// C5: the disk goes on working.
    Further,
    /// C6: reading twice gives the same bytes.
    Stable,
    /// A crash during recovery is recovered from.
    Recovery,
    /// Before any crash: a request was answered wrongly.
    Live,
}

impl Clause {
    /// Its name in the model, with what it asks for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opens => "C1, the image opens",
            Self::Check => "C2, the metadata is consistent",
            Self::Content => "C3, flushed data is there and nothing else is",
            Self::Size => "C4, the size is the old or the new one",
            Self::Further => "C5, the disk goes on working",
            Self::Stable => "C6, reading twice gives the same",
            Self::Recovery => "a crash during recovery is recovered from",
            Self::Live => "no crash at all",
        }
    }
}

/// One violation.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) clause: Clause,
    /// In one line; numbers in it do not count for the signature.
    pub(crate) what: String,
    /// More lines.
    pub(crate) notes: Vec<String>,
    /// Bytes that are not what they should be.
    pub(crate) wrong: Option<Wrong>,
}

impl Violation {
    pub(crate) fn new(clause: Clause, what: impl Into<String>) -> Self {
        Self { clause, what: what.into(), notes: Vec::new(), wrong: None }
    }

    /// The guest sees what it may not.
    pub(crate) fn content(what: String) -> Self {
        Self::new(Clause::Content, what)
    }

    /// What went wrong before any crash.
    pub(crate) fn live(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Failed(error) => Self::new(Clause::Live, format!("a request fails: {error}")),
            Trouble::Wrong(wrong) => Self::new(Clause::Live, "wrong bytes").with_bytes(wrong.clone()),
        }
    }

    /// What stays the same in a smaller scenario.
    pub(crate) fn signature(&self) -> String {
        format!("{:?}: {}", self.clause, report::without_numbers(&self.what))
    }

    pub(crate) fn with_note(mut self, note: String) -> Self {
        self.notes.push(note);
        self
    }

    pub(crate) fn with_bytes(self, wrong: Wrong) -> Self {
        Self { wrong: Some(wrong), ..self }
    }
}
