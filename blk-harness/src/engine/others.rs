//! What others keep in the image, and what another program says of it.

use super::{Run, Step};
use crate::driver::Kept;
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
        for before in &self.kept {
            let found = after.iter().find(|kept| kept.name == before.name);
            if !self.is_right(before, found.map_or(0, |kept| kept.digest)) {
                let how = if before.goes_with_change { "is not what it has to be" } else { "has changed" };
                let violation = Violation::new(Promise::Others, format!("{} {how}", before.name));
                return Err(finding(&violation, Scene::plain(&self.journal, self.bench.test().size())));
            }
        }
        Ok(())
    }

    fn is_right(&self, before: &Kept, digest: u64) -> bool {
        let is_same = digest == before.digest;
        if before.goes_with_change && self.has_changed {
            digest == 0
        } else {
            is_same || (before.goes_with_change && self.may_have_changed && digest == 0)
        }
    }

    /// Has another program judge what is left.
    pub(super) fn ask_others(&self) -> Step {
        self.bench.second_opinion().map_err(|says| {
            let mut lines = says.lines();
            let first = lines.next().unwrap_or("nothing").to_owned();
            let mut violation = Violation::new(Promise::Answers, first);
            violation.notes.extend(lines.map(str::to_owned));
            finding(&violation.of(Promise::Consistent), Scene::plain(&self.journal, self.bench.test().size()))
        })
    }
}
