//! The verifier: a block driver over two disks that must always answer the same.
//!
//! Every request goes to both disks, the one under test first; results, data and status are compared. It is a
//! driver itself, so it nests, and anything that speaks to a disk can be verified while it runs.
//!
//! Three verdicts are possible for a request. *Match*: both agree. *Mismatch*: a [`Finding`]; the [`Policy`]
//! says what follows. *Permitted*: the disks may differ (a discard leaves old bytes or zeroes, a request that
//! failed has written any part of itself): the disk under test is read back, held against what is allowed,
//! and the reference brought to the same. docs/permitted-differences.md lists them all.
//!
//! Requests that overlap while in flight are ordered by a range lock, so both disks see them in the same
//! order.

mod execute;
mod permitted;
mod settle;
mod status;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::sync::{Mutex, MutexGuard, RangeGuard, RangeLock, RangeMode};
use blk_core::{
    BlockDriver, BlockStatus, Check, CheckReport, Data, DiscardFlags, Disk, Error, Extent, Limits,
    NativeFlags, Op, Preallocation, RepairMode, Reply, Resize, Result, WriteFlags, ZeroFlags,
};

use crate::journal::{Entry, Journal};
use crate::report::{self, Finding, SECTOR_BYTES, Sides, Signature};

/// Data is compared in pieces of this size, which stay in the processor's cache.
const CHUNK_BYTES: usize = 32 << 10;

/// Coarsest request alignment that is verified: a piece that is compared is at least that long.
const ALIGNMENT_BYTES_MAX: u64 = 16 << 20;

/// What buffers hold before the disk under test reads into them: a byte that stamps hardly ever have.
pub const UNREAD: u8 = 0xee;

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

/// A verifier that knows the number of the request that is made of it: see [`Verify::numbered`].
#[derive(Debug, Clone, Copy)]
pub struct Numbered<'a> {
    verify: &'a Verify,
    number: u32,
}

/// Two disks behind one. See the module documentation.
pub struct Verify {
    reference: Arc<Disk>,
    test: Arc<Disk>,
    policy: Policy,
    journal: Arc<Journal>,
    /// Absent where there is one request at a time.
    ranges: Option<RangeLock>,
    /// The coarser request alignment of both disks, bytes.
    alignment: u64,
    /// Bytes that are compared at a time: a multiple of the alignment.
    chunk_bytes: usize,
    /// Bytes that are read back at a time where neither disk can read more at once: a multiple of the
    /// alignment.
    small_bytes: u64,
    /// Buffers for both sides' data, used again where one request comes after another.
    buffers: Mutex<[Vec<u8>; 2]>,
    /// Nothing is proven any more.
    failed: AtomicBool,
    /// A request has failed on both disks, after which the disk under test may refuse all others.
    shared_failure: AtomicBool,
}

