//! Crashes: after every operation of the storage, what may be left is opened and judged.
//!
//! A scenario runs on a [`Medium`]. At each of its operations, the images that a crash may leave are made from the durable one
//! and subsets of what is pending ([`crate::medium`]); each distinct image is opened, checked, repaired and used once
//! (`judge`); then what its guest sees is held against what was asked up to that moment (`content`).

mod content;
mod drive;
mod explain;
mod explore;
pub(crate) mod further;
mod judge;
mod known;
mod recovery;
mod stats;
mod violation;

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use blk_core::storage;
use blk_core::{Disk, Extent};

use crate::engine::panic_finding;
use crate::journal::Journal;
use crate::medium::{History, Medium};
use crate::perform::Performer;
use crate::report::Finding;
use crate::scenario::{Config, Repair, Request, Scenario};
use crate::space::Geometry;
use crate::target::{ImageTarget, Prepared, legal_config};
use crate::{Outcome, Signature};
use content::{Allowed, Content};
use drive::Trouble;
use explore::Place;
use known::Known;
pub(crate) use violation::Violation;

pub(crate) use content::sector_of;
pub(crate) use explain::fate;
pub(crate) use further::Further;
pub(crate) use judge::{Depth, Judge};
pub use stats::CrashStats;
pub use violation::Clause;

/// A smaller disk takes no less time than one of this size, bytes.
const SMALL_BYTES: u64 = 8 << 10;

/// With fewer states than this, not every crash point is judged.
const SPREAD_STATES: u64 = 256;

/// So many crash points of each step of a rare kind are judged in every scenario, however large its disk is.
const RARE_POINTS: u64 = 2;

/// Which promises are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Ours: all of the model.
    #[default]
    Strict,
    /// What QEMU 10 gives: sectors that were not flushed may show other addresses' data. These are counted, not found.
    Qemu,
}

/// How a scenario is crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashOptions {
    /// States tried at one crash point, where not all of them are.
    pub states_per_point: usize,
    /// States tried in one scenario.
    pub states_per_scenario: u64,
    /// Bytes of disk opened and read in one scenario: large disks get fewer states.
    pub bytes_per_scenario: u64,
    /// Largest disk that is run, bytes.
    pub size_bytes_max: u64,
    /// Crash points before this request, counted from 0, are judged in another scenario that begins alike.
    pub from_request: usize,
    /// One distinct image in so many is used further; at least 1, which is all of them. It takes most of the time.
    pub further_one_in: u64,
    /// Which promises are judged.
    pub profile: Profile,
}

impl Default for CrashOptions {
    fn default() -> Self {
        Self {
            states_per_point: 64,
            states_per_scenario: 2000,
            bytes_per_scenario: 16 << 20,
            size_bytes_max: 8 << 20,
            from_request: 0,
            further_one_in: 1,
            profile: Profile::Strict,
        }
    }
}

impl CrashOptions {
    /// States tried in a scenario over a disk of `size` bytes.
    fn states_for(&self, size: u64) -> u64 {
        self.states_per_scenario.min(self.bytes_per_scenario / size.max(SMALL_BYTES))
    }

    /// For scenarios without end: fewer states of each, and one image in four is used further.
    pub fn fuzzing() -> Self {
        Self { states_per_scenario: 800, further_one_in: 4, ..Self::default() }
    }

    /// Every state of every crash point, up to 4096 at each.
    pub fn exhaustive() -> Self {
        Self {
            states_per_point: 4096,
            states_per_scenario: u64::MAX,
            bytes_per_scenario: u64::MAX,
            ..Self::default()
        }
    }
}

/// Crashes scenarios.
#[derive(Debug, Default)]
pub struct CrashEngine {
    options: CrashOptions,
    further: Further,
    stats: CrashStats,
}

/// One scenario while it runs.
struct Run<'a> {
    options: CrashOptions,
    further: &'a Further,
    stats: &'a mut CrashStats,
    journal: &'a Journal,
    prepared: &'a dyn Prepared,
    geometry: Geometry,
    medium: Arc<Medium>,
    history: History,
    /// Open but for the moment of its reopening.
    disk: Option<Disk>,
    performer: Performer,
    content: Content,
    allowed: Allowed,
    /// Host and guest clusters touched since the last flush: so many may have leaked.
    touched: HashSet<(bool, u64)>,
    known: Known,
    states_left: u64,
    /// One crash point in so many is judged: where states are few, they are spread over all of the scenario.
    stride: u64,
    /// Crash points of a rare kind, by step: some of each are judged even so.
    rare: HashMap<&'static storage::Step, u64>,
    /// Whether crash points are judged now.
    is_judging: bool,
    place: &'a mut Place,
}

