//! Failing storage: every operation of a scenario fails in turn, and what the disk then says and shows is
//! judged.
//!
//! A run without faults counts the operations of the storage, from the open to the close at the end. Then
//! each one fails: with EIO before any effect, after half and after all of it; with ENOSPC where space can
//! run out; once, or until the fault is cleared ([`blk_sim::fault`]). The run goes on for two requests more,
//! the fault is cleared, and the [promises](crate::promise::Promise) hold from then on: what a failed request
//! touched is old or new, all else is exact, no failure is swallowed, and the disk goes on working. A
//! scenario with lanes has its requests in flight together, under its schedule. A sync that fails is taken as
//! Linux takes it: what it was to write is lost, and no later sync says so.

mod crash;
mod lanes;
mod moments;
mod place;
mod recover;
mod repair;
mod sweep;

use std::sync::Arc;

use blk_sim::Fault;
use blk_sim::fault::faults;
use blk_sim::random::hash;
use blk_sim::scheduler::Tasks;

use crate::Outcome;
use crate::driver::Driver;
use crate::explain::{Scene, finding};
use crate::follow_up::FollowUps;
use crate::images::Images;
use crate::journal::Journal;
use crate::known::Known;
use crate::promise::Kept;
use crate::report::{Finding, Signature};
use crate::run::guarded;
use crate::scenario::bounds::LANES_MAX;
use crate::scenario::{Request, Scenario, Turn};
use crate::statistics::{Counter, Statistics, Tally};
use place::Place;
use sweep::{Baseline, Setting};

/// What the engine is called in findings.
const ENGINE: &str = "fault";

/// How a scenario is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultOptions {
    /// Faults tried in one scenario; all that are possible where these are fewer. What is tried with a
    /// smaller number is tried first with a larger one.
    pub faults_max: usize,
    /// Operations of the storage that the sweep of one scenario may take, about; it bounds the faults
    /// further.
    pub operations_max: u64,
    /// Largest disk that is run, bytes.
    pub size_bytes_max: u64,
    /// After one fault in so many, all that is left of the scenario is made once the fault is gone, and 50
    /// requests at least; after the others, 8. At least 1.
    pub long_follow_up_one_in: u64,
    /// Once something was found, only faults like that one are tried, and only the same finding counts: for a
    /// minimiser.
    pub pursues: bool,
}

impl Default for FaultOptions {
    fn default() -> Self {
        Self {
            faults_max: 512,
            operations_max: 1 << 20,
            size_bytes_max: 1 << 40,
            long_follow_up_one_in: 1,
            pursues: false,
        }
    }
}

/// Sweeps scenarios.
#[derive(Debug, Default)]
pub struct FaultEngine {
    options: FaultOptions,
    follow_ups: FollowUps,
    tasks: Tasks,
    images: Option<Images>,
    stats: Statistics,
    pursued: Option<(Option<Fault>, Signature)>,
}

