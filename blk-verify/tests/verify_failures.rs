//! The verifier over disks that fail: what is a finding, what is a failure that both share, and what is true
//! afterwards.

#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::sync::Arc;

use blk_core::{Access, DiscardFlags, Disk, Error, ErrorKind, Extent, WriteFlags};
use blk_verify::testing::{Bug, Flat};
use blk_verify::{Policy, Verify};
use common::{Way, rough};

const SIZE: u64 = 1 << 20;

fn flat(byte: u8) -> Arc<Disk> {
    let disk = Flat::open(SIZE, Bug::None).unwrap();
    disk.write(0, &vec![byte; SIZE as usize], WriteFlags::default()).unwrap();
    disk
}

fn verified(reference: Arc<Disk>, test: Arc<Disk>) -> Disk {
    Disk::new(Verify::new(reference, test, Policy::Fail).unwrap(), Access::ReadWrite)
}

fn pair(reference: Way, test: Way) -> Disk {
    verified(rough(flat(1), reference), rough(flat(1), test))
}

fn write(disk: &Disk, offset: u64, length: usize) -> blk_core::Result<()> {
    disk.write(offset, &vec![2; length], WriteFlags::default())
}

fn mismatch(result: blk_core::Result<()>) -> String {
    match result {
        Err(Error::Mismatch { report }) => report,
        other => panic!("no mismatch: {other:?}"),
    }
}

fn read_only() -> Arc<Disk> {
    Arc::new(Disk::new(Flat::new(SIZE, Bug::None).unwrap(), Access::ReadOnly))
}

#[test]
fn what_both_refuse_is_no_finding() {
    let disk = verified(read_only(), read_only());
    for _ in 0..2 {
        assert!(matches!(write(&disk, 0, 512), Err(Error::ReadOnly)));
        assert!(matches!(disk.discard(Extent::new(0, 512), DiscardFlags::default()), Err(Error::ReadOnly)));
    }
    disk.read(0, &mut [0; 512]).unwrap();
}

#[test]
fn a_sector_that_neither_can_read_is_no_finding() {
    let disk = pair(Way::BadByteAt(5000), Way::BadByteAt(5000));
    let error = disk.read(4096, &mut [0; 1024]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    disk.read(0, &mut [0; 4096]).unwrap();
}

#[test]
fn a_sector_that_one_cannot_read_is_a_finding() {
    let test = pair(Way::Plain, Way::BadByteAt(5000));
    let report = mismatch(test.read(4096, &mut [0; 1024]));
    assert!(report.contains("failed on the disk under test alone: read failed"), "{report}");
    let reference = pair(Way::BadByteAt(5000), Way::Plain);
    let report = mismatch(reference.read(4096, &mut [0; 1024]));
    assert!(report.contains("failed on the reference alone: read failed"), "{report}");
}

#[test]
fn after_a_write_that_failed_on_both_the_reference_holds_what_the_disk_under_test_holds() {
    for (reference, test) in [(0, 0), (0, 300), (300, 0), (1000, 300), (300, 1000)] {
        let disk = pair(Way::WriteFails(reference, None), Way::WriteFails(test, None));
        let result = write(&disk, 100, 1000);
        if reference == test {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Io);
            disk.read(0, &mut [0; 4096]).unwrap();
        } else {
            // The reference cannot follow, because all its writes fail: nothing is proven from here on.
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Poisoned, "{reference} {test}");
            assert_eq!(disk.flush().unwrap_err().kind(), ErrorKind::Poisoned);
        }
    }
}

#[test]
fn a_reference_that_can_be_written_again_follows() {
    for (reference, test) in [(0, 300), (300, 0), (1000, 300), (300, 1000)] {
        let disk = pair(Way::FirstWriteFails(reference), Way::FirstWriteFails(test));
        assert_eq!(write(&disk, 100, 1000).unwrap_err().kind(), ErrorKind::Io);
        let mut read = [0; 4096];
        disk.read(0, &mut read).unwrap();
        let expected: Vec<u8> =
            (0..4096).map(|at| if (100..100 + test).contains(&at) { 2 } else { 1 }).collect();
        assert_eq!(read[..], expected, "{reference} {test}");
        write(&disk, 100, 1000).unwrap();
    }
}

