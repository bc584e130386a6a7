//! Attacks on the verifier: disks that are wrong in ways that are easily missed, and disks that are right in
//! ways that are easily taken for wrong.

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "common/odd.rs"]
mod odd;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use blk_core::{
    Access, BlockStatus, DiscardFlags, Disk, Error, ErrorKind, Extent, RepairMode, WriteFlags, ZeroFlags,
};
use blk_verify::journal::Journal;
use blk_verify::testing::{Bug, Flat};
use blk_verify::{Policy, Signature, Verify};
use common::{Way, rough};
use odd::Odd;

const SIZE: u64 = 1 << 20;

fn flat(byte: u8) -> Arc<Disk> {
    flat_of(SIZE, byte)
}

fn flat_of(size: u64, byte: u8) -> Arc<Disk> {
    let disk = Flat::open(size, Bug::None).unwrap();
    disk.write(0, &vec![byte; size as usize], WriteFlags::default()).unwrap();
    disk
}

fn verified(reference: Arc<Disk>, test: Arc<Disk>, policy: Policy) -> (Disk, Arc<Journal>) {
    let verify = Verify::new(reference, test, policy).unwrap();
    let journal = Arc::clone(verify.journal());
    (Disk::new(verify, Access::ReadWrite), journal)
}

fn fail(reference: Arc<Disk>, test: Arc<Disk>) -> Disk {
    verified(reference, test, Policy::Fail).0
}

fn host_failure() -> Error {
    Error::io("read", 0, std::io::Error::from_raw_os_error(5))
}

fn full() -> Error {
    Error::NoSpace { what: "planted".into() }
}

fn poisoned() -> Error {
    Error::Poisoned { cause: "planted".to_owned() }
}

#[track_caller]
fn mismatch<T: std::fmt::Debug>(result: blk_core::Result<T>) -> String {
    match result {
        Err(Error::Mismatch { report }) => report,
        other => panic!("no mismatch: {other:?}"),
    }
}

fn read_all(disk: &Disk) -> blk_core::Result<Vec<u8>> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read(0, &mut bytes).map(|()| bytes)
}

fn claims(length: u64, allocated: bool, zero: bool) -> BlockStatus {
    BlockStatus { length, allocated, zero, compressed: false, host_offset: None }
}

// What must be found.

#[test]
fn a_full_host_is_no_reason_for_a_read_to_fail() {
    let disk = fail(flat(1), Odd::over(flat(1)).reads(|_, _, _| Err(full())).open());
    let report = mismatch(disk.read(0, &mut [0; 512]));
    assert!(report.contains("failed on the disk under test alone: no space left"), "{report}");
    let disk = fail(flat(1), Odd::over(flat(1)).statuses(|_, _| Err(full())).open());
    mismatch(disk.block_status(Extent::new(0, 512)));
}

#[test]
fn zeroes_that_are_said_to_be_unallocated_must_show_from_the_backing_file() {
    let test =
        Odd::over(flat(0)).below(flat(7)).statuses(|_, asked| Ok(claims(asked.length, false, false))).open();
    let report = mismatch(fail(flat(0), test).block_status(Extent::new(0, 512)));
    assert!(report.contains("claims unallocated"), "{report}");
}

#[test]
fn a_status_that_lies_is_not_passed_on() {
    let test = || Odd::over(flat(1)).statuses(|_, asked| Ok(claims(asked.length, true, true))).open();
    let (disk, journal) = verified(flat(1), test(), Policy::Report);
    let status = disk.block_status(Extent::new(0, 4096)).unwrap();
    assert!(status.allocated && !status.zero, "{status:?}");
    assert_eq!(journal.findings().len(), 1);
    assert!(journal.findings()[0].report().contains("at offset 0"), "{:?}", journal.findings());
    // Nor does a verifier over it see anything wrong.
    let outer = fail(flat(1), Arc::new(disk));
    outer.block_status(Extent::new(0, 4096)).unwrap();
}

#[test]
fn a_status_that_failed_is_replaced_by_one_that_claims_nothing() {
    let test = Odd::over(flat(0)).statuses(|_, _| Err(host_failure())).open();
    let reference = Odd::over(flat(0)).statuses(|_, asked| Ok(claims(asked.length, false, true))).open();
    let (disk, journal) = verified(reference, test, Policy::Report);
    let status = disk.block_status(Extent::new(0, 4096)).unwrap();
    assert!(status.allocated && !status.zero, "{status:?}");
    assert!(journal.has_findings());
}

