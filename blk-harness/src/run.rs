//! A scenario on a driver: its requests, in order, in lanes or in threads; reopens and checks between them;
//! and the looks that settle what a discard or a failure has left open.

mod adopt;
mod amended;
mod bitmaps;
mod completed;
mod drive;
mod guard;
mod poison;
mod reading;
mod snapshots;
mod threads;
mod together;

use std::sync::Arc;

use blk_core::{Disk, Extent, RepairMode, Storage};
use blk_sim::scheduler::{self, Control, Tasks};
use blk_sim::{Host, Points, progress};

use crate::checker::{Checker, Ended, LaneReader};
use crate::execute::{Counting, Executor, Reply};
use crate::images::Images;
use crate::inspect;
use crate::journal::Journal;
use crate::model::Model;
use crate::oracle::touched::touched;
use crate::promise::{Evidence, Kept, Promise, Violation};
use crate::refusal::is_handle_lost;
use crate::relay::Relay;
use crate::scenario::{Request, Turn};
use together::together;

pub(crate) use bitmaps::{bitmaps_in, kept_bitmaps, unread_bitmaps};
pub(crate) use drive::drive;
pub(crate) use guard::{caught, guarded, panic_finding};
pub(crate) use reading::{Trouble, read_parts};
pub(crate) use snapshots::{Found, found_in, judged, slots_of, unread};

/// Bytes that are read at a time.
const PIECE_BYTES: u64 = 64 << 10;

/// Disks up to this size are compared whole; of larger ones, what was touched.
const WHOLE_COMPARE_BYTES_MAX: u64 = 512 << 10;

/// A disk under test while a scenario runs on it.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) images: &'a Images,
    pub(crate) host: Arc<Host>,
    pub(crate) checker: Arc<Checker>,
    /// None after an open that failed because of the storage, and where the handle was given up.
    pub(crate) disk: Option<Arc<Disk>>,
    pub(crate) scratch: Scratch,
    /// Requests whose surroundings are compared where the disk is too large to be compared whole.
    pub(crate) places: Vec<Request>,
    /// What the last request has left open and was read.
    pub(crate) settled: Vec<Extent>,
    /// The handle has refused a change because of an earlier failure.
    refuses: bool,
    /// Changes of the storage that were asked for by the end of the last request, if it was a flush.
    edits_at_flush: Option<u64>,
    /// A handle was left without having been closed well, so that something may have leaked.
    pub(crate) has_lost_handle: bool,
    /// The number of the last request of the scenario; what has a greater one follows it.
    pub(crate) last_number: u32,
    /// What orders requests in flight of a driver whose threads are not ours.
    pub(crate) relay: Option<Arc<Relay>>,
}

/// How requests are in flight together.
#[derive(Debug)]
pub(crate) struct Lanes<'a> {
    pub(crate) tasks: &'a mut Tasks,
    pub(crate) control: Arc<Control>,
    /// Requests in flight at most.
    pub(crate) count: usize,
    /// The number of the first request, where another run of the same scenario has numbered them.
    pub(crate) first_number: Option<u32>,
}

impl<'a> Lanes<'a> {
    /// Requests are numbered as they are begun.
    pub(crate) fn new(tasks: &'a mut Tasks, count: usize) -> Self {
        Self { tasks, control: Arc::new(Control::default()), count, first_number: None }
    }

    /// The number of request `index`, if it has one already.
    fn number(&self, index: usize) -> Option<u32> {
        self.first_number.map(|first| first + index as u32)
    }
}

/// Buffers that are kept between runs.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    executor: Executor,
    /// For what is read in order to be judged.
    pub(crate) buffer: Vec<u8>,
}

impl<'a> Run<'a> {
    /// A run on `host`, whose image is not open yet, and which shows what `model` says.
    pub(crate) fn new(
        images: &'a Images,
        host: Arc<Host>,
        journal: Arc<Journal>,
        model: Model,
        lanes: usize,
    ) -> Self {
        let mut model = model;
        model.bitmaps.ignores_discards = !images.config.discard;
        let checker = Checker::new(journal, model, Arc::clone(&host), images.geometry, lanes.max(1));
        let relay = images.prepared.elsewhere().map(|is_asleep| Arc::new(Relay::new(is_asleep)));
        if let Some(relay) = &relay {
            host.follow(Arc::clone(relay) as Arc<dyn Points>);
        }
        Self {
            images,
            host,
            checker: Arc::new(checker),
            disk: None,
            scratch: Scratch::default(),
            places: Vec::new(),
            settled: Vec::new(),
            refuses: false,
            edits_at_flush: None,
            has_lost_handle: false,
            last_number: 0,
            relay,
        }
    }

