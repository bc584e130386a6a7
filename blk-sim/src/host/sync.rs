//! Syncs of a host: of all of it, or of a part that is a file of its own.

use blk_core::storage::{Effect, Operation as Kind};
use blk_core::{Extent, Result};

use super::{Host, Issue, State, failure};
use crate::operation::Change;

impl Host {
    /// Makes all durable, or a part of the storage.
    pub(super) fn sync_all_or(&self, part: Option<Extent>) -> Result<()> {
        let issue = self.with(|state| {
            let failure = state.arrive(Kind::Sync, Extent::default());
            let changes = state.unsynced.count();
            let time = state.issue(|| part.map_or(Change::Sync, Change::SyncPart));
            Issue { time, changes, changed: Vec::new(), failure }
        });
        self.point();
        self.with(|state| state.complete_sync(&issue, part));
        self.point();
        issue.failure.map_or(Ok(()), |(errno, _)| Err(failure("sync", 0, errno)))
    }
}

impl State {
    fn complete_sync(&mut self, issue: &Issue, part: Option<Extent>) {
        let pending = self.pending;
        if part.is_none() {
            // After a part, something of the rest may be pending yet.
            self.pending = 0;
        }
        if let Some((_, effect)) = issue.failure {
            self.is_lossy |= pending > 0 && effect != Effect::All;
            self.complete(issue, |change| {
                *change = match part {
                    None => Change::LostSync(effect),
                    Some(part) => Change::LostSyncPart(part, effect),
                };
                true
            });
        } else {
            self.complete(issue, |_| true);
            match part {
                None => self.unsynced.covered(issue.changes),
                Some(part) => self.unsynced.covered_part(issue.changes, part),
            }
        }
    }
}
