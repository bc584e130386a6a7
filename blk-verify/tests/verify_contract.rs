//! What the verifier promises to the disks below it and to whoever is above: which requests reach which disk
//! with which flags, what its limits are, and what the journal and reports say.

use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{
    Access, BlockDriver, BlockStatus, Check, CheckReport, Data, DiscardFlags, Disk, Error, ErrorKind, Extent,
    Limits, NativeFlags, Op, Perform, Preallocation, RepairMode, Reply, Resize, Result, WriteFlags,
    ZeroFlags,
};
use blk_verify::journal::Journal;
use blk_verify::report::{self, OriginClass};
use blk_verify::testing::{Bug, Flat};
use blk_verify::{Finding, Policy, RequestKind, Signature, Verify, stamp};

const SIZE: u64 = 1 << 20;

/// What is special about a [`Told`] disk.
#[derive(Debug, Clone, Copy)]
struct Traits {
    limits: Limits,
    takes_compressed: bool,
    /// Reads that touch this byte fail.
    bad: Option<u64>,
    /// What a discard leaves.
    discards: u8,
    refuses_writes: bool,
}

const PLAIN: Traits = Traits {
    limits: Limits {
        request_alignment: 1,
        memory_alignment: 1,
        transfer_bytes_max: 1 << 20,
        preferred_bytes: 4096,
        zero_granularity: 1,
        zero_bytes_max: 1 << 20,
        discard_granularity: 1,
        discard_bytes_max: 1 << 20,
        can_write_zeroes: true,
        can_discard: true,
        native: NativeFlags::FUA,
        multi_conn: false,
        rotational: false,
    },
    takes_compressed: false,
    bad: None,
    discards: 0,
    refuses_writes: false,
};

/// A disk in memory that writes down what it is asked.
#[derive(Debug)]
struct Told {
    bytes: Mutex<Vec<u8>>,
    is: Traits,
    calls: Arc<Mutex<Vec<String>>>,
}

type Calls = Arc<Mutex<Vec<String>>>;

fn told(is: Traits) -> (Arc<Disk>, Calls) {
    let calls = Calls::default();
    let told = Told { bytes: Mutex::new(vec![1; SIZE as usize]), is, calls: Arc::clone(&calls) };
    (Arc::new(Disk::new(told, Access::ReadWrite)), calls)
}

impl Told {
    fn note(&self, call: impl Into<String>) {
        self.calls.lock().push(call.into());
    }

    fn fill(&self, extent: Extent, byte: u8) {
        self.bytes.lock()[extent.offset as usize..extent.end() as usize].fill(byte);
    }
}

impl BlockDriver for Told {
    fn size(&self) -> u64 {
        self.bytes.lock().len() as u64
    }

