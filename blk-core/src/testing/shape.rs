//! Rules about sizes, limits and status.

use super::subject::{Subject, open_fresh};
use super::{Maker, pattern};
use crate::{Access, DiscardFlags, Disk, Error, Extent, Limits, RepairMode, Result, WriteFlags, ZeroFlags};

/// Disks of every odd size work up to their last byte, also after they were opened again.
pub(super) fn disks_of_every_size_work_to_the_last_byte<M: Maker>(maker: &M) {
    for size in [0, 1, 511, 512, 513, 4095, 4096, 65_536, 100_001] {
        let Some(mut subject) = Subject::fresh(maker, size) else { continue };
        assert_limits(subject.disk().limits());
        subject.flush();
        subject.compare_all("fresh");
        subject.disk().read(size, &mut []).expect("an empty read at the end");
        if size > 0 {
            let last = subject.fit(size - 1, 1);
            subject.write(last, 7, WriteFlags::default());
            subject.walk_status(size);
            subject.zero(last, ZeroFlags::default());
            subject.write(Extent::new(0, size), 8, WriteFlags::default());
            subject.reopen(Access::ReadWrite);
            subject.compare_all("after opening again");
            subject.zero(Extent::new(0, size), ZeroFlags::default());
            subject.discard(Extent::new(0, size));
        }
        subject.reopen(Access::ReadOnly);
        subject.compare_all("at the end");
    }
}

fn assert_limits(limits: &Limits) {
    let powers = [limits.request_alignment, limits.zero_granularity, limits.discard_granularity];
    assert!(powers.iter().all(|unit| unit.is_power_of_two()), "units are powers of two: {limits:?}");
}

/// Bytes of a large, almost empty disk do not meet, however far they are apart.
pub(super) fn a_large_disk_keeps_its_ends_apart<M: Maker>(maker: &M) {
    let size = maker.large_bytes();
    let sizes = [size, size / 4096 * 4096];
    let Some((medium, disk)) = sizes.into_iter().find_map(|size| open_fresh(maker, size)) else { return };
    let piece = disk.limits().request_alignment.max(512);
    let last = (disk.size() - piece) / disk.limits().request_alignment * disk.limits().request_alignment;
    let places: Vec<u64> = [0, 1 << 31, 1 << 32, last].into_iter().filter(|place| *place <= last).collect();
    for place in &places {
        assert_eq!(read(&disk, *place, piece), vec![0; piece as usize], "fresh bytes at {place}");
        disk.write(*place, &pattern(*place, piece as usize, *place as u8), WriteFlags::default())
            .unwrap_or_else(|error| panic!("write at {place}: {error}"));
    }
    let compare = |disk: &Disk| {
        for place in &places {
            let expected = pattern(*place, piece as usize, *place as u8);
            assert!(read(disk, *place, piece) == expected, "bytes at {place} of {}", disk.size());
        }
        let between = read(disk, (1 << 30) / piece * piece, piece);
        assert!(between.iter().all(|byte| *byte == 0), "bytes between are not zero");
    };
    if disk.size() > 1 << 31 {
        compare(&disk);
        disk.close().expect("close");
        drop(disk);
        compare(&maker.open(&medium, Access::ReadOnly).expect("open a large disk again"));
    }
}

fn read(disk: &Disk, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0xee; length as usize];
    disk.read(offset, &mut bytes).unwrap_or_else(|error| panic!("read {offset} {length}: {error}"));
    bytes
}

