//! The history checker: hears of every request when it begins and when it ends, tells the model, and judges
//! the reply.
//!
//! Requests may be in flight together. Whoever makes one asks [`Checker::begin`] for it and brings the reply
//! to [`Checker::end`]; what is read is judged transfer by transfer.

mod bitmaps;
pub(crate) mod flushed;
mod reader;
mod record;
mod replies;
mod snapshots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blk_core::sync::Mutex;
use blk_core::sync::model::in_one_step;
use blk_core::{Error, Extent};
use blk_sim::Host;

use crate::execute::Reply;
use crate::journal::Journal;
use crate::model::{BitmapChange, Change, Ending, Model, Source, Time, Write, is_fua};
use crate::promise::{Evidence, Kept, Promise, Violation};
use crate::refusal::{is_inside, may_refuse};
use crate::scenario::{OnSnapshot, Request, Turn};
use crate::space::Geometry;
use crate::statistics::{Counter, Statistics};

pub(crate) use reader::LaneReader;
pub(crate) use record::{Begun, Condition, Ended, Record, UNITS_PER_TABLE};
pub(crate) use replies::differing;

/// A time that never comes.
const NEVER: Time = Time::MAX;

/// A request in flight.
#[derive(Debug)]
struct Flight {
    record: usize,
    is_inside: bool,
    write: Option<Write>,
    /// A change of the snapshots.
    change: Option<Change>,
    /// A change of the dirty bitmaps.
    bitmaps: Option<BitmapChange>,
    /// Of a request about a snapshot or a bitmap, that it is there, or that the place of a new one is free.
    is_possible: bool,
    /// Operations of the storage that had failed when it began.
    failures: u64,
}

/// Judges what requests of one disk answer.
#[derive(Debug)]
pub(crate) struct Checker {
    journal: Arc<Journal>,
    host: Arc<Host>,
    /// Operations of the storage that had failed when that was last made up for.
    forgiven: AtomicU64,
    geometry: Geometry,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    model: Model,
    /// Requests that lanes make next, each with its number if it has one already.
    waiting: VecDeque<(Option<u32>, Request, Turn)>,
    /// Requests that lanes begin once an operation of the storage has failed; none for all that wait.
    after_failure: Option<u32>,
    /// One place for each lane.
    flights: Vec<Option<Flight>>,
    records: Vec<Record>,
    /// The first record of a request that failed because of the storage.
    surfaced: Option<usize>,
    condition: Condition,
    /// Units that requests have touched since the last flush, one for each time.
    touched: u64,
    /// When closes have made everything durable.
    closings: Vec<Time>,
    violation: Option<Box<Violation>>,
    stats: Statistics,
}

impl Checker {
    /// A checker for a disk that is as `model` says. What `host` fails excuses failures.
    pub(crate) fn new(
        journal: Arc<Journal>,
        model: Model,
        host: Arc<Host>,
        geometry: Geometry,
        lanes: usize,
    ) -> Self {
        let inner = Inner {
            model,
            waiting: VecDeque::new(),
            after_failure: None,
            flights: (0..lanes).map(|_| None).collect(),
            records: Vec::new(),
            surfaced: None,
            condition: Condition::default(),
            touched: 0,
            closings: Vec::new(),
            violation: None,
            stats: Statistics::default(),
        };
        Self { journal, host, forgiven: AtomicU64::new(0), geometry, inner: Mutex::new(inner) }
    }

    fn with<R>(&self, run: impl FnOnce(&mut Inner) -> R) -> R {
        in_one_step(|| run(&mut self.inner.lock()))
    }

    fn tick(&self) -> Time {
        self.host.tick()
    }

    /// Operations of the storage that have failed, and that nothing has made up for.
    pub(crate) fn failures(&self) -> u64 {
        self.host.failures() - self.forgiven.load(Ordering::Relaxed)
    }

    /// The first operation of the storage that failed.
    pub(crate) fn failed(&self) -> Option<blk_sim::Call> {
        self.host.failed()
    }

    /// Asks or changes the model.
    pub(crate) fn model<R>(&self, run: impl FnOnce(&mut Model, Time) -> R) -> R {
        let now = self.tick();
        self.with(|inner| run(&mut inner.model, now))
    }