    fn limits(&self) -> Limits {
        self.is.limits
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        if self.is.bad.is_some_and(|bad| extent.range().contains(&bad)) {
            return Err(Error::io("read", offset, std::io::Error::from_raw_os_error(5)));
        }
        buf.copy_from_slice(&self.bytes.lock()[offset as usize..extent.end() as usize]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.note(format!("write compressed={} fua={}", flags.compressed, flags.fua));
        let alignment = self.is.limits.request_alignment.max(512);
        if self.is.refuses_writes || (flags.compressed && !offset.is_multiple_of(4096)) {
            return Err(Error::Misaligned { offset, length: buf.len() as u64, alignment });
        }
        if flags.compressed && !self.is.takes_compressed {
            return Err(Error::unsupported("compressed write"));
        }
        self.bytes.lock()[offset as usize..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.note(format!("zero no_fallback={} fast_only={}", flags.no_fallback, flags.fast_only));
        self.fill(extent, 0);
        Ok(())
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.fill(extent, self.is.discards);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.note("flush");
        Ok(())
    }

    fn prefetch(&self, extent: Extent) -> Result<()> {
        self.note(format!("prefetch {}", extent.length));
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let (length, host_offset) = (extent.length, Some(extent.offset));
        Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        Some(self)
    }
}

impl Resize for Told {
    fn resize(&self, size: u64) -> Result<()> {
        self.note(format!("resize {size}"));
        self.bytes.lock().resize(size as usize, 0);
        Ok(())
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        self.note(format!("grow {}", preallocation.as_str()));
        self.bytes.lock().resize(size as usize, 0);
        Ok(())
    }
}

impl Check for Told {
    fn check(&self, _repair: RepairMode) -> Result<CheckReport> {
        Ok(CheckReport { total_clusters: 7, ..CheckReport::default() })
    }
}

/// A verifier over two disks, and what they are asked: the reference first.
fn pair(reference: Traits, test: Traits) -> (Verify, [Calls; 2]) {
    let ((reference, asked), (test, asked_test)) = (told(reference), told(test));
    (Verify::new(reference, test, Policy::Fail).unwrap(), [asked, asked_test])
}

fn take(calls: &[Calls; 2]) -> [Vec<String>; 2] {
    [0, 1].map(|disk| std::mem::take(&mut *calls[disk].lock()))
}

fn limited(change: impl Fn(&mut Limits)) -> Traits {
    let mut traits = PLAIN;
    change(&mut traits.limits);
    traits
}

#[test]
fn limits_are_what_both_disks_take() {
    let coarse = limited(|limits| (limits.request_alignment, limits.transfer_bytes_max) = (4096, 1 << 20));
    let small = limited(|limits| {
        (limits.transfer_bytes_max, limits.zero_bytes_max, limits.discard_bytes_max) = (10_000, 9_000, 100);
        limits.native.fast_zero = true;
    });
    let (verify, _) = pair(coarse, small);
    let limits = verify.limits();
    assert_eq!(limits.request_alignment, 4096);
    assert_eq!(limits.transfer_bytes_max, 8192, "a multiple of the alignment");
    assert_eq!((limits.zero_bytes_max, limits.discard_bytes_max), (8192, 4096), "and no less than it");
    assert!(limits.native.fast_zero, "the disk under test has zeroes that are fast");
    assert!(!pair(small, PLAIN).0.limits().native.fast_zero);
}

#[test]
fn an_alignment_of_16_mib_is_verified_and_no_coarser_one() {
    for (alignment, is_verified) in [(16 << 20, true), (32 << 20, false)] {
        let traits = limited(|limits| {
            limits.request_alignment = alignment;
            limits.transfer_bytes_max = alignment;
            limits.zero_bytes_max = alignment;
            limits.discard_bytes_max = alignment;
        });
        let [one, other] = [told(traits).0, told(traits).0];
        assert_eq!(Verify::new(one, other, Policy::Fail).is_ok(), is_verified, "{alignment}");
    }
}

#[test]
fn the_reference_is_asked_for_no_more_than_the_content() {
    let (verify, calls) = pair(PLAIN, Traits { takes_compressed: true, ..PLAIN });
    let flags = WriteFlags { compressed: true, fua: true };
    verify.write(0, &[2; 4096], flags).unwrap();
    let written = |compressed: bool| vec![format!("write compressed={compressed} fua=true")];
    assert_eq!(take(&calls), [written(false), written(true)]);
    let fast = limited(|limits| limits.native.fast_zero = true);
    let (verify, calls) = pair(PLAIN, fast);
    let flags = ZeroFlags { no_fallback: true, fast_only: true, ..ZeroFlags::default() };
    verify.write_zeroes(Extent::new(0, 4096), flags).unwrap();
    let [reference, _] = take(&calls);
    assert_eq!(reference, ["zero no_fallback=false fast_only=false"]);
}

#[test]
fn prefetches_and_growth_reach_both_disks() {
    let (verify, calls) = pair(PLAIN, PLAIN);
    verify.prefetch(Extent::new(0, 4096)).unwrap();
    let [reference, test] = take(&calls);
    assert!(reference == ["prefetch 4096"] && test == ["prefetch 4096"], "{reference:?} {test:?}");
    verify.grow(2 * SIZE, Preallocation::Full).unwrap();
    let [reference, test] = take(&calls);
    assert_eq!(reference.last().unwrap(), &format!("resize {}", 2 * SIZE), "only its size is compared");
    assert_eq!(test.last().unwrap(), "grow full");
    assert_eq!(BlockDriver::size(&verify), 2 * SIZE);
}

#[test]
fn a_check_is_that_of_the_disk_under_test() {
    let (verify, _) = pair(PLAIN, PLAIN);
    assert!(verify.numbered(1).can_check());
    assert_eq!(verify.as_check().unwrap().check(RepairMode::None).unwrap().total_clusters, 7);
}

#[test]
fn requests_and_sizes_are_whole_units_of_the_coarser_alignment() {
    let coarse = limited(|limits| limits.request_alignment = 512);
    let (verify, _) = pair(PLAIN, coarse);
    let kind = |op| verify.execute(1, op, Data::None).map_err(|error| error.kind());
    let discard = |offset, length| {
        kind(Op::Discard { extent: Extent::new(offset, length), flags: DiscardFlags::default() })
    };
    for (offset, length) in [(256, 512), (512, 256), (1, 511), (512, 1024 + 8)] {
        assert_eq!(discard(offset, length), Err(ErrorKind::Misaligned), "{offset} {length}");
    }
    assert_eq!(discard(512, 1024), Ok(Reply::Done));
    for size in [SIZE + 1, SIZE + 256, SIZE + 511] {
        assert_eq!(kind(Op::resize(size)), Err(ErrorKind::Misaligned), "{size}");
    }
    let same = Op::Resize { size: SIZE, preallocation: Preallocation::Full };
    assert_eq!(kind(same), Ok(Reply::Done), "a disk that stays as it is becomes no smaller");
}

#[test]
fn a_buffer_that_is_not_the_extent_is_refused() {
    let (verify, _) = pair(PLAIN, PLAIN);
    let extent = Extent::new(0, 512);
    for length in [511, 513] {
        let read = verify.execute(1, Op::Read { extent }, Data::Read(&mut vec![0; length]));
        let written = verify.execute(2, Op::write(extent), Data::Write(&vec![0; length]));
        for done in [read, written] {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::InvalidOption, "{length}");
        }
    }
}

/// Compressed writes are a matter of units: that one is refused as misaligned is the driver's right, for no
/// other write.
#[test]
fn only_compressed_writes_may_be_refused_as_misaligned() {
    let (verify, _) = pair(PLAIN, Traits { takes_compressed: true, ..PLAIN });
    let flags = WriteFlags { compressed: true, fua: false };
    let refused = verify.write(512, &[2; 512], flags).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misaligned);
    verify.read(0, &mut [0; 4096]).unwrap();
    let (verify, _) = pair(PLAIN, Traits { refuses_writes: true, ..PLAIN });
    let refused = verify.write(512, &[2; 512], WriteFlags::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Mismatch);
}

