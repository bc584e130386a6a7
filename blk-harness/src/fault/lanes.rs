//! A fault while requests are in flight together.
//!
//! The scenario runs under its schedule, so the operations up to the fault are those of the run without
//! faults, but for a driver in another process now and then: nothing depends on that but the report, which
//! says so. Two requests more begin after it; what is in flight then completes, the fault is cleared, and all
//! that follows is judged one by one.

use blk_sim::Fault;
use blk_sim::scheduler::Tasks;

use super::moments::Moments;
use super::place::Place;
use super::sweep::{AFTER_FAULT, Baseline, Setting, number_of};
use crate::follow_up::FollowUps;
use crate::promise::Kept;
use crate::run::Lanes;
use crate::statistics::{Counter, Statistics};

impl Setting<'_> {
    /// As [`Setting::baseline`], in lanes.
    pub(super) fn baseline_in_lanes(&self, place: &mut Place, tasks: &mut Tasks) -> Kept<Baseline> {
        let mut run = self.run(None, place);
        run.open()?;
        let mut lanes = Lanes::new(tasks, self.lanes);
        run.in_lanes(&mut lanes, self.requests)?;
        place.stage = "at the end";
        run.observe_all()?;
        let accepted = run.checker.stats().get(Counter::Accepted);
        Ok(Baseline { calls: run.host.take_calls(), moments: Moments::default(), accepted })
    }

    /// As [`Setting::with_fault`], in lanes.
    pub(super) fn with_fault_in_lanes(
        &self,
        fault: Fault,
        place: &mut Place,
        tasks: &mut Tasks,
        (follow_ups, stats): (&FollowUps, &mut Statistics),
    ) -> Kept {
        let mut run = self.run(Some(fault), place);
        run.checker.end_after_failure(AFTER_FAULT as u32);
        run.open()?;
        let mut lanes = Lanes { first_number: Some(number_of(0)), ..Lanes::new(tasks, self.lanes) };
        let begun = run.in_lanes(&mut lanes, self.requests)?;
        if run.host.failures() == 0 {
            // There were fewer operations this time.
            stats.add(Counter::SkippedFaults, 1);
            return Ok(());
        }
        let so_far = run.checker.stats();
        stats.add(Counter::FaultsInFlight, u64::from(so_far.get(Counter::Met) > 0));
        place.begun = Some(so_far.get(Counter::Requests) as usize);
        self.judge(run, begun, place, (follow_ups, stats))
    }
}