impl FaultEngine {
    /// An engine with these options.
    pub fn new(options: FaultOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// What all runs so far did.
    pub fn stats(&self) -> &Statistics {
        &self.stats
    }

    /// Runs a scenario on a fresh image without faults, then with each. A panic of the driver is a finding.
    pub fn run(&mut self, target: &dyn Driver, scenario: &Scenario) -> Outcome {
        let known = Known::new(target, scenario, ENGINE);
        let outcome = self.try_all(target, scenario, &known);
        known.end(outcome, &mut self.stats)
    }

    fn try_all(&mut self, target: &dyn Driver, scenario: &Scenario, known: &Known<'_>) -> Outcome {
        self.stats.add(Counter::Scenarios, 1);
        let before = self.images.take();
        let images = match Images::for_scenario(before, target, &scenario.config, self.options.size_bytes_max)
        {
            Ok(images) => images,
            Err(outcome) => return outcome,
        };
        self.follow_ups.prepare(images.space, &images.config);
        let size_max = self.options.size_bytes_max;
        let mut requests: Vec<_> = scenario.turns_within(size_max).collect();
        requests
            .extend([Request::Flush, Request::Reopen { kill: false }].map(|last| (last, Turn::default())));
        let follow_ups = self.follow_ups.requests(requests.len() as u64).to_vec();
        let (journal, seed) = (Arc::new(Journal::new()), hash(scenario.to_text().as_bytes()));
        let setting = Setting {
            images: &images,
            journal: &journal,
            requests: &requests,
            lanes: usize::from(images.config.lanes.clamp(1, LANES_MAX)),
            follow_ups: &follow_ups,
            seed,
            long_follow_up_one_in: self.options.long_follow_up_one_in,
        };
        let all = std::mem::take(&mut self.follow_ups);
        let found = self.sweep(&setting, &all, known);
        self.follow_ups = all;
        self.images = Some(images);
        found.map_or(Outcome::Clean, Outcome::Finding)
    }

    /// What is found, by the first fault that finds something that is not known if there is one.
    fn sweep(
        &mut self,
        setting: &Setting<'_>,
        all_follow_ups: &FollowUps,
        known: &Known<'_>,
    ) -> Option<Box<Finding>> {
        let is_in_lanes = setting.lanes > 1;
        let mut first_known = None;
        let mut place = Place { is_in_lanes, ..Place::default() };
        let baseline = self.guarded(setting, &mut place, |place, tasks, _| match setting.lanes {
            1 => setting.baseline(place),
            _ => setting.baseline_in_lanes(place, tasks),
        });
        let baseline = match baseline {
            Ok(baseline) => baseline,
            Err(finding) => return self.found(None, finding),
        };
        self.stats.add(Counter::Requests, setting.requests.len() as u64);
        self.stats.add(Counter::Accepted, baseline.accepted);
        self.stats.add(Counter::Operations, baseline.calls.len() as u64);
        for fault in self.chosen(setting, &baseline) {
            let call = baseline.calls[fault.at as usize];
            self.stats.add(Counter::Faults, 1);
            self.stats.tally(Tally::StepsFaulted, [call.step.name, "", ""]);
            self.stats.tally(Tally::KindsFaulted, [kind_name(fault.operation), "", ""]);
            let operations = baseline.calls.len() as u64;
            let mut place = Place { fault: Some((fault, call)), operations, is_in_lanes, ..Place::default() };
            let swept = self.guarded(setting, &mut place, |place, tasks, stats| {
                let judging = (all_follow_ups, stats);
                if is_in_lanes {
                    setting.with_fault_in_lanes(fault, place, tasks, judging)
                } else {
                    setting.with_fault(&baseline, fault, place, judging)
                }
            });
            let Err(finding) = swept else { continue };
            if known.meets(&finding) {
                if self.is_pursued(&finding) {
                    first_known.get_or_insert((fault, finding));
                }
            } else if let Some(found) = self.found(Some(fault), finding) {
                return Some(found);
            }
        }
        first_known.and_then(|(fault, finding)| self.found(Some(fault), finding))
    }

    /// The faults that are tried.
    fn chosen(&mut self, setting: &Setting<'_>, baseline: &Baseline) -> Vec<Fault> {
        let mut faults = faults(setting.seed, &baseline.calls);
        self.stats.add(Counter::PossibleFaults, faults.len() as u64);
        let affordable = self.options.operations_max / (baseline.calls.len() as u64).max(1);
        let count_max = self.options.faults_max.min(usize::try_from(affordable).unwrap_or(usize::MAX).max(4));
        if let Some((Some(pursued), _)) = &self.pursued {
            faults.retain(|fault| fault.is_like(*pursued));
        }
        self.stats.add(Counter::Sampled, u64::from(faults.len() > count_max));
        faults.truncate(count_max);
        faults
    }

    /// Whether no other finding is pursued.
    fn is_pursued(&self, finding: &Finding) -> bool {
        self.pursued.as_ref().is_none_or(|(_, signature)| *signature == finding.signature)
    }

    /// The finding, unless another one is pursued.
    fn found(&mut self, fault: Option<Fault>, finding: Box<Finding>) -> Option<Box<Finding>> {
        if !self.is_pursued(&finding) {
            return None;
        }
        if self.pursued.is_none() && self.options.pursues {
            self.pursued = Some((fault, finding.signature.clone()));
        }
        Some(finding)
    }

    /// Turns broken promises and panics into findings.
    fn guarded<T>(
        &mut self,
        setting: &Setting<'_>,
        place: &mut Place,
        run: impl FnOnce(&mut Place, &mut Tasks, &mut Statistics) -> Kept<T>,
    ) -> Result<T, Box<Finding>> {
        let Self { stats, tasks, .. } = self;
        let guarded = guarded(|| Ok(run(place, tasks, stats)), Err);
        let mut pending = Vec::new();
        let finding = match guarded {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(mut violation)) => {
                pending = std::mem::take(&mut violation.pending);
                let faulted_step = Some(place.failed().map_or("none", |(_, call)| call.step.name));
                let plain = Scene::plain(setting.journal, setting.images.size);
                finding(&violation, Scene { faulted_step, ..plain })
            }
            Err(panic) => panic,
        };
        Err(Box::new(place.tell(*finding, pending, setting.requests.len() as u32).by(ENGINE)))
    }
}

fn kind_name(operation: blk_core::storage::Operation) -> &'static str {
    use blk_core::storage::Operation;
    match operation {
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::WriteZeroes => "write zeroes",
        Operation::PunchHole => "punch hole",
        Operation::SetLen => "truncate",
        Operation::Sync => "sync",
        Operation::Len => "length",
        Operation::RunAt => "status",
    }
}