/// Wherever the bad byte and the extent lie, garbage in any other sector is found.
#[test]
fn a_byte_that_neither_can_read_hides_its_own_sector_alone() {
    for start in [0, 256, 700] {
        for bad in [1000, 3000, 40_000] {
            let reference = Traits { bad: Some(bad), ..PLAIN };
            let right = Traits { discards: 1, ..reference };
            let extent = Extent::new(start, 64 << 10);
            pair(reference, right).0.discard(extent, DiscardFlags::default()).unwrap();
            let (reference, _) = told(reference);
            let (test, _) = told(right);
            let verify = Verify::new(reference, Arc::clone(&test), Policy::Fail).unwrap();
            verify.discard(extent, DiscardFlags::default()).unwrap();
            let wrong = Traits { discards: 0xdb, ..right };
            let (verify, _) = pair(Traits { bad: Some(bad), ..PLAIN }, wrong);
            let found = verify.discard(extent, DiscardFlags::default()).unwrap_err();
            assert_eq!(found.kind(), ErrorKind::Mismatch, "{start} {bad}");
            // The sector of the bad byte alone: everything in it is unknown.
            let sector = Extent::new(bad / 512 * 512, 512);
            let (verify, _) = pair(Traits { bad: Some(bad), ..PLAIN }, wrong);
            verify.discard(sector, DiscardFlags::default()).unwrap();
            // Its neighbours are known.
            for beside in [sector.offset - 512, sector.end()] {
                let (verify, _) = pair(Traits { bad: Some(bad), ..PLAIN }, wrong);
                let both = Extent::between(beside.min(sector.offset), (beside + 512).max(sector.end()));
                let found = verify.discard(both, DiscardFlags::default()).unwrap_err();
                assert_eq!(found.kind(), ErrorKind::Mismatch, "{start} {bad} {beside}");
            }
        }
    }
}

