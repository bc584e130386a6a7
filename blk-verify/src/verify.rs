//! The verifier: a block driver over two disks that must always answer the same.
//!
//! Every request goes to both disks, the one under test first; results, data and status are compared. It is a driver itself,
//! so it nests, and anything that speaks to a disk can be verified while it runs.
//!
//! Three verdicts are possible for a request. *Match*: both agree. *Mismatch*: a [`Finding`]; the [`Policy`] says what
//! follows. *Permitted*: the disks may differ (a discard leaves old bytes or zeroes, a request that failed has written any
//! part of itself): the disk under test is read back, held against what is allowed, and the reference brought to the same.
//! docs/permitted-differences.md lists them all.
//!
//! Requests that overlap while in flight are ordered by a range lock, so both disks see them in the same order.

mod permitted;
mod settle;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::sync::{Mutex, MutexGuard};
use blk_core::{
    BlockDriver, BlockStatus, Check, CheckReport, Disk, Error, Extent, Limits, RepairMode, Resize, Result,
    WriteFlags, ZeroFlags,
};

use crate::journal::Journal;
use crate::range_lock::{Mode, RangeGuard, RangeLock};
use crate::report::{self, Finding, Sides, Signature};
use crate::scenario::{Fill, Request};

/// Data is compared in pieces of this size, which stay in the processor's cache.
const CHUNK_BYTES: usize = 32 << 10;

/// Coarsest request alignment that is verified: a piece that is compared is at least that long.
const ALIGNMENT_BYTES_MAX: u64 = 16 << 20;

/// What buffers hold before the disk under test reads into them: a byte that stamps hardly ever have.
pub(crate) const UNREAD: u8 = 0xee;

/// What follows a mismatch.
#[derive(Clone, Default)]
pub enum Policy {
    /// The request fails with [`Error::Mismatch`], and all later ones are refused.
    #[default]
    Fail,
    /// The finding is kept; the request succeeds with what the reference says.
    Report,
    /// The function is called with the finding; it is meant not to return.
    Abort(Arc<dyn Fn(&Finding) + Send + Sync>),
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "Fail",
            Self::Report => "Report",
            Self::Abort(_) => "Abort",
        })
    }
}

/// Who enters requests into the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbering {
    /// The verifier, in the order in which it gets them.
    #[default]
    Verifier,
    /// The caller, before each request: one request at a time.
    Caller,
}

/// The verifier's buffers, or fresh ones while another request has them.
struct Buffers<'a> {
    kept: Option<MutexGuard<'a, [Vec<u8>; 2]>>,
    own: [Vec<u8>; 2],
    bytes: usize,
}

impl Buffers<'_> {
    #[inline]
    fn get(&mut self) -> [&mut [u8]; 2] {
        let buffers = self.kept.as_deref_mut().unwrap_or(&mut self.own);
        buffers.each_mut().map(|buffer| {
            if buffer.is_empty() {
                buffer.resize(self.bytes, 0);
            }
            &mut buffer[..]
        })
    }
}

/// Two disks behind one. See the module documentation.
#[derive(Debug)]
pub struct Verify {
    reference: Arc<Disk>,
    test: Arc<Disk>,
    policy: Policy,
    numbering: Numbering,
    journal: Arc<Journal>,
    /// Absent where there is one request at a time.
    ranges: Option<RangeLock>,
    /// Bytes that are compared at a time: a multiple of the request alignment of both disks.
    chunk_bytes: usize,
    /// Buffers for both sides' data, used again where one request comes after another.
    buffers: Mutex<[Vec<u8>; 2]>,
    failed: AtomicBool,
}

impl Verify {
    /// Verifies `test` against `reference`, which have the same size and the same content.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the sizes differ; [`Error::Unsupported`] for a request alignment above 16 MiB.
    pub fn new(reference: Arc<Disk>, test: Arc<Disk>, policy: Policy) -> Result<Self> {
        Self::with_journal(reference, test, policy, Numbering::Verifier, Arc::new(Journal::new()))
    }

