//! A long run over two disks that somebody has opened already: generated requests, from one thread or
//! several, then the oracles.
//!
//! Unlike the [`engine`](crate::engine), a session does not make its disks: it goes on from the content that
//! they have, which has to be the same on both. Reports name requests by number; with several threads a
//! number can be off by as many as there are threads, because requests are numbered in the order in which the
//! verifier gets them.
//!
//! What is compared when: every answer at once, by the verifier. After each round, a check and a reopen, then
//! all places where requests of the round have been, with what surrounds them; instead of that the whole
//! disks once the requests have moved as many bytes as the disk has, after a resize, and at the end
//! ([`Session::finish`]). So what goes wrong elsewhere is found too, by then at the latest, and comparing
//! never costs more than the requests.

mod history;
mod touched;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use blk_core::{Disk, Error, Extent, RepairMode};

use crate::driver::Bench;
use crate::generate::{Generator, Limits};
use crate::inspect;
use crate::journal::Journal;
use crate::oracle::content;
use crate::progress;
use crate::report::{self, Finding};
use crate::scenario::{Config, Request, Scenario, Value};
use crate::space::{ALIGNMENT, PLAIN, UNIT};
use crate::verify::{Policy, Verify};
use history::History;
use touched::Touched;
use worker::{Takes, Worker};

/// Largest read or write, bytes.
const DATA_BYTES_MAX: u64 = 1 << 20;
/// Disks up to this size are compared byte by byte; on larger ones, what both sides call zero is left out.
const WHOLE_COMPARE_BYTES_MAX: u64 = 1 << 30;
/// Bytes compared at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Seed of the first thread's requests; the others follow.
    pub seed: u64,
    /// Threads that make requests at the same time, at least 1; those of a replay too.
    pub jobs: u32,
    /// Only requests that change nothing.
    pub read_only: bool,
    /// The size changes too; with one thread only.
    pub resize: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { seed: 1, jobs: 1, read_only: false, resize: false }
    }
}

/// What a session has done so far. It can be read while a round runs.
#[derive(Debug, Default)]
pub struct Counts {
    requests: AtomicU64,
    accepted: AtomicU64,
    bytes_compared: AtomicU64,
}

impl Counts {
    /// Requests made.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that neither disk refused.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Bytes compared.
    pub fn bytes_compared(&self) -> u64 {
        self.bytes_compared.load(Ordering::Relaxed)
    }

    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// What the threads of a session share.
#[derive(Debug)]
struct Shared {
    journal: Arc<Journal>,
    counts: Arc<Counts>,
    touched: Touched,
    history: History,
    /// The unit in which compressed data is made compressible.
    fill_bytes: u64,
}

/// Two open disks under generated requests.
#[derive(Debug)]
pub struct Session {
    bench: Box<dyn Bench>,
    shared: Shared,
    options: SessionOptions,
    config: Config,
    limits: Limits,
    generators: Vec<Generator>,
}

/// Where a replay ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayEnd {
    /// After the last request, whose answer is the last thing that is compared.
    LastRequest,
    /// After a check of the image, a reopen and a comparison of everything.
    WholeDisk,
}

impl Session {
    /// Takes two disks of the same content.
    pub fn new(bench: Box<dyn Bench>, options: SessionOptions) -> Self {
        Self::with_counts(bench, options, Arc::default())
    }

    /// As [`Session::new`], adding to what other sessions have counted.
    pub fn with_counts(bench: Box<dyn Bench>, options: SessionOptions, counts: Arc<Counts>) -> Self {
        let config = config_of(&[&bench.test(), &bench.reference()]);
        let shared = Shared {
            journal: Arc::new(Journal::new()),
            counts,
            touched: Touched::new(config.size_bytes),
            history: History::new(options.jobs.max(1) as usize),
            fill_bytes: PLAIN.geometry(&config).fill_bytes(),
        };
        let limits = Limits {
            requests_min: 20,
            requests_max: 80,
            disk_bytes_max: config.size_bytes,
            data_bytes_max: DATA_BYTES_MAX,
            far: false,
            lanes_max: 0,
            laned_one_in: 0,
            resizes: true,
            config: Some(config.clone()),
        };
        let seed_of = |job: u32| options.seed.wrapping_add(u64::from(job));
        let generators = (0..options.jobs.max(1))
            .map(|job| Generator::new(&PLAIN, seed_of(job), limits.clone()))
            .collect();
        Self { bench, shared, options, config, limits, generators }
    }