    /// Lets operations of the storage count, and fail, while `run` runs.
    fn watched<R>(&self, run: impl FnOnce() -> R) -> R {
        self.host.watch(true);
        let result = run();
        self.host.watch(false);
        self.checker.notice_failures();
        result
    }

    /// Opens the image. That may fail because of a fault.
    pub(crate) fn open(&mut self) -> Kept {
        let failures = self.checker.failures();
        let storage: Arc<dyn Storage> = self.host.clone();
        progress::step();
        self.refuses = false;
        match self.watched(|| self.images.prepared.open(storage)) {
            Ok(disk) => self.disk = Some(Arc::new(disk)),
            Err(error) if self.checker.failures() > failures => {
                return self.checker.excuse("opening the image", failures, &error);
            }
            Err(error) => {
                let promise = self.checker.provoked(Promise::Opens);
                return Err(Violation::failed(promise, "opening the image", &error));
            }
        }
        Ok(())
    }

    /// Makes one request, and settles what it leaves open. Returns whether it succeeded. `number` is its
    /// stamp number, if it is not to be numbered in its turn.
    pub(crate) fn request(&mut self, number: Option<u32>, request: Request) -> Kept<bool> {
        self.settled.clear();
        let request = self.possible(request);
        if let Request::Reopen { kill } = request {
            self.checker.begin(0, number, request, Turn::default());
            let reopened = self.reopen(kill);
            let size = self.disk.as_ref().map_or(0, |disk| disk.size());
            self.checker.end(0, size, Ok(Reply::Done));
            return reopened;
        }
        let Some(disk) = self.disk.clone() else { return Ok(false) };
        self.stays_after_flush()?;
        let begun = self.checker.begin(0, number, request, Turn::default());
        let fill_bytes = self.images.fill_bytes();
        let edits = self.host.edits();
        self.host.watch(true);
        let mut reader = LaneReader::new(&self.checker, begun.number);
        let replied = self.scratch.executor.execute(&*disk, begun.number, request, fill_bytes, &mut reader);
        self.host.watch(false);
        self.edits_at_flush =
            Some(self.host.edits()).filter(|_| request == Request::Flush && replied.is_ok());
        let stays = self.stays_as_it_is(edits, request.kind().name());
        self.refuses |= poison::is_refusal(request, &replied);
        let ended = self.checker.end(0, disk.size(), replied);
        self.checker.take_violation()?;
        stays.map_err(|violation| violation.noticed_by(begun.number))?;
        drop(disk);
        if ended == Ended::Failed || ended == Ended::Refused || matches!(request, Request::Discard { .. }) {
            self.settle().map_err(|violation| violation.noticed_by(begun.number))?;
        }
        if ended == Ended::Failed && matches!(request, Request::Bitmap { .. }) {
            self.settle_bitmaps().map_err(|violation| violation.noticed_by(begun.number))?;
        }
        Ok(ended == Ended::Done)
    }

    /// Makes a request as [`Run::request`] does, without judging it: the answer is known from a run without
    /// faults, in which `settled` was read after it. That is read again: it changes what the driver has
    /// cached.
    pub(crate) fn repeat(&mut self, number: u32, request: Request, settled: &[Extent]) -> Kept {
        let Some(disk) = self.disk.clone() else { return Ok(()) };
        let request = self.possible(request);
        if let Request::Reopen { kill } = request {
            self.disk = None;
            let ended = self.watched(|| if kill { disk.flush() } else { disk.close() });
            ended.map_err(|error| Violation::failed(Promise::Answers, "closing the image", &error))?;
            if kill {
                self.watched(|| drop(disk));
            } else {
                drop(disk);
            }
            self.host.forget_touched();
            self.open()?;
            if kill && self.images.geometry.bitmaps {
                // They were read then, and are known from then on.
                let _ = self.disk.as_ref().map(|disk| bitmaps_in(disk));
            }
            return Ok(());
        }
        let fill_bytes = self.images.fill_bytes();
        self.host.watch(true);
        let mut reader = Counting::default();
        let replied = self.scratch.executor.execute(&*disk, number, request, fill_bytes, &mut reader);
        self.host.watch(false);
        if request == Request::Flush && replied.is_ok() {
            self.host.forget_touched();
        }
        // What cannot be read is found by the run that judges.
        let _ = read_parts(&disk, settled, &mut self.scratch.buffer, &mut |_, _| Ok(()));
        Ok(())
    }

