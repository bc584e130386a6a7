//! What a run has done so far: the requests, for reports, and the findings. It outlives a reopen of the
//! disks.

use std::fmt;

use blk_core::sync::Mutex;
use blk_core::sync::atomic::{AtomicU64, Ordering};

use blk_core::{Extent, Op};

use crate::RequestKind;
use crate::report::Finding;
use crate::stamp;

/// Requests that are remembered; reports can name no older ones.
const REMEMBERED: usize = 1 << 14;
/// Findings that are kept under the policy that goes on after one.
const FINDINGS_MAX: usize = 1000;

/// What was done to a disk: a request, or a step of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A request.
    Op(Op),
    /// It was closed and opened again; or, for `kill`, flushed, dropped without a close, and opened again.
    Reopen {
        /// Without a close.
        kill: bool,
    },
}

impl Entry {
    /// What it does, without its operands.
    pub fn kind(&self) -> RequestKind {
        match self {
            Self::Op(op) => op.kind().into(),
            Self::Reopen { .. } => RequestKind::Reopen,
        }
    }
}

impl Entry {
    /// The bytes of the disk that it is about, if it is about some.
    pub fn extent(&self) -> Option<Extent> {
        match self {
            Self::Op(op) => op.extent(),
            Self::Reopen { .. } => None,
        }
    }
}

impl From<Op> for Entry {
    fn from(op: Op) -> Self {
        Self::Op(op)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op(op) => op.fmt(f),
            Self::Reopen { kill: false } => f.write_str("reopen"),
            Self::Reopen { kill: true } => f.write_str("kill"),
        }
    }
}

/// Requests and findings of a run.
#[derive(Default)]
pub struct Journal {
    /// Requests entered so far; changes under the lock only.
    count: AtomicU64,
    inner: Mutex<Inner>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither requests nor reports: they are thousands of lines.
        let findings = self.inner.lock().finding_count;
        f.debug_struct("Journal")
            .field("requests", &self.count)
            .field("findings", &findings)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inner {
    /// The last requests; that of stamp number `n` stands at `n % REMEMBERED`.
    requests: Vec<Option<Entry>>,
    findings: Vec<Finding>,
    finding_count: u64,
}

impl Journal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stamp number of the next request.
    pub fn next_number(&self) -> u32 {
        stamp::number_of(self.request_count() + 1)
    }

    /// Enters a request; returns its stamp number.
    #[inline]
    pub fn enter(&self, request: impl Into<Entry>) -> u32 {
        let entry = request.into();
        let mut inner = self.inner.lock();
        let count = self.request_count() + 1;
        self.count.store(count, Ordering::Relaxed);
        let number = stamp::number_of(count);
        let slot = number as usize % REMEMBERED;
        if slot >= inner.requests.len() {
            let length = (slot + 1).next_power_of_two().min(REMEMBERED);
            inner.requests.resize(length, None);
        }
        inner.requests[slot] = Some(entry);
        number
    }

    /// The stamp number of the request that was entered last; 1 before the first.
    #[inline]
    pub fn current_number(&self) -> u32 {
        stamp::number_of(self.request_count().max(1))
    }

    /// The request of that stamp number, if it is remembered.
    pub fn request(&self, number: u32) -> Option<Entry> {
        let inner = self.inner.lock();
        let newest = self.current_number();
        let age = (newest + stamp::NUMBERS_END - 1 - number) % (stamp::NUMBERS_END - 1);
        if age as usize >= REMEMBERED {
            return None;
        }
        inner.requests.get(number as usize % REMEMBERED).copied().flatten()
    }

    /// How many requests were entered.
    #[inline]
    pub fn request_count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Adds a finding.
    pub fn add(&self, finding: Finding) {
        let mut inner = self.inner.lock();
        inner.finding_count += 1;
        if inner.findings.len() < FINDINGS_MAX {
            inner.findings.push(finding);
        }
    }

    /// Whether anything was found.
    pub fn has_findings(&self) -> bool {
        self.inner.lock().finding_count > 0
    }

    /// The findings, the first thousand of them.
    pub fn findings(&self) -> Vec<Finding> {
        self.inner.lock().findings.clone()
    }
}
