//! Requests about snapshots: what the model is told of them.

use blk_core::{Extent, SnapshotAct};

use super::{Checker, Flight, Inner};
use crate::model::{Change, Time};
use crate::promise::{Kept, Promise, Violation};
use crate::scenario::{OnSnapshot, Request};

impl Checker {
    /// Judges `found`, which the snapshot in `slot` shows from `at` on.
    pub(crate) fn observe_snapshot(&self, slot: u8, at: u64, found: &[u8]) -> Kept {
        self.with(|inner| inner.judge_snapshot(slot, at, found))
    }
}

impl Inner {
    /// Tells the model of a request about a snapshot, and what it changes of the disk. Also whether it is
    /// possible.
    pub(super) fn begin_snapshot(&mut self, now: Time, request: Request) -> (Option<Change>, Extent, bool) {
        let Request::Snapshot { act, slot } = request else { return (None, Extent::default(), true) };
        let Some(act) = act.change() else {
            return (None, Extent::default(), self.model.slot(slot).is_some());
        };
        let held = self.model.slot(slot).map_or(0, |held| held.size);
        let change = self.model.begin_change(now, act, slot);
        let is_applied = act == SnapshotAct::Apply && change.is_possible;
        let changes =
            if is_applied { Extent::new(0, self.model.size().max(held)) } else { Extent::default() };
        let is_possible = change.is_possible;
        (Some(change), changes, is_possible)
    }

    pub(super) fn tell_of_change(
        &mut self,
        flight: &Flight,
        act: OnSnapshot,
        (now, size): (Time, u64),
        is_done: bool,
    ) -> Kept {
        let Some(change) = &flight.change else { return Ok(()) };
        let old = self.model.size();
        let ended = self.model.end_change(now, change, is_done && flight.is_possible, size);
        ended.map_err(|error| Violation::memory(&error))?;
        let expected = self.model.size();
        if is_done && expected != size {
            let what = format!("the disk has {size} bytes after a snapshot of {expected} was applied");
            return Err(Violation::new(Promise::Size, what));
        }
        if act == OnSnapshot::Apply && is_done {
            // All of the disk is what the snapshot held, and no longer than that.
            self.records[flight.record].new_size = Some(size);
        }
        debug_assert!(is_done || act != OnSnapshot::Create || expected == old, "a new one changes no size");
        Ok(())
    }
}
