//! Has what a lane reads judged, transfer by transfer.

use blk_core::Extent;

use super::Checker;
use crate::execute::Reader;
use crate::model::{Look, Time};
use crate::promise::Kept;

impl Checker {
    /// Judges `found`, which the disk shows from `at` on with nothing in flight; what it decides is decided.
    /// Its reading was issued at `issued`.
    pub(crate) fn observe(&self, issued: Time, at: u64, found: &[u8]) -> Kept {
        let now = self.tick();
        self.with(|inner| {
            let look = Look::begin(issued, Extent::new(at, found.len() as u64));
            inner.judge_look(now, look, at, found)
        })
    }
}

/// What a lane reads, as the checker judges it.
pub(crate) struct LaneReader<'a> {
    checker: &'a Checker,
    number: u32,
    issued: Time,
}

impl<'a> LaneReader<'a> {
    pub(crate) fn new(checker: &'a Checker, number: u32) -> Self {
        Self { checker, number, issued: 0 }
    }
}

impl Reader for LaneReader<'_> {
    fn begin(&mut self, _extent: Extent) -> bool {
        self.issued = self.checker.tick();
        true
    }

    fn end(&mut self, extent: Extent, bytes: &[u8]) {
        if let Err(violation) = self.checker.observe(self.issued, extent.offset, bytes) {
            self.checker.note(violation.noticed_by(self.number));
        }
    }

    fn snapshot(&mut self, slot: u8, extent: Extent, bytes: &[u8]) {
        if let Err(violation) = self.checker.observe_snapshot(slot, extent.offset, bytes) {
            self.checker.note(violation.noticed_by(self.number));
        }
    }
}