    /// As [`Verify::new`], going on with the journal of an earlier verifier.
    pub fn with_journal(
        reference: Arc<Disk>,
        test: Arc<Disk>,
        policy: Policy,
        numbering: Numbering,
        journal: Arc<Journal>,
    ) -> Result<Self> {
        if reference.size() != test.size() {
            let what = report::sizes(reference.size(), test.size());
            let finding = report::oracle_finding(Signature::Size, &what, "");
            let report = finding.report.clone();
            journal.add(finding);
            return Err(Error::Mismatch { report });
        }
        let alignment = reference.limits().request_alignment.max(test.limits().request_alignment);
        if alignment > ALIGNMENT_BYTES_MAX {
            return Err(Error::unsupported("verifying disks with a request alignment above 16 MiB"));
        }
        Ok(Self {
            reference,
            test,
            policy,
            numbering,
            journal,
            ranges: (numbering == Numbering::Verifier).then(RangeLock::default),
            chunk_bytes: CHUNK_BYTES.max(alignment as usize),
            buffers: Mutex::default(),
            failed: AtomicBool::new(false),
        })
    }

    /// What was requested and found so far.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Checks that earlier mismatches let requests through, and gives the request its number.
    #[inline]
    fn begin(&self, request: Request) -> Result<u32> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::Poisoned { cause: "an earlier request left the disks different".to_owned() });
        }
        Ok(match self.numbering {
            Numbering::Verifier => self.journal.enter(request),
            Numbering::Caller => self.journal.current_number(),
        })
    }

    /// Waits for requests in flight that overlap.
    #[inline]
    fn order(&self, extent: Extent, mode: Mode) -> Option<RangeGuard<'_>> {
        self.ranges.as_ref().map(|ranges| ranges.lock(extent, mode))
    }

    /// The request as the journal has it: the caller knows more of it than the verifier sees.
    fn noted(&self, number: u32, seen: Request) -> Request {
        self.journal.request(number).unwrap_or(seen)
    }

    /// Does what the policy says. `Ok` means: go on with what the reference says.
    fn mismatch(&self, finding: Finding) -> Result<()> {
        let report = finding.report.clone();
        match &self.policy {
            Policy::Fail => {
                self.failed.store(true, Ordering::Relaxed);
                self.journal.add(finding);
                Err(Error::Mismatch { report })
            }
            Policy::Report => {
                self.journal.add(finding);
                Ok(())
            }
            Policy::Abort(hook) => {
                hook(&finding);
                self.journal.add(finding);
                Err(Error::Mismatch { report })
            }
        }
    }

    #[inline]
    fn buffers(&self) -> Buffers<'_> {
        Buffers { kept: self.buffers.try_lock(), own: Default::default(), bytes: self.chunk_bytes }
    }

    /// Reads from the reference and compares with `read`, what the test disk gave for `offset`.
    #[inline]
    fn compare_read(&self, number: u32, request: Request, offset: u64, read: &mut [u8]) -> Result<()> {
        let mut buffers = self.buffers();
        let [buffer, _] = buffers.get();
        let mut at = offset;
        for part in read.chunks_mut(self.chunk_bytes) {
            let expected = &mut buffer[..part.len()];
            if let Err(error) = self.reference.read(at, expected) {
                return self.only_reference_failed(number, request, error);
            }
            if *expected != *part {
                let sides =
                    Sides { offset: at, reference: expected, test: part, size: self.reference.size() };
                let range =
                    request.range().map_or(Extent::default(), |(offset, length)| Extent::new(offset, length));
                let noted = Some((number, self.noted(number, request)));
                self.mismatch(report::content_finding(&self.journal, noted, range, sides))?;
                part.copy_from_slice(expected);
            }
            at += part.len() as u64;
        }
        Ok(())
    }
}

impl BlockDriver for Verify {
    fn size(&self) -> u64 {
        self.reference.size()
    }

