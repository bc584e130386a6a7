//! What runs did: so that a fuzzer can say what share of its work compared something, and what it reached.

use std::fmt;

use blk_core::BlockStatus;
use serde::{Deserialize, Serialize};

use crate::scenario::RequestKind;

/// What a cluster of the disk under test is, as its block status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClusterKind {
    /// The layer below shows.
    Unallocated,
    /// Marked as zeroes, without host space.
    ZeroPlain,
    /// Marked as zeroes, keeping host space.
    ZeroAllocated,
    /// Plain data.
    Data,
    /// Compressed data.
    Compressed,
}

impl ClusterKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Unallocated, Self::ZeroPlain, Self::ZeroAllocated, Self::Data, Self::Compressed];

    /// What a status says.
    pub fn of(status: &BlockStatus) -> Self {
        match (status.allocated, status.zero) {
            (false, _) => Self::Unallocated,
            (true, true) if status.host_offset.is_some() => Self::ZeroAllocated,
            (true, true) => Self::ZeroPlain,
            (true, false) if status.compressed => Self::Compressed,
            (true, false) => Self::Data,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unallocated => "unallocated",
            Self::ZeroPlain => "zero",
            Self::ZeroAllocated => "zero-allocated",
            Self::Data => "data",
            Self::Compressed => "compressed",
        }
    }
}

const KINDS: usize = ClusterKind::ALL.len();
const REQUESTS: usize = RequestKind::ALL.len();

/// Counts of one run or of many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunStats {
    /// Scenarios run.
    pub scenarios: u64,
    /// Requests made.
    pub requests: u64,
    /// Requests that succeeded.
    pub accepted: u64,
    /// Bytes read from the disk under test, by requests and oracles.
    pub bytes_read: u64,
    /// Bytes of those that were compared with the reference.
    pub bytes_compared: u64,
    /// Times that a cluster of each kind was met, by [`ClusterKind::ALL`].
    pub kinds: [u64; KINDS],
    /// Times of each transition: kind before, request, kind after.
    transitions: Vec<u64>,
}

/// The form that programs read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Scenarios run.
    pub scenarios: u64,
    /// Requests made.
    pub requests: u64,
    /// Requests that succeeded.
    pub accepted: u64,
    /// Bytes read from the disk under test.
    pub bytes_read: u64,
    /// Bytes of those that were compared.
    pub bytes_compared: u64,
    /// Names of the kinds of cluster that were met.
    pub kinds: Vec<String>,
    /// Different transitions (kind before, request, kind after) that were met.
    pub transitions: u64,
}

impl RunStats {
    /// Counts a cluster that was `before`, then `request`, then is `after`.
    pub fn transition(&mut self, before: ClusterKind, request: RequestKind, after: ClusterKind) {
        if self.transitions.is_empty() {
            self.transitions = vec![0; KINDS * REQUESTS * KINDS];
        }
        self.kinds[before as usize] += 1;
        self.kinds[after as usize] += 1;
        self.transitions[(before as usize * REQUESTS + request.index()) * KINDS + after as usize] += 1;
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Self) {
        self.scenarios += other.scenarios;
        self.requests += other.requests;
        self.accepted += other.accepted;
        self.bytes_read += other.bytes_read;
        self.bytes_compared += other.bytes_compared;
        for (mine, theirs) in self.kinds.iter_mut().zip(other.kinds) {
            *mine += theirs;
        }
        if self.transitions.is_empty() {
            self.transitions.clone_from(&other.transitions);
        } else {
            for (mine, theirs) in self.transitions.iter_mut().zip(&other.transitions) {
                *mine += theirs;
            }
        }
    }

    /// Names of the kinds of cluster that were met.
    pub fn kind_names(&self) -> Vec<&'static str> {
        ClusterKind::ALL
            .iter()
            .filter(|kind| self.kinds[**kind as usize] > 0)
            .map(|kind| kind.name())
            .collect()
    }

    /// How many different transitions were met.
    pub fn transition_count(&self) -> u64 {
        self.transitions.iter().filter(|count| **count > 0).count() as u64
    }

    /// The transitions that change the kind and were met, as `before -> request -> after: times`.
    pub fn changes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, count) in self.transitions.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (before, after) =
                (ClusterKind::ALL[index / KINDS / REQUESTS], ClusterKind::ALL[index % KINDS]);
            if before != after {
                let request = RequestKind::ALL[index / KINDS % REQUESTS];
                lines.push(format!("{} -> {} -> {}: {count}", before.name(), request.name(), after.name()));
            }
        }
        lines
    }

    /// The form that programs read.
    pub fn summary(&self) -> Summary {
        Summary {
            scenarios: self.scenarios,
            requests: self.requests,
            accepted: self.accepted,
            bytes_read: self.bytes_read,
            bytes_compared: self.bytes_compared,
            kinds: self.kind_names().into_iter().map(str::to_owned).collect(),
            transitions: self.transition_count(),
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share in percent needs no more than a few digits")]
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl fmt::Display for RunStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} scenarios, {} requests, {:.1} % accepted, {:.1} % of {} MiB read compared, clusters: {}, {} transitions",
            self.scenarios,
            self.requests,
            percent(self.accepted, self.requests),
            percent(self.bytes_compared, self.bytes_read),
            self.bytes_read >> 20,
            self.kind_names().join(" "),
            self.transition_count()
        )
    }
}
