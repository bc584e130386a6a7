//! Races: several requests in flight on one disk, under a deterministic scheduler.
//!
//! ```text
//! scenario ── requests, in order ──► lanes (coroutines) ──► Disk ──► Host: each operation is issued, happens, completes
//!          └─ turns ───────────────► scheduler: which lane goes on        │
//!                                    court: may it have answered that?  ◄─┘
//! ```
//! `config.lanes` requests are in flight at most. They begin in the order of the scenario: a lane takes the next one as soon as
//! it has completed its last. A request's turn says at which of its points another lane goes on; a point is each acquisition of
//! a lock ([`blk_core::sync`]) and each issue and completion of an operation of the host. Without turns the scenario runs as if
//! it had one lane. `reopen` and `truncate` wait until nothing is in flight, and happen alone.
//!
//! Everything is a pure function of the scenario, so a finding replays and shrinks like any other.

mod content;
mod court;
mod crash;
mod host;
mod lane;
mod stats;
mod stress;
mod tasks;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use blk_core::{Disk, ErrorKind, MemoryStorage, Result, Storage};

use crate::Outcome;
use crate::crash::{CrashStats, Further};
use crate::engine::panic_finding;
use crate::medium::Medium;
use crate::oracle::content::failed;
use crate::oracle::image;
use crate::random::hash;
use crate::report::{self, Finding, Signature};
use crate::scenario::bounds::LANES_MAX;
use crate::scenario::{Config, Request, Scenario, Turn};
use crate::space::Space;
use crate::target::{ImageTarget, Prepared, legal_config};
use court::Court;
use crash::Timeline;
use host::Host;
use tasks::{Control, Ended, Tasks};

pub use stats::{RaceStats, RaceSummary};
pub use stress::{StressOptions, stress, stress_scenario, stress_with};

/// What a disk shows is read in pieces of this size, bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// Largest disk that is raced, bytes: its content is held in memory.
const SIZE_BYTES_MAX: u64 = 64 << 20;

/// Races scenarios, keeping what it can between them.
#[derive(Default)]
pub struct RaceEngine {
    /// One run in so many is crashed too; 0 for none.
    crash_one_in: u64,
    further: Further,
    crashes: CrashStats,
    tasks: Tasks,
    images: Option<Images>,
    stats: RaceStats,
}

/// A fresh image of one configuration.
#[derive(Debug)]
struct Images {
    space: &'static Space,
    config: Config,
    prepared: Box<dyn Prepared>,
    fresh: MemoryStorage,
    /// What it shows.
    initial: Arc<Vec<u8>>,
}

/// One scenario while it runs.
struct Run<'a> {
    tasks: &'a mut Tasks,
    images: &'a Images,
    host: Arc<dyn Storage>,
    court: Arc<Court>,
    control: Arc<Control>,
    lanes: usize,
    /// Open but for the moment of its reopening.
    disk: Option<Arc<Disk>>,
}

type Step = std::result::Result<(), Box<Finding>>;

impl fmt::Debug for RaceEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaceEngine").field("schedules", &self.stats.schedules).finish_non_exhaustive()
    }
}

impl Images {
    fn new(target: &dyn ImageTarget, config: Config) -> Result<Self> {
        let prepared = target.prepare(&config)?;
        let fresh = prepared.fresh()?;
        let reference = prepared.reference()?;
        let mut initial = vec![0; reference.size() as usize];
        reference.read(0, &mut initial)?;
        Ok(Self { space: target.space(), config, prepared, fresh, initial: Arc::new(initial) })
    }

    fn fill_bytes(&self) -> u64 {
        self.space.geometry(&self.config).fill_bytes()
    }

    /// Takes those of before if they are of this configuration, whatever the lanes.
    fn renew(before: Option<Self>, target: &dyn ImageTarget, mut config: Config) -> Result<Self> {
        config.lanes = 0;
        match before {
            Some(same) if same.config == config => Ok(same),
            _ => Self::new(target, config),
        }
    }
}

