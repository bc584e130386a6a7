//! The verifier asked by request: each with the number that its caller gave it, whatever else is in flight.

use std::sync::Arc;

use blk_core::{
    Data, DiscardFlags, Disk, ErrorKind, Extent, Op, Perform, Preallocation, RepairMode, Reply, ZeroFlags,
};
use blk_verify::journal::Journal;
use blk_verify::testing::{Bug, Flat};
use blk_verify::{Policy, Verify, stamp};

const SIZE: u64 = 1 << 20;

fn pair(bug: Bug, policy: Policy) -> (Verify, Arc<Journal>) {
    let journal = Arc::new(Journal::new());
    let [reference, test]: [Arc<Disk>; 2] = [Bug::None, bug].map(|bug| Flat::open(SIZE, bug).unwrap());
    let verify = Verify::with_journal(reference, test, policy, Arc::clone(&journal)).unwrap();
    (verify, journal)
}

fn write(verify: &Verify, number: u32, offset: u64) -> blk_core::Result<Reply> {
    let mut data = vec![0; 512];
    stamp::fill(&mut data, offset, number);
    verify.execute(number, Op::write(Extent::new(offset, 512)), Data::Write(&data))
}

fn read(verify: &Verify, number: u32, offset: u64) -> blk_core::Result<Reply> {
    let extent = Extent::new(offset, 512);
    verify.execute(number, Op::Read { extent }, Data::Read(&mut [0; 512]))
}

#[test]
fn a_mismatch_has_the_number_that_its_caller_gave() {
    let (verify, journal) = pair(Bug::Shifted, Policy::Report);
    std::thread::scope(|scope| {
        for number in 1..=20_u32 {
            let verify = &verify;
            scope.spawn(move || {
                let offset = u64::from(number) * 8192;
                write(verify, number, offset).unwrap();
                read(verify, 100 + number, offset).unwrap();
            });
        }
    });
    let mut numbers: Vec<u32> = journal.findings().iter().map(|finding| finding.request_number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (101..=120).collect::<Vec<_>>());
    assert_eq!(journal.request_count(), 0, "whoever numbers requests enters them");
    for finding in journal.findings() {
        let number = finding.request_number;
        let offset = u64::from(number - 100) * 8192;
        assert!(
            finding.report().contains(&format!("#{number} read {}k 512\n", offset / 1024)),
            "{}",
            finding.report()
        );
    }
}

#[test]
fn it_refuses_what_a_disk_refuses_and_is_as_good_afterwards() {
    let (verify, _) = pair(Bug::None, Policy::Fail);
    for offset in [SIZE, SIZE - 511, u64::MAX - 100] {
        assert_eq!(read(&verify, 1, offset).unwrap_err().kind(), ErrorKind::OutOfRange, "{offset}");
        let flags = ZeroFlags::default();
        let zeroes = Op::WriteZeroes { extent: Extent::new(offset, 512), flags };
        assert_eq!(verify.execute(2, zeroes, Data::None).unwrap_err().kind(), ErrorKind::OutOfRange);
    }
    let wrong = verify.execute(3, Op::Read { extent: Extent::new(0, 512) }, Data::Read(&mut [0; 511]));
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidOption);
    assert_eq!(verify.execute(4, Op::Flush, Data::Write(&[1])).unwrap_err().kind(), ErrorKind::InvalidOption);
    write(&verify, 5, 512).unwrap();
    read(&verify, 6, 512).unwrap();
}

#[test]
fn every_kind_of_request_is_made_of_both_disks() {
    let (verify, _) = pair(Bug::None, Policy::Fail);
    let extent = Extent::new(4096, 8192);
    write(&verify, 1, 4096).unwrap();
    for op in [
        Op::WriteZeroes { extent, flags: ZeroFlags { fua: true, ..ZeroFlags::default() } },
        Op::Discard { extent, flags: DiscardFlags { fua: true } },
        Op::Flush,
        Op::Prefetch { extent },
    ] {
        assert_eq!(verify.execute(2, op, Data::None).unwrap(), Reply::Done, "{op}");
    }
    assert!(matches!(verify.execute(3, Op::BlockStatus { extent }, Data::None).unwrap(), Reply::Status(_)));
    let fast = Op::WriteZeroes { extent, flags: ZeroFlags { fast_only: true, ..ZeroFlags::default() } };
    for op in [fast, Op::Check { repair: RepairMode::None }] {
        assert_eq!(verify.execute(4, op, Data::None).unwrap_err().kind(), ErrorKind::Unsupported, "{op}");
    }
    read(&verify, 5, 4096).unwrap();
}

/// A driver that zeroes a part of what has to be fast, and then refuses, differs from what it promises.
#[test]
fn a_refusal_of_fast_zeroes_that_changes_something_is_found() {
    let (verify, journal) = pair(Bug::FastZeroesRefusedLate, Policy::Fail);
    write(&verify, 1, 0).unwrap();
    let extent = Extent::new(0, 512);
    let flags = |fast_only, no_fallback| ZeroFlags { fast_only, no_fallback, ..ZeroFlags::default() };
    // Without `fast_only` a part may be done.
    let slow = verify.execute(2, Op::WriteZeroes { extent, flags: flags(false, true) }, Data::None);
    assert_eq!(slow.unwrap_err().kind(), ErrorKind::Unsupported);
    write(&verify, 3, 0).unwrap();
    let fast = verify.execute(4, Op::WriteZeroes { extent, flags: flags(true, false) }, Data::None);
    assert_eq!(fast.unwrap_err().kind(), ErrorKind::Mismatch);
    assert!(journal.findings()[0].report().contains("#4 write -z --fast 0 512"), "{:?}", journal.findings());
}

/// What a disk in front of the verifier would refuse is refused: neither disk is asked, which might answer
/// differently.
#[test]
fn a_change_of_the_size_is_refused_as_by_a_disk() {
    let (verify, journal) = pair(Bug::None, Policy::Fail);
    let resize = |size, preallocation| {
        verify.execute(1, Op::Resize { size, preallocation }, Data::None).map_err(|error| error.kind())
    };
    assert_eq!(resize(SIZE / 2, Preallocation::Full), Err(ErrorKind::InvalidOption), "it becomes smaller");
    assert_eq!(resize(SIZE * 2, Preallocation::Full), Err(ErrorKind::Unsupported), "this driver does not");
    assert_eq!(resize(SIZE / 2, Preallocation::Off), Ok(Reply::Done));
    assert_eq!(verify.numbered(2).size(), SIZE / 2);
    assert!(!verify.numbered(2).can_check());
    assert!(!journal.has_findings());
}