    /// Makes requests in lanes under the scheduler; reopens happen alone. Returns how many were begun: not
    /// all where the handle was given up, or the checker has [seen enough](Checker::end_after_failure).
    pub(crate) fn in_lanes(&mut self, lanes: &mut Lanes<'_>, requests: &[(Request, Turn)]) -> Kept<usize> {
        let mut begun = 0;
        while begun < requests.len() && self.disk.is_some() && !self.checker.has_seen_enough() {
            let rest = &requests[begun..];
            let size = self.checker.model(|model, _| model.size());
            let together = together(size, rest);
            if together == 0 {
                if matches!(rest[0].0, Request::Snapshot { .. } | Request::Bitmap { .. }) {
                    // What requests in flight together have left open is not to be copied, and what they have
                    // changed is in bitmaps.
                    self.settle()?;
                }
                self.request(lanes.number(begun), rest[0].0)?;
                begun += 1;
                // It may have succeeded although an operation failed; what those before it have left open is
                // still so.
                self.settle_if_failed()?;
            } else {
                begun += self.together(lanes, lanes.number(begun), &rest[..together])?;
            }
        }
        Ok(begun)
    }

    /// Closes the image.
    pub(crate) fn close(&mut self) -> Kept {
        let issued = self.checker.now();
        let Some(disk) = self.disk.take() else { return Ok(()) };
        self.stays_after_flush()?;
        self.begin_end(false);
        disk.close().map_err(|error| Violation::failed(Promise::Answers, "closing the image", &error))?;
        self.end_end(false, true);
        self.drop_closed(disk)?;
        self.checker.closed(issued);
        self.checker.take_violation()
    }

    /// Makes requests that may be in flight together, under the scheduler. Returns how many were begun.
    fn together(
        &mut self,
        lanes: &mut Lanes<'_>,
        first_number: Option<u32>,
        requests: &[(Request, Turn)],
    ) -> Kept<usize> {
        let Some(disk) = self.disk.clone() else { return Ok(0) };
        let Lanes { tasks, control, count, .. } = lanes;
        self.checker.load(first_number, requests);
        if let Some(relay) = self.relay.clone() {
            self.in_threads(&relay, &disk, *count);
            self.checker.take_violation()?;
            let begun = requests.len() - self.checker.unload();
            return self.settle_if_failed().map(|()| begun);
        }
        let fill_bytes = self.images.fill_bytes();
        let bodies = (0..*count).map(|lane| {
            let (checker, disk, control) =
                (Arc::clone(&self.checker), Arc::clone(&disk), Arc::clone(control));
            let body =
                move || drive(&checker, &disk, lane, fill_bytes, |number, turn| control.begin(number, turn));
            Box::new(body) as Box<dyn FnOnce() + Send>
        });
        let bodies = bodies.collect();
        drop(disk);
        let ended = self.watched(|| tasks.run(control, bodies));
        self.checker.take_violation()?;
        let begun = requests.len() - self.checker.unload();
        match ended {
            scheduler::Ended::Completed => self.settle_if_failed().map(|()| begun),
            scheduler::Ended::Deadlock => Err(stuck("Deadlock", "no request in flight can go on")),
            scheduler::Ended::Livelock => Err(stuck("Livelock", "the requests in flight go on for ever")),
            scheduler::Ended::Panic(payload) => std::panic::resume_unwind(payload),
        }
    }

    /// A handle that a fault has made useless is given up once nothing is in flight.
    fn settle_if_failed(&mut self) -> Kept {
        if self.checker.condition().is_faulted { self.settle() } else { Ok(()) }
    }

    /// Reads what may be one thing or another: it is what is found from then on. After a failure it is read
    /// twice.
    pub(crate) fn settle(&mut self) -> Kept {
        let parts =
            self.checker.model(|model, _| if model.is_settled() { Vec::new() } else { model.unsettled() });
        if parts.is_empty() {
            self.checker.model(Model::follow_failed);
            return Ok(());
        }
        self.settled.clone_from(&parts);
        self.observe(&parts)?;
        self.checker.model(Model::follow_failed);
        if self.checker.condition().is_faulted {
            self.observe(&parts).map_err(|violation| match violation.evidence {
                Evidence::Bytes(_) => violation.of(Promise::Stable),
                _ => violation,
            })?;
        }
        Ok(())
    }

    /// Reads these parts, with nothing in flight, and has what they show judged.
    pub(crate) fn observe(&mut self, parts: &[Extent]) -> Kept {
        let Some(disk) = self.disk.clone() else { return Ok(()) };
        let checker = Arc::clone(&self.checker);
        match read_parts(&disk, parts, &mut self.scratch.buffer, &mut |at, found| {
            checker.observe(checker.now(), at, found)
        }) {
            Err(Trouble::Unread(error)) => self.unreadable(&error),
            Err(Trouble::Broken(violation)) => Err(violation),
            Ok(()) => Ok(()),
        }
    }

