//! A long run over one pair of disks: many short requests without rebuilding anything between them.
//!
//! Requests are of 512 bytes to 4 KiB, aligned to 512: 40 % reads, which are compared, 40 % writes, 10 % zeroes, 10 % discards.
//! After every so many requests, the oracles are asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use blk_core::{Access, Disk, Error, Extent, WriteFlags, ZeroFlags};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::journal::Journal;
use crate::oracle::content::{self, Buffers};
use crate::oracle::image;
use crate::report::Finding;
use crate::scenario::{Config, Fill, Request};
use crate::stamp;
use crate::target::{Bench, Target};
use crate::verify::{Numbering, Policy, Verify};

const SECTOR_BYTES: u64 = 512;
const SECTORS_MAX: u64 = 8;

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
    rng: SmallRng,
    buffers: Buffers,
    options: SoakOptions,
    bytes_compared: u64,
}

impl Soak {
    /// Makes the disks.
    ///
    /// # Errors
    /// Those of the target; [`Error::InvalidOption`] for a disk below 4 KiB, the largest request.
    pub fn new(target: &dyn Target, config: &Config, options: SoakOptions) -> blk_core::Result<Self> {
        let bench = target.build(&target.legalize(config))?;
        if bench.reference().size() < SECTORS_MAX * SECTOR_BYTES {
            return Err(Error::invalid_option("size", "a soak takes disks of at least 4 KiB"));
        }
        Ok(Self {
            bench,
            journal: Arc::new(Journal::new()),
            rng: SmallRng::seed_from_u64(options.seed),
            buffers: Buffers::default(),
            options,
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
            .collect()
    }

    /// Makes one round of requests, then asks the oracles. A panic of the driver is a finding; nothing can be asked of the
    /// soak after one.
    ///
    /// # Errors
    /// What was found.
    pub fn round(&mut self) -> Result<(), Box<Finding>> {
        catch_unwind(AssertUnwindSafe(|| self.round_unguarded()))
            .unwrap_or_else(|payload| Err(Box::new(super::panic_finding(payload.as_ref()))))
    }

    fn round_unguarded(&mut self) -> Result<(), Box<Finding>> {
        {
            let (reference, test) = (self.bench.reference(), self.bench.test());
            let journal = Arc::clone(&self.journal);
            let verify = Verify::with_journal(reference, test, Policy::Fail, Numbering::Caller, journal);
            let verify = verify.map_err(|error| self.found(&error))?;
            let disk = Disk::new(verify, Access::ReadWrite);
            let mut data = [0; (SECTOR_BYTES * SECTORS_MAX) as usize];
            for _ in 0..self.options.requests_per_round {
                self.request(&disk, &mut data).map_err(|error| self.found(&error))?;
            }
        }
        image::check(&self.bench.test())?;
        self.bench.reopen().map_err(|error| content::failed("closing and reopening the image", &error))?;
        let (reference, test) = (self.bench.reference(), self.bench.test());
        self.bytes_compared += content::compare(&self.journal, &reference, &test, &mut self.buffers)?;
        Ok(())
    }

    #[inline]
    fn request(&mut self, disk: &Disk, data: &mut [u8]) -> Result<(), Error> {
        let sectors = disk.size() / SECTOR_BYTES;
        let random: u64 = self.rng.random();
        let count = (random >> 8) % SECTORS_MAX + 1;
        let first = (random >> 16) % (sectors - count + 1);
        let (offset, length) = (first * SECTOR_BYTES, count * SECTOR_BYTES);
        let buf = &mut data[..length as usize];
        let request = match random as u8 % 20 {
            0..8 => Request::Read { offset, length },
            8..16 => Request::Write { offset, length, fill: Fill::Stamp, fua: false },
            kind @ (16 | 17) => {
                Request::WriteZeroes { offset, length, unmap: kind == 17, no_fallback: false, fua: false }
            }
            _ => Request::Discard { offset, length },
        };
        let number = self.journal.enter(request);
        match request {
            Request::Read { .. } => {
                self.bytes_compared += length;
                disk.read(offset, buf)
            }
            Request::Write { .. } => {
                stamp::fill(buf, offset, number);
                disk.write(offset, buf, WriteFlags::default())
            }
            Request::WriteZeroes { unmap: may_unmap, .. } => {
                let flags = ZeroFlags { may_unmap, ..ZeroFlags::default() };
                disk.write_zeroes(Extent::new(offset, length), flags)
            }
            _ => disk.discard(Extent::new(offset, length)),
        }
    }

    fn found(&self, error: &Error) -> Box<Finding> {
        self.journal.findings().pop().map_or_else(|| content::failed("a request", error), Box::new)
    }
}
