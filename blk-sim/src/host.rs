//! The host under an image: one [`Storage`] that can be crashed, that fails by plan, and whose operations
//! race.
//!
//! Every operation is issued, happens, and completes; where requests race, others go on in between
//! ([`blk_core::sync::point`]), and a write of several sectors happens in two parts. What is done is logged
//! if the [`Settings`] say so: of the log
//! [`Durability`] says what is durable and what a crash may leave. A [`Fault`] lets one operation fail, or
//! all from one on.
//!
//! When a sync fails, Linux reports it once and takes the pages for clean: a later sync neither writes them
//! nor complains. So what was pending is lost here. It still shows while the image stays open, and is gone
//! when it is opened again ([`Host::drop_page_cache`]). That is why this is
//! not [`blk_core::storage::FaultStorage`], which leaves what it wraps alone.
//!
//! Any thread may call it, of this process or serving another one; it needs no scheduler and no points of its
//! driver.

mod sync;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use blk_core::storage::{Effect, Operation as Kind, Step};
use blk_core::sync::model::in_one_step;
use blk_core::sync::{Mutex, point};
use blk_core::{Error, Extent, MemoryStorage, Result, Storage, StorageRun};

use crate::SECTOR_BYTES;
use crate::durability::Durability;
use crate::fault::Fault;
use crate::in_flight::{InFlight, Missing};
use crate::operation::{Call, Change, Edit, Operation};
use crate::settings::Settings;
use crate::unsynced::{Unsynced, changed};

/// Whoever decides when operations go on that are not made by tasks of a scheduler.
pub trait Points: Send + Sync {
    /// An operation is issued, or has completed. It goes on when this returns.
    fn point(&self);
}

/// The simulated host.
pub struct Host {
    state: Mutex<State>,
    unit_bytes: u64,
    /// Decides about points where requests are made by threads.
    points: OnceLock<Arc<dyn Points>>,
}

struct State {
    live: MemoryStorage,
    is_logging: bool,
    /// What the log began with.
    base: Option<MemoryStorage>,
    log: Vec<Operation>,
    calls: Option<Vec<Call>>,
    /// Writes in flight, if they are kept.
    in_flight: InFlight,
    clock: u64,
    step: &'static Step,
    fault: Option<Fault>,
    /// Whether operations count, and fail: those of an oracle do not.
    is_watched: bool,
    count: u64,
    failures: u64,
    /// The first that failed.
    failed: Option<Call>,
    /// Changes that were asked for, those that failed included.
    edits: u64,
    /// Changes since the last sync.
    pending: u64,
    /// What no sync covers that has succeeded.
    unsynced: Unsynced,
    /// A sync has failed since the image was opened, with changes pending.
    is_lossy: bool,
    /// Units changed since they were last forgotten; one counts each time.
    touched: u64,
}

/// What was agreed on when an operation was issued.
struct Issue {
    time: u64,
    /// Changes that had completed by then.
    changes: u64,
    /// What it will have changed.
    changed: Vec<Extent>,
    failure: Option<(i32, Effect)>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither bytes nor log: they are megabytes.
        let (clock, operations) = in_one_step(|| {
            let state = self.state.lock();
            (state.clock, state.log.len())
        });
        f.debug_struct("Host").field("clock", &clock).field("logged", &operations).finish_non_exhaustive()
    }
}

impl Host {
    /// A host that holds `image`, all of it durable. Nothing is watched yet.
    pub fn new(image: MemoryStorage, settings: Settings) -> Self {
        let state = State {
            is_logging: settings.logs_changes,
            base: settings.logs_changes.then(|| image.duplicate()),
            live: image,
            log: Vec::new(),
            calls: settings.lists_calls.then(Vec::new),
            in_flight: InFlight::new(settings.keeps_in_flight),
            clock: 0,
            step: &Step::NONE,
            fault: settings.fault,
            is_watched: false,
            count: 0,
            failures: 0,
            failed: None,
            edits: 0,
            pending: 0,
            unsynced: Unsynced::default(),
            is_lossy: false,
            touched: 0,
        };
        assert!(settings.unit_bytes > 0, "a unit of no bytes");
        Self { state: Mutex::new(state), unit_bytes: settings.unit_bytes, points: OnceLock::new() }
    }

