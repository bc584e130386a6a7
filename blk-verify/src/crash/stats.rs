//! What crashed scenarios reached.

use std::collections::BTreeMap;
use std::fmt;

use blk_core::storage::Step;

/// Counts over all runs of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrashStats {
    /// Scenarios run.
    pub scenarios: u64,
    /// Requests made.
    pub requests: u64,
    /// Requests that the disk did not refuse.
    pub accepted: u64,
    /// Crash points that were judged: operations of the storage, and flushes.
    pub points: u64,
    /// States judged, those that had been seen before in the same scenario included.
    pub states: u64,
    /// Distinct images among them: each was opened, read, checked and used.
    pub distinct: u64,
    /// Distinct images in which something that was pending had not persisted.
    pub with_losses: u64,
    /// Images opened: also those for repairs and second crashes.
    pub opens: u64,
    /// Images with leaks that were repaired.
    pub repairs: u64,
    /// Recoveries that wrote.
    pub recoveries: u64,
    /// States of second crashes, during recovery.
    pub recovery_states: u64,
    /// Requests made of disks after a crash.
    pub further_requests: u64,
    /// States with a deviation that the profile knows.
    pub known_deviations: u64,
    /// Most operations that were pending at once.
    pub pending_max: u64,
    /// Crash points right after an operation of each of the driver's steps.
    pub steps: BTreeMap<&'static Step, u64>,
    /// How often an operation of each of the driver's steps had not persisted, while a later one had.
    pub lost: BTreeMap<&'static Step, u64>,
}

impl CrashStats {
    /// The counts for the status line of a fuzzer.
    pub fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "scenarios": self.scenarios,
            "requests": self.requests,
            "accepted": self.accepted,
            "crash_points": self.points,
            "states": self.states,
            "distinct_states": self.distinct,
            "with_losses": self.with_losses,
            "repairs": self.repairs,
            "recoveries": self.recoveries,
            "recovery_states": self.recovery_states,
            "further_requests": self.further_requests,
            "known_deviations": self.known_deviations,
            "pending_max": self.pending_max,
            "steps": self.steps.len(),
            "steps_lost": self.lost.len(),
        })
    }

    /// Adds another engine's counts.
    pub fn merge(&mut self, other: &Self) {
        self.scenarios += other.scenarios;
        self.requests += other.requests;
        self.accepted += other.accepted;
        self.points += other.points;
        self.states += other.states;
        self.distinct += other.distinct;
        self.with_losses += other.with_losses;
        self.opens += other.opens;
        self.repairs += other.repairs;
        self.recoveries += other.recoveries;
        self.recovery_states += other.recovery_states;
        self.further_requests += other.further_requests;
        self.known_deviations += other.known_deviations;
        self.pending_max = self.pending_max.max(other.pending_max);
        for (mine, others) in [(&mut self.steps, &other.steps), (&mut self.lost, &other.lost)] {
            for (step, count) in others {
                *mine.entry(*step).or_default() += count;
            }
        }
    }
}

impl fmt::Display for CrashStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} scenarios, {} of {} requests accepted, {} crash points, {} states, {} of them distinct, {} with \
             losses, {} repairs, {} recoveries with {} states of a second crash, {} further requests",
            self.scenarios,
            self.accepted,
            self.requests,
            self.points,
            self.states,
            self.distinct,
            self.with_losses,
            self.repairs,
            self.recoveries,
            self.recovery_states,
            self.further_requests
        )
    }
}