    /// The requests so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.with(|inner| inner.records.clone())
    }

    /// What was counted so far.
    pub(crate) fn stats(&self) -> Statistics {
        self.with(|inner| inner.stats.clone())
    }

    /// The first promise that was broken, if one was.
    pub(crate) fn take_violation(&self) -> Kept {
        self.with(|inner| inner.violation.take()).map_or(Ok(()), Err)
    }

    pub(crate) fn condition(&self) -> Condition {
        self.with(|inner| inner.condition)
    }

    /// What the fault has done is made up for.
    pub(crate) fn forget_condition(&self) {
        self.forgiven.store(self.host.failures(), Ordering::Relaxed);
        self.with(|inner| inner.condition = Condition::default());
    }

    /// The first request that failed because of the storage.
    pub(crate) fn surfaced(&self) -> Option<(u32, Request)> {
        self.with(|inner| inner.surfaced.map(|record| &inner.records[record]).map(|r| (r.number, r.request)))
    }

    /// Goes on where a run without faults was.
    pub(crate) fn resume(&self, model: Model, touched: u64) {
        self.with(|inner| (inner.model, inner.touched) = (model, touched));
    }

    /// Units that requests have touched since the last flush.
    pub(crate) fn touched_by_requests(&self) -> u64 {
        self.with(|inner| inner.touched)
    }

    /// The handle was given up.
    pub(crate) fn give_up(&self) {
        self.with(|inner| {
            inner.condition.is_poisoned = true;
            inner.condition.has_surfaced = true;
        });
    }

    /// Units that the guest or the driver touched since the last flush before the fault: so many may leak.
    pub(crate) fn touched(&self) -> u64 {
        self.with(|inner| inner.condition.touched + inner.touched) + self.host.touched()
    }

    /// The promise that is broken by what must not happen: none but that answers are right, where nothing was
    /// provoked.
    pub(crate) fn provoked(&self, promise: Promise) -> Promise {
        if self.condition().is_faulted { promise } else { Promise::Answers }
    }

    /// Has lanes make these requests next, numbered from `first` on if they have been numbered already.
    pub(crate) fn load(&self, first: Option<u32>, requests: &[(Request, Turn)]) {
        let numbered =
            (0..).zip(requests).map(|(at, (request, turn))| (first.map(|n| n + at), *request, *turn));
        self.with(|inner| inner.waiting.extend(numbered));
    }

    /// Forgets what waits, and returns how many requests that were.
    pub(crate) fn unload(&self) -> usize {
        self.with(|inner| std::mem::take(&mut inner.waiting).len())
    }

    /// Lanes begin only `count` more requests once an operation of the storage has failed.
    pub(crate) fn end_after_failure(&self, count: u32) {
        self.with(|inner| inner.after_failure = Some(count));
    }

    /// Whether an operation of the storage has failed, after which there is an end.
    pub(crate) fn has_seen_enough(&self) -> bool {
        self.failures() > 0 && self.with(|inner| inner.after_failure.is_some())
    }

    /// Gives `lane` its next request; `None` when there is no more, or a promise was broken.
    pub(crate) fn next(&self, lane: usize) -> Option<Begun> {
        let has_failed = self.failures() > 0;
        let (number, request, turn) = self.with(|inner| {
            if inner.violation.is_some() {
                return None;
            }
            if let Some(left) = inner.after_failure.as_mut().filter(|_| has_failed) {
                *left = left.checked_sub(1)?;
            }
            inner.waiting.pop_front()
        })?;
        Some(self.begin(lane, number, request, turn))
    }

    /// `lane` makes a request, which is numbered here if it has no number.
    pub(crate) fn begin(&self, lane: usize, number: Option<u32>, request: Request, turn: Turn) -> Begun {
        let now = self.tick();
        let (changes, _) = self.host.changes();
        self.with(|inner| {
            let number = number.unwrap_or_else(|| self.journal.enter(request));
            let begun = Begun { number, request, turn };
            inner.begin(lane, begun, (now, changes), &self.geometry, self.failures())
        })
    }

    /// Hears what came of the request that `lane` had begun; `size` is that of the disk now.
    pub(crate) fn end(&self, lane: usize, size: u64, replied: Result<Reply, Error>) -> Ended {
        let (now, failures) = (self.tick(), self.failures());
        self.with(|inner| {
            let flight = inner.flights[lane].take().expect("a lane ends what it has begun");
            let number = inner.records[flight.record].number;
            match inner.end(&flight, (now, failures), size, replied) {
                Ok(()) => {}
                Err(violation) => {
                    inner.violation.get_or_insert_with(|| violation.noticed_by(number));
                }
            }
            let record = &mut inner.records[flight.record];
            assert!(record.issued < now && record.completed == NEVER, "a request ends once: {record:?}");
            record.completed = now;
            let ended = record.ended;
            // What was in flight with a flush may have come after it.
            if ended == Ended::Done && record.request == Request::Flush && record.met.is_empty() {
                self.forget_touched(inner);
            }
            let Record { request, issued, ref met, .. } = inner.records[flight.record];
            if ended == Ended::Done
                && let Err(violation) = inner.judge_flushed(&self.host, request, issued, met.is_empty())
            {
                inner.violation.get_or_insert(violation.noticed_by(number));
            }
            ended
        })
    }

    /// Keeps the first promise that was broken.
    fn note(&self, violation: Box<Violation>) {
        self.with(|inner| inner.violation.get_or_insert(violation).number);
    }

    /// Everything is durable: a flush that was issued at `issued`, or a close, has succeeded.
    pub(crate) fn closed(&self, issued: Time) {
        let now = self.tick();
        self.with(|inner| {
            inner.model.flushed(issued, now);
            inner.closings.push(now);
            self.forget_touched(inner);
            let judged = inner.judge_flushed(&self.host, Request::Flush, issued, true);
            if let Err(violation) = judged {
                inner.violation.get_or_insert(violation);
            }
        });
    }

    /// When closes have made everything durable.
    pub(crate) fn closings(&self) -> Vec<Time> {
        self.with(|inner| inner.closings.clone())
    }

    /// The time, for what is no request.
    pub(crate) fn now(&self) -> Time {
        self.tick()
    }

    fn forget_touched(&self, inner: &mut Inner) {
        if inner.condition.is_faulted {
            inner.condition.touched += inner.touched + self.host.touched();
        }
        inner.touched = 0;
        self.host.forget_touched();
    }

    /// Notes whether an operation of the storage has failed.
    pub(crate) fn notice_failures(&self) {
        let has_failed = self.failures() > 0;
        self.with(|inner| inner.condition.is_faulted |= has_failed);
    }

    /// Judges that something failed which is no request. `failures`: how many operations had failed before.
    pub(crate) fn excuse(&self, what: &'static str, failures: u64, error: &Error) -> Kept {
        let has_failed = self.failures() > failures;
        self.with(|inner| inner.excuse(what, has_failed, error))
    }
}

