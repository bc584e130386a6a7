//! What racing scenarios reached.

use std::fmt;

use serde::Serialize;

use crate::scenario::RequestKind;

const KINDS: usize = RequestKind::ALL.len();

/// Counts of one run or of many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RaceStats {
    /// Scenarios run, each with one schedule.
    pub schedules: u64,
    /// Of those, schedules in which a request gave way to another in its middle.
    pub interleaved: u64,
    /// Requests made.
    pub requests: u64,
    /// Requests that succeeded.
    pub accepted: u64,
    /// Requests that were in flight together with another.
    pub met: u64,
    /// Times that a request gave way to another.
    pub switches: u64,
    /// Points at which it could have.
    pub points: u64,
    /// Bytes that were read and judged.
    pub bytes_judged: u64,
    /// Times that two requests of these kinds, which overlap, were in flight together: the kind begun earlier, the later one.
    overlaps: Vec<u64>,
}

/// The form that programs read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RaceSummary {
    /// Scenarios run.
    pub scenarios: u64,
    /// Of those, schedules in which a request gave way to another in its middle.
    pub interleaved: u64,
    /// Requests made.
    pub requests: u64,
    /// Requests that succeeded.
    pub accepted: u64,
    /// Requests that were in flight together with another.
    pub met: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes of those that were judged.
    pub bytes_compared: u64,
    /// Pairs of kinds of request that overlapped in flight.
    pub overlaps: u64,
}

impl RaceStats {
    /// Counts two overlapping requests in flight together.
    pub(super) fn overlap(&mut self, earlier: RequestKind, later: RequestKind) {
        if self.overlaps.is_empty() {
            self.overlaps = vec![0; KINDS * KINDS];
        }
        self.overlaps[earlier.index() * KINDS + later.index()] += 1;
    }

    /// Times that a request of kind `earlier` was in flight when an overlapping one of kind `later` began.
    pub fn overlap_count(&self, earlier: RequestKind, later: RequestKind) -> u64 {
        self.overlaps.get(earlier.index() * KINDS + later.index()).copied().unwrap_or(0)
    }

    /// How many different pairs of kinds overlapped in flight.
    pub fn overlap_pairs(&self) -> u64 {
        self.overlaps.iter().filter(|count| **count > 0).count() as u64
    }

    /// The share of schedules in which a request gave way to another in its middle, in percent.
    pub fn interleaved_percent(&self) -> u64 {
        (self.interleaved * 100).checked_div(self.schedules).unwrap_or(0)
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.interleaved += other.interleaved;
        self.requests += other.requests;
        self.accepted += other.accepted;
        self.met += other.met;
        self.switches += other.switches;
        self.points += other.points;
        self.bytes_judged += other.bytes_judged;
        if self.overlaps.is_empty() {
            self.overlaps.clone_from(&other.overlaps);
        } else {
            for (mine, theirs) in self.overlaps.iter_mut().zip(&other.overlaps) {
                *mine += theirs;
            }
        }
    }

    /// The form that programs read.
    pub fn summary(&self) -> RaceSummary {
        RaceSummary {
            scenarios: self.schedules,
            interleaved: self.interleaved,
            requests: self.requests,
            accepted: self.accepted,
            met: self.met,
            bytes_read: self.bytes_judged,
            bytes_compared: self.bytes_judged,
            overlaps: self.overlap_pairs(),
        }
    }
}

impl fmt::Display for RaceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} schedules, {} % of them interleaved inside a request, {} requests, {} accepted, {} met another in flight, \
             {} switches at {} points, {} MiB judged, {} of {} pairs of kinds overlapped",
            self.schedules,
            self.interleaved_percent(),
            self.requests,
            self.accepted,
            self.met,
            self.switches,
            self.points,
            self.bytes_judged >> 20,
            self.overlap_pairs(),
            KINDS * KINDS
        )
    }
}