    fn unreadable(&mut self, error: &blk_core::Error) -> Kept {
        if is_handle_lost(error) && self.checker.condition().is_faulted {
            self.try_poisoned()?;
            self.checker.give_up();
            self.disk = None;
            return Ok(());
        }
        let promise = self.checker.provoked(Promise::Content);
        Err(Violation::failed(promise, "reading the disk", error))
    }

    /// What of the disk is compared.
    pub(crate) fn parts(&self) -> Vec<Extent> {
        let size = self.checker.model(|model, _| model.size());
        if size <= WHOLE_COMPARE_BYTES_MAX || self.places.is_empty() {
            vec![Extent::new(0, size)]
        } else {
            touched(&self.places, size)
        }
    }

    /// Reads everything, and has it judged.
    pub(crate) fn observe_all(&mut self) -> Kept {
        let (found, size) =
            (self.disk.as_ref().map(|disk| disk.size()), self.checker.model(|model, _| model.size()));
        if let Some(found) = found.filter(|found| *found != size) {
            let what = format!("the disk has {found} bytes, expected are {size}");
            return Err(Violation::new(Promise::Size, what));
        }
        let parts = self.parts();
        self.observe(&parts)?;
        self.observe_snapshots()?;
        self.observe_bitmaps()
    }

    /// What is looked at when all requests have been made: everything, the image, and everything once more
    /// after a reopen.
    pub(crate) fn finish(&mut self) -> Kept {
        self.stays_after_flush()?;
        self.settle()?;
        self.observe_all()?;
        self.check()?;
        self.reopen(false)?;
        self.observe_all()
    }

    /// Flushes and checks the image, if its format can be checked. Leaks count: between requests there is no
    /// reason for one.
    pub(crate) fn check(&mut self) -> Kept {
        let Some(disk) = &self.disk else { return Ok(()) };
        inspect::clean(disk, self.checker.provoked(Promise::Consistent), RepairMode::None)
    }

    /// Closes the image, or leaves it as a killed process does, and opens it. Returns whether it was closed
    /// well.
    pub(crate) fn reopen(&mut self, kill: bool) -> Kept<bool> {
        let failures = self.checker.failures();
        // A handle that was given up is not closed.
        let mut is_closed = self.disk.is_some();
        let issued = self.checker.now();
        if let Some(disk) = self.disk.take() {
            self.stays_after_flush()?;
            let edits = self.host.edits();
            self.begin_end(kill);
            let ended = self.watched(|| if kill { disk.flush() } else { disk.close() });
            self.end_end(kill, ended.is_ok());
            if kill || ended.is_err() {
                self.watched(|| drop(disk));
            } else {
                self.drop_closed(disk)?;
            }
            self.stays_as_it_is(edits, "the end of the handle")?;
            match ended {
                Ok(()) => self.checker.closed(issued),
                Err(error) => {
                    is_closed = false;
                    let what = if kill { "flushing the image" } else { "closing the image" };
                    self.checker.excuse(what, failures, &error).map_err(|_| {
                        Violation::failed(self.checker.provoked(Promise::Works), what, &error)
                    })?;
                }
            }
        }
        let has_lost = self.host.drop_page_cache().map_err(|error| Violation::memory(&error))?;
        self.has_lost_handle |= !is_closed;
        self.open()?;
        if is_closed {
            self.checker.take_violation()?;
            if kill {
                self.adopt_bitmaps()?;
            }
            // The open may have met a fault.
            self.settle_if_failed()?;
        } else {
            self.adopt(has_lost)?;
        }
        Ok(is_closed)
    }

    /// Whether another disk shows what this one does; nothing is settled by it.
    pub(crate) fn compare(&self, disk: &Disk, promise: Promise, what: &'static str) -> Kept {
        let size = self.checker.model(|model, _| model.size());
        if disk.size() != size {
            let what = format!("the disk has {} bytes, expected are {size}", disk.size());
            return Err(Violation::new(promise, what));
        }
        let compared = read_parts(disk, &self.parts(), &mut Vec::new(), &mut |at, found| {
            let mismatch = self.checker.model(|model, _| model.compare(at, found));
            match mismatch.map_err(|error| Violation::memory(&error))? {
                Some(mismatch) => Err(Violation::bytes(promise, what, mismatch)),
                None => Ok(()),
            }
        });
        compared.map_err(|trouble| match trouble {
            Trouble::Unread(error) => Violation::failed(promise, "reading the disk", &error),
            Trouble::Broken(violation) => violation,
        })
    }
}

fn stuck(error: &str, what: &str) -> Box<Violation> {
    let evidence = Evidence::Failure("completing what is in flight", error.to_owned());
    Violation::with(Promise::Answers, what, evidence)
}
