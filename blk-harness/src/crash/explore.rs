//! Going through the crash points of a log, and the states of each.

mod content;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use crate::finding::{Crash, Pending, Provoked};
use blk_core::{Extent, Result};
use blk_sim::{Durability, Kept, Operation, Ranges, SECTOR_BYTES, States};

use super::CrashOptions;
use super::cache::AnalysisCache;
use super::found::Found;
use super::plan::Plan;
use crate::checker::{Ended, Record};
use crate::follow_up::FollowUps;
use crate::images::Images;
use crate::journal::{Entry, Journal};
use crate::judge::{Depth, Judge};
use crate::known::Known;
use crate::model::{Model, Time, is_fua};
use crate::promise::Violation;
use crate::report::Finding;
use crate::run::{Run, Scratch, caught};
use crate::scenario::Request;
use crate::statistics::{Counter, Statistics, Tally};

/// So many crash points of each step of a rare kind are judged in every scenario, however large its disk is.
const RARE_POINTS: u64 = 2;
/// One state in so many is a run of the medium that falls back together.
const RUNS_ONE_IN: usize = 8;

/// What happened on a disk, to be crashed.
#[derive(Debug)]
pub(crate) struct History {
    records: Vec<Record>,
    /// When everything had become durable by a close.
    closings: Vec<Time>,
    log: Vec<Operation>,
    model: Model,
}

impl History {
    /// What has happened in a run.
    pub(crate) fn of(run: &Run<'_>) -> Self {
        Self {
            records: run.checker.records(),
            closings: run.checker.closings(),
            log: run.host.take_log(),
            model: run.checker.model(|model, _| model.clone()),
        }
    }

    /// All that happened, in its order.
    fn events(&self) -> Vec<(Time, Event)> {
        let mut events = Vec::with_capacity(2 * self.records.len() + self.log.len());
        for (index, record) in self.records.iter().enumerate() {
            events.push((record.issued, Event::Begun(index)));
            if record.ended != Ended::InFlight {
                assert!(record.issued < record.completed, "a request ends after it has begun: {record:?}");
                events.push((record.completed, Event::Ended(index)));
            }
        }
        events.extend(self.closings.iter().map(|time| (*time, Event::Closed)));
        let operations = self.log.iter().enumerate();
        events.extend(
            operations.map(|(index, operation)| {
                (operation.completed.unwrap_or(Time::MAX), Event::Operation(index))
            }),
        );
        events.sort_by_key(|(time, _)| *time);
        events
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Begun(usize),
    Ended(usize),
    Closed,
    Operation(usize),
}

/// Where the exploration is.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The request that began last; 0 before the first.
    pub(super) number: u32,
    /// The newest operation of the storage; 0 while the scenario runs.
    operation: u64,
    /// The step whose crash point is judged, if it is one of a step.
    pub(super) step: Option<&'static str>,
}

impl Place {
    /// The request with its number; none before the first.
    pub(super) fn during(&self, journal: &Journal) -> Option<(u32, Entry)> {
        let number = self.request_number(journal);
        journal.request(number).filter(|_| number > 0).map(|request| (number, request))
    }

    /// The finding, which is a panic, with where it happened.
    pub(crate) fn tell(&self, mut finding: Finding, journal: &Journal) -> Finding {
        finding.request_number = self.request_number(journal);
        finding.request = self.during(journal);
        if self.operation > 0 {
            finding.provoked = Some(Provoked::Crash(self.crash(journal, Vec::new())));
        } else if let Some((number, request)) = finding.request {
            finding.noticed = format!("in request #{number} ({request})");
        }
        finding
    }

    pub(super) fn crash(&self, journal: &Journal, pending: Vec<Pending>) -> Crash {
        Crash { during: self.during(journal), operation: self.operation, pending }
    }

    /// What is pursued by who is after what was found here.
    pub(crate) fn pursued(&self) -> &'static str {
        self.step.unwrap_or_default()
    }

    /// The request: while the scenario runs, the last of the journal.
    pub(crate) fn request_number(&self, journal: &Journal) -> u32 {
        if self.operation == 0 && journal.request_count() > 0 {
            journal.current_number()
        } else {
            self.number
        }
    }
}

