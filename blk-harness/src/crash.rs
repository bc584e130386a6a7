//! Crashes: after every operation of the storage, what may be left is opened and judged.
//!
//! A scenario runs on a [`Host`] that keeps a log. The log is then gone through: at each operation, the
//! images that a crash may leave are made from the durable one and subsets of what is pending
//! ([`blk_sim::States`]); each distinct image is opened, checked, repaired and used once (`judge`); then what
//! its guest sees is held against what the model allows at that time.

mod cache;
mod explore;
mod found;
mod plan;

use std::sync::Arc;

use blk_core::Error;
use blk_sim::scheduler::Tasks;
use blk_sim::{Host, Settings};

use crate::driver::Driver;
use crate::explain::{Scene, finding};
use crate::follow_up::FollowUps;
use crate::images::Images;
use crate::journal::Journal;
use crate::known::Known;
use crate::model::Model;
use crate::promise::{Kept, Promise, Violation};
use crate::report::Finding;
use crate::run::{Lanes, Run, guarded};
use crate::scenario::bounds::LANES_MAX;
use crate::scenario::{Request, Scenario};
use crate::statistics::{Counter, Statistics};
use crate::{Outcome, explain};
pub(crate) use explore::{Explorer, History, Place};

/// A smaller disk takes no less time than one of this size, bytes.
const SMALL_BYTES: u64 = 8 << 10;

/// States tried of one recovery of a large disk.
const RECOVERY_STATES_MIN: u64 = 4;

/// Which promises are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Ours: all of the model.
    #[default]
    Strict,
    /// For drivers that promise less: a sector that was not flushed may show what was written to another
    /// address. That is no finding. All else is judged as for [`Profile::Strict`].
    Lenient,
}

/// How a scenario is crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashOptions {
    /// States tried at one crash point, where not all of them are.
    pub states_per_point: usize,
    /// States tried in one scenario.
    pub states_per_scenario: u64,
    /// States tried of one recovery: it is crashed too.
    pub states_per_recovery: u64,
    /// Bytes of disk opened and read in one scenario: large disks get fewer states.
    pub bytes_per_scenario: u64,
    /// Largest disk that is run, bytes.
    pub size_bytes_max: u64,
    /// Crash points before this request, counted from 0, are judged in another scenario that begins alike.
    pub from_request: usize,
    /// One distinct image in so many gets follow-up requests; at least 1, which is all of them. They take
    /// most of the time.
    pub follow_up_one_in: u64,
    /// One distinct image in so many has its recovery crashed, where that writes; at least 1.
    pub recovery_one_in: u64,
    /// Once something was found, only crash points after steps of that name are judged: for a minimiser.
    pub pursues: bool,
    /// Which promises are judged.
    pub profile: Profile,
}

impl Default for CrashOptions {
    fn default() -> Self {
        Self {
            states_per_point: 64,
            states_per_scenario: 2000,
            states_per_recovery: 256,
            bytes_per_scenario: 16 << 20,
            size_bytes_max: 8 << 20,
            from_request: 0,
            follow_up_one_in: 1,
            recovery_one_in: 1,
            pursues: false,
            profile: Profile::Strict,
        }
    }
}

impl CrashOptions {
    /// States tried in a scenario over a disk of `size` bytes.
    fn states_for(&self, size: u64) -> u64 {
        self.states_per_scenario.min(self.bytes_per_scenario / size.max(SMALL_BYTES))
    }

    /// States tried of one recovery of a disk of `size` bytes: what is judged of it is judged of each.
    fn recovery_states_for(&self, size: u64) -> usize {
        let affordable = (self.bytes_per_scenario / size.max(SMALL_BYTES)).max(RECOVERY_STATES_MIN);
        usize::try_from(self.states_per_recovery.min(affordable)).unwrap_or(usize::MAX)
    }

    /// For scenarios without end: a few states of each. More scenarios find more than more states of one do,
    /// as soon as a scenario takes no longer to be made than to be crashed.
    pub fn fuzzing() -> Self {
        Self {
            states_per_scenario: 48,
            states_per_recovery: 12,
            bytes_per_scenario: 4 << 20,
            follow_up_one_in: 8,
            recovery_one_in: 4,
            ..Self::default()
        }
    }

    /// The same, and what is found is pursued.
    pub(crate) fn pursuing(self) -> Self {
        Self { pursues: true, ..self }
    }

    /// Every state of every crash point, up to 4096 at each. Follow-up requests take three quarters of the
    /// time if each image gets them, and an image comes back in many sequences.
    pub fn exhaustive() -> Self {
        Self {
            states_per_point: 4096,
            states_per_scenario: u64::MAX,
            bytes_per_scenario: u64::MAX,
            follow_up_one_in: 8,
            ..Self::default()
        }
    }

    /// For a race.
    pub(crate) fn racing() -> Self {
        Self { states_per_point: 12, states_per_scenario: 400, size_bytes_max: 256 << 10, ..Self::default() }
    }