type Step = Result<(), Box<Finding>>;

impl CrashEngine {
    /// An engine with these options.
    pub fn new(options: CrashOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// What all runs so far did.
    pub fn stats(&self) -> &CrashStats {
        &self.stats
    }

    /// Crash points before request number `index`, from 0, are left out in the runs that follow.
    pub fn judge_from(&mut self, index: usize) {
        self.options.from_request = index;
    }

    /// Runs one scenario on a fresh image, and crashes it at every operation. A panic of the driver is a finding.
    pub fn run(&mut self, target: &dyn ImageTarget, scenario: &Scenario) -> Outcome {
        self.stats.scenarios += 1;
        let journal = Journal::new();
        let mut place = Place::default();
        let guarded = AssertUnwindSafe(|| self.run_unguarded(target, scenario, &journal, &mut place));
        match catch_unwind(guarded) {
            Ok(outcome) => outcome,
            Err(payload) => {
                let mut finding = panic_finding(payload.as_ref());
                finding.report.push_str(&place.describe(&journal));
                finding.request_number = place.request_number;
                Outcome::Finding(Box::new(finding))
            }
        }
    }

    fn run_unguarded(
        &mut self,
        target: &dyn ImageTarget,
        scenario: &Scenario,
        journal: &Journal,
        place: &mut Place,
    ) -> Outcome {
        let config = match legal_config(target, &scenario.config) {
            Ok(config) => config,
            Err(why) => return Outcome::Refused(why),
        };
        let geometry = target.space().geometry(&config);
        if config.size_bytes.max(config.backing_bytes) > self.options.size_bytes_max {
            return Outcome::Refused(format!("a disk of {} bytes is too large here", config.size_bytes));
        }
        let prepared = match target.prepare(&config) {
            Ok(prepared) => prepared,
            Err(error) => return Outcome::Refused(format!("the images cannot be made: {error}")),
        };
        self.further.prepare(target.space(), &config);
        match Run::start(self, &*prepared, (&config, geometry), journal, place) {
            Ok(mut run) => match run.all(scenario) {
                Ok(()) => Outcome::Clean,
                Err(finding) => Outcome::Finding(finding),
            },
            Err(error) => Outcome::Refused(format!("the image cannot be made: {error}")),
        }
    }
}

impl<'a> Run<'a> {
    fn start(
        engine: &'a mut CrashEngine,
        prepared: &'a dyn Prepared,
        (config, geometry): (&Config, Geometry),
        journal: &'a Journal,
        place: &'a mut Place,
    ) -> blk_core::Result<Self> {
        let image = prepared.fresh()?;
        let medium = Arc::new(Medium::new(image.duplicate()));
        let disk = prepared.open(medium.clone())?;
        let content = Content::read(&prepared.reference()?)?;
        let states = engine.options.states_for(content.size());
        let atom_bytes = u64::from(config.atom_bytes);
        Ok(Self {
            options: engine.options,
            further: &engine.further,
            stats: &mut engine.stats,
            journal,
            prepared,
            geometry,
            history: History::new(image, atom_bytes)?,
            medium,
            disk: Some(disk),
            performer: Performer::default(),
            allowed: Allowed::new(&content),
            content,
            touched: HashSet::new(),
            known: Known::default(),
            states_left: states,
            stride: (SPREAD_STATES / states.max(1)).max(1),
            rare: HashMap::new(),
            is_judging: true,
            place,
        })
    }

    fn all(&mut self, scenario: &Scenario) -> Step {
        for (index, request) in scenario.requests.iter().enumerate() {
            self.is_judging = index >= self.options.from_request;
            self.make(*request)?;
        }
        self.is_judging = true;
        self.make(Request::Flush)?;
        self.place.request_number = 0;
        self.disk().close().map_err(|error| self.live(&Trouble::Failed(error)))?;
        self.explore()?;
        self.flushed()
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("the disk is open between reopens")
    }