/// What a state was found to be.
pub(super) enum Judged {
    Good,
    Broken(Box<Violation>),
    /// The driver has panicked; this is what the panic carried.
    Panicked(Box<dyn Any + Send>),
}

/// Crashes one history.
pub(crate) struct Explorer<'a> {
    options: CrashOptions,
    images: &'a Images,
    pub(super) journal: &'a Arc<Journal>,
    follow_ups: &'a FollowUps,
    stats: &'a mut Statistics,
    pub(super) place: &'a mut Place,
    pub(super) found: Found<'a>,
    cache: AnalysisCache,
    scratch: Scratch,
    plan: Plan,
    /// Only points after a step of this name are judged; of an empty one, those after flushes.
    pursued: Option<&'static str>,
    /// Crash points of rare steps: some of each are judged even so.
    rare: HashMap<&'static str, u64>,
    /// One content of the disk that a crash may leave now.
    pub(super) shadow: Vec<u8>,
    /// Sectors of which the shadow may not be one.
    doubtful: Ranges,
    /// Units of the guest and of the host that were touched since the last flush: so many may have leaked.
    touched: [Ranges; 2],
    /// Units that may have leaked beside these.
    units_beside: u64,
    /// What operations of the storage have changed since then, and when they completed.
    changed: Vec<(Time, Extent)>,
    /// Whether crash points are judged now.
    is_judging: bool,
}

fn units(extent: Extent, unit_bytes: u64) -> std::ops::Range<u64> {
    if extent.is_empty() { 0..0 } else { extent.offset / unit_bytes..extent.end().div_ceil(unit_bytes) }
}