#[test]
fn a_status_of_less_than_a_unit_keeps_its_place_only_if_it_is_a_whole_one() {
    let coarse = limited(|limits| limits.request_alignment = 512);
    let (verify, _) = pair(coarse, PLAIN);
    let extent = Extent::new(512, 1024);
    let status = verify.block_status(extent).unwrap();
    assert_eq!((status.length, status.host_offset), (1024, Some(512)));
}

#[test]
fn a_resize_keeps_nothing_of_what_was_never_there() {
    let [reference, test] = [Bug::None, Bug::ResizeShowsOld].map(|bug| Flat::open(SIZE, bug).unwrap());
    let verify = Verify::new(Arc::clone(&reference), test, Policy::Fail).unwrap();
    verify.resize(SIZE + 512).unwrap();
    let mut gained = [0xee; 512];
    reference.read(SIZE, &mut gained).unwrap();
    assert_eq!(gained, [0; 512]);
    let found = verify.read(SIZE, &mut [0; 512]).unwrap_err();
    assert_eq!(found.kind(), ErrorKind::Mismatch);
}

#[test]
fn planted_drivers_hold_64_mib_and_no_more() {
    const MAX: u64 = 64 << 20;
    assert!(Flat::new(MAX, Bug::None).is_ok());
    assert_eq!(Flat::new(MAX + 1, Bug::None).unwrap_err().kind(), ErrorKind::NoSpace);
    let disk = Flat::open(0, Bug::None).unwrap();
    assert_eq!(disk.resize(MAX + 1).unwrap_err().kind(), ErrorKind::NoSpace);
    disk.resize(MAX).unwrap();
}