#[test]
fn a_third_value_after_a_failure_of_both_is_found_though_the_reference_is_all_new() {
    for written in [0, 300, 1000] {
        let disk = fail(
            rough(flat(1), Way::FirstWriteFails(written)),
            rough(flat(1), Way::WriteFails(300, Some(9))),
        );
        let report = mismatch(disk.write(0, &[2; 1000], WriteFlags::default()));
        assert!(report.contains("the byte 0x09, repeated"), "{written}: {report}");
    }
}

#[test]
fn a_close_that_fails_on_one_side_is_a_finding_and_the_other_is_closed() {
    for failing in [0, 1] {
        let closed = Arc::new(AtomicUsize::new(0));
        let side = |index: usize| {
            let closed = Arc::clone(&closed);
            Odd::over(flat(0))
                .closes(move |_| {
                    closed.fetch_add(1, Ordering::Relaxed);
                    if index == failing { Err(host_failure()) } else { Ok(()) }
                })
                .open()
        };
        let (disk, journal) = verified(side(0), side(1), Policy::Fail);
        let report = mismatch(disk.close());
        assert!(report.contains("clos") && report.contains("read failed"), "{report}");
        assert!(matches!(journal.findings()[0].signature, Signature::Failed { .. }));
        assert_eq!(closed.load(Ordering::Relaxed), 2);
    }
}

