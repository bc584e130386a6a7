//! Making one request of a scenario.

use blk_core::{Disk, Error, Extent};

use super::{Run, Step};
use crate::oracle::image;
use crate::scenario::{Repair, Request};
use crate::stats::ClusterKind;

impl Run<'_> {
    pub(super) fn make(&mut self, request: Request) -> Step {
        let number = self.journal.enter(request);
        self.engine.stats.requests += 1;
        let before = self.kinds_at(request);
        let result = match request {
            Request::Reopen { kill } => return self.make_reopen(kill),
            Request::Check { repair } => return self.make_check(repair),
            _ => self.perform(number, request),
        };
        match result {
            Ok(()) => self.engine.stats.accepted += 1,
            Err(error @ (Error::Mismatch { .. } | Error::Poisoned { .. })) => {
                return Err(self.found("a request", &error));
            }
            // Both disks refused, or the difference is permitted.
            Err(_) => {}
        }
        for (before, after) in before.into_iter().zip(self.kinds_at(request)) {
            if let (Some(before), Some(after)) = (before, after) {
                self.engine.stats.transition(before, request.kind(), after);
            }
        }
        Ok(())
    }

    fn make_reopen(&mut self, kill: bool) -> Step {
        self.reopen(kill)?;
        self.engine.stats.accepted += 1;
        self.verify()
    }

    /// A repair of an image that nothing is wrong with has nothing to do.
    fn make_check(&mut self, repair: Repair) -> Step {
        let disk = self.disk();
        if disk.as_check().is_some() {
            match disk.check(repair.mode()) {
                Ok(checked) if checked.is_clean() => {}
                Ok(checked) => return Err(Box::new(image::finding(&checked))),
                Err(error) => return Err(self.found("checking the image", &error)),
            }
        }
        self.engine.stats.accepted += 1;
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
        let performer = &mut self.engine.performer;
        let before = performer.bytes_read();
        let result = performer.perform(disk, number, request, self.geometry.fill_bytes());
        let read = performer.bytes_read() - before;
        self.engine.stats.bytes_read += read;
        self.engine.stats.bytes_compared += read;
        result
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