    /// For races without end, of which few are crashed.
    pub(crate) fn racing_without_end() -> Self {
        let Self { follow_up_one_in, recovery_one_in, states_per_recovery, .. } = Self::fuzzing();
        let states_per_scenario = 24;
        Self { states_per_scenario, states_per_recovery, follow_up_one_in, recovery_one_in, ..Self::racing() }
    }
}

/// Crashes scenarios.
#[derive(Debug, Default)]
pub struct CrashEngine {
    options: CrashOptions,
    follow_ups: FollowUps,
    tasks: Tasks,
    images: Option<Images>,
    stats: Statistics,
    /// The step after which something was found, where that is pursued.
    pursued: Option<&'static str>,
}

impl CrashEngine {
    /// An engine with these options.
    pub fn new(options: CrashOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// What all runs so far did.
    pub fn stats(&self) -> &Statistics {
        &self.stats
    }

    /// Crash points before request number `index`, from 0, are left out in the runs that follow.
    pub fn judge_from(&mut self, index: usize) {
        self.options.from_request = index;
    }

    /// Runs one scenario on a fresh image, and crashes it at every operation. A panic of the driver is a
    /// finding.
    pub fn run(&mut self, target: &dyn Driver, scenario: &Scenario) -> Outcome {
        let known = Known::new(target, scenario, "crash");
        let outcome = self.try_all(target, scenario, &known);
        known.end(outcome, &mut self.stats)
    }

    fn try_all(&mut self, target: &dyn Driver, scenario: &Scenario, known: &Known<'_>) -> Outcome {
        self.stats.add(Counter::Scenarios, 1);
        let before = self.images.take();
        let prepared = Images::for_scenario(before, target, &scenario.config, self.options.size_bytes_max);
        let images = match prepared {
            Ok(images) => images,
            Err(outcome) => return outcome,
        };
        self.follow_ups.prepare(images.space, &images.config);
        let journal = Arc::new(Journal::new());
        let mut place = Place::default();
        let outcome = guarded(|| Ok(self.crash(&images, (scenario, known), &journal, &mut place)), Err);
        self.images = Some(images);
        let panicked = |finding: Box<Finding>| Outcome::Finding(Box::new(place.tell(*finding, &journal)));
        outcome.unwrap_or_else(panicked)
    }

    fn crash(
        &mut self,
        images: &Images,
        (scenario, known): (&Scenario, &Known<'_>),
        journal: &Arc<Journal>,
        place: &mut Place,
    ) -> Outcome {
        let host = Arc::new(Host::new(images.fresh.duplicate(), Settings::crashing()));
        let model = Model::new(Arc::clone(&images.initial), images.size, images.fill_bytes(), true);
        let lanes = usize::from(images.config.lanes.clamp(1, LANES_MAX));
        let mut run = Run::new(images, host, Arc::clone(journal), model, lanes);
        let ran = self.all(&mut run, scenario, lanes);
        self.stats.merge(&run.checker.stats());
        if let Err(violation) = ran {
            return Outcome::Finding(live(&run, journal, &violation));
        }
        let history = History::of(&run);
        drop(run);
        let (follow_ups, stats) = (&self.follow_ups, &mut self.stats);
        let mut explorer = Explorer::new(self.options, images, journal, follow_ups, stats, (place, known));
        explorer.pursue(self.pursued);
        let ended = explorer.explore(&history, scenario.number());
        match ended {
            Ok(None) => Outcome::Clean,
            Ok(Some(finding)) => {
                if self.options.pursues {
                    self.pursued = Some(place.pursued());
                }
                Outcome::Finding(finding)
            }
            Err(error) => Outcome::Finding(memory(journal, &error)),
        }
    }

    /// Makes all requests, a flush, and closes the image.
    fn all(&mut self, run: &mut Run<'_>, scenario: &Scenario, lanes: usize) -> Kept {
        run.open()?;
        let size_max = self.options.size_bytes_max;
        let requests: Vec<_> = scenario.turns_within(size_max).collect();
        if lanes == 1 {
            requests.iter().try_for_each(|(request, _)| run.request(None, *request).map(drop))?;
        } else {
            run.in_lanes(&mut Lanes::new(&mut self.tasks, lanes), &requests)?;
        }
        run.request(None, Request::Flush)?;
        run.close()
    }
}

/// The finding for what went wrong without a crash.
pub(crate) fn live(run: &Run<'_>, journal: &Journal, violation: &Violation) -> Box<Finding> {
    let size = run.checker.model(|model, _| model.size());
    let history = explain::history(&run.checker.records());
    finding(violation, Scene { history, ..Scene::plain(journal, size) })
}

/// The finding for memory that has run out.
pub(crate) fn memory(journal: &Journal, error: &Error) -> Box<Finding> {
    let violation = Violation::failed(Promise::Answers, "the memory of the simulation", error);
    finding(&violation, Scene::plain(journal, 0))
}