    fn limits(&self) -> Limits {
        let (a, b) = (self.reference.limits(), self.test.limits());
        let request_alignment = a.request_alignment.max(b.request_alignment);
        let smaller = a.transfer_bytes_max.min(b.transfer_bytes_max);
        Limits {
            request_alignment,
            transfer_bytes_max: (smaller & !(request_alignment - 1)).max(request_alignment),
            zero_granularity: b.zero_granularity,
            discard_granularity: b.discard_granularity,
            can_write_zeroes: true,
            can_discard: b.can_discard,
            can_fua: true,
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let request = Request::Read { offset, length: extent.length };
        let number = self.begin(request)?;
        let _ordered = self.order(extent, Mode::Shared);
        // Bytes that the driver forgets to fill must not be right by accident, nor differ from run to run.
        buf.fill(UNREAD);
        match self.test.read(offset, buf) {
            Ok(()) => self.compare_read(number, request, offset, buf),
            Err(error) => {
                let permitted = permitted::Permitted::nothing();
                self.settle(number, request, Err(error), permitted, |reference| reference.read(offset, buf))
            }
        }
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let length = extent.length;
        let request = if flags.compressed {
            Request::WriteCompressed { offset, length, fill: Fill::Stamp }
        } else {
            Request::Write { offset, length, fill: Fill::Stamp, fua: flags.fua }
        };
        let number = self.begin(request)?;
        let _ordered = self.order(extent, Mode::Exclusive);
        let tested = self.test.write(offset, buf, flags);
        let plain = WriteFlags { compressed: false, ..flags };
        let permitted = permitted::Permitted::write(extent, buf, flags);
        self.settle(number, request, tested, permitted, |reference| reference.write(offset, buf, plain))
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let ZeroFlags { fua, may_unmap, no_fallback } = flags;
        let Extent { offset, length } = extent;
        let request = Request::WriteZeroes { offset, length, unmap: may_unmap, no_fallback, fua };
        let number = self.begin(request)?;
        let _ordered = self.order(extent, Mode::Exclusive);
        let tested = self.test.write_zeroes(extent, flags);
        let with_fallback = ZeroFlags { no_fallback: false, ..flags };
        let permitted = permitted::Permitted::zeroes(extent, no_fallback);
        self.settle(number, request, tested, permitted, |reference| {
            reference.write_zeroes(extent, with_fallback)
        })
    }

    fn discard(&self, extent: Extent) -> Result<()> {
        let request = Request::Discard { offset: extent.offset, length: extent.length };
        let number = self.begin(request)?;
        let _ordered = self.order(extent, Mode::Exclusive);
        let permitted = permitted::Permitted::discard(extent);
        match self.test.discard(extent) {
            Ok(()) => self.adopt(number, request, permitted),
            tested => self.settle(number, request, tested, permitted, |reference| reference.discard(extent)),
        }
    }

    fn flush(&self) -> Result<()> {
        let number = self.begin(Request::Flush)?;
        let tested = self.test.flush();
        self.settle(number, Request::Flush, tested, permitted::Permitted::nothing(), Disk::flush)
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let request = Request::Status { offset: extent.offset, length: extent.length };
        let number = self.begin(request)?;
        let _ordered = self.order(extent, Mode::Shared);
        let status = match self.test.block_status(extent) {
            Ok(status) => status,
            Err(error) => {
                let permitted = permitted::Permitted::nothing();
                self.settle(number, request, Err(error), permitted, |_| Ok(()))?;
                return self.reference.block_status(extent);
            }
        };
        self.check_status(number, request, Extent::new(extent.offset, status.length), status)?;
        Ok(status)
    }

    /// That of the disk under test, because the block status is that of the disk under test.
    fn backing(&self) -> Option<&Arc<Disk>> {
        self.test.backing()
    }

    fn close(&self) -> Result<()> {
        self.test.close().and_then(|()| self.reference.close())
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        self.test.driver().as_check().map(|_| self as &dyn Check)
    }
}

impl Resize for Verify {
    fn resize(&self, size: u64) -> Result<()> {
        let request = Request::Resize { size };
        let number = self.begin(request)?;
        let _ordered = self.order(Extent::new(0, u64::MAX), Mode::Exclusive);
        let tested = self.test.resize(size);
        let settled = self.settle(number, request, tested, permitted::Permitted::resize(), |reference| {
            reference.resize(size)
        });
        let (reference, test) = (self.reference.size(), self.test.size());
        if reference == test || matches!(settled, Err(Error::Mismatch { .. })) {
            return settled;
        }
        let what = report::sizes(reference, test);
        self.mismatch(report::request_finding(number, self.noted(number, request), Signature::Size, &what))?;
        settled
    }
}

impl Check for Verify {
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        self.begin(Request::Check)?;
        self.test.check(repair)
    }
}
