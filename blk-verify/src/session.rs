//! A long run over two disks that somebody has opened already: generated requests, from one thread or several, then the oracles.
//!
//! Unlike the [`engine`](crate::engine), a session does not make its disks: it goes on from the content that they have, which has
//! to be the same on both. Reports name requests by number; with several threads a number can be off by as many as there are
//! threads, because requests are numbered in the order in which the verifier gets them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blk_core::{Access, Disk, Error, Extent, WriteFlags, ZeroFlags};

use crate::engine::panic_finding;
use crate::generate::{Generator, Limits};
use crate::journal::Journal;
use crate::oracle::{content, image};
use crate::report::{self, Finding};
use crate::scenario::{Config, Fill, Request, Scenario};
use crate::stamp;
use crate::target::Bench;
use crate::verify::{Numbering, Policy, Verify};

/// Largest read or write, bytes.
const DATA_BYTES_MAX: u64 = 1 << 20;
/// Longest zeroes, discard or block status that is generated, bytes.
const RANGE_BYTES_MAX: u64 = 16 << 20;
/// A trace may ask for more, but for no more than this.
const TRANSFER_BYTES_MAX: u64 = 64 << 20;
/// Disks up to this size are compared byte by byte; on larger ones, what both sides call zero is left out.
const WHOLE_COMPARE_BYTES_MAX: u64 = 1 << 30;
/// Bytes compared at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Seed of the first thread's requests; the others follow.
    pub seed: u64,
    /// Threads that make requests at the same time, at least 1.
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

/// Two open disks under generated requests.
#[derive(Debug)]
pub struct Session {
    bench: Box<dyn Bench>,
    journal: Arc<Journal>,
    counts: Arc<Counts>,
    options: SessionOptions,
    generators: Vec<Generator>,
}

impl Session {
    /// Takes two disks of the same content.
    pub fn new(bench: Box<dyn Bench>, options: SessionOptions) -> Self {
        let journal = Arc::new(Journal::new());
        let config = config_of(&bench.test());
        let limits = Limits {
            requests_min: 20,
            requests_max: 80,
            disk_bytes_max: config.size_bytes,
            data_bytes_max: DATA_BYTES_MAX,
            lanes_max: 0,
            config: Some(config),
        };
        let seed_of = |job: u32| options.seed.wrapping_add(u64::from(job));
        let generators =
            (0..options.jobs.max(1)).map(|job| Generator::new(seed_of(job), limits.clone())).collect();
        Self { bench, journal, counts: Arc::default(), options, generators }
    }

    /// What was done so far.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The last `count` requests, oldest first, with their numbers.
    pub fn last_requests(&self, count: u64) -> Vec<(u32, Request)> {
        let made = self.journal.request_count();
        (made.saturating_sub(count) + 1..=made)
            .map(stamp::number_of)
            .filter_map(|number| Some((number, self.journal.request(number)?)))
            .collect()
    }

    /// Makes about `requests` requests, then asks the oracles: a check, a reopen, a comparison of everything. Ends early once
    /// `stop` says so; that is asked after each scenario.
    ///
    /// # Errors
    /// What was found. The session is of no further use then.
    pub fn round(&mut self, requests: u64, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), Box<Finding>> {
        guarded(|| self.make_requests(requests, stop))?;
        guarded(|| self.ask_oracles())
    }

    /// Makes these requests, in order, then asks the oracles. Those that reopen or check are made too.
    ///
    /// # Errors
    /// What was found.
    pub fn replay(&mut self, requests: &[Request]) -> Result<(), Box<Finding>> {
        for part in requests.split_inclusive(|request| matches!(request, Request::Reopen | Request::Check)) {
            guarded(|| {
                let disk = self.verifier()?;
                let mut worker = Worker::new(&disk, &self.journal, &self.counts, false);
                part.iter().try_for_each(|request| worker.make(*request))
            })?;
            match part.last() {
                Some(Request::Reopen) => guarded(|| self.reopen())?,
                Some(Request::Check) => guarded(|| image::check(&self.bench.test()))?,
                _ => {}
            }
        }
        guarded(|| self.ask_oracles())
    }