/// Nothing outside the disk is touched, no offset overflows, and empty requests do nothing.
pub(super) fn requests_outside_the_disk_are_refused<M: Maker>(maker: &M) {
    let subject = Subject::full(maker, 1);
    let (disk, size, unit) = (subject.disk(), subject.size(), subject.alignment());
    let far = u64::MAX / unit * unit;
    for (offset, length) in
        [(size, unit), (size - unit, 2 * unit), (far - unit, unit), (far, 0), (0, size + unit)]
    {
        let extent = Extent::new(offset, length);
        let refused = |result: Result<()>, what: &str| match result {
            Err(Error::OutOfRange { .. }) => {}
            other => panic!("{what} {extent:?} on {size} bytes: {other:?}"),
        };
        let mut data = vec![1; length.min(size + unit) as usize];
        refused(disk.read(offset, &mut data), "read");
        refused(disk.write(offset, &data, WriteFlags::default()), "write");
        refused(disk.write_zeroes(extent, ZeroFlags::default()), "write zeroes");
        refused(disk.discard(extent, DiscardFlags::default()), "discard");
        refused(disk.prefetch(extent), "prefetch");
        refused(disk.block_status(extent).map(drop), "block status");
        refused(disk.block_status_runs(extent, 2).map(drop), "block status of two runs");
    }
    if unit == 1 {
        assert!(
            matches!(disk.read(u64::MAX, &mut [0; 2]), Err(Error::OutOfRange { .. })),
            "an end past 64 bits"
        );
    } else {
        assert!(matches!(disk.read(1, &mut [0]), Err(Error::Misaligned { .. })), "an unaligned read");
        assert!(matches!(disk.write(0, &[0], WriteFlags::default()), Err(Error::Misaligned { .. })));
    }
    for offset in [0, size] {
        disk.write(offset, &[], WriteFlags::default()).expect("an empty write");
        disk.write_zeroes(Extent::new(offset, 0), ZeroFlags::default()).expect("empty zeroes");
    }
    assert!(disk.block_status(Extent::new(0, 0)).is_err(), "an empty status");
    subject.compare_all("after refused requests");
}

/// A read-only disk changes nothing and says why.
pub(super) fn a_read_only_disk_refuses_to_change<M: Maker>(maker: &M) {
    let mut subject = Subject::usual(maker);
    let some = subject.fit(70_000, 5000);
    subject.write(some, 3, WriteFlags::default());
    subject.reopen(Access::ReadOnly);
    let disk = subject.disk();
    let refused = |result: Result<()>| {
        assert!(matches!(result, Err(Error::ReadOnly)), "on a read-only disk: {result:?}");
    };
    refused(disk.write(some.offset, &vec![1; some.length as usize], WriteFlags::default()));
    refused(disk.write_zeroes(some, ZeroFlags::default()));
    refused(disk.discard(some, DiscardFlags::default()));
    refused(disk.resize(subject.size() * 2));
    if disk.as_check().is_some() {
        refused(disk.check(RepairMode::All).map(drop));
    }
    disk.flush().expect("a flush with nothing to do");
    subject.compare_all("read-only");
    subject.walk_status(100_000);
    subject.reopen(Access::ReadWrite);
    subject.compare_all("after it was open read-only");
}

/// The status of every byte is known, wherever one asks; what is called zero is zero, and what was written is
/// allocated.
pub(super) fn status_covers_the_disk_and_agrees<M: Maker>(maker: &M) {
    let mut subject = Subject::usual(maker);
    subject.walk_status(subject.size());
    let unit = subject.unit();
    for (number, offset) in
        [70_000, 3 * unit - 1, 262_144, 400_000, subject.size() - 1].into_iter().enumerate()
    {
        let extent = subject.fit(offset, 3000);
        if !extent.is_empty() {
            subject.write(extent, number as u8, WriteFlags::default());
        }
    }
    subject.zero(subject.fit(300_000, 200_000), ZeroFlags::default());
    subject.zero(subject.fit(600_000, 100_000), ZeroFlags { may_unmap: true, ..ZeroFlags::default() });
    subject.discard(subject.fit(71_000, 10_000));
    for step in [subject.size(), 100_000, 1000] {
        subject.walk_status(step);
    }
    subject.reopen(Access::ReadOnly);
    subject.walk_status(subject.size());
}
