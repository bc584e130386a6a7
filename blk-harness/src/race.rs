//! Races: several requests in flight on one disk, under a deterministic scheduler.
//!
//! ```text
//! scenario ── requests, in order ──► lanes (coroutines) ──► Disk ──► Host: each operation is issued, happens, completes
//!          └─ turns ───────────────► scheduler: which lane goes on        │
//!                                    checker: may it have answered that? ◄┘
//! ```
//! `config.lanes` requests are in flight at most. They begin in the order of the scenario: a lane takes the
//! next one as soon as it has completed its last. A request's turn says at which of its points another lane
//! goes on; a point is each acquisition of a lock ([`blk_core::sync`]) and each issue and completion of an
//! operation of the host. Without turns the scenario runs as if it had one lane. `reopen` waits until nothing
//! is in flight, and happens alone; `truncate` is in flight with what lies inside both sizes.
//!
//! Everything is a pure function of the scenario, so a finding replays and shrinks like any other.

mod stress;

use std::fmt;
use std::sync::Arc;

use blk_sim::scheduler::Tasks;
use blk_sim::{Host, Settings};

use crate::crash::{CrashOptions, Explorer, History, Place, live, memory};
use crate::driver::Driver;
use crate::follow_up::FollowUps;
use crate::images::Images;
use crate::journal::Journal;
use crate::known::Known;
use crate::model::Model;
use crate::promise::Kept;
use crate::report::Finding;
use crate::run::{Lanes, Run, guarded};
use crate::scenario::Scenario;
use crate::scenario::bounds::LANES_MAX;
use crate::statistics::{Counter, Statistics};
use crate::{Outcome, explain};

pub use stress::{StressOptions, stress, stress_scenario, stress_with};

/// Largest disk that is raced, bytes: it is read whole.
const SIZE_BYTES_MAX: u64 = 64 << 20;

/// Races scenarios, keeping what it can between them.
#[derive(Default)]
pub struct RaceEngine {
    /// One scenario in so many is crashed too; 0 for none.
    crash_one_in: u64,
    crashing: CrashOptions,
    follow_ups: FollowUps,
    crashes: Statistics,
    /// The step after which something was found, where that is pursued.
    pursued: Option<&'static str>,
    tasks: Tasks,
    images: Option<Images>,
    stats: Statistics,
}

impl fmt::Debug for RaceEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schedules = self.stats.get(Counter::Scenarios);
        f.debug_struct("RaceEngine").field("schedules", &schedules).finish_non_exhaustive()
    }
}

impl RaceEngine {
    /// An engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine that also crashes one scenario in `one_in` at each of its host's operations.
    pub fn with_crashes(one_in: u64) -> Self {
        Self::crashing(one_in, CrashOptions::racing())
    }

    /// The same, with other options.
    pub(crate) fn crashing(one_in: u64, crashing: CrashOptions) -> Self {
        Self { crash_one_in: one_in, crashing, ..Self::default() }
    }

    /// What the crashes of runs so far did.
    pub fn crashes(&self) -> &Statistics {
        &self.crashes
    }

    /// What all runs so far did.
    pub fn stats(&self) -> &Statistics {
        &self.stats
    }

    /// Runs one scenario on a fresh image, under its schedule. A panic of the driver is a finding, and so is
    /// standing still.
    pub fn run(&mut self, target: &dyn Driver, scenario: &Scenario) -> Outcome {
        let known = Known::new(target, scenario, "race");
        let outcome = self.try_all(target, scenario, &known);
        known.end(outcome, &mut self.stats)
    }

    fn try_all(&mut self, target: &dyn Driver, scenario: &Scenario, known: &Known<'_>) -> Outcome {
        self.stats.add(Counter::Scenarios, 1);
        let before = self.images.take();
        let images = match Images::for_scenario(before, target, &scenario.config, SIZE_BYTES_MAX) {
            Ok(images) => images,
            Err(outcome) => return outcome,
        };
        let outcome = self.race(&images, scenario, known);
        self.images = Some(images);
        outcome
    }

    /// Whether a scenario is crashed too. The scenario alone decides: asked again, the engine answers the
    /// same.
    fn is_crashed(&self, scenario: &Scenario) -> bool {
        match self.crash_one_in {
            0 => false,
            1 => true,
            one_in => scenario.number().is_multiple_of(one_in),
        }
    }

    fn race(&mut self, images: &Images, scenario: &Scenario, known: &Known<'_>) -> Outcome {
        let crashing = self.crashing;
        let is_crashed = images.size <= crashing.size_bytes_max && self.is_crashed(scenario);
        let settings = Settings { logs_changes: is_crashed, keeps_in_flight: true, ..Settings::default() };
        let host = Arc::new(Host::new(images.fresh.duplicate(), settings));
        let model = Model::new(Arc::clone(&images.initial), images.size, images.fill_bytes(), true);
        let lanes = usize::from(images.config.lanes.clamp(1, LANES_MAX));
        let journal = Arc::new(Journal::new());
        let mut run = Run::new(images, host, Arc::clone(&journal), model, lanes);
        let checker = Arc::clone(&run.checker);
        let mut lanes = Lanes::new(&mut self.tasks, lanes);
        let (control, relay) = (Arc::clone(&lanes.control), run.relay.clone());
        let mut place = Place::default();
        let outcome = guarded(
            || {
                let ran = all(&mut run, scenario, &mut lanes);
                if let Err(violation) = ran {
                    return Ok(Outcome::Finding(live(&run, &journal, &violation)));
                }
                let history = is_crashed.then(|| History::of(&run));
                drop(run);
                let Some(history) = history else { return Ok(Outcome::Clean) };
                self.crashes.add(Counter::Scenarios, 1);
                self.follow_ups.prepare(images.space, &images.config);
                let (follow_ups, stats) = (&self.follow_ups, &mut self.crashes);
                let at = (&mut place, known);
                let mut explorer = Explorer::new(crashing, images, &journal, follow_ups, stats, at);
                explorer.pursue(self.pursued);
                let ended = explorer.explore(&history, scenario.number());
                Ok(match ended {
                    Ok(None) => Outcome::Clean,
                    Ok(Some(finding)) => {
                        if crashing.pursues {
                            self.pursued = Some(place.pursued());
                        }
                        Outcome::Finding(finding)
                    }
                    Err(error) => Outcome::Finding(memory(&journal, &error)),
                })
            },
            Err,
        );
        let mut stats = checker.stats();
        let relayed = relay.map_or((0, 0), |relay| (relay.points(), relay.switches()));
        stats.add(Counter::Points, control.points() + relayed.0);
        stats.add(Counter::Switches, control.switches() + relayed.1);
        stats.add(Counter::Interleaved, u64::from(stats.get(Counter::Met) > 0));
        self.stats.merge(&stats);
        let panicked = |finding: Box<Finding>| {
            let history = explain::history(&checker.records());
            Outcome::Finding(Box::new(Finding { history, ..place.tell(*finding, &journal) }))
        };
        outcome.unwrap_or_else(panicked)
    }
}

fn all(run: &mut Run<'_>, scenario: &Scenario, lanes: &mut Lanes<'_>) -> Kept {
    run.open()?;
    let requests: Vec<_> = scenario.turns_within(SIZE_BYTES_MAX).collect();
    run.in_lanes(lanes, &requests)?;
    run.finish()
}