#[test]
fn a_write_that_failed_on_both_may_not_leave_a_third_value() {
    let disk = pair(Way::WriteFails(0, None), Way::WriteFails(300, Some(9)));
    let report = mismatch(write(&disk, 0, 1000));
    assert!(report.contains("write offset=0 bytes=1000 contents mismatch at offset 0"), "{report}");
    assert!(
        report.contains("differing: 300 of 1000") && report.contains("the byte 0x09, repeated"),
        "{report}"
    );
}

/// Content is read back in pieces: the first that is wrong is told.
#[test]
fn of_many_third_values_the_first_is_told() {
    let all = SIZE as usize;
    let disk = pair(Way::WriteFails(0, None), Way::WriteFails(all, Some(9)));
    let report = mismatch(write(&disk, 0, all));
    assert!(report.contains("contents mismatch at offset 0 "), "{report}");
}

#[test]
fn failures_of_different_sorts_are_a_finding() {
    let disk = pair(Way::WriteFails(0, None), Way::WriteFindsCorruption);
    let report = mismatch(write(&disk, 0, 512));
    assert!(report.contains("failed in different ways"), "{report}");
    assert!(report.contains("corrupt table") && report.contains("write failed"), "{report}");
}

#[test]
fn a_write_that_one_refuses_is_a_finding() {
    let report = mismatch(write(&pair(Way::Plain, Way::WriteFails(0, None)), 0, 512));
    assert!(report.contains("failed on the disk under test alone: write failed"), "{report}");
    let report = mismatch(write(&pair(Way::WriteFails(0, None), Way::Plain), 0, 512));
    assert!(report.contains("failed on the reference alone: write failed"), "{report}");
}

/// The front door of the disk under test notices before the verifier does: engines make a finding of it.
#[test]
#[should_panic(expected = "driver refuses to resize to 2097152 bytes and has changed")]
fn a_resize_that_is_refused_must_not_be_done() {
    let _ = pair(Way::Plain, Way::ResizesSecretly).resize(2 * SIZE);
}

#[test]
fn a_resize_that_fails_on_both_leaves_one_size() {
    for done in [false, true] {
        let disk = pair(Way::ResizeFails(done), Way::ResizeFails(done));
        assert_eq!(disk.resize(2 * SIZE).unwrap_err().kind(), ErrorKind::Io);
        let disk = pair(Way::ResizeFails(!done), Way::ResizeFails(done));
        let report = mismatch(disk.resize(2 * SIZE));
        assert!(report.contains("bytes, the reference"), "{report}");
    }
}

#[test]
fn a_verifier_nests_over_a_backing_disk() {
    let inner = verified(flat(1), rough(flat(1), Way::ShowsBelow));
    let outer = verified(flat(1), Arc::new(inner));
    let status = outer.block_status(Extent::new(0, SIZE)).unwrap();
    assert!(!status.allocated);
}

#[test]
fn disks_of_a_coarse_alignment_are_asked_for_whole_units_only() {
    const UNIT: u64 = 256 << 10;
    let unit = Extent::new(UNIT, UNIT);
    for (reference, test) in [(Way::Aligned(UNIT), Way::Plain), (Way::Plain, Way::Aligned(UNIT))] {
        let disk = pair(reference, test);
        assert_eq!(disk.limits().request_alignment, UNIT);
        write(&disk, UNIT, UNIT as usize).unwrap();
        disk.read(UNIT, &mut vec![0; UNIT as usize]).unwrap();
        disk.block_status(unit).unwrap();
        disk.discard(unit, DiscardFlags::default()).unwrap();
        disk.read(0, &mut vec![0; SIZE as usize]).unwrap();
    }
}

#[test]
fn an_alignment_beyond_all_reason_is_refused() {
    let (reference, test) = (flat(1), rough(flat(1), Way::Aligned(512 << 20)));
    let error = Verify::new(reference, test, Policy::Fail).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