    /// What was done so far.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.shared.counts
    }

    /// All requests so far, with the checks and reopens between them: what [`Session::replay`] makes again.
    /// `None` if they were too many: more than 8,388,608 of one thread, whose generator makes them again; of
    /// several, more than 2,097,152.
    pub fn history(&self) -> Option<Scenario> {
        let first = Generator::new(&PLAIN, self.options.seed, self.limits.clone());
        let requests = self.shared.history.requests(&self.generators[0], first, self.takes())?;
        Some(Scenario { config: self.config.clone(), requests, schedule: Vec::new() })
    }

    /// How many requests this session has made.
    pub fn requests_made(&self) -> u64 {
        self.shared.history.count()
    }

    fn takes(&self) -> Takes {
        let Self { options, generators, .. } = self;
        Takes { read_only: options.read_only, resize: options.resize && generators.len() == 1 }
    }

    /// What a scenario over these disks says of them.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The two disks, as the last request has left them.
    pub fn bench(&self) -> &dyn Bench {
        &*self.bench
    }

    /// Makes about `requests` requests, then asks the oracles: a check, a reopen, a comparison of what the
    /// requests have touched, or of everything where that is due. Ends early once `stop` says so; that is
    /// asked after each scenario.
    ///
    /// # Errors
    /// What was found. The session is of no further use then.
    pub fn round(&mut self, requests: u64, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), Box<Finding>> {
        guarded(|| self.make_requests(requests, stop))?;
        self.shared.history.end_round(self.generators[0].index());
        guarded(|| {
            inspect::check(&self.bench.test(), RepairMode::None)?;
            self.reopen()?;
            match self.shared.touched.take() {
                None => self.compare(),
                Some(parts) => self.compare_parts(&parts, false, &|| false).map(drop),
            }
        })
    }

    /// Compares everything that both disks show, unless the last round has ended with that. Returns how many
    /// bytes of the disks were compared: fewer than they have if `stop`, which is asked after each piece, has
    /// ended it.
    ///
    /// # Errors
    /// The first difference.
    pub fn finish(&self, stop: &dyn Fn() -> bool) -> Result<u64, Box<Finding>> {
        let size = self.bench.reference().size();
        let mut compared = size;
        if self.shared.touched.has_uncompared() {
            guarded(|| {
                compared =
                    self.compare_parts(&[Extent::new(0, size)], size > WHOLE_COMPARE_BYTES_MAX, stop)?;
                Ok(())
            })?;
        }
        Ok(compared)
    }

    /// Makes these requests, in order, then asks the oracles. Those that reopen or check are made too.
    /// Several threads take them from one queue, and meet before each reopen and check.
    ///
    /// # Errors
    /// What was found.
    pub fn replay(&mut self, requests: &[Request], end: ReplayEnd) -> Result<(), Box<Finding>> {
        for part in requests
            .split_inclusive(|request| matches!(request, Request::Reopen { .. } | Request::Check { .. }))
        {
            guarded(|| self.make_part(part))?;
            match part.last() {
                Some(Request::Reopen { kill: false }) => guarded(|| self.reopen())?,
                Some(Request::Reopen { kill: true }) => guarded(|| {
                    let killed = self.bench.kill();
                    killed.map_err(|error| content::failed("reopening the image without a close", &error))
                })?,
                Some(Request::Check { repair }) => {
                    guarded(|| inspect::check(&self.bench.test(), repair.mode()))?;
                }
                _ => {}
            }
        }
        if end == ReplayEnd::LastRequest {
            return Ok(());
        }
        guarded(|| {
            inspect::check(&self.bench.test(), RepairMode::None)?;
            self.reopen()?;
            self.compare()
        })
    }

    /// Makes requests between which nothing is reopened or checked.
    fn make_part(&self, part: &[Request]) -> Result<(), Box<Finding>> {
        let (verify, next, is_over) = (self.verifier()?, AtomicUsize::new(0), AtomicBool::new(false));
        let (shared, takes) = (&self.shared, self.takes());
        let drive = || {
            let mut worker = Worker::new(&verify, shared, takes);
            loop {
                match part.get(next.fetch_add(1, Ordering::Relaxed)) {
                    Some(request) if !is_over.load(Ordering::Relaxed) => worker.make(*request)?,
                    _ => return Ok(()),
                }
            }
        };
        if self.generators.len() == 1 {
            return drive();
        }
        let watched_by = progress::current();
        let guarded_drive = || {
            let driven = guarded(|| progress::along(watched_by.as_ref(), drive));
            driven.inspect_err(|_| is_over.store(true, Ordering::Relaxed))
        };
        std::thread::scope(|scope| {
            let jobs: Vec<_> = self.generators.iter().map(|_| scope.spawn(guarded_drive)).collect();
            jobs.into_iter().try_for_each(|job| job.join().expect("panics are caught inside"))
        })
    }

    /// Compares everything that both disks show.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self) -> Result<(), Box<Finding>> {
        let size = self.bench.reference().size();
        self.compare_parts(&[Extent::new(0, size)], size > WHOLE_COMPARE_BYTES_MAX, &|| false)?;
        self.shared.touched.forget();
        Ok(())
    }

    /// Compares these parts; where `skips_zeroes`, without what both disks know to be zero. Returns where it
    /// has ended: at the end of the last part, or where it was when `stop` said so.
    fn compare_parts(
        &self,
        parts: &[Extent],
        skips_zeroes: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<u64, Box<Finding>> {
        let (reference, test) = (self.bench.reference(), self.bench.test());
        let size = reference.size();
        if size != test.size() {
            let what = report::sizes(size, test.size());
            return Err(Box::new(report::oracle_finding(report::Signature::Size, &what, "")));
        }
        let alignment = reference.limits().request_alignment.max(test.limits().request_alignment);
        let piece = PIECE_BYTES.max(alignment);
        let mut buffers = [vec![0; piece as usize], vec![0; piece as usize]];
        for part in parts {
            let end = part.end().min(size) & !(alignment - 1);
            let mut at = (part.offset & !(alignment - 1)).min(end);
            while at < end {
                if stop() {
                    return Ok(at);
                }
                progress::step();
                let rest = Extent::between(at, end);
                let zero = if skips_zeroes {
                    known_zero(&reference, rest).min(known_zero(&test, rest)) & !(alignment - 1)
                } else {
                    0
                };
                at += if zero > 0 {
                    zero
                } else {
                    self.compare_piece([&reference, &test], rest, &mut buffers)?
                };
            }
        }
        Ok(size)
    }

    /// Compares the start of `rest`. Returns how many bytes.
    fn compare_piece(
        &self,
        disks: [&Disk; 2],
        rest: Extent,
        buffers: &mut [Vec<u8>; 2],
    ) -> Result<u64, Box<Finding>> {
        let length = rest.length.min(buffers[0].len() as u64);
        let pieces = buffers.each_mut().map(|buffer| &mut buffer[..length as usize]);
        let what = "reading the disk under test";
        content::compare_piece(&self.shared.journal, disks, rest.offset, pieces, what)?;
        Counts::add(&self.shared.counts.bytes_compared, length);
        Ok(length)
    }

    fn verifier(&self) -> Result<Verify, Box<Finding>> {
        let journal = Arc::clone(&self.shared.journal);
        let (reference, test) = (self.bench.reference(), self.bench.test());
        let verify = Verify::with_journal(reference, test, Policy::Fail, journal);
        verify.map_err(|error| found(&self.shared.journal, "making the verifier", &error))
    }

    fn make_requests(&mut self, requests: u64, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), Box<Finding>> {
        let verify = self.verifier()?;
        let quota = requests.div_ceil(self.generators.len() as u64);
        let takes = self.takes();
        let is_over = AtomicBool::new(false);
        let (verify, shared, is_over) = (&verify, &self.shared, &is_over);
        std::thread::scope(|scope| {
            let jobs: Vec<_> = self
                .generators
                .iter_mut()
                .map(|generator| {
                    scope.spawn(move || {
                        let mut worker = Worker::new(verify, shared, takes);
                        let made = guarded(|| {
                            worker.run(generator, quota, &|| is_over.load(Ordering::Relaxed) || stop())
                        });
                        // What the others meet after a finding is only its echo.
                        made.inspect_err(|_| is_over.store(true, Ordering::Relaxed))
                    })
                })
                .collect();
            jobs.into_iter().try_for_each(|job| job.join().expect("panics are caught inside"))
        })
    }

    fn reopen(&mut self) -> Result<(), Box<Finding>> {
        self.bench.reopen().map_err(|error| content::failed("closing and reopening the image", &error))
    }
}