impl Inner {
    fn begin(
        &mut self,
        lane: usize,
        begun: Begun,
        (now, changes_before): (Time, u64),
        geometry: &Geometry,
        failures: u64,
    ) -> Begun {
        let Begun { number, request, .. } = begun;
        self.stats.add(Counter::Requests, 1);
        let met = self.meet(number, request, geometry.unit_bytes);
        let is_inside = is_inside(request, self.model.size());
        let (offset, length) = request.range().unwrap_or((0, 0));
        let extent = Extent::new(offset, length);
        let source = match request {
            _ if !is_inside => None,
            Request::Write { .. } | Request::WriteCompressed { .. } => Some(Source::Request(number, request)),
            Request::WriteZeroes { .. } | Request::Discard { .. } => Some(Source::Zeroes),
            _ => None,
        };
        let write = source.map(|source| self.model.begin_write(now, extent, source));
        let mut changes = write.map_or(Extent::default(), |write| write.extent);
        if let Request::Resize { size } = request {
            let old = self.model.size();
            changes = Extent::between(old.min(size), old.max(size));
            self.model.begin_resize(now, size);
        }
        let (change, replaced, is_there) = self.begin_snapshot(now, request);
        let (bitmaps, is_known) = self.begin_bitmap(now, request);
        let is_possible = is_there && is_known;
        if matches!(request, Request::Bitmap { .. } | Request::Reopen { .. }) {
            self.touched += self.model.bitmaps.units_max();
        }
        if change.is_some() {
            changes = replaced;
        }
        let units_beside = self.units_beside(request, geometry.unit_bytes);
        self.touched += units_beside;
        if !changes.is_empty() {
            let unit = geometry.unit_bytes;
            self.touched += changes.end().div_ceil(unit) - changes.offset / unit + 1;
        }
        let record = Record {
            number,
            request,
            changes,
            units_beside,
            new_size: None,
            issued: now,
            changes_before,
            completed: NEVER,
            ended: Ended::InFlight,
            met,
        };
        // What fails another request in flight may fail this one: they may wait for the same operation.
        let failures = self.flights.iter().flatten().map(|other| other.failures).min().unwrap_or(failures);
        assert!(self.flights[lane].is_none(), "a lane makes one request at a time");
        let record_index = self.records.len();
        self.flights[lane] =
            Some(Flight { record: record_index, is_inside, write, change, bitmaps, is_possible, failures });
        self.records.push(record);
        begun
    }

