//! Making one request of a scenario.

use blk_core::{Data, Error, Extent, Op, Perform, Reply};
use blk_sim::progress;

use super::cluster_kind::ClusterKind;
use super::{Run, Step};
use crate::execute::Counting;
use crate::explain::{Scene, finding};
use crate::promise::{Promise, Violation};
use crate::scenario::{Repair, Request};
use crate::statistics::{Counter, Tally};
use crate::verify::Verify;

impl Run<'_> {
    pub(super) fn make(&mut self, request: Request) -> Step {
        let number = self.journal.enter(request);
        progress::at_request(number);
        self.engine.stats.add(Counter::Requests, 1);
        let before = self.kinds_at(request);
        let kept = self.before(request);
        let changes = self.storage_changes();
        let result = match request {
            Request::Reopen { kill } => return self.make_reopen(kill),
            Request::Check { repair } => return self.make_check(number, repair),
            _ => {
                let asked = self.begin_bitmaps(request);
                let replied = self.perform(number, request);
                self.end_bitmaps(number, request, &asked, &replied)?;
                replied.map(drop)
            }
        };
        match result {
            Ok(()) => {
                self.engine.stats.add(Counter::Accepted, 1);
                self.note_change(request);
                self.note_amendment(request)?;
                // What is promised of space is so of an image as it was made.
                self.has_snapshots |= matches!(request, Request::Snapshot { .. }) || moves_space(request);
                self.note_write(request, changes, true);
                self.judge_flushed(number, request)?;
                self.judge_space(number, request, &kept)?;
                self.probe_reuse(number, request)?;
            }
            Err(error @ (Error::Mismatch { .. } | Error::Poisoned { .. })) => {
                return Err(self.found("a request", &error));
            }
            // Both disks refused, or the difference is permitted.
            Err(_) => self.note_write(request, changes, false),
        }
        for (before, after) in before.into_iter().zip(self.kinds_at(request)) {
            if let (Some(before), Some(after)) = (before, after) {
                let names = [before.name(), request.kind().name(), after.name()];
                self.engine.stats.tally(Tally::Transitions, names);
                self.engine.stats.tally(Tally::Kinds, [before.name(), "", ""]);
                self.engine.stats.tally(Tally::Kinds, [after.name(), "", ""]);
            }
        }
        Ok(())
    }

    fn make_reopen(&mut self, kill: bool) -> Step {
        self.reopen(kill)?;
        self.engine.stats.add(Counter::Accepted, 1);
        self.start_verifier()
    }

    /// A repair of an image that nothing is wrong with has nothing to do.
    fn make_check(&mut self, number: u32, repair: Repair) -> Step {
        let verify = self.verifier().numbered(number);
        if verify.can_check() {
            match verify.perform(Op::Check { repair: repair.mode() }, Data::None) {
                Ok(Reply::Checked(checked)) if !checked.is_clean() => {
                    let what = "the check of the image is not clean";
                    let violation = Violation::image(Promise::Answers, what, &checked);
                    return Err(finding(&violation, Scene::plain(&self.journal, 0)));
                }
                Ok(_) => {}
                Err(error) => return Err(self.found("checking the image", &error)),
            }
        }
        self.engine.stats.add(Counter::Accepted, 1);
        Ok(())
    }

    fn verifier(&self) -> &Verify {
        self.verify.as_ref().expect("the verifier is there between reopens")
    }

    fn perform(&mut self, number: u32, request: Request) -> blk_core::Result<crate::execute::Reply> {
        if let Request::Resize { size } = request
            && size > self.engine.options.size_bytes_max
        {
            return Err(Error::NoSpace { what: "larger than this run allows".into() });
        }
        let verify = self.verify.as_ref().expect("the verifier is there between reopens").numbered(number);
        let mut counting = Counting::default();
        let executor = &mut self.engine.executor;
        let replied = executor.execute(&verify, number, request, self.geometry.fill_bytes(), &mut counting);
        self.engine.stats.add(Counter::BytesRead, counting.bytes_read);
        self.engine.stats.add(Counter::BytesCompared, counting.bytes_read);
        replied
    }

    /// The kinds of the clusters in which a request starts and ends; the second only where that is another
    /// one.
    fn kinds_at(&self, request: Request) -> [Option<ClusterKind>; 2] {
        let range = request.range().filter(|(_, length)| self.engine.options.track_kinds && *length > 0);
        let Some((first, length)) = range else { return [None; 2] };
        let cluster = |offset: u64| offset / self.geometry.unit_bytes;
        let last = first.checked_add(length - 1).filter(|last| cluster(*last) != cluster(first));
        [self.kind_at(first), last.and_then(|last| self.kind_at(last))]
    }

    fn kind_at(&self, offset: u64) -> Option<ClusterKind> {
        let test = self.bench.test();
        let start = offset & !(test.limits().request_alignment - 1);
        let status = test.block_status(Extent::new(start, test.limits().request_alignment)).ok()?;
        Some(ClusterKind::of(&status))
    }
}

/// Whether an amendment gives an image other structures: a lazy image takes the space that it took.
fn moves_space(request: Request) -> bool {
    let Request::Amend { option } = request else { return false };
    let option = option.to_string();
    ["compat=", "refcount_bits="].iter().any(|name| option.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn only_other_structures_move_space() {
        for (option, moves) in [
            ("compat=0.10", true),
            ("refcount_bits=1", true),
            ("lazy_refcounts=on", false),
            ("lazy_refcounts=off", false),
        ] {
            let text = format!("blk-scenario 1\namend -o {option}\nflush\n");
            let requests = Scenario::from_text(&text).unwrap().requests;
            assert_eq!(
                requests.iter().map(|request| moves_space(*request)).collect::<Vec<_>>(),
                [moves, false]
            );
        }
    }
}
