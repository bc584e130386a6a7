//! Runs of one scenario: without faults, and with one.

use std::sync::Arc;

use blk_sim::{Call, Fault, Host, Settings};

use super::crash;
use super::moments::{Moments, State};
use super::place::Place;
use super::recover::Recovery;
use crate::follow_up::FollowUps;
use crate::images::Images;
use crate::journal::Journal;
use crate::model::Model;
use crate::promise::Kept;
use crate::run::Run;
use crate::scenario::{Request, Turn};
use crate::statistics::{Counter, Statistics};

/// Requests that are made after the one in which a fault happens, before it is cleared.
pub(super) const AFTER_FAULT: usize = 2;

/// Requests that are made after those of the scenario, whatever it is: a flush and a reopen.
const OF_US: usize = 2;

/// What all runs of a scenario have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) images: &'a Images,
    pub(super) journal: &'a Arc<Journal>,
    /// What is made, each with its turn, and in the end flushed and reopened.
    pub(super) requests: &'a [(Request, Turn)],
    /// Requests in flight at most.
    pub(super) lanes: usize,
    /// What is made once the fault is gone.
    pub(super) follow_ups: &'a [Request],
    /// What the order of the faults depends on.
    pub(super) seed: u64,
    /// After one fault in so many the disk is used for long.
    pub(super) long_follow_up_one_in: u64,
}

/// What the run without faults has shown.
#[derive(Debug)]
pub(super) struct Baseline {
    pub(super) calls: Vec<Call>,
    /// What was so before each request; none where requests were in flight together.
    pub(super) moments: Moments,
    /// Requests that were not refused.
    pub(super) accepted: u64,
}

/// The number of the request at `index`.
pub(super) fn number_of(index: usize) -> u32 {
    crate::stamp::number_of(index as u64 + 1)
}

impl<'a> Setting<'a> {
    /// A run, whose requests `place` hears of.
    pub(super) fn run(&self, fault: Option<Fault>, place: &mut Place) -> Run<'a> {
        let Self { images, .. } = *self;
        let settings = Settings::failing(fault, images.geometry.unit_bytes);
        let host = Arc::new(Host::new(images.fresh.duplicate(), settings));
        // A read in flight may show what was superseded and flushed meanwhile.
        let keeps_past = self.lanes > 1;
        let model = Model::new(Arc::clone(&images.initial), images.size, images.fill_bytes(), keeps_past);
        let mut run = Run::new(images, host, Arc::clone(self.journal), model, self.lanes);
        let requests = self.requests.iter().map(|(request, _)| request);
        run.last_number = number_of(self.requests.len() - OF_US) - 1;
        run.places = requests.chain(self.follow_ups).copied().collect();
        place.checker = Some(Arc::clone(&run.checker));
        run
    }

    /// Runs the scenario with nothing failing.
    pub(super) fn baseline(&self, place: &mut Place) -> Kept<Baseline> {
        let mut run = self.run(None, place);
        run.open()?;
        let mut moments = Moments::default();
        let mut accepted = 0;
        for (at, (request, _)) in self.requests.iter().enumerate() {
            place.request = Some((number_of(at), *request));
            moments.begin(run.host.count(), || {
                let (model, time) = run.checker.model(|model, now| (model.clone(), now));
                State { model, time, touched: run.checker.touched_by_requests() }
            });
            accepted += u64::from(run.request(None, *request)?);
            let size = run.checker.model(|model, _| model.size());
            moments.end(request, size, std::mem::take(&mut run.settled));
        }
        place.stage = "at the end";
        run.observe_all()?;
        Ok(Baseline { calls: run.host.take_calls(), moments, accepted })
    }

    /// Runs the scenario with one fault. It is skipped where the driver, which may be in another process, has
    /// made other operations than without faults before there is anything to judge.
    pub(super) fn with_fault(
        &self,
        baseline: &Baseline,
        fault: Fault,
        place: &mut Place,
        (follow_ups, stats): (&FollowUps, &mut Statistics),
    ) -> Kept {
        let mut run = self.run(Some(fault), place);
        // The request during which the operation is made; none for the open.
        let index = baseline.moments.request_at(fault.at);
        run.open()?;
        let mut next = 0;
        if let Some(index) = index {
            let (first, before) = baseline.moments.known_before(index);
            let mut repeated = self.requests[..first].iter().enumerate();
            let repeated = repeated.try_for_each(|(at, (request, _))| {
                run.repeat(number_of(at), *request, baseline.moments.settled(at))
            });
            if run.host.take_calls() != baseline.calls[..baseline.moments.operations_before(first)] {
                // What other operations have left, and what the fault has done to them, nobody knows.
                stats.add(Counter::SkippedFaults, 1);
                return Ok(());
            }
            repeated?;
            run.host.advance(before.time);
            run.checker.resume(before.model.clone(), before.touched);
            next = first;
        }
        let after = self.requests.len().min(index.map_or(0, |index| index + 1) + AFTER_FAULT);
        for (at, (request, _)) in self.requests.iter().enumerate().take(after).skip(next) {
            place.request = Some((number_of(at), *request));
            let has_failed = run.host.failures() > 0;
            if !has_failed {
                place.during = place.request;
            }
            let has_succeeded = run.request(Some(number_of(at)), *request)?;
            let fails_here = !has_failed && run.host.failures() > 0;
            stats.add(Counter::FailedRequests, u64::from(fails_here && !has_succeeded));
        }
        if run.host.failures() == 0 {
            // There were fewer operations this time.
            stats.add(Counter::SkippedFaults, 1);
            return Ok(());
        }
        self.judge(run, after, place, (follow_ups, stats))
    }

    /// Judges a run in which a fault has happened, and of whose requests `begun` were made.
    pub(super) fn judge(
        &self,
        run: Run<'a>,
        begun: usize,
        place: &mut Place,
        (follow_ups, stats): (&FollowUps, &mut Statistics),
    ) -> Kept {
        if run.host.is_lossy() {
            place.stage = "after a crash that follows the failed sync";
            crash::crash(self, &run, follow_ups, stats)?;
        }
        let mut recovery = Recovery { setting: self, run, place, stats };
        recovery.recover(&self.requests[begun..], number_of(begun))
    }
}
