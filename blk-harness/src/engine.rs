//! Runs scenarios: makes the disks, makes the requests through the verifier, asks the oracles.

mod allocation;
mod amended;
mod bitmaps;
mod cluster_kind;
mod flushed;
mod others;
mod requests;
mod soak;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use blk_core::{Disk, ErrorKind, Extent, RepairMode, ShortText};

use crate::Outcome;
use crate::driver::promises::Since;
use crate::driver::{Bench, Driver, Kept, Promises, legal_config};
use crate::execute::Executor;
use crate::inspect;
use crate::journal::Journal;
use crate::known::Known;
use crate::oracle::content::{self, Buffers};
use crate::oracle::touched::touched;
use crate::report::Finding;
use crate::scenario::bounds::FAR_BYTES_MAX;
use crate::scenario::{OnSnapshot, Request, Scenario};
use crate::space::Geometry;
use crate::statistics::{Counter, Statistics};
use crate::verify::{Policy, Verify};

pub use cluster_kind::ClusterKind;
pub use soak::{Soak, SoakOptions};

/// How a scenario is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is about another oracle")]
pub struct RunOptions {
    /// Ask for the block status around each request, of the first and the last cluster that it touches, to
    /// count kinds of cluster and transitions.
    pub track_kinds: bool,
    /// Compare the whole disk before it is reopened too, not only after.
    pub compare_before_reopen: bool,
    /// Write and give back after the last request, to see whether space is used again.
    pub probes_reuse: bool,
    /// Ask another program about the image that is left, where the target knows one.
    pub asks_others: bool,
    /// Largest disk that is run, bytes; a scenario with a larger one is refused. What a fuzzer can ask for is
    /// run everywhere, so that all of its findings replay.
    pub size_bytes_max: u64,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            track_kinds: true,
            compare_before_reopen: true,
            probes_reuse: true,
            asks_others: false,
            size_bytes_max: FAR_BYTES_MAX,
        }
    }
}

/// Disks up to this size are compared whole at the end; on larger ones only what was touched can be read in
/// time, and is.
pub(crate) const WHOLE_COMPARE_BYTES_MAX: u64 = 1 << 30;

/// Runs scenarios, keeping its buffers between them.
#[derive(Default)]
pub struct Engine {
    options: RunOptions,
    executor: Executor,
    buffers: Buffers,
    stats: Statistics,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("options", &self.options)
            .field("scenarios", &self.stats.get(Counter::Scenarios))
            .finish_non_exhaustive()
    }
}

/// One scenario while it runs.
struct Run<'a> {
    engine: &'a mut Engine,
    bench: Box<dyn Bench>,
    journal: Arc<Journal>,
    geometry: Geometry,
    promises: Promises,
    /// What others kept in the image before the first request.
    kept: Vec<Kept>,
    /// What requests have done to it since.
    since: Since,
    /// What the image was amended to last.
    amended: Option<ShortText>,
    /// A request was about a snapshot: what one holds is not given back.
    has_snapshots: bool,
    /// The dirty bitmaps that requests have made.
    followed: bitmaps::Followed,
    /// Changes of the storage before the last request that changed the disk, if it wrote new data.
    last_write: Option<u64>,
    /// Flushes that have succeeded, and the one after which space is looked at.
    flushes: u64,
    probe_flush: u64,
    /// What the host demands of offsets and lengths, bytes.
    host_alignment: u64,
    /// The verifier over the disks of the bench; absent while they are reopened.
    verify: Option<Verify>,
}

type Step = Result<(), Box<Finding>>;

impl Engine {
    /// An engine with these options.
    pub fn new(options: RunOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// What all runs so far did.
    pub fn stats(&self) -> &Statistics {
        &self.stats
    }

    /// Runs one scenario on fresh disks of `target`. A panic of the driver is a finding.
    pub fn run(&mut self, target: &dyn Driver, scenario: &Scenario) -> Outcome {
        self.stats.add(Counter::Scenarios, 1);
        let journal = Arc::new(Journal::new());
        let ran = crate::run::caught(|| self.run_unguarded(target, scenario, &journal));
        let panicked = |payload: Box<dyn Any + Send>| {
            Outcome::Finding(Box::new(panic_finding_after(&journal, payload.as_ref())))
        };
        Known::new(target, scenario, "sequence").end(ran.unwrap_or_else(panicked), &mut self.stats)
    }

    fn run_unguarded(&mut self, target: &dyn Driver, scenario: &Scenario, journal: &Arc<Journal>) -> Outcome {
        let config = match legal_config(target, &scenario.config) {
            Ok(config) => config,
            Err(why) => return Outcome::Refused(why),
        };
        if config.size_bytes.max(config.backing_bytes) > self.options.size_bytes_max {
            return Outcome::Refused(format!("a disk of {} bytes is too large here", config.size_bytes));
        }
        let bench = match target.bench(&config) {
            Ok(bench) => bench,
            // A driver that does not understand what it has just written is no refusal.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Malformed) => {
                return Outcome::Finding(content::failed("making the disks", &error));
            }
            Err(error) => return Outcome::Refused(format!("the disks cannot be made: {error}")),
        };
        let geometry = target.space().geometry(&config);
        let kept = match bench.kept() {
            Ok(kept) => kept,
            Err(error) => return Outcome::Finding(content::failed("reading what others keep", &error)),
        };
        let mut run = Run {
            engine: self,
            bench,
            journal: Arc::clone(journal),
            geometry,
            promises: target.promises(&config),
            kept,
            since: Since::default(),
            amended: None,
            has_snapshots: false,
            followed: bitmaps::Followed::of(&config),
            last_write: None,
            flushes: 0,
            probe_flush: u64::from(config.probe_flush),
            host_alignment: config.host_alignment.into(),
            verify: None,
        };
        match run.all(scenario) {
            Ok(()) => Outcome::Clean,
            Err(finding) => Outcome::Finding(finding),
        }
    }
}

