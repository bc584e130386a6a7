//! What has completed touches the storage no more: a handle that was closed, and, where its driver promises
//! that, a flush.

use std::sync::Arc;

use blk_core::Disk;

use super::Run;
use crate::promise::{Kept, Promise, Violation};

impl Run<'_> {
    /// Drops a handle whose close has succeeded: it has nothing to do any more.
    pub(super) fn drop_closed(&mut self, disk: Arc<Disk>) -> Kept {
        self.edits_at_flush = None;
        let edits = self.host.edits();
        drop(disk);
        if self.host.edits() == edits {
            return Ok(());
        }
        Err(Violation::new(Promise::Completed, "a handle that was closed changes the storage"))
    }

    /// Whether nothing has changed the storage since a flush that was the last request, alone. Where
    /// something has failed, others repair it in between.
    pub(super) fn stays_after_flush(&mut self) -> Kept {
        let Some(edits) = self.edits_at_flush.take() else { return Ok(()) };
        let is_asked = self.images.promises.rests_after_flush && self.host.failures() == 0;
        if !is_asked || self.host.edits() == edits {
            return Ok(());
        }
        let what = "the storage is changed after a flush has completed and before the next request";
        Err(Violation::new(Promise::Completed, what))
    }
}
