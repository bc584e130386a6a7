//! One thread of a session: makes requests, one after another.

use blk_core::{BlockDriver, Error};

use super::{Counts, Shared, found};
use crate::execute::{Counting, Executor};
use crate::generate::Generator;
use crate::report::Finding;
use crate::scenario::{Request, Scenario};
use crate::verify::Verify;

/// Longest zeroes and discard that are generated, bytes: what they leave is read.
const RANGE_BYTES_MAX: u64 = 4 << 20;
/// Longest range whose block status is generated, bytes: it is walked, and what it claims to be zero is read.
const STATUS_BYTES_MAX: u64 = 1 << 20;
/// A trace may ask for more: that becomes several requests, each with a number of its own.
const TRANSFER_BYTES: u64 = 4 << 20;

/// One thread of a session.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    verify: &'a Verify,
    shared: &'a Shared,
    takes: Takes,
    executor: Executor,
}

/// Which generated requests are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Takes {
    pub(super) read_only: bool,
    pub(super) resize: bool,
}

impl<'a> Worker<'a> {
    /// `takes` counts for generated requests alone.
    pub(super) fn new(verify: &'a Verify, shared: &'a Shared, takes: Takes) -> Self {
        Self { verify, shared, takes, executor: Executor::in_a_hurry() }
    }

    /// Makes generated requests, about `quota` of them.
    pub(super) fn run(
        &mut self,
        generator: &mut Generator,
        quota: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Box<Finding>> {
        let mut scenario = Scenario::default();
        let mut made = 0;
        while made < quota && !stop() {
            generator.next_into(&mut scenario);
            self.shared.history.begin_scenario();
            for request in made_of(&scenario, self.takes) {
                made += 1;
                self.make(request)?;
            }
        }
        Ok(())
    }

    /// Makes a request. That both disks refuse it is no finding.
    pub(super) fn make(&mut self, request: Request) -> Result<(), Box<Finding>> {
        let Shared { journal, counts, touched, history, fill_bytes } = self.shared;
        Counts::add(&counts.requests, 1);
        history.add(request);
        let request = self.aligned(request);
        if matches!(request, Request::Reopen { .. } | Request::Check { .. }) {
            Counts::add(&counts.accepted, 1);
            return Ok(());
        }
        if self.takes.read_only && request.op().is_some_and(|op| op.needs_write_access()) {
            return Ok(());
        }
        touched.add(request);
        for part in transfers(request, self.verify.size()) {
            let mut counting = Counting::default();
            let number = journal.enter(part);
            let verify = self.verify.numbered(number);
            match self.executor.execute(&verify, number, part, *fill_bytes, &mut counting) {
                Ok(_) => {}
                Err(error @ (Error::Mismatch { .. } | Error::Poisoned { .. })) => {
                    return Err(found(journal, "a request", &error));
                }
                Err(_) => return Ok(()),
            }
            Counts::add(&counts.bytes_compared, counting.bytes_read);
        }
        Counts::add(&counts.accepted, 1);
        Ok(())
    }

    /// The range of a request in whole units of the request alignment, so that not all of them are refused.
    fn aligned(&self, request: Request) -> Request {
        let alignment = self.verify.limits().request_alignment;
        let align = |offset: &mut u64, length: &mut u64| {
            let end = offset.saturating_add(*length);
            *offset &= !(alignment - 1);
            *length = (end - *offset).checked_next_multiple_of(alignment).unwrap_or(end - *offset);
        };
        let mut request = request;
        if alignment > 1 {
            match &mut request {
                Request::Read { offset, length }
                | Request::Write { offset, length, .. }
                | Request::WriteCompressed { offset, length, .. }
                | Request::WriteZeroes { offset, length, .. }
                | Request::Discard { offset, length }
                | Request::Status { offset, length } => align(offset, length),
                Request::Resize { size } => *size &= !(alignment - 1),
                Request::Flush
                | Request::Reopen { .. }
                | Request::Check { .. }
                | Request::Snapshot { .. }
                | Request::Amend { .. }
                | Request::Bitmap { .. } => {}
            }
        }
        request
    }
}

/// The requests that are made of a generated scenario.
pub(super) fn made_of(scenario: &Scenario, takes: Takes) -> impl Iterator<Item = Request> + '_ {
    scenario.requests.iter().filter(move |request| takes.request(request)).map(|request| shortened(*request))
}

impl Takes {
    fn request(self, request: &Request) -> bool {
        match request {
            Request::Reopen { .. }
            | Request::Check { .. }
            | Request::Snapshot { .. }
            | Request::Amend { .. }
            | Request::Bitmap { .. } => false,
            Request::Resize { .. } => self.resize && !self.read_only,
            Request::Read { .. } | Request::Status { .. } => true,
            _ => !self.read_only,
        }
    }
}

/// On large disks, ranges are cut to what takes no time.
fn shortened(mut request: Request) -> Request {
    match &mut request {
        Request::WriteZeroes { length, .. } | Request::Discard { length, .. } => {
            *length = (*length).min(RANGE_BYTES_MAX);
        }
        Request::Status { length, .. } => *length = (*length).min(STATUS_BYTES_MAX),
        _ => {}
    }
    request
}

/// Cuts a request that moves data and lies on a disk of `size` bytes into transfers; all others stay whole.
fn transfers(request: Request, size: u64) -> impl Iterator<Item = Request> {
    let range = request.range().filter(|_| request.kind().moves_data());
    let end = range.and_then(|(offset, length)| offset.checked_add(length)).filter(|end| *end <= size);
    let start = range.map_or(0, |(offset, _)| offset);
    let whole = (end.is_none_or(|end| end == start)).then_some(request);
    let cut = (start..end.unwrap_or(start)).step_by(TRANSFER_BYTES as usize).map(move |at| {
        let part = end.map_or(0, |end| (end - at).min(TRANSFER_BYTES));
        with_range(request, at, part)
    });
    whole.into_iter().chain(cut)
}

fn with_range(mut request: Request, at: u64, part: u64) -> Request {
    if let Request::Read { offset, length }
    | Request::Write { offset, length, .. }
    | Request::WriteCompressed { offset, length, .. } = &mut request
    {
        (*offset, *length) = (at, part);
    }
    request
}