/// A panic of a driver is a finding.
fn guarded(work: impl FnOnce() -> Result<(), Box<Finding>>) -> Result<(), Box<Finding>> {
    crate::run::guarded(work, Err)
}

fn found(journal: &Journal, what: &'static str, error: &Error) -> Box<Finding> {
    journal.findings().into_iter().next().map_or_else(|| content::failed(what, error), Box::new)
}

/// What scenarios have to know about open disks of one size, in the space [`PLAIN`]: the unit of the first
/// one, and the coarsest alignment.
///
/// # Panics
/// If there are none.
pub fn config_of(disks: &[&Disk]) -> Config {
    let power = |bytes: u64| 1 << bytes.clamp(1, 2 << 20).ilog2();
    let first = disks.first().expect("one disk at least");
    let unit = power(first.limits().zero_granularity).max(512);
    let alignment = disks.iter().map(|disk| disk.limits().request_alignment).max().map_or(1, power);
    let mut config = Config { size_bytes: first.size(), ..Config::default() };
    config.options.set(UNIT, Some(Value::Number(unit)));
    config.options.set(ALIGNMENT, Some(Value::Number(alignment)));
    PLAIN.legal(&config)
}

/// How many bytes from the start of `extent` the disk calls zero; 0 if it does not know.
fn known_zero(disk: &Disk, extent: Extent) -> u64 {
    match disk.block_status(extent) {
        Ok(status) if status.zero || (!status.allocated && disk.backing().is_none()) => status.length,
        _ => 0,
    }
}
