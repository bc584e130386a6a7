//! The rules for failures of the storage, and how one of them is violated.

use blk_core::Error;

use super::expected::Wrong;

/// What a driver owes when its storage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Nothing failed, and yet something is wrong.
    Unprovoked,
    /// The image opens once the fault is gone.
    Opens,
    /// The sectors of a request that failed are old or new, and all others are what they were.
    Content,
    /// A later read agrees with an earlier one.
    Stable,
    /// The metadata is consistent.
    Check,
    /// No more clusters leak than were touched.
    Leaks,
    /// A repair leaves nothing to repair and changes no guest byte.
    Repair,
    /// What failed is said, by the request or by the next flush.
    Surfaces,
    /// What a flush has said is durable is there when the image is opened again.
    Durable,
    /// With the fault gone the disk works.
    Works,
    /// The size is the old or the new one.
    Size,
}

impl Rule {
    /// Its name, with what it asks for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unprovoked => "no failure at all",
            Self::Opens => "the image opens once the fault is gone",
            Self::Content => "a failed request's sectors are old or new, all others are exact",
            Self::Stable => "a later read agrees with an earlier one",
            Self::Check => "the metadata is consistent",
            Self::Leaks => "no more clusters leak than were touched",
            Self::Repair => "a repair leaves nothing to repair and changes no guest byte",
            Self::Surfaces => "a failure is said, by the request or by the next flush",
            Self::Durable => "what a flush has made durable is there",
            Self::Works => "with the fault gone the disk works",
            Self::Size => "the size is the old or the new one",
        }
    }
}

/// One violation.
#[derive(Debug, Clone)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    /// In one line.
    pub(super) what: String,
    /// Bytes that are not what they should be.
    pub(super) wrong: Option<Wrong>,
}

/// The result of a step that may violate a rule.
pub(super) type Judged<T = ()> = Result<T, Violation>;

impl Violation {
    pub(super) fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into(), wrong: None }
    }

    /// Something failed that had to succeed.
    pub(super) fn failed(rule: Rule, what: &str, error: &Error) -> Self {
        Self::new(rule, format!("{what} fails: {error}"))
    }

    pub(super) fn bytes(rule: Rule, what: impl Into<String>, wrong: Wrong) -> Self {
        Self { wrong: Some(wrong), ..Self::new(rule, what) }
    }

    /// The same as a violation of another rule.
    pub(super) fn of(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }
}
