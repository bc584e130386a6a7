//! A long run over one pair of disks: many short requests without rebuilding anything between them.
//!
//! Requests are of 1 to 8 units: 40 % reads, which are compared, 40 % writes, 10 % zeroes, 10 % discards. A
//! unit is a sector of 512 bytes, or what the disks take at least. What both disks refuse, or the one under
//! test alone may, is no finding. After every so many requests, the oracles are asked.

use std::sync::Arc;

use crate::random::Random;
use blk_core::{BlockDriver, Disk, Error, RepairMode};

use crate::driver::{Bench, Driver, legal_config};
use crate::execute::{Counting, Executor};
use crate::inspect;
use crate::journal::Journal;
use crate::oracle::content::{self, Buffers};
use crate::report::{Finding, SECTOR_BYTES};
use crate::scenario::{Config, Fill, Request};
use crate::stamp;
use crate::verify::{Policy, Verify};

/// Coarsest request alignment: above it no request is short.
const UNIT_BYTES_MAX: u64 = 64 << 10;
const UNITS_MAX: u64 = 8;

/// What a soak does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoakOptions {
    /// Seed of the request sequence.
    pub seed: u64,
    /// Requests between two visits of the oracles (flush, check, reopen, whole compare).
    pub requests_per_round: u64,
}

/// A pair of disks under a random load.
#[derive(Debug)]
pub struct Soak {
    bench: Box<dyn Bench>,
    journal: Arc<Journal>,
    rng: Random,
    buffers: Buffers,
    executor: Executor,
    options: SoakOptions,
    /// Requests are multiples of two to the power of this.
    unit_shift: u32,
    bytes_compared: u64,
}

impl Soak {
    /// Makes the disks.
    ///
    /// # Errors
    /// Those of the target; [`Error::InvalidOption`] for options that the driver does not have, for a disk of
    /// fewer than 8 units, the largest request, and for units above 64 KiB.
    pub fn new(target: &dyn Driver, config: &Config, options: SoakOptions) -> blk_core::Result<Self> {
        let config = legal_config(target, config).map_err(|why| Error::invalid_option("config", why))?;
        let bench = target.bench(&config)?;
        let alignment = |disk: Arc<Disk>| disk.limits().request_alignment;
        let unit = SECTOR_BYTES.max(alignment(bench.reference())).max(alignment(bench.test()));
        let size = bench.reference().size();
        if unit > UNIT_BYTES_MAX {
            let reason = format!("a soak makes short requests, and these disks take units of {unit} bytes");
            return Err(Error::invalid_option("alignment", reason));
        }
        if size < UNITS_MAX * unit {
            let reason = format!("a soak takes disks of at least {} bytes, not of {size}", UNITS_MAX * unit);
            return Err(Error::invalid_option("size", reason));
        }
        Ok(Self {
            bench,
            journal: Arc::new(Journal::new()),
            rng: Random::new(options.seed),
            buffers: Buffers::default(),
            executor: Executor::default(),
            options,
            unit_shift: unit.trailing_zeros(),
            bytes_compared: 0,
        })
    }

    /// Requests made so far.
    pub fn requests(&self) -> u64 {
        self.journal.request_count()
    }

    /// Bytes compared so far.
    pub fn bytes_compared(&self) -> u64 {
        self.bytes_compared
    }

    /// The last `count` requests, oldest first, for a report.
    pub fn last_requests(&self, count: u64) -> Vec<Request> {
        let made = self.requests();
        (made.saturating_sub(count) + 1..=made)
            .filter_map(|n| self.journal.request(stamp::number_of(n)))
            .map(Request::from)
            .collect()
    }

    /// Makes one round of requests, then asks the oracles. A panic of the driver is a finding; nothing can be
    /// asked of the soak after one.
    ///
    /// # Errors
    /// What was found.
    pub fn round(&mut self) -> Result<(), Box<Finding>> {
        let made = crate::run::caught(|| self.round_unguarded()).unwrap_or_else(|payload| {
            Err(Box::new(super::panic_finding_after(&self.journal, payload.as_ref())))
        });
        made.map_err(|finding| Box::new(finding.by("soak")))
    }

    fn round_unguarded(&mut self) -> Result<(), Box<Finding>> {
        {
            let (reference, test) = (self.bench.reference(), self.bench.test());
            let journal = Arc::clone(&self.journal);
            let verify = Verify::with_journal(reference, test, Policy::Fail, journal);
            let verify = verify.map_err(|error| self.found(&error))?;
            let verify = verify.one_at_a_time();
            for _ in 0..self.options.requests_per_round {
                let made = self.request(&verify);
                // What both disks refuse is no finding, nor is a difference that is permitted.
                if let Err(error @ (Error::Mismatch { .. } | Error::Poisoned { .. })) = made {
                    return Err(self.found(&error));
                }
            }
        }
        inspect::check(&self.bench.test(), RepairMode::None)?;
        self.bench.reopen().map_err(|error| content::failed("closing and reopening the image", &error))?;
        let (reference, test) = (self.bench.reference(), self.bench.test());
        self.bytes_compared += content::compare(&self.journal, &reference, &test, &mut self.buffers)?;
        Ok(())
    }

    #[inline]
    fn request(&mut self, verify: &Verify) -> Result<(), Error> {
        let units = verify.size() >> self.unit_shift;
        let random = self.rng.bits();
        let count = (random >> 8) % UNITS_MAX + 1;
        let first = (random >> 16) % (units - count + 1);
        let (offset, length) = (first << self.unit_shift, count << self.unit_shift);
        let request = match random as u8 % 20 {
            0..8 => Request::Read { offset, length },
            8..16 => Request::Write { offset, length, fill: Fill::Stamp, fua: false },
            kind @ (16 | 17) => {
                Request::WriteZeroes { offset, length, unmap: kind == 17, no_fallback: false, fua: false }
            }
            _ => Request::Discard { offset, length },
        };
        let number = self.journal.enter(request);
        let mut counting = Counting::default();
        let verify = verify.numbered(number);
        let made = self.executor.execute(&verify, number, request, 1 << self.unit_shift, &mut counting);
        self.bytes_compared += counting.bytes_read;
        made.map(drop)
    }

    fn found(&self, error: &Error) -> Box<Finding> {
        self.journal.findings().pop().map_or_else(|| content::failed("a request", error), Box::new)
    }
}