impl Run<'_> {
    fn all(&mut self, scenario: &Scenario) -> Step {
        if let Some(tap) = self.bench.storage() {
            tap.follow_syncs();
        }
        self.start_verifier()?;
        for request in &scenario.requests {
            self.make(*request)?;
        }
        self.verify = None;
        let size = self.bench.reference().size();
        let parts = if size <= WHOLE_COMPARE_BYTES_MAX {
            vec![Extent::new(0, size)]
        } else {
            touched(&scenario.requests, size)
        };
        if self.engine.options.compare_before_reopen {
            self.compare(&parts)?;
            if self.engine.options.track_kinds || scenario.requests.iter().any(frees_of_snapshots) {
                self.compare_snapshots()?;
            }
            self.judge_bitmaps()?;
        }
        inspect::check(&self.bench.test(), RepairMode::None)?;
        self.reopen(false)?;
        self.compare(&parts)?;
        self.compare_snapshots()?;
        self.judge_bitmaps()?;
        self.judge_kept_by_others()?;
        if self.engine.options.asks_others {
            self.ask_others()?;
        }
        if self.engine.options.probes_reuse && self.can_judge_reuse() {
            if self.engine.options.asks_others {
                let reopened = self.bench.reopen();
                reopened.map_err(|error| content::failed("opening the image", &error))?;
            }
            self.judge_reuse(0)?;
        }
        Ok(())
    }

    /// Puts a verifier before the disks of the bench.
    fn start_verifier(&mut self) -> Step {
        let journal = Arc::clone(&self.journal);
        let (reference, test) = (self.bench.reference(), self.bench.test());
        match Verify::with_journal(reference, test, Policy::Fail, journal) {
            Ok(verify) => self.verify = Some(verify.one_at_a_time()),
            Err(error) => return Err(self.found("making the verifier", &error)),
        }
        Ok(())
    }

    /// Closes and opens the disk under test.
    fn reopen(&mut self, kill: bool) -> Step {
        self.verify = None;
        self.begin_end(kill);
        let (what, reopened) = if kill {
            ("reopening the image without a close", self.bench.kill())
        } else {
            ("closing and reopening the image", self.bench.reopen())
        };
        reopened.map_err(|error| content::failed(what, &error))?;
        self.after_end(kill)?;
        self.judge_amendment()?;
        self.judge_flushed(0, Request::Flush)
    }

    fn compare(&mut self, parts: &[Extent]) -> Step {
        let (reference, test) = (self.bench.reference(), self.bench.test());
        let buffers = &mut self.engine.buffers;
        let piece_bytes = self.bench.piece_bytes();
        let disks: [&Disk; 2] = [&reference, &test];
        let compared = content::compare_in_pieces(&self.journal, disks, buffers, parts, piece_bytes)?;
        self.engine.stats.add(Counter::BytesRead, compared);
        self.engine.stats.add(Counter::BytesCompared, compared);
        Ok(())
    }

    /// What snapshots hold is asked for by requests, too; here they are read whole.
    fn compare_snapshots(&mut self) -> Step {
        content::compare_snapshots(&self.journal, [&self.bench.reference(), &self.bench.test()])
    }

    /// The finding that the verifier has entered, or one that says that it failed without.
    fn found(&self, what: &'static str, error: &blk_core::Error) -> Box<Finding> {
        self.journal.findings().pop().map_or_else(|| content::failed(what, error), Box::new)
    }
}

/// Whether a request gives up clusters that snapshots share: what the open handle shows of them is compared
/// too, and not only what the next one does.
fn frees_of_snapshots(request: &Request) -> bool {
    matches!(request, Request::Snapshot { act: OnSnapshot::Apply | OnSnapshot::Delete, .. })
}

/// The finding for a panic, naming the request that was made, or had been made last, when the driver
/// panicked.
fn panic_finding_after(journal: &Journal, payload: &(dyn Any + Send)) -> Finding {
    let mut finding = crate::run::panic_finding(payload);
    if journal.request_count() > 0 {
        finding.request_number = journal.current_number();
        if let Some(request) = journal.request(finding.request_number) {
            finding.noticed = format!("in or after request #{} ({request})", finding.request_number);
            finding.request = Some((finding.request_number, request));
        }
    }
    finding
}
