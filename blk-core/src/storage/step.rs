//! A step of a driver: what the next operations of its storage are for.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A step that a driver names to [`crate::Storage::step`] right before the operations that belong to it.
///
/// Each driver lists its own, and its [`crate::Format::steps`] returns them. Reports of crashes say with
/// their text what an operation was for, the crash and fault engines spread their effort over them, and rules
/// for injecting errors refer to them by name. Where QEMU's `blkdebug` has an event for the same step, use
/// its name, so that its rules mean the same here.
///
/// Two steps are the same if their names are.
#[derive(Clone, Copy)]
pub struct Step {
    /// Identifies the step in rules, statistics and reports: `l2_update`.
    pub name: &'static str,
    /// What is read or written, for reports: `L2 table`.
    pub text: &'static str,
    /// Whether the step is rare, and everything written before depends on it, as where a table moves: its
    /// crash points are judged even where most others are left out.
    pub is_rare: bool,
}

impl Step {
    /// Stands for operations before the first step. No driver takes it.
    pub const NONE: Self = Self::new("none", "unknown");

    /// A step that is not rare.
    pub const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, is_rare: false }
    }

    /// A step that is rare.
    pub const fn rare(name: &'static str, text: &'static str) -> Self {
        Self { name, text, is_rare: true }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Step {}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl Hash for Step {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_step_is_its_name() {
        let step = Step::new("table_move", "table");
        let other = Step::rare("table_move", "the table of another driver");
        assert_eq!(step, other);
        assert_eq!((step.to_string().as_str(), step.is_rare, other.is_rare), ("table_move", false, true));
        assert_eq!(HashSet::from([step, other, Step::NONE]).len(), 2);
        assert!(Step::new("a", "z") < Step::new("b", "a"));
    }
}
