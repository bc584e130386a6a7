//! How the run of a scenario has ended.

use crate::report::Finding;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was wrong.
    Clean,
    /// Something was.
    Finding(Box<Finding>),
    /// The scenario cannot be run on this target; the text says why.
    Refused(String),
}

impl Outcome {
    /// The same; a finding names the engine that has found it.
    #[must_use]
    pub(crate) fn by(self, engine: &'static str) -> Self {
        match self {
            Self::Finding(finding) => Self::Finding(Box::new(finding.by(engine))),
            other => other,
        }
    }

    /// The finding, if there is one.
    pub fn finding(&self) -> Option<&Finding> {
        match self {
            Self::Finding(finding) => Some(finding),
            Self::Clean | Self::Refused(_) => None,
        }
    }
}