/// Each bug shows in one kind of request, and in no other.
#[test]
fn a_planted_bug_is_where_it_was_planted() {
    let verify = |bug| {
        let [reference, test] = [Bug::None, bug].map(|bug| Flat::open(SIZE, bug).unwrap());
        Verify::new(reference, test, Policy::Fail).unwrap()
    };
    let last = SIZE - 512;
    let fails = verify(Bug::ReadFails);
    fails.read(last - 512, &mut [0; 512]).unwrap();
    fails.read(0, &mut [0; 1024]).unwrap();
    assert_eq!(fails.read(last, &mut [0; 512]).unwrap_err().kind(), ErrorKind::Mismatch);
    let tail = verify(Bug::LostTailAfterDiscard);
    tail.write(65_000, &[3; 1024], WriteFlags::default()).unwrap();
    tail.read(65_000, &mut [0; 1024]).unwrap();
    tail.discard(Extent::new(0, 512), DiscardFlags::default()).unwrap();
    tail.write(65_536, &[4; 1024], WriteFlags::default()).unwrap();
    tail.read(65_536, &mut [0; 1024]).unwrap();
    tail.write(65_000, &[6; 1024], WriteFlags::default()).unwrap();
    tail.read(65_000, &mut [0; 536]).unwrap();
    assert_eq!(tail.read(65_536, &mut [0; 8]).unwrap_err().kind(), ErrorKind::Mismatch);
    let shifted = verify(Bug::Shifted);
    shifted.write(last, &[5; 512], WriteFlags::default()).unwrap();
    shifted.read(last, &mut [0; 512]).unwrap();
    shifted.write(0, &[5; 512], WriteFlags::default()).unwrap();
    assert_eq!(shifted.read(512, &mut [0; 512]).unwrap_err().kind(), ErrorKind::Mismatch);
    let may_be_refused = ZeroFlags { fast_only: true, ..ZeroFlags::default() };
    let zeroes = Extent::new(0, 512);
    assert!(verify(Bug::FastZeroesRefusedLate).write_zeroes(zeroes, ZeroFlags::default()).is_ok());
    let late = Flat::new(SIZE, Bug::FastZeroesRefusedLate).unwrap();
    late.write_zeroes(zeroes, ZeroFlags::default()).unwrap();
    assert_eq!(late.write_zeroes(zeroes, may_be_refused).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_ne!(
        verify(Bug::None).write_zeroes(zeroes, may_be_refused).map_err(|error| error.kind()),
        Err(ErrorKind::Mismatch)
    );
}

#[test]
fn kinds_have_their_places_and_say_what_they_do() {
    for (place, kind) in RequestKind::ALL.into_iter().enumerate() {
        assert_eq!(kind.index(), place, "{}", kind.name());
    }
    let names = |is: fn(RequestKind) -> bool| {
        RequestKind::ALL.into_iter().filter(|kind| is(*kind)).map(RequestKind::name).collect::<Vec<_>>()
    };
    assert_eq!(names(RequestKind::changes_content), ["write", "write -c", "write -z", "discard", "truncate"]);
    assert_eq!(names(RequestKind::moves_data), ["read", "write", "write -c"]);
}

#[test]
fn the_journal_remembers_the_last_requests_and_says_when_it_does_not() {
    let journal = Journal::new();
    let entry = |number: u32| Op::Read { extent: Extent::new(u64::from(number) * 512, 512) };
    for number in 1..=20_000 {
        assert_eq!(journal.next_number(), number);
        assert_eq!(journal.enter(entry(number)), number);
        assert_eq!(journal.current_number(), number);
    }
    for number in [1, 2, 20_000 - (1 << 14)] {
        assert_eq!(journal.request(number), None, "{number}");
    }
    for number in [20_000 - (1 << 14) + 1, 10_000, 19_999, 20_000] {
        assert_eq!(journal.request(number).map(|entry| entry.to_string()), Some(entry(number).to_string()));
    }
    for never in [20_001, 30_000, stamp::NUMBERS_END - 2] {
        assert_eq!(journal.request(never), None, "{never} was never made");
    }
}

#[test]
fn the_journal_keeps_a_thousand_findings() {
    let journal = Journal::new();
    assert!(!journal.has_findings());
    for number in 0..1002 {
        journal.add(Finding { request_number: number, ..Finding::new(Signature::Size, "") });
    }
    assert_eq!(journal.findings().len(), 1000);
    assert!(journal.has_findings() && journal.findings()[999].request_number == 999);
}

/// A word that looks like the stamp of a request that was never made is none, but for follow-up requests,
/// which no journal has.
#[test]
fn only_requests_that_were_made_are_named() {
    let journal = Journal::new();
    journal.enter(Op::write(Extent::new(0, 512)));
    for (number, class) in [
        (1, OriginClass::Written),
        (2, OriginClass::Other),
        (stamp::FOLLOW_UPS.start, OriginClass::Written),
        (stamp::FOLLOW_UPS.end, OriginClass::Other),
    ] {
        let mut bytes = vec![0; 512];
        stamp::fill(&mut bytes, 0, number);
        assert_eq!(report::source(&journal, &bytes, 0, 0, SIZE).class(), class, "{number}");
    }
}

/// What is compared may begin and end within a word: the next whole word of the sector says whose it is.
#[test]
fn a_word_that_is_cut_is_named_by_the_next() {
    let journal = Journal::new();
    journal.enter(Op::write(Extent::new(0, 1024)));
    let mut bytes = vec![0; 1024];
    stamp::fill(&mut bytes, 0, 1);
    for start in [0, 4, 7, 8, 517] {
        for at in [0, 1, 3, 8, 100] {
            let source = report::source(&journal, &bytes[start..], start as u64, at, SIZE);
            assert_eq!(source.class(), OriginClass::Written, "{start} {at}: {source}");
        }
    }
}