#[test]
fn a_close_after_a_mismatch_closes_both() {
    let closed = Arc::new(AtomicUsize::new(0));
    let side = |byte| {
        let closed = Arc::clone(&closed);
        let count = move |_: &Disk| {
            closed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        Odd::over(flat(byte)).closes(count).open()
    };
    let disk = fail(side(1), side(2));
    mismatch(disk.read(0, &mut [0; 512]));
    disk.close().unwrap();
    assert_eq!(closed.load(Ordering::Relaxed), 2);
}

/// Nothing is proven after a mismatch, and so nothing is wrong.
#[test]
fn sizes_that_differ_at_a_close_after_a_mismatch_are_no_finding() {
    let shrinks = || Odd::over(flat(2)).closes(|disk| disk.resize(512)).open();
    let disk = fail(flat(1), shrinks());
    mismatch(disk.read(0, &mut [0; 512]));
    disk.close().unwrap();
    mismatch(fail(flat(2), shrinks()).close());
    // A close that fails is told as it is.
    let disk = fail(flat(1), Odd::over(flat(2)).closes(|_| Err(host_failure())).open());
    mismatch(disk.read(0, &mut [0; 512]));
    assert_eq!(disk.close().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_close_that_fails_alike_or_for_want_of_space_is_no_finding() {
    let failing = || Odd::over(flat(0)).closes(|_| Err(host_failure())).open();
    let other = Odd::over(flat(0)).closes(|_| Err(Error::unsupported("closing"))).open();
    mismatch(fail(other, failing()).close());
    assert_eq!(fail(failing(), failing()).close().unwrap_err().kind(), ErrorKind::Io);
    let without_room = Odd::over(flat(0)).closes(|_| Err(full())).open();
    assert_eq!(fail(flat(0), without_room).close().unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn a_size_that_changes_by_itself_is_found() {
    let grows = || {
        let writes = |inner: &Disk, offset: u64, data: &[u8], flags: WriteFlags| {
            inner.write(offset, data, flags)?;
            inner.resize(SIZE + 512)
        };
        Odd::over(flat(0)).writes(writes).open()
    };
    for look in [Disk::flush, Disk::close] {
        let disk = fail(flat(0), grows());
        disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
        let report = mismatch(look(&disk));
        assert!(report.contains("the disk under test has 1049088 bytes, the reference 1048576"), "{report}");
    }
}

#[test]
fn a_repair_that_changes_the_size_is_found() {
    let cuts =
        Odd::over(flat(0)).checks(|inner, _| inner.resize(512).map(|()| blk_core::CheckReport::default()));
    mismatch(fail(flat(0), cuts.open()).check(RepairMode::All));
}

#[test]
fn after_a_hook_that_returns_all_is_refused() {
    let journal = Arc::new(Journal::new());
    let seen = Arc::new(AtomicUsize::new(0));
    let (looked_at, counter) = (Arc::clone(&journal), Arc::clone(&seen));
    let hook = Policy::Abort(Arc::new(move |_| {
        counter.fetch_add(looked_at.findings().len(), Ordering::Relaxed);
    }));
    let verify = Verify::with_journal(flat(1), flat(2), hook, journal).unwrap();
    let disk = Disk::new(verify, Access::ReadWrite);
    mismatch(disk.read(0, &mut [0; 512]));
    assert_eq!(seen.load(Ordering::Relaxed), 1, "the hook finds the finding in the journal");
    assert_eq!(disk.write(0, &[1; 512], WriteFlags::default()).unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn a_request_that_waited_for_one_with_a_mismatch_is_refused() {
    let (entered, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (inside, gate) = (Arc::clone(&entered), Arc::clone(&go_on));
    let test = Odd::over(flat(1))
        .writes(move |inner, offset, data, flags| {
            if inside.swap(true, Ordering::SeqCst) {
                return inner.write(offset, data, flags);
            }
            while !gate.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Err(host_failure())
        })
        .open();
    let disk = fail(flat(1), test);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| disk.write(0, &[2; 512], WriteFlags::default()));
        while !entered.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let second = scope.spawn(|| disk.write(0, &[3; 512], WriteFlags::default()));
        std::thread::sleep(Duration::from_millis(50));
        go_on.store(true, Ordering::SeqCst);
        mismatch(first.join().unwrap());
        assert_eq!(second.join().unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
    });
}

// What must not be found.

#[test]
fn a_status_that_fails_on_both_is_no_finding() {
    let failing = || Odd::over(flat(1)).statuses(|_, _| Err(host_failure())).open();
    let disk = fail(failing(), failing());
    assert_eq!(disk.block_status(Extent::new(0, 512)).unwrap_err().kind(), ErrorKind::Io);
    disk.read(0, &mut [0; 512]).unwrap();
}

#[test]
fn a_status_of_what_cannot_be_read_stands() {
    let bad = |_: u64| {
        let reads = |inner: &Disk, offset: u64, buf: &mut [u8]| {
            if offset < 4096 { Err(host_failure()) } else { inner.read(offset, buf) }
        };
        Odd::over(flat(0)).reads(reads).statuses(|_, asked| Ok(claims(asked.length, false, true))).open()
    };
    let disk = fail(bad(0), bad(1));
    assert!(disk.block_status(Extent::new(0, 8192)).unwrap().zero);
    // The same over a backing file that cannot be read.
    let below = Odd::over(flat(1)).reads(|_, _, _| Err(host_failure())).open();
    let test =
        Odd::over(flat(1)).below(below).statuses(|_, asked| Ok(claims(asked.length, false, false))).open();
    assert!(!fail(flat(1), test).block_status(Extent::new(0, 8192)).unwrap().allocated);
}

#[test]
fn a_status_of_parts_of_a_unit_is_told_in_whole_units() {
    // One sector of zeroes, one of data and so on, on a disk that takes single sectors.
    let by_sector = |inner: Arc<Disk>| {
        Odd::over(inner)
            .aligned(512)
            .statuses(|_, asked| {
                // Where the first part lies says nothing of the whole.
                let part = claims(512, true, (asked.offset / 512).is_multiple_of(2));
                Ok(BlockStatus { host_offset: Some(asked.offset), ..part })
            })
            .open()
    };
    let content: Vec<u8> = (0..SIZE).map(|at| (at / 512 % 2) as u8).collect();
    let (reference, test) = (flat(0), flat(0));
    reference.write(0, &content, WriteFlags::default()).unwrap();
    test.write(0, &content, WriteFlags::default()).unwrap();
    let coarse = Odd::over(Arc::clone(&reference)).aligned(4096).open();
    let disk = fail(Arc::clone(&coarse), by_sector(test));
    assert_eq!(disk.block_status(Extent::new(4096, 8192)).unwrap(), claims(4096, true, false));
    let packed = |_: &Disk, _| Ok(BlockStatus { compressed: true, ..claims(512, true, false) });
    let packed = Odd::over(flat(1)).aligned(512).statuses(packed).open();
    let disk_of_ones = fail(Odd::over(flat(1)).aligned(4096).open(), packed);
    assert_eq!(disk_of_ones.block_status(Extent::new(4096, 8192)).unwrap(), claims(4096, true, false));
    // A part that lies is found nevertheless.
    let disk = fail(coarse, by_sector(flat(1)));
    reference.write(0, &vec![1; SIZE as usize], WriteFlags::default()).unwrap();
    mismatch(disk.block_status(Extent::new(4096, 8192)));
}

#[test]
fn a_status_that_ends_within_a_unit_is_cut() {
    let coarse = Odd::over(flat(0)).aligned(4096).open();
    let test = Odd::over(flat(0)).statuses(|_, asked| Ok(claims(asked.length.min(9000), true, true))).open();
    let disk = fail(coarse, test);
    assert_eq!(disk.block_status(Extent::new(0, SIZE)).unwrap(), claims(8192, true, true));
}

#[test]
fn a_disk_below_of_coarse_alignment_and_odd_size_is_looked_through() {
    let show = |below: Arc<Disk>, byte: u8| {
        let test =
            Odd::over(flat(byte)).below(below).statuses(|_, asked| Ok(claims(asked.length, false, false)));
        fail(flat(byte), test.open())
    };
    let coarse = |byte| Odd::over(flat_of(10_000, byte)).aligned(4096).open();
    show(coarse(7), 7).block_status(Extent::new(100, 1000)).unwrap();
    // What lies behind its last whole unit nobody can read, so that nothing is known of it.
    show(coarse(7), 7).block_status(Extent::new(8192, 1000)).unwrap();
    mismatch(show(coarse(7), 8).block_status(Extent::new(100, 1000)));
    // As far from a unit at its start as at its end.
    mismatch(show(coarse(7), 8).block_status(Extent::new(100, 4196)));
    mismatch(show(coarse(7), 8).block_status(Extent::new(4096, 100_000)));
    // Units that are longer than what is compared at a time are not read.
    let unit = |bytes: u64| Odd::over(flat_of(bytes, 7)).aligned(bytes).open();
    mismatch(show(unit(16 << 20), 8).block_status(Extent::new(100, 1000)));
    show(unit(32 << 20), 8).block_status(Extent::new(100, 1000)).unwrap();
}

#[test]
fn a_discard_over_what_neither_can_read_is_no_finding_and_the_rest_is_adopted() {
    let (first, last) = (40_000, 41_000);
    let bad = |inner: Arc<Disk>| {
        let reads = move |inner: &Disk, offset: u64, buf: &mut [u8]| {
            if offset < last && offset + buf.len() as u64 > first {
                return Err(host_failure());
            }
            inner.read(offset, buf)
        };
        Odd::over(inner).reads(reads)
    };
    // The reference keeps what is discarded, so that adopting shows.
    let pair = || fail(bad(flat(1)).discards(|_, _| Ok(())).open(), bad(flat(1)).open());
    // One that begins within a sector, right before those: the part of its sector is adopted.
    let disk = pair();
    disk.discard(Extent::new(39_900, 10_000), DiscardFlags::default()).unwrap();
    disk.read(39_424, &mut [0; 512]).unwrap();
    let disk = pair();
    disk.discard(Extent::new(0, 200_000), DiscardFlags::default()).unwrap();
    disk.read(0, &mut vec![0; 39_936]).unwrap();
    disk.read(41_472, &mut vec![0; 300_000]).unwrap();
    assert_eq!(disk.read(40_448, &mut [0; 512]).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn what_the_two_cannot_read_back_for_different_reasons_is_a_finding() {
    let unreadable = |error: fn() -> Error| Odd::over(flat(1)).reads(move |_, _, _| Err(error())).open();
    let disk = fail(unreadable(|| Error::unsupported("reading")), unreadable(host_failure));
    let report = mismatch(disk.discard(Extent::new(0, 4096), DiscardFlags::default()));
    assert!(report.contains("left bytes on the disk under test that cannot be read"), "{report}");
}

#[test]
fn under_the_reporting_policy_bytes_that_cannot_be_read_back_do_not_hide_the_rest() {
    let test = rough(flat(1), Way::BadByteAt(0));
    let (disk, journal) = verified(flat(1), test, Policy::Report);
    disk.discard(Extent::new(0, 200_000), DiscardFlags::default()).unwrap();
    assert_eq!(journal.findings().len(), 1, "{:?}", journal.findings());
    disk.read(100_000, &mut vec![0; 200_000]).unwrap();
    assert_eq!(journal.findings().len(), 1, "what was discarded is adopted behind the bad byte");
}

#[test]
fn a_disk_that_refuses_all_after_a_failure_of_both_is_right() {
    for reads_too in [false, true] {
        let broken = Arc::new(AtomicBool::new(false));
        let (on_write, on_read) = (Arc::clone(&broken), broken);
        let test = Odd::over(flat(1))
            .writes(move |_, _, _, _| {
                Err(if on_write.swap(true, Ordering::Relaxed) { poisoned() } else { host_failure() })
            })
            .reads(move |inner, offset, buf| {
                if reads_too && on_read.load(Ordering::Relaxed) {
                    Err(poisoned())
                } else {
                    inner.read(offset, buf)
                }
            })
            .open();
        let disk = fail(rough(flat(1), Way::FirstWriteFails(100)), test);
        let kind = |result: blk_core::Result<()>| result.unwrap_err().kind();
        let first = kind(disk.write(0, &[2; 512], WriteFlags::default()));
        assert_eq!(first, if reads_too { ErrorKind::Poisoned } else { ErrorKind::Io });
        assert_eq!(kind(disk.write(0, &[2; 512], WriteFlags::default())), ErrorKind::Poisoned);
        if !reads_too {
            disk.read(0, &mut [0; 4096]).unwrap();
        }
    }
}

#[test]
fn a_disk_that_refuses_all_without_a_failure_of_both_is_wrong() {
    let disk = fail(flat(1), Odd::over(flat(1)).writes(|_, _, _, _| Err(poisoned())).open());
    mismatch(disk.write(0, &[2; 512], WriteFlags::default()));
}

#[test]
fn requests_in_flight_while_the_disk_shrinks_are_no_finding() {
    let disk = fail(flat(1), flat(1));
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..200u64 {
                    let extent = Extent::new(400_000 + thread * 100_000 + round * 512, 4096);
                    let results = [
                        disk.block_status(extent).map(drop),
                        disk.write(extent.offset, &[3; 4096], WriteFlags::default()),
                        disk.discard(extent, DiscardFlags::default()),
                        disk.write_zeroes(extent, ZeroFlags::default()),
                        disk.read(extent.offset, &mut [0; 4096]),
                        disk.flush(),
                    ];
                    for error in results.into_iter().filter_map(Result::err) {
                        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
                    }
                }
            });
        }
        for _ in 0..100 {
            disk.resize(450_000).unwrap();
            disk.resize(SIZE).unwrap();
        }
    });
    read_all(&disk).unwrap();
}

#[test]
fn a_verifier_in_a_verifier_that_reports_shows_what_the_inner_reference_says() {
    let (inner, journal) = verified(flat(0), Flat::open(SIZE, Bug::Shifted).unwrap(), Policy::Report);
    let outer = fail(flat(0), Arc::new(inner));
    outer.write(4096, &[5; 4096], WriteFlags::default()).unwrap();
    read_all(&outer).unwrap();
    outer.discard(Extent::new(8192, 100_000), DiscardFlags::default()).unwrap();
    outer.write_zeroes(Extent::new(0, 5000), ZeroFlags::default()).unwrap();
    outer.resize(SIZE / 2).unwrap();
    outer.resize(SIZE).unwrap();
    read_all(&outer).unwrap();
    outer.block_status(Extent::new(0, SIZE)).unwrap();
    outer.flush().unwrap();
    outer.close().unwrap();
    assert!(journal.has_findings());
}

#[test]
fn requests_above_the_largest_transfer_are_cut_the_same_for_both() {
    for (reference, test) in [(512, 65536), (65536, 512), (512, 4096)] {
        let side = |bytes| Odd::over(flat(1)).aligned(512).transfers(bytes).open();
        let disk = fail(side(reference), side(test));
        disk.write(512, &vec![4; 300_032], WriteFlags { fua: true, compressed: false }).unwrap();
        disk.write_zeroes(Extent::new(1024, 200_192), ZeroFlags::default()).unwrap();
        disk.discard(Extent::new(100_352, 300_032), DiscardFlags::default()).unwrap();
        read_all(&disk).unwrap();
        assert!(disk.block_status(Extent::new(0, SIZE)).is_ok());
    }
}

// What is printed.

#[test]
fn debug_output_is_short() {
    let disk = fail(flat(1), flat(1));
    for _ in 0..100 {
        disk.write(0, &[2; 4096], WriteFlags::default()).unwrap();
        disk.discard(Extent::new(0, 100_000), DiscardFlags::default()).unwrap();
        disk.read(0, &mut vec![0; 300_000]).unwrap();
    }
    let text = format!("{disk:?}");
    assert!(text.len() < 4000, "{} bytes", text.len());
    assert!(text.contains("Flat") && text.contains("Fail"), "{text}");
}