    fn make(&mut self, request: Request) -> Step {
        let number = self.journal.enter(request);
        self.place.request_number = number;
        self.stats.requests += 1;
        match request {
            Request::Reopen { kill } => return self.reopen(kill),
            Request::Check { repair } => return self.check(repair),
            _ => {}
        }
        let predicted = self.content.predict(number, request, self.geometry.fill_bytes());
        if let Some(predicted) = &predicted {
            self.allowed.begin(&self.content, predicted);
            self.touch(false, predicted.extent);
        }
        if let Request::Resize { size } = request
            && size <= self.options.size_bytes_max
        {
            self.allowed.resize(size);
            // Clusters that come or go are touched: the new ones may be marked, in tables of their own.
            let old = self.content.size();
            self.touch(false, Extent::between(old.min(size), old.max(size)));
        }
        let succeeded = self.perform(number, request)?;
        self.explore()?;
        let disk = self.disk.as_ref().expect("the disk is open between reopens");
        let settled = drive::settle(disk, &mut self.content, request, predicted.as_ref(), succeeded);
        settled.map_err(|trouble| self.live(&trouble))?;
        if let Some(predicted) = &predicted {
            self.allowed.note(&self.content, predicted.extent);
        }
        self.stats.accepted += u64::from(succeeded);
        if succeeded { self.promise(request) } else { Ok(()) }
    }

    fn perform(&mut self, number: u32, request: Request) -> Result<bool, Box<Finding>> {
        if let Request::Resize { size } = request
            && size > self.options.size_bytes_max
        {
            return Ok(false);
        }
        let disk = self.disk.as_ref().expect("the disk is open between reopens");
        let fill_bytes = self.geometry.fill_bytes();
        let performed = drive::perform(&mut self.performer, disk, &self.content, number, request, fill_bytes);
        performed.map_err(|trouble| self.live(&trouble))
    }

    /// What a request that has succeeded promises about crashes from now on.
    fn promise(&mut self, request: Request) -> Step {
        match request {
            Request::Flush => self.flushed(),
            Request::Write { fua: true, offset, length, .. }
            | Request::WriteZeroes { fua: true, offset, length, .. } => {
                self.allowed.flushed_part(&self.content, Extent::new(offset, length));
                self.explore_all()
            }
            _ => Ok(()),
        }
    }

    /// Everything is durable: whatever is still pending must not matter any more.
    fn flushed(&mut self) -> Step {
        self.allowed.flushed(&self.content);
        self.touched.clear();
        self.explore_all()
    }

    fn reopen(&mut self, kill: bool) -> Step {
        let ended = if kill { self.disk().flush() } else { self.disk().close() };
        ended.map_err(|error| self.live(&Trouble::Failed(error)))?;
        self.explore()?;
        self.disk = None;
        self.flushed()?;
        match self.prepared.open(self.medium.clone()) {
            Ok(disk) => self.disk = Some(disk),
            Err(error) => return Err(self.live(&Trouble::Failed(error))),
        }
        self.stats.accepted += 1;
        self.explore()
    }

    fn check(&mut self, repair: Repair) -> Step {
        if self.disk().as_check().is_some() {
            match self.disk().check(repair.mode()) {
                Ok(report) if report.is_clean() => {}
                Ok(report) => return Err(Box::new(crate::oracle::image::finding(&report))),
                Err(error) => return Err(self.live(&Trouble::Failed(error))),
            }
        }
        self.stats.accepted += 1;
        self.explore()
    }

    fn touch(&mut self, is_host: bool, extent: Extent) {
        let cluster_bytes = self.geometry.unit_bytes;
        if !extent.is_empty() {
            let clusters = extent.offset / cluster_bytes..extent.end().div_ceil(cluster_bytes);
            self.touched.extend(clusters.map(|cluster| (is_host, cluster)));
        }
    }

    /// The finding for what went wrong without a crash.
    fn live(&self, trouble: &Trouble) -> Box<Finding> {
        let violation = Violation::live(trouble);
        let signature = Signature::Crash { clause: violation.clause.name(), what: violation.signature() };
        let report = explain::report(self.journal, &violation, &self.content, self.place, None);
        Box::new(Finding { signature, report, request_number: self.place.request_number })
    }
}
