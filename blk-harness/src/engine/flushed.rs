//! Whether a flush has made durable what it answers for; see `checker::flushed`, which does the same where
//! requests may be in flight together.

use blk_core::{Extent, Result};

use super::{Run, Step};
use crate::checker::flushed::{NO_SYNC, NOT_SYNCED, answered_for, is_new_data, stamped};
use crate::explain::{Scene, finding};
use crate::oracle::content::failed;
use crate::promise::{Promise, Violation};
use crate::report::SECTOR_BYTES;
use crate::scenario::Request;

impl Run<'_> {
    /// How many changes of the storage have completed.
    pub(super) fn storage_changes(&self) -> u64 {
        self.bench.storage().map_or(0, |tap| tap.changes().0)
    }

    /// Notes a request before which there were `changes` of the storage.
    pub(super) fn note_write(&mut self, request: Request, changes: u64, is_done: bool) {
        if request.kind().changes_content() || matches!(request, Request::Resize { .. }) {
            self.last_write = Some(changes).filter(|_| is_done && is_new_data(request));
        }
    }

    /// Judges a flush, a write with FUA or a close that has succeeded.
    pub(super) fn judge_flushed(&self, number: u32, request: Request) -> Step {
        let (Some(within), Some(tap)) = (answered_for(request), self.bench.storage()) else { return Ok(()) };
        let missing = tap.is_missing(&mut |sector| self.is_shown(within, sector).unwrap_or(false));
        let missing = missing.map_err(|error| failed("reading the storage", &error))?;
        let has_no_sync = self.last_write.is_some_and(|before| tap.changes().1 <= before);
        let what = match (missing, has_no_sync) {
            (false, false) => return Ok(()),
            (true, _) => NOT_SYNCED,
            (false, true) => NO_SYNC,
        };
        let violation = Violation::new(Promise::Durable, what).noticed_by(number);
        Err(finding(&violation, Scene::plain(&self.journal, self.bench.test().size())))
    }

    /// Whether the reference shows these bytes where they were stamped for.
    fn is_shown(&self, within: Extent, sector: &[u8]) -> Result<bool> {
        let reference = self.bench.reference();
        let Some((address, _)) = stamped(sector, reference.size(), within) else { return Ok(false) };
        let mut shown = vec![0; SECTOR_BYTES as usize];
        reference.read(address, &mut shown)?;
        Ok(shown == sector)
    }
}