    /// Compares everything that both disks show.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self) -> Result<(), Box<Finding>> {
        let (reference, test) = (self.bench.reference(), self.bench.test());
        let size = reference.size();
        if size != test.size() {
            let what = report::sizes(size, test.size());
            return Err(Box::new(report::oracle_finding(report::Signature::Size, &what, "")));
        }
        let alignment = reference.limits().request_alignment.max(test.limits().request_alignment);
        let piece = PIECE_BYTES.max(alignment);
        let mut buffers = [vec![0; piece as usize], vec![0; piece as usize]];
        let mut rest = Extent::new(0, size & !(alignment - 1));
        while !rest.is_empty() {
            let zero = if size > WHOLE_COMPARE_BYTES_MAX {
                known_zero(&reference, rest).min(known_zero(&test, rest)) & !(alignment - 1)
            } else {
                0
            };
            let length = if zero > 0 { zero } else { piece.min(rest.length) };
            if zero == 0 {
                let pieces = buffers.each_mut().map(|buffer| &mut buffer[..length as usize]);
                let disks = [&*reference, &*test];
                content::compare_piece(
                    &self.journal,
                    disks,
                    rest.offset,
                    pieces,
                    "reading the disk under test",
                )?;
                Counts::add(&self.counts.bytes_compared, length);
            }
            rest = Extent::new(rest.offset + length, rest.length - length);
        }
        Ok(())
    }

    fn verifier(&self) -> Result<Disk, Box<Finding>> {
        let journal = Arc::clone(&self.journal);
        let (reference, test) = (self.bench.reference(), self.bench.test());
        let verify = Verify::with_journal(reference, test, Policy::Fail, Numbering::Verifier, journal);
        let access = if self.options.read_only { Access::ReadOnly } else { Access::ReadWrite };
        match verify {
            Ok(verify) => Ok(Disk::new(verify, access)),
            Err(error) => Err(found(&self.journal, "making the verifier", &error)),
        }
    }

    fn make_requests(&mut self, requests: u64, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), Box<Finding>> {
        let disk = self.verifier()?;
        let quota = requests.div_ceil(self.generators.len() as u64);
        let is_alone = self.generators.len() == 1;
        let options = self.options;
        let is_over = AtomicBool::new(false);
        let (disk, journal, counts, is_over) = (&disk, &self.journal, &self.counts, &is_over);
        std::thread::scope(|scope| {
            let jobs: Vec<_> = self
                .generators
                .iter_mut()
                .map(|generator| {
                    scope.spawn(move || {
                        let mut worker = Worker::new(disk, journal, counts, options.read_only);
                        worker.takes_resize = options.resize && is_alone;
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

    fn ask_oracles(&mut self) -> Result<(), Box<Finding>> {
        image::check(&self.bench.test())?;
        self.reopen()?;
        self.compare()
    }

    fn reopen(&mut self) -> Result<(), Box<Finding>> {
        self.bench.reopen().map_err(|error| content::failed("closing and reopening the image", &error))
    }
}

/// One thread of a session.
struct Worker<'a> {
    disk: &'a Disk,
    journal: &'a Journal,
    counts: &'a Counts,
    read_only: bool,
    takes_resize: bool,
    data: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(disk: &'a Disk, journal: &'a Journal, counts: &'a Counts, read_only: bool) -> Self {
        Self { disk, journal, counts, read_only, takes_resize: true, data: Vec::new() }
    }

    fn run(
        &mut self,
        generator: &mut Generator,
        quota: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Box<Finding>> {
        let mut scenario = Scenario::default();
        let mut made = 0;
        while made < quota && !stop() {
            generator.next_into(&mut scenario);
            for request in &scenario.requests {
                if self.takes(request) {
                    made += 1;
                    self.make(shortened(*request))?;
                }
            }
        }
        Ok(())
    }

    fn takes(&self, request: &Request) -> bool {
        match request {
            Request::Reopen | Request::Check => false,
            Request::Resize { .. } => self.takes_resize && !self.read_only,
            Request::Read { .. } | Request::Status { .. } => true,
            _ => !self.read_only,
        }
    }

    /// Makes a request. That both disks refuse it is no finding.
    fn make(&mut self, request: Request) -> Result<(), Box<Finding>> {
        Counts::add(&self.counts.requests, 1);
        match self.perform(self.aligned(request)) {
            Ok(()) => Counts::add(&self.counts.accepted, 1),
            Err(error @ (Error::Mismatch { .. } | Error::Poisoned { .. })) => {
                return Err(found(self.journal, "a request", &error));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// The range of a request in whole units of the request alignment, so that not all of them are refused.
    fn aligned(&self, request: Request) -> Request {
        let alignment = self.disk.limits().request_alignment;
        let align = |offset: &mut u64, length: &mut u64| {
            let end = offset.saturating_add(*length);
            *offset &= !(alignment - 1);
            *length = (end - *offset).checked_next_multiple_of(alignment).unwrap_or(end - *offset);
        };
        let mut request = request;
        if alignment > 1 {
            match &mut request {
                Request::Read { offset, length }
                | Request::Write { offset, length, .. }
                | Request::WriteCompressed { offset, length, .. }
                | Request::WriteZeroes { offset, length, .. }
                | Request::Discard { offset, length }
                | Request::Status { offset, length } => align(offset, length),
                Request::Resize { size } => *size &= !(alignment - 1),
                Request::Flush | Request::Reopen | Request::Check => {}
            }
        }
        request
    }

    fn perform(&mut self, request: Request) -> blk_core::Result<()> {
        match request {
            Request::Read { offset, length } => {
                let disk = self.disk;
                disk.read(offset, self.data(offset, length)?)?;
                Counts::add(&self.counts.bytes_compared, length);
                Ok(())
            }
            Request::Write { offset, length, fill, fua } => {
                self.write(offset, length, fill, WriteFlags { fua, compressed: false })
            }
            Request::WriteCompressed { offset, length, fill } => {
                self.write(offset, length, fill, WriteFlags { fua: false, compressed: true })
            }
            Request::WriteZeroes { offset, length, unmap, no_fallback, fua } => {
                let flags = ZeroFlags { fua, may_unmap: unmap, no_fallback };
                self.disk.write_zeroes(Extent::new(offset, length), flags)
            }
            Request::Discard { offset, length } => self.disk.discard(Extent::new(offset, length)),
            Request::Flush => self.disk.flush(),
            Request::Status { offset, length } => {
                self.disk.block_status(Extent::new(offset, length)).map(|_| ())
            }
            Request::Resize { size } => self.disk.resize(size),
            Request::Reopen | Request::Check => Ok(()),
        }
    }

    fn write(&mut self, offset: u64, length: u64, fill: Fill, flags: WriteFlags) -> blk_core::Result<()> {
        let number = self.journal.next_number();
        let disk = self.disk;
        let data = self.data(offset, length)?;
        match fill {
            Fill::Byte(byte) => data.fill(byte),
            Fill::Stamp => stamp::fill(data, offset, number),
        }
        if flags.compressed {
            let kept = data.len().div_ceil(4);
            data[kept..].fill(0);
        }
        disk.write(offset, data, flags)
    }

    /// A buffer, once the range is known to lie on the disk: nothing is allocated for one that does not.
    fn data(&mut self, offset: u64, length: u64) -> blk_core::Result<&mut [u8]> {
        let size = self.disk.size();
        let inside = offset.checked_add(length).is_some_and(|end| end <= size);
        if !inside {
            return Err(Error::OutOfRange { offset, length, size });
        }
        if length > TRANSFER_BYTES_MAX {
            return Err(Error::unsupported(format!(
                "a transfer of {length} bytes, above {TRANSFER_BYTES_MAX}"
            )));
        }
        let length = length as usize;
        if self.data.len() < length {
            self.data.resize(length, 0);
        }
        Ok(&mut self.data[..length])
    }
}

/// What a discard leaves and what a block status claims is read: on large disks, ranges are cut to what takes no time.
fn shortened(mut request: Request) -> Request {
    if let Request::WriteZeroes { length, .. }
    | Request::Discard { length, .. }
    | Request::Status { length, .. } = &mut request
    {
        *length = (*length).min(RANGE_BYTES_MAX);
    }
    request
}

/// A panic of a driver is a finding.
fn guarded(work: impl FnOnce() -> Result<(), Box<Finding>>) -> Result<(), Box<Finding>> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Box::new(panic_finding(&*payload))))
}

fn found(journal: &Journal, what: &'static str, error: &Error) -> Box<Finding> {
    journal.findings().into_iter().next().map_or_else(|| content::failed(what, error), Box::new)
}

/// What the generator has to know about a disk.
fn config_of(disk: &Disk) -> Config {
    let cluster_bits = disk.limits().zero_granularity.max(1).ilog2().clamp(9, 21) as u8;
    Config { cluster_bits, size_bytes: disk.size(), ..Config::default() }
}

/// How many bytes from the start of `extent` the disk calls zero; 0 if it does not know.
fn known_zero(disk: &Disk, extent: Extent) -> u64 {
    match disk.block_status(extent) {
        Ok(status) if status.zero || (!status.allocated && disk.backing().is_none()) => status.length,
        _ => 0,
    }
}