impl<'a> Explorer<'a> {
    pub(crate) fn new(
        options: CrashOptions,
        images: &'a Images,
        journal: &'a Arc<Journal>,
        follow_ups: &'a FollowUps,
        stats: &'a mut Statistics,
        (place, known): (&'a mut Place, &'a Known<'a>),
    ) -> Self {
        Self {
            options,
            images,
            journal,
            follow_ups,
            stats,
            place,
            found: Found::new(known),
            cache: AnalysisCache::default(),
            scratch: Scratch::default(),
            plan: Plan::default(),
            pursued: None,
            rare: HashMap::new(),
            shadow: Vec::new(),
            doubtful: Ranges::default(),
            touched: [Ranges::default(), Ranges::default()],
            units_beside: 0,
            changed: Vec::new(),
            is_judging: true,
        }
    }

    /// Judges crash points after one step alone: what a minimiser is after happens there.
    pub(crate) fn pursue(&mut self, step: Option<&'static str>) {
        self.pursued = step;
    }

    /// Judges the crash points of all operations, and after each flush all that may be left then. Where these
    /// are too many, `seed` decides which.
    ///
    /// # Errors
    /// Those of the memory of the simulation.
    pub(crate) fn explore(&mut self, history: &History, seed: u64) -> Result<Option<Box<Finding>>> {
        let points = history.log.iter().filter(|operation| self.may_judge(operation)).count() as u64;
        self.plan = Plan::new(self.options.states_for(self.images.size), points, seed);
        let atom_bytes = u64::from(self.images.config.atom_bytes);
        let mut durability = Durability::hashing(self.images.fresh.duplicate(), atom_bytes)?;
        self.shadow = self.images.initial.to_bytes(self.options.size_bytes_max.max(self.images.size))?;
        self.shadow.resize(self.images.size as usize, 0);
        for (time, event) in history.events() {
            let found = match event {
                Event::Begun(index) => {
                    self.begin(index, &history.records[index]);
                    None
                }
                Event::Ended(index) => self.end(history, &durability, index)?,
                Event::Closed => {
                    // The close at the end belongs to no request.
                    self.is_judging |= history.closings.last() == Some(&time);
                    self.forget_touched(history, &durability, time);
                    self.judge_point(history, &durability, time)?
                }
                Event::Operation(index) => {
                    self.operate(history, &mut durability, &history.log[index], time)?
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        // A resize that is done has the size that was asked for, and one that is not has changed none.
        debug_assert_eq!(self.shadow.len() as u64, history.model.size(), "the shadow has followed the disk");
        Ok(self.known_at_last())
    }

    fn begin(&mut self, index: usize, record: &Record) {
        self.is_judging = index >= self.options.from_request;
        self.place.number = record.number;
        self.touch(record);
    }

    /// What the request may leak from now on.
    fn touch(&mut self, record: &Record) {
        self.touched[0].add(units(record.changes, self.images.geometry.unit_bytes));
        self.units_beside += record.units_beside;
    }

    /// A request has ended: its value is the newest, and what it promises about crashes holds from now on.
    fn end(
        &mut self,
        history: &History,
        durability: &Durability,
        index: usize,
    ) -> Result<Option<Box<Finding>>> {
        let record = &history.records[index];
        let is_done = record.ended == Ended::Done;
        if let Some(size) = record.new_size {
            self.shadow.resize(size as usize, 0);
        }
        match record.request {
            Request::Resize { size } if is_done => self.shadow.resize(size as usize, 0),
            Request::Resize { .. } => {}
            _ if record.left().end() > self.shadow.len() as u64 => {}
            _ => {
                // Before the next request begins, a look has settled what this one has left open.
                let next = history.records.get(index + 1).map_or(Time::MAX - 1, |next| next.issued);
                let time = if record.met.is_empty() { next } else { record.completed };
                history.model.show(record.left(), time, &mut self.shadow, &mut self.doubtful)?;
            }
        }
        match record.request {
            Request::Flush if is_done => {
                self.forget_touched(history, durability, record.issued);
                self.judge_point(history, durability, record.completed)
            }
            Request::Snapshot { act, .. } if is_done && act.change().is_some() => {
                self.forget_touched(history, durability, record.issued);
                self.judge_point(history, durability, record.completed)
            }
            Request::Bitmap { act, .. } if is_done && act.change().is_some() => {
                self.judge_point(history, durability, record.completed)
            }
            request if is_done && is_fua(request) => self.judge_point(history, durability, record.completed),
            _ => Ok(None),
        }
    }

    /// Everything that had completed by `issued` is durable.
    fn forget_touched(&mut self, history: &History, durability: &Durability, issued: Time) {
        let unit = self.images.geometry.unit_bytes;
        self.touched.iter_mut().for_each(Ranges::clear);
        self.units_beside = 0;
        let now = self.place.number;
        for record in
            history.records.iter().filter(|record| record.number <= now && record.completed > issued)
        {
            self.touch(record);
        }
        // What completed while the flush was in flight may belong to requests that came after it.
        self.changed.retain(|(completed, _)| *completed > issued);
        let changed = self.changed.iter().map(|(_, extent)| *extent);
        for extent in durability.pending().iter().map(|pending| pending.extent).chain(changed) {
            self.touched[1].add(units(extent, unit));
        }
    }

    fn operate(
        &mut self,
        history: &History,
        durability: &mut Durability,
        operation: &Operation,
        time: Time,
    ) -> Result<Option<Box<Finding>>> {
        let is_pending = durability.apply(operation)?;
        self.place.operation = durability.count();
        let Some(newest) = durability.pending().last().filter(|_| is_pending) else { return Ok(None) };
        let (extent, step) = (newest.extent, newest.step);
        self.stats.tally(Tally::Steps, [step.name, "", ""]);
        self.touched[1].add(units(extent, self.images.geometry.unit_bytes));
        self.changed.push((time, extent));
        if !self.may_judge(operation) {
            return Ok(None);
        }
        let is_due = self.plan.takes(durability.count());
        let is_rare = step.is_rare || extent.offset < SECTOR_BYTES;
        if is_due || (self.is_judging && is_rare && self.is_one_of_the_first(step.name)) {
            let share = if is_due { self.plan.share } else { self.plan.rare_share };
            self.place.step = Some(step.name);
            self.judge_states(history, durability, time, (true, share))
        } else {
            Ok(None)
        }
    }

    /// Whether there is a crash point after an operation that can be judged.
    fn may_judge(&self, operation: &Operation) -> bool {
        let is_pursued = self.pursued.is_none_or(|pursued| pursued == operation.step.name);
        is_pursued && !operation.change.is_sync()
    }

    fn is_one_of_the_first(&mut self, step: &'static str) -> bool {
        let count = self.rare.entry(step).or_default();
        *count += 1;
        *count <= RARE_POINTS
    }

    /// Judges what may be left after a flush or a close.
    fn judge_point(
        &mut self,
        history: &History,
        durability: &Durability,
        time: Time,
    ) -> Result<Option<Box<Finding>>> {
        self.place.step = None;
        self.judge_states(history, durability, time, (false, self.plan.share))
    }

    /// Judges the states of the crash point that has been reached: so many of them, and only those with
    /// something of the newest operation, or all. What is known of the driver hides no other state.
    fn judge_states(
        &mut self,
        history: &History,
        durability: &Durability,
        time: Time,
        (newest_only, share): (bool, u64),
    ) -> Result<Option<Box<Finding>>> {
        let is_pursued = newest_only || self.pursued.is_none_or(str::is_empty);
        if !self.is_judging || !is_pursued || self.found.is_enough() {
            return Ok(None);
        }
        self.stats.add(Counter::CrashPoints, 1);
        let tries_max = usize::try_from(share).unwrap_or(usize::MAX);
        let count_max = self.options.states_per_point;
        let states =
            States::new(count_max, newest_only, durability.count()).forgetting(count_max / RUNS_ONE_IN);
        for kept in (States { tries_max, ..states }).of(durability) {
            let found = match self.try_state(history, durability, time, &kept)? {
                Judged::Good => None,
                Judged::Broken(violation) => self.broken(history, durability, time, (kept, violation))?,
                Judged::Panicked(payload) => self.panicked(payload),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Judges one state, in which the driver may panic.
    pub(super) fn try_state(
        &mut self,
        history: &History,
        durability: &Durability,
        time: Time,
        kept: &Kept,
    ) -> Result<Judged> {
        match caught(|| self.judge(history, durability, time, kept)) {
            Ok(judged) => Ok(judged?.map_or(Judged::Good, Judged::Broken)),
            Err(payload) => Ok(Judged::Panicked(payload)),
        }
    }

    /// Judges one state.
    fn judge(
        &mut self,
        history: &History,
        durability: &Durability,
        time: Time,
        kept: &Kept,
    ) -> Result<Option<Box<Violation>>> {
        let (image, hash) = durability.image(kept)?;
        self.stats.add(Counter::States, 1);
        if self.cache.get(hash).is_none() {
            if self.cache.meet(hash) {
                self.count_new(durability, kept);
            }
            let origin = durability.origin(&image)?;
            let mut judge = Judge {
                images: self.images,
                journal: self.journal,
                follow_ups: self.follow_ups,
                follow_up_one_in: self.options.follow_up_one_in,
                recovery_one_in: self.options.recovery_one_in,
                recovery_states_max: self.options.recovery_states_for(self.images.size),
                stats: self.stats,
                scratch: &mut self.scratch,
            };
            let analysis = judge.analyse(&image, origin, Depth::First);
            self.cache.keep(hash, analysis);
        }
        let analysis = self.cache.get(hash).expect("it has been kept");
        match &analysis.violation {
            Some(violation) => Ok(Some(violation.clone())),
            None => self.judge_content(history, analysis, time),
        }
    }

    fn count_new(&mut self, durability: &Durability, kept: &Kept) {
        self.stats.add(Counter::Distinct, 1);
        let mut is_lossy = false;
        for pending in durability.pending() {
            if kept[pending.items.clone()].contains(&false) {
                is_lossy = true;
                self.stats.tally(Tally::StepsLost, [pending.step.name, "", ""]);
            }
        }
        self.stats.add(Counter::WithLosses, u64::from(is_lossy));
    }
}
