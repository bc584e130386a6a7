//! Why a document is not a scenario.

use std::fmt;

/// What is wrong with a text or JSON scenario, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Line, from 1; 0 when the document as a whole is at fault.
    pub line: usize,
    /// Column in bytes, from 1; 0 when the whole line is at fault.
    pub column: usize,
    /// What is wrong, with the offending word and what would be right.
    pub reason: String,
}

impl ParseError {
    pub(super) fn document(reason: impl Into<String>) -> Self {
        Self { line: 0, column: 0, reason: reason.into() }
    }

    pub(super) fn line(line: usize, reason: impl Into<String>) -> Self {
        Self { line, column: 0, reason: reason.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}", self.reason),
            (line, 0) => write!(f, "line {line}: {}", self.reason),
            (line, column) => write!(f, "line {line}, column {column}: {}", self.reason),
        }
    }
}

impl std::error::Error for ParseError {}