impl RaceEngine {
    /// An engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine that also crashes one run in `one_in` at each of its host's operations.
    pub fn with_crashes(one_in: u64) -> Self {
        Self { crash_one_in: one_in, ..Self::default() }
    }

    /// What the crashes of runs so far did.
    pub fn crashes(&self) -> &CrashStats {
        &self.crashes
    }

    /// What all runs so far did.
    pub fn stats(&self) -> &RaceStats {
        &self.stats
    }

    /// Runs one scenario on a fresh image, under its schedule. A panic of the driver is a finding, and so is standing still.
    pub fn run(&mut self, target: &dyn ImageTarget, scenario: &Scenario) -> Outcome {
        self.stats.schedules += 1;
        let config = match legal_config(target, &scenario.config) {
            Ok(config) => config,
            Err(why) => return Outcome::Refused(why),
        };
        let size = config.size_bytes.max(config.backing_bytes);
        if size > SIZE_BYTES_MAX {
            return Outcome::Refused(format!("a disk of {size} bytes is too large here"));
        }
        let lanes = usize::from(config.lanes.clamp(1, LANES_MAX));
        // They come from the same target: an engine is used with one.
        match Images::renew(self.images.take(), target, config) {
            Ok(images) => {
                let mut outcome = self.race(&images, scenario, lanes, None);
                // Its points differ from the host's: what is found without a crash stays found so.
                if outcome == Outcome::Clean && self.is_crashed(scenario) {
                    let medium = Arc::new(Medium::new(images.fresh.duplicate()));
                    outcome = self.race(&images, scenario, lanes, Some(&medium));
                }
                self.images = Some(images);
                outcome
            }
            // A driver that does not understand what it has just written is no refusal.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Malformed) => {
                Outcome::Finding(failed("making the image", &error))
            }
            Err(error) => Outcome::Refused(format!("the image cannot be made: {error}")),
        }
    }

    /// Whether a scenario is crashed too. The scenario alone decides: asked again, the engine answers the same.
    fn is_crashed(&self, scenario: &Scenario) -> bool {
        match self.crash_one_in {
            0 => false,
            1 => true,
            one_in => hash(scenario.to_text().as_bytes()).is_multiple_of(one_in),
        }
    }

    /// Races on a host, or on a medium that is crashed afterwards.
    fn race(
        &mut self,
        images: &Images,
        scenario: &Scenario,
        lanes: usize,
        medium: Option<&Arc<Medium>>,
    ) -> Outcome {
        let court = Court::new(Arc::clone(&images.initial), lanes, images.fill_bytes());
        let host: Arc<dyn Storage> = match medium {
            Some(medium) => {
                court.watch(Timeline::new(Arc::clone(medium)));
                Arc::clone(medium) as _
            }
            None => Arc::new(Host::new(images.fresh.duplicate())),
        };
        let mut run = Run {
            tasks: &mut self.tasks,
            images,
            host,
            court: Arc::new(court),
            control: Arc::new(Control::default()),
            lanes,
            disk: None,
        };
        let (further, crashes) = (&mut self.further, &mut self.crashes);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            run.all(scenario)?;
            match medium {
                Some(medium) => run.crash(medium, further, crashes),
                None => Ok(()),
            }
        }));
        let mut stats = run.court.stats();
        stats.points = run.control.points();
        stats.switches = run.control.switches();
        stats.interleaved = u64::from(stats.met > 0);
        let court = run.court;
        if medium.is_none() {
            self.stats.merge(&stats);
        }
        match ended {
            Ok(Ok(())) => Outcome::Clean,
            Ok(Err(finding)) => Outcome::Finding(finding),
            Err(payload) => Outcome::Finding(court.explain(panic_finding(payload.as_ref()))),
        }
    }
}

