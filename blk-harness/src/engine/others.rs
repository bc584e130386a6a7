//! What others keep in the image, and what another program says of it.

use super::{Run, Step};
use crate::driver::promises::{Was, lost};
use crate::explain::{Scene, finding};
use crate::oracle::content::failed;
use crate::promise::{Promise, Violation};
use crate::scenario::Request;

impl Run<'_> {
    /// Notes what a request that has succeeded has done to the image.
    pub(super) fn note_change(&mut self, request: Request) {
        let has_length = request.range().is_none_or(|(_, length)| length > 0);
        let changed = match request {
            Request::Write { .. } | Request::WriteCompressed { .. } if has_length => Was::Surely,
            Request::Amend { .. } => {
                self.since.amended = Was::Perhaps;
                Was::Perhaps
            }
            // Autoclear bits go with a change of the image.
            Request::Snapshot { act, .. } if act.change().is_some() => Was::Perhaps,
            Request::Bitmap { act, .. } if act.change().is_some() => Was::Perhaps,
            Request::WriteZeroes { .. } | Request::Discard { .. } | Request::Resize { .. } if has_length => {
                Was::Perhaps
            }
            _ => Was::No,
        };
        self.since.changed = self.since.changed.max(changed);
    }

    /// After the last reopen: what others kept in the image is there, and what has to go with a change has
    /// gone.
    pub(super) fn judge_kept_by_others(&self) -> Step {
        if self.kept.is_empty() {
            return Ok(());
        }
        let after = self.bench.kept();
        let after = after.map_err(|error| failed("reading what others keep in the image", &error))?;
        let Some(what) = lost(&self.kept, &after, self.since) else { return Ok(()) };
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