    /// From now on `points` hears of all points, in the place of a scheduler: operations are those of a
    /// driver whose threads are not ours. Whoever was given before stays.
    pub fn follow(&self, points: Arc<dyn Points>) {
        self.points.get_or_init(|| points);
    }

    fn point(&self) {
        match self.points.get() {
            None => point(),
            Some(points) => points.point(),
        }
    }

    fn with<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        in_one_step(|| run(&mut self.state.lock()))
    }

    /// Goes on by one tick; returns the time then. Requests of the disk above share this clock.
    pub fn tick(&self) -> u64 {
        self.with(State::tick)
    }

    /// Goes on to `time`, unless it is later already: what follows continues a run on another host.
    pub fn advance(&self, time: u64) {
        self.with(|state| state.clock = state.clock.max(time));
    }

    /// Whether operations count, and fail, from now on.
    pub fn watch(&self, is_watched: bool) {
        self.with(|state| state.is_watched = is_watched);
    }

    /// The fault is gone.
    pub fn clear_fault(&self) {
        self.with(|state| state.fault = None);
    }

    /// The calls that were watched so far, if they are listed.
    pub fn take_calls(&self) -> Vec<Call> {
        self.with(|state| state.calls.as_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Operations that counted.
    pub fn count(&self) -> u64 {
        self.with(|state| state.count)
    }

    /// Operations that failed.
    pub fn failures(&self) -> u64 {
        self.with(|state| state.failures)
    }

    /// The first operation that failed.
    pub fn failed(&self) -> Option<Call> {
        self.with(|state| state.failed)
    }

    /// Changes that were asked for so far, watched or not; a sync is none.
    pub fn edits(&self) -> u64 {
        self.with(|state| state.edits)
    }

    /// How many changes have completed, and how many of them a sync covers that has succeeded.
    pub fn changes(&self) -> (u64, u64) {
        self.with(|state| (state.unsynced.count(), state.unsynced.synced()))
    }

    /// A sector that no sync covers, or whose write is in flight, that `is_required` to be durable, and of
    /// which there is no other copy; see [`unsynced::missing`](crate::unsynced::missing).
    ///
    /// # Errors
    /// Those of memory.
    pub fn missing(&self, is_required: &mut dyn FnMut(&[u8]) -> bool) -> Result<Option<Missing>> {
        self.with(|state| state.in_flight.missing(&state.live, state.unsynced.extents(), is_required))
    }

    /// Whether a failed sync has lost something that still shows.
    pub fn is_lossy(&self) -> bool {
        self.with(|state| state.is_lossy)
    }

    /// Units changed since [`Host::forget_touched`]; one counts each time.
    pub fn touched(&self) -> u64 {
        self.with(|state| state.touched)
    }

    /// Starts counting touched units from 0.
    pub fn forget_touched(&self) {
        self.with(|state| state.touched = 0);
    }

    /// The changes since the last call, in the order in which they completed; those in flight come last. What
    /// a failed sync has lost is known from the whole log alone: there is no [`Host::surviving_image`] after
    /// one.
    pub fn take_log(&self) -> Vec<Operation> {
        self.with(|state| {
            state.base = None;
            let mut log = std::mem::take(&mut state.log);
            log.sort_by_key(completion);
            log
        })
    }

    /// As [`Host::take_log`], but all changes since the start, which stay logged.
    pub fn log(&self) -> Vec<Operation> {
        self.with(|state| {
            let mut log = state.log.clone();
            log.sort_by_key(completion);
            log
        })
    }

    /// Logs nothing more: no crash of what follows is asked for.
    pub fn stop_logging(&self) {
        self.with(|state| (state.is_logging, state.base) = (false, None));
    }

    /// What would be found by who opened the image after its pages were dropped: without what a failed sync
    /// has lost.
    ///
    /// # Errors
    /// Those of memory that cannot grow so far.
    pub fn surviving_image(&self) -> Result<MemoryStorage> {
        self.with(|state| state.surviving_image())
    }

    /// The image has been closed and is about to be opened: what a failed sync has lost does not show any
    /// more. Returns whether that is anything.
    ///
    /// # Errors
    /// Those of memory that cannot grow so far.
    pub fn drop_page_cache(&self) -> Result<bool> {
        self.with(|state| {
            let has_lost = state.is_lossy;
            if has_lost {
                state.live = state.surviving_image()?;
                state.is_lossy = false;
                let (issued, completed) = (state.tick(), state.tick());
                let step = state.step;
                state.log.push(Operation { change: Change::Evict, step, issued, completed: Some(completed) });
            }
            Ok(has_lost)
        })
    }

    /// Answers a question about the file, which may fail as an operation does.
    fn ask<R>(
        &self,
        kind: Kind,
        name: &'static str,
        offset: u64,
        answer: impl FnOnce(&MemoryStorage) -> Result<R>,
    ) -> Result<R> {
        self.point();
        self.with(|state| match state.arrive(kind, Extent::new(offset, 0)) {
            None => answer(&state.live),
            Some((errno, _)) => Err(failure(name, offset, errno)),
        })
    }

    /// Issues an edit, makes it, completes it.
    fn edit(&self, kind: Kind, name: &'static str, range: Extent, edit: Edit<'_>) -> Result<()> {
        let issue = self.with(|state| state.issue_edit(kind, range, edit));
        self.point();
        if let (None, Some(first)) = (issue.failure, edit.torn_part()) {
            self.with(|state| first.apply(&state.live))?;
            self.point();
        }
        let result = self.with(|state| state.complete_edit(&issue, edit, self.unit_bytes));
        self.point();
        match (result, issue.failure) {
            (Ok(()), Some((errno, _))) => Err(failure(name, range.offset, errno)),
            (result, _) => result,
        }
    }
}

fn completion(operation: &Operation) -> u64 {
    operation.completed.unwrap_or(u64::MAX)
}

fn failure(name: &'static str, offset: u64, errno: i32) -> Error {
    Error::io(name, offset, io::Error::from_raw_os_error(errno))
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Counts an operation; returns how it fails.
    fn arrive(&mut self, kind: Kind, range: Extent) -> Option<(i32, Effect)> {
        if !self.is_watched {
            return None;
        }
        let number = self.count;
        self.count += 1;
        let call = Call { operation: kind, step: self.step, extent: range };
        if let Some(calls) = &mut self.calls {
            calls.push(call);
        }
        let fault = self.fault?;
        let grows = kind == Kind::SetLen && self.live.len().is_ok_and(|old| range.length > old);
        if !fault.hits(number, kind, grows) {
            return None;
        }
        self.failures += 1;
        self.failed.get_or_insert(call);
        debug_assert!(self.failures <= self.count, "only what counts fails");
        Some((fault.errno, fault.effect))
    }

    fn issue_edit(&mut self, kind: Kind, range: Extent, edit: Edit<'_>) -> Issue {
        self.edits += 1;
        let failure = self.arrive(kind, range);
        let changed = match edit {
            Edit::Write(offset, bytes) => changed(&self.live, offset, bytes),
            _ => Vec::new(),
        };
        let time = self.issue(|| edit.change());
        self.in_flight.begin(time, edit, &changed);
        Issue { time, changes: self.unsynced.count(), changed, failure }
    }

    /// Logs the issue of an operation, if there is a log. Returns its time.
    fn issue(&mut self, change: impl FnOnce() -> Change) -> u64 {
        let issued = self.tick();
        if self.is_logging {
            self.log.push(Operation { change: change(), step: self.step, issued, completed: None });
        }
        issued
    }

    /// Makes the edit as far as it happens, and logs that.
    fn complete_edit(&mut self, issue: &Issue, edit: Edit<'_>, unit_bytes: u64) -> Result<()> {
        let happens = match issue.failure {
            None | Some((_, Effect::All)) => Some(edit),
            Some((_, Effect::None)) => None,
            Some((_, Effect::Half)) => edit.first_half(),
        };
        let made = happens.map_or(Ok(()), |edit| {
            let range = edit.range(self.live.len()?);
            self.touched += units(range, unit_bytes);
            self.unsynced.completed(&issue.changed);
            edit.apply(&self.live)
        });
        self.in_flight.end(issue.time);
        let is_whole = happens.is_some() && !matches!(issue.failure, Some((_, Effect::Half)));
        self.complete(issue, |logged| match happens {
            Some(edit) if made.is_ok() => {
                if !is_whole {
                    *logged = edit.change();
                }
                true
            }
            _ => false,
        });
        self.pending += u64::from(happens.is_some() && made.is_ok());
        made
    }

    /// Logs that an operation has completed, after `adapt` has said what of it has happened; it is removed
    /// where nothing has.
    fn complete(&mut self, issue: &Issue, adapt: impl FnOnce(&mut Change) -> bool) {
        let completed = self.tick();
        assert!(completed > issue.time, "an operation completes after its issue");
        // The latest operations complete first, mostly.
        let Some(place) = self.log.iter().rposition(|operation| operation.issued == issue.time) else {
            return;
        };
        if adapt(&mut self.log[place].change) {
            self.log[place].completed = Some(completed);
        } else {
            self.log.remove(place);
        }
    }

    fn surviving_image(&self) -> Result<MemoryStorage> {
        if !self.is_lossy {
            return Ok(self.live.duplicate());
        }
        let base = self.base.as_ref().expect("a host whose syncs fail keeps a log");
        let mut durability = Durability::new(base.duplicate(), SECTOR_BYTES);
        let mut log: Vec<&Operation> = self.log.iter().collect();
        log.sort_by_key(|operation| completion(operation));
        log.into_iter().try_for_each(|operation| durability.apply(operation).map(drop))?;
        durability.survivor()
    }
}

fn units(range: Extent, unit_bytes: u64) -> u64 {
    if range.is_empty() {
        return 0;
    }
    range.checked_end().unwrap_or(u64::MAX).div_ceil(unit_bytes) - range.offset / unit_bytes
}

impl Storage for Host {
    fn len(&self) -> Result<u64> {
        self.ask(Kind::Len, "length", 0, Storage::len)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.edit(Kind::SetLen, "truncate", Extent::new(0, length), Edit::Truncate(length))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.point();
        let result =
            self.with(|state| match state.arrive(Kind::Read, Extent::new(offset, buf.len() as u64)) {
                None => state.live.read_at(offset, buf),
                Some((errno, effect)) => {
                    if effect != Effect::None {
                        state.live.read_at(offset, buf)?;
                    }
                    Err(failure("read", offset, errno))
                }
            });
        self.point();
        result
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let range = Extent::new(offset, buf.len() as u64);
        self.edit(Kind::Write, "write", range, Edit::Write(offset, buf))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.edit(Kind::WriteZeroes, "zero", extent, Edit::Zero(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.edit(Kind::PunchHole, "punch", extent, Edit::Discard(extent))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        self.ask(Kind::RunAt, "status", offset, |live| live.run_at(offset))
    }

    fn sync(&self) -> Result<()> {
        self.sync_all_or(None)
    }

    fn sync_extent(&self, extent: Extent) -> Result<()> {
        self.sync_all_or(Some(extent))
    }

    fn step(&self, step: &'static Step) {
        self.with(|state| state.step = step);
    }
}

#[cfg(test)]
mod tests;