    fn end(
        &mut self,
        flight: &Flight,
        (now, failures): (Time, u64),
        size: u64,
        replied: Result<Reply, Error>,
    ) -> Kept {
        self.condition.is_faulted |= failures > 0;
        let Record { request, issued, .. } = self.records[flight.record];
        let size_before = self.model.size();
        let changes_size = matches!(
            request,
            Request::Resize { .. }
                | Request::Reopen { .. }
                | Request::Snapshot { act: OnSnapshot::Apply, .. }
        );
        let is_asked = || self.flights.iter().flatten().any(|other| self.asks_for(other, size));
        if !changes_size && size != size_before && !is_asked() {
            let what =
                format!("the disk has {size} bytes after a {}, and had {size_before}", request.kind().name());
            return Err(Violation::new(Promise::Size, what));
        }
        let is_done = replied.is_ok();
        self.tell_model(flight, request, issued, now, size, is_done)?;
        let ended = match replied {
            Ok(_) if !flight.is_inside => {
                let evidence = Evidence::Answer("None".to_owned());
                let what = "reaches past the end and succeeded";
                return Err(Violation::with(Promise::Answers, what, evidence));
            }
            Ok(_) if !flight.is_possible => {
                let evidence = Evidence::Answer("None".to_owned());
                let what = "asks for what is not there, or is there already, and succeeded";
                return Err(Violation::with(Promise::Answers, what, evidence));
            }
            Ok(reply) => {
                self.stats.add(Counter::Accepted, 1);
                self.judge_reply(flight, request, issued, reply)?;
                Ended::Done
            }
            Err(error) => {
                let has_failed = failures > flight.failures;
                if !has_failed && may_refuse(request, size_before, flight.is_possible, error.kind()) {
                    Ended::Refused
                } else {
                    self.excuse(request.kind().name(), has_failed, &error)?;
                    self.surfaced.get_or_insert(flight.record);
                    Ended::Failed
                }
            }
        };
        self.end_bitmap(flight, now, ended);
        self.records[flight.record].ended = ended;
        Ok(())
    }

    /// Whether what is in flight is a resize to `size`.
    fn asks_for(&self, flight: &Flight, size: u64) -> bool {
        matches!(self.records[flight.record].request, Request::Resize { size: asked } if asked == size)
    }

    fn tell_model(
        &mut self,
        flight: &Flight,
        request: Request,
        issued: Time,
        now: Time,
        size: u64,
        is_done: bool,
    ) -> Kept {
        if let Some(write) = flight.write {
            let ending = match request {
                _ if !is_done => Ending::MayStay,
                Request::Discard { .. } => Ending::MayStay,
                request if is_fua(request) => Ending::Durable,
                _ => Ending::Replaced,
            };
            self.model.end_write(now, write, ending).map_err(|error| Violation::memory(&error))?;
            let is_ignored =
                self.model.bitmaps.ignores_discards && matches!(request, Request::Discard { .. });
            if !is_ignored {
                self.model.follow(now, write, is_done);
            }
        }
        match request {
            Request::Flush if is_done => self.model.flushed(issued, now),
            Request::Resize { size: asked } => {
                let old = self.model.size();
                let ended = self.model.end_resize(issued, now, size);
                ended.map_err(|error| Violation::memory(&error))?;
                let is_right = if is_done { size == asked } else { size == old || size == asked };
                if !is_right {
                    let how = if is_done { "succeeded" } else { "failed" };
                    let what = format!("the disk has {size} bytes after a resize to {asked} that {how}");
                    return Err(Violation::new(Promise::Size, what));
                }
            }
            Request::Snapshot { act, .. } => self.tell_of_change(flight, act, (now, size), is_done)?,
            _ => {}
        }
        Ok(())
    }
}