impl Run<'_> {
    fn all(&mut self, scenario: &Scenario) -> Step {
        self.open()?;
        let requests: Vec<(Request, Turn)> = scenario.turns().collect();
        let mut rest = &requests[..];
        while !rest.is_empty() {
            let alone = |(request, _): &(Request, Turn)| {
                matches!(request, Request::Reopen { .. } | Request::Resize { .. })
            };
            let together = rest.iter().position(alone).unwrap_or(rest.len());
            self.together(&rest[..together])?;
            rest = &rest[together..];
            if let Some(((request, _), behind)) = rest.split_first() {
                self.alone(*request)?;
                rest = behind;
            }
        }
        self.judge_content()?;
        image::check(self.disk()).map_err(|finding| self.court.explain(*finding))?;
        self.reopen(false)?;
        self.judge_content()
    }

    /// Makes requests that may be in flight together.
    fn together(&mut self, requests: &[(Request, Turn)]) -> Step {
        if requests.is_empty() {
            return Ok(());
        }
        self.court.load(requests);
        let disk = self.disk.as_ref().expect("open between reopens");
        let lanes = (0..self.lanes).map(|lane| {
            let (court, disk, control) =
                (Arc::clone(&self.court), Arc::clone(disk), Arc::clone(&self.control));
            let body = move || lane::drive(&court, &disk, lane, |number, turn| control.begin(number, turn));
            Box::new(body) as Box<dyn FnOnce() + Send>
        });
        let ended = self.tasks.run(&self.control, lanes.collect());
        if let Some(finding) = self.court.take_finding() {
            return Err(finding);
        }
        match ended {
            Ended::Completed => Ok(()),
            Ended::Deadlock => Err(self.stuck("Deadlock", "no request in flight can go on")),
            Ended::Livelock => Err(self.stuck("Livelock", "the requests in flight go on for ever")),
            Ended::Panic(payload) => Err(self.court.explain(panic_finding(payload.as_ref()))),
        }
    }

    fn alone(&mut self, request: Request) -> Step {
        if let Request::Reopen { kill } = request {
            self.court.reopened(request);
            return self.reopen(kill);
        }
        // What refuses has changed nothing.
        if let Request::Resize { size } = request
            && size <= SIZE_BYTES_MAX
            && self.disk().resize(size).is_ok()
        {
            self.court.resized(request, size);
        }
        Ok(())
    }

    fn open(&mut self) -> Step {
        let opened = self.images.prepared.open(Arc::clone(&self.host));
        let disk = opened.map_err(|error| self.court.explain(*failed("opening the image", &error)))?;
        self.disk = Some(Arc::new(disk));
        Ok(())
    }

    fn reopen(&mut self, kill: bool) -> Step {
        if let Some(disk) = self.disk.take() {
            let (what, ended) =
                if kill { ("flushing the image", disk.flush()) } else { ("closing the image", disk.close()) };
            ended.map_err(|error| self.court.explain(*failed(what, &error)))?;
        }
        self.open()
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("open between reopens")
    }

    /// Crashes what has happened.
    fn crash(&self, medium: &Medium, further: &mut Further, stats: &mut CrashStats) -> Step {
        let Some(timeline) = self.court.take_timeline() else { return Ok(()) };
        let Images { space, config, prepared, fresh, initial } = self.images;
        let prepared = &**prepared;
        let performer = crate::perform::Performer::default();
        let mut scene = crash::Scene { prepared, space, config, fresh, initial, further, stats, performer };
        scene.crash(medium, &timeline).map_err(|finding| self.court.explain(*finding))
    }

    fn judge_content(&self) -> Step {
        judge_whole(&self.court, self.disk())
    }

    fn stuck(&self, what: &str, text: &str) -> Box<Finding> {
        let signature = Signature::Failed { what: "completing what is in flight", error: what.to_owned() };
        self.court.explain(report::oracle_finding(signature, text, ""))
    }
}

/// Reads all of a disk on which nothing is in flight, and has it judged.
fn judge_whole(court: &Court, disk: &Disk) -> Step {
    let size = disk.size();
    let mut buf = vec![0; size.min(PIECE_BYTES) as usize];
    let mut at = 0;
    while at < size {
        let part = &mut buf[..(size - at).min(PIECE_BYTES) as usize];
        disk.read(at, part).map_err(|error| court.explain(*failed("reading the whole disk", &error)))?;
        court.judge_quiet(at, part)?;
        at += part.len() as u64;
    }
    Ok(())
}