impl fmt::Debug for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the buffers nor the requests of the journal: they are long.
        f.debug_struct("Verify")
            .field("reference", &self.reference)
            .field("test", &self.test)
            .field("policy", &self.policy)
            .field("requests", &self.journal.request_count())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Verify {
    /// Verifies `test` against `reference`, which have the same size and the same content.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the sizes differ; [`Error::Unsupported`] for a request alignment above 16 MiB.
    pub fn new(reference: Arc<Disk>, test: Arc<Disk>, policy: Policy) -> Result<Self> {
        Self::with_journal(reference, test, policy, Arc::new(Journal::new()))
    }

    /// As [`Verify::new`], going on with the journal of an earlier verifier.
    pub fn with_journal(
        reference: Arc<Disk>,
        test: Arc<Disk>,
        policy: Policy,
        journal: Arc<Journal>,
    ) -> Result<Self> {
        if reference.size() != test.size() {
            let what = report::sizes(reference.size(), test.size());
            let finding = report::oracle_finding(Signature::Size, &what, "");
            let report = finding.report();
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
            journal,
            ranges: Some(RangeLock::default()),
            alignment,
            chunk_bytes: CHUNK_BYTES.max(alignment as usize),
            small_bytes: SECTOR_BYTES.max(alignment),
            buffers: Mutex::default(),
            failed: AtomicBool::new(false),
            shared_failure: AtomicBool::new(false),
        })
    }

    /// What was requested and found so far.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// For a caller that never has two requests in flight: nothing is done to order them.
    #[must_use]
    pub fn one_at_a_time(self) -> Self {
        Self { ranges: None, ..self }
    }

    /// The verifier for the requests of stamp number `number`, which the caller has entered into the journal:
    /// that is what reports call them, whatever else is in flight.
    pub fn numbered(&self, number: u32) -> Numbered<'_> {
        Numbered { verify: self, number }
    }

    /// Enters a request that has no data into the journal, and makes it.
    fn make_without_data(&self, request: Op) -> Result<Reply> {
        self.make(self.begin(request)?, request, Data::None)
    }

    /// Checks that earlier mismatches let requests through, and gives the request its number.
    #[inline]
    fn begin(&self, request: Op) -> Result<u32> {
        self.refuse_what_proves_nothing()?;
        Ok(self.journal.enter(request))
    }

    #[inline]
    fn refuse_what_proves_nothing(&self) -> Result<()> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::Poisoned { cause: "an earlier request left the disks different".to_owned() });
        }
        Ok(())
    }

    /// Waits for requests in flight that overlap. One of them may find that nothing is proven any more.
    #[inline]
    fn order(&self, extent: Extent, mode: RangeMode) -> Result<Option<RangeGuard<'_>>> {
        let Some(ranges) = &self.ranges else { return Ok(None) };
        let guard = ranges.lock(extent, mode);
        self.refuse_what_proves_nothing()?;
        Ok(Some(guard))
    }

    /// Waits for all requests in flight, and holds up all others.
    fn order_alone(&self) -> Result<Option<RangeGuard<'_>>> {
        self.order(RangeLock::EVERYTHING, RangeMode::Exclusive)
    }

    /// What is wrong with the sizes. No resize may be under way.
    fn sizes_differ(&self) -> Option<String> {
        let (reference, test) = (self.reference.size(), self.test.size());
        (reference != test).then(|| report::sizes(reference, test))
    }

    fn compare_sizes(&self, number: u32, request: Op) -> Result<()> {
        self.sizes_differ().map_or(Ok(()), |what| {
            let noted = self.noted(number, request);
            self.mismatch(report::request_finding(number, noted, Signature::Size, &what))
        })
    }

    /// The request as the journal has it: the caller knows more of it than the verifier sees.
    fn noted(&self, number: u32, seen: Op) -> Entry {
        self.journal.request(number).unwrap_or(Entry::Op(seen))
    }

    /// Does what the policy says. `Ok` means: go on with what the reference says.
    fn mismatch(&self, finding: Finding) -> Result<()> {
        if matches!(self.policy, Policy::Report) {
            self.journal.add(finding);
            return Ok(());
        }
        self.failed.store(true, Ordering::Relaxed);
        self.journal.add(finding.clone());
        if let Policy::Abort(hook) = &self.policy {
            hook(&finding);
        }
        Err(Error::Mismatch { report: finding.report() })
    }

    /// The finding for bytes from disk address `at` on that differ. `range` is what the request touches.
    fn content_finding(
        &self,
        number: u32,
        request: Op,
        range: Extent,
        at: u64,
        expected: &[u8],
        found: &[u8],
    ) -> Finding {
        let sides = Sides { offset: at, reference: expected, test: found, size: self.reference.size() };
        let noted = Some((number, self.noted(number, request)));
        report::content_finding(&self.journal, noted, range, sides)
    }

    #[inline]
    fn buffers(&self) -> Buffers<'_> {
        Buffers { kept: self.buffers.try_lock(), own: Default::default(), bytes: self.chunk_bytes }
    }

    /// Reads from the reference and compares with `read`, what the test disk gave for `offset`.
    #[inline]
    fn compare_read(&self, number: u32, request: Op, offset: u64, read: &mut [u8]) -> Result<()> {
        let mut buffers = self.buffers();
        let [buffer, _] = buffers.get();
        let mut at = offset;
        for part in read.chunks_mut(self.chunk_bytes) {
            let expected = &mut buffer[..part.len()];
            if let Err(error) = self.reference.read(at, expected) {
                return self.only_reference_failed(number, request, error);
            }
            if *expected != *part {
                let range = request.extent().unwrap_or_default();
                self.mismatch(self.content_finding(number, request, range, at, expected, part))?;
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
        let aligned = |bytes: u64| (bytes & !(request_alignment - 1)).max(request_alignment);
        Limits {
            request_alignment,
            transfer_bytes_max: aligned(a.transfer_bytes_max.min(b.transfer_bytes_max)),
            preferred_bytes: b.preferred_bytes,
            zero_granularity: b.zero_granularity,
            zero_bytes_max: aligned(a.zero_bytes_max.min(b.zero_bytes_max)),
            discard_granularity: b.discard_granularity,
            discard_bytes_max: aligned(a.discard_bytes_max.min(b.discard_bytes_max)),
            can_discard: b.can_discard,
            // Both disks emulate what their drivers lack, and take buffers from anywhere.
            can_write_zeroes: true,
            memory_alignment: 1,
            native: NativeFlags { fast_zero: b.native.fast_zero, ..NativeFlags::FUA },
            multi_conn: false,
            rotational: false,
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let request = Op::Read { extent: Extent::new(offset, buf.len() as u64) };
        self.make(self.begin(request)?, request, Data::Read(buf)).map(drop)
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let request = Op::Write { extent: Extent::new(offset, buf.len() as u64), flags };
        self.make(self.begin(request)?, request, Data::Write(buf)).map(drop)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.make_without_data(Op::WriteZeroes { extent, flags }).map(drop)
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        self.make_without_data(Op::Discard { extent, flags }).map(drop)
    }

    fn flush(&self) -> Result<()> {
        self.make_without_data(Op::Flush).map(drop)
    }

    fn prefetch(&self, extent: Extent) -> Result<()> {
        self.make_without_data(Op::Prefetch { extent }).map(drop)
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        match self.make_without_data(Op::BlockStatus { extent })? {
            Reply::Status(status) => Ok(status),
            _ => unreachable!("a status is answered with a status"),
        }
    }

    /// That of the disk under test, because the block status is that of the disk under test.
    fn backing(&self) -> Option<&Arc<Disk>> {
        self.test.backing()
    }

    fn close(&self) -> Result<()> {
        self.close_both()
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        let both = self.test.as_resize().and(self.reference.as_resize());
        both.map(|_| self as &dyn Resize)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        self.test.as_check().map(|_| self as &dyn Check)
    }
}

impl Resize for Verify {
    fn resize(&self, size: u64) -> Result<()> {
        self.make_without_data(Op::resize(size)).map(drop)
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        self.make_without_data(Op::Resize { size, preallocation }).map(drop)
    }
}

impl Check for Verify {
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        match self.make_without_data(Op::Check { repair })? {
            Reply::Checked(report) => Ok(*report),
            _ => unreachable!("a check is answered with a report"),
        }
    }
}
