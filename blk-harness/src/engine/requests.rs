//! Making one request of a scenario.

use blk_core::{Disk, Error, Extent};

use super::cluster_kind::ClusterKind;
use super::{Run, Step};
use crate::execute::Counting;
use crate::explain::{Scene, finding};
use crate::promise::{Promise, Violation};
use crate::scenario::{Repair, Request};
use crate::statistics::{Counter, Tally};

impl Run<'_> {
    pub(super) fn make(&mut self, request: Request) -> Step {
        let number = self.journal.enter(request);
        self.engine.stats.add(Counter::Requests, 1);
        let before = self.kinds_at(request);
        let result = match request {
            Request::Reopen { kill } => return self.make_reopen(kill),
            Request::Check { repair } => return self.make_check(repair),
            _ => self.perform(number, request),
        };
        match result {
            Ok(()) => self.engine.stats.add(Counter::Accepted, 1),
            Err(error @ (Error::Mismatch { .. } | Error::Poisoned { .. })) => {
                return Err(self.found("a request", &error));
            }
            // Both disks refused, or the difference is permitted.
            Err(_) => {}
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
        self.verify()
    }

    /// A repair of an image that nothing is wrong with has nothing to do.
    fn make_check(&mut self, repair: Repair) -> Step {
        let disk = self.disk();
        if disk.as_check().is_some() {
            match disk.check(repair.mode()) {
                Ok(checked) if checked.is_clean() => {}
                Ok(checked) => {
                    let what = "the check of the image is not clean";
                    let violation = Violation::image(Promise::Answers, what, &checked);
                    return Err(finding(&violation, Scene::plain(&self.journal, 0)));
                }
                Err(error) => return Err(self.found("checking the image", &error)),
            }
        }
        self.engine.stats.add(Counter::Accepted, 1);
        Ok(())
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("the verifier is there between reopens")
    }

    fn perform(&mut self, number: u32, request: Request) -> blk_core::Result<()> {
        if let Request::Resize { size } = request
            && size > self.engine.options.size_bytes_max
        {
            return Err(Error::NoSpace { what: "larger than this run allows".into() });
        }
        let disk = self.disk.as_ref().expect("the verifier is there between reopens");
        let mut counting = Counting::default();
        let executor = &mut self.engine.executor;
        let replied = executor.execute(disk, number, request, self.geometry.fill_bytes(), &mut counting);
        self.engine.stats.add(Counter::BytesRead, counting.bytes_read);
        self.engine.stats.add(Counter::BytesCompared, counting.bytes_read);
        replied.map(drop)
    }

    /// The kinds of the clusters in which a request starts and ends; the second only where that is another one.
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
