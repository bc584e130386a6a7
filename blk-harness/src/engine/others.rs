//! What others keep in the image, and what another program says of it.

use super::{Run, Step};
use crate::driver::promises::{Changed, lost};
use crate::explain::{Scene, finding};
use crate::oracle::content::failed;
use crate::promise::{Promise, Violation};
use crate::scenario::Request;

impl Run<'_> {
    /// Notes whether a request that has succeeded has changed the disk.
    pub(super) fn note_change(&mut self, request: Request) {
        let has_length = request.range().is_none_or(|(_, length)| length > 0);
        match request {
            Request::Write { .. } | Request::WriteCompressed { .. } if has_length => self.has_changed = true,
            // Autoclear bits go with a change of the image.
            Request::Snapshot { act, .. } => self.may_have_changed |= act.change().is_some(),
            Request::WriteZeroes { .. } | Request::Discard { .. } | Request::Resize { .. } => {
                self.may_have_changed |= has_length;
            }
            _ => {}
        }
    }

    /// After the last reopen: what others kept in the image is there, and what has to go with a change has
    /// gone.
    pub(super) fn judge_kept_by_others(&self) -> Step {
        if self.kept.is_empty() {
            return Ok(());
        }
        let after = self.bench.kept();
        let after = after.map_err(|error| failed("reading what others keep in the image", &error))?;
        let changed = match (self.has_changed, self.may_have_changed) {
            (true, _) => Changed::Surely,
            (false, true) => Changed::Perhaps,
            (false, false) => Changed::No,
        };
        let Some(what) = lost(&self.kept, &after, changed) else { return Ok(()) };
        let violation = Violation::new(Promise::Others, what);
        Err(finding(&violation, Scene::plain(&self.journal, self.bench.test().size())))
    }

    /// Has another program judge what is left.
    pub(super) fn ask_others(&mut self) -> Step {
        let size = self.bench.reference().size();
        self.bench.second_opinion().map_err(|says| {
            let mut lines = says.lines();
            let first = lines.next().unwrap_or("nothing").to_owned();
            let mut violation = Violation::new(Promise::Answers, first);
            violation.notes.extend(lines.map(str::to_owned));
            finding(&violation.of(Promise::Consistent), Scene::plain(&self.journal, size))
        })
    }
}
