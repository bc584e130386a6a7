//! Rules about sizes, limits and status.

use super::{Maker, fresh, pattern, read, usual};
use crate::{Access, Error, Extent, RepairMode, WriteFlags, ZeroFlags};

/// Disks of every odd size work up to their last byte.
pub(super) fn sizes<M: Maker>(maker: &M) {
    for size in [0, 1, 511, 512, 513, 65_536, 100_001] {
        let Some((_medium, disk)) = fresh(maker, size) else { continue };
        disk.flush().expect("flush");
        disk.read(size, &mut []).expect("an empty read at the end");
        if size > 0 {
            disk.write(size - 1, &[7], WriteFlags::default()).expect("a write of the last byte");
            assert_eq!(read(&disk, size - 1, 1), [7], "the last byte of {size}");
            disk.write_zeroes(Extent::new(0, size), ZeroFlags::default()).expect("zeroes over all");
            assert_eq!(read(&disk, size - 1, 1), [0], "the last byte of {size}");
        }
        disk.close().expect("close");
    }
}

/// Nothing outside the disk is touched, and no offset overflows.
pub(super) fn requests_outside_the_disk_are_refused<M: Maker>(maker: &M) {
    let (_medium, disk) = usual(maker);
    let size = disk.size();
    for (offset, length) in [(size, 1), (size - 1, 2), (u64::MAX, 1), (u64::MAX - 1, 2), (0, size + 1)] {
        let extent = Extent::new(offset, length);
        let data = vec![1; length.min(4) as usize];
        let refused = |result: crate::Result<()>, what: &str| match result {
            Err(Error::OutOfRange { .. }) => {}
            other => panic!("{what} {offset} {length} on {size} bytes: {other:?}"),
        };
        if length <= 4 {
            refused(disk.read(offset, &mut data.clone()), "read");
            refused(disk.write(offset, &data, WriteFlags::default()), "write");
        }
        refused(disk.write_zeroes(extent, ZeroFlags::default()), "write zeroes");
        assert!(disk.discard(extent).is_err(), "discard {offset} {length} on {size} bytes");
        refused(disk.block_status(extent).map(drop), "block status");
    }
}

/// A read-only disk changes nothing and says why.
pub(super) fn a_read_only_disk_refuses_to_change<M: Maker>(maker: &M) {
    let (medium, disk) = usual(maker);
    disk.write(100, &pattern(100, 50, 3), WriteFlags::default()).expect("write");
    disk.close().expect("close");
    drop(disk);
    let disk = maker.open(&medium, Access::ReadOnly).expect("open read-only");
    let read_only = |result: crate::Result<()>| assert!(matches!(result, Err(Error::ReadOnly)), "{result:?}");
    read_only(disk.write(0, &[1], WriteFlags::default()));
    read_only(disk.write_zeroes(Extent::new(0, 1), ZeroFlags::default()));
    read_only(disk.discard(Extent::new(0, 512)));
    read_only(disk.resize(4096));
    if disk.driver().as_check().is_some() {
        read_only(disk.check(RepairMode::All).map(drop));
        let checked = disk.check(RepairMode::None).expect("check");
        assert!(checked.is_clean(), "{checked}");
    }
    assert_eq!(read(&disk, 100, 50), pattern(100, 50, 3));
}

/// The status of every byte is known, and what is called zero is zero.
pub(super) fn status_covers_the_disk_and_agrees<M: Maker>(maker: &M) {
    let (_medium, disk) = usual(maker);
    disk.write(70_000, &pattern(70_000, 3000, 5), WriteFlags::default()).expect("write");
    disk.write_zeroes(Extent::new(300_000, 200_000), ZeroFlags::default()).expect("zeroes");
    let mut at = 0;
    while at < disk.size() {
        let status = disk.block_status(Extent::between(at, disk.size())).expect("block status");
        let content = read(&disk, at, status.length as usize);
        let has_below = disk.backing().is_some();
        if status.zero || (!status.allocated && !has_below) {
            assert!(content.iter().all(|byte| *byte == 0), "bytes at {at} are not zero: {status:?}");
        }
        at += status.length;
    }
    assert_eq!(at, disk.size());
    let status = disk.block_status(Extent::new(70_000, 100)).expect("block status");
    assert!(status.has_data(), "written bytes are no data: {status:?}");
}
