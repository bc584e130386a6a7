//! Rules about zeroes and discards.

use super::Maker;
use super::subject::Subject;
use crate::{Access, Extent, WriteFlags, ZeroFlags};

fn every_flag() -> impl Iterator<Item = ZeroFlags> {
    (0..16u8).map(|bits| ZeroFlags {
        fua: bits & 1 != 0,
        may_unmap: bits & 2 != 0,
        no_fallback: bits & 4 != 0,
        fast_only: bits & 8 != 0,
    })
}

/// Zeroes of every alignment, with every flag; refused only where `no_fallback` allows it. What is written
/// over them shows.
pub(super) fn zeroes_are_zeroes_with_every_flag<M: Maker>(maker: &M) {
    for flags in every_flag() {
        let mut subject = Subject::full(maker, 11);
        let unit = subject.unit();
        for (offset, length) in [
            (0, 1),
            (511, 2),
            (4096, 4096),
            (65_536, 65_536),
            (65_535, 131_074),
            (unit, unit),
            (500_000, 0),
            (999_999, 48_000),
        ] {
            subject.zero(subject.fit(offset, length), flags);
        }
        subject.compare_all("after zeroes");
        subject.walk_status(subject.size());
        // A part of a zeroed cluster, and one as a whole.
        subject.write(subject.fit(100_000, 10), 12, WriteFlags::default());
        subject.write(subject.fit(unit, unit), 13, WriteFlags::default());
        subject.zero(Extent::new(0, subject.size()), flags);
        subject.write(subject.fit(300_001, 5000), 14, WriteFlags::default());
        subject.reopen(Access::ReadWrite);
        subject.compare_all("after opening again");
    }
}

/// Zeroes without `may_unmap` over written bytes: space was paid for, and stays.
pub(super) fn zeroes_that_may_not_unmap_stay_allocated<M: Maker>(maker: &M) {
    let mut subject = Subject::full(maker, 12);
    let unit = subject.unit();
    for (offset, length) in [(0, unit), (unit, 3 * unit + 1), (700_000, 100_000)] {
        let extent = subject.fit(offset, length);
        if extent.is_empty() || !subject.zero(extent, ZeroFlags::default()) {
            continue;
        }
        let mut at = extent.offset;
        while at < extent.end() {
            let status = subject.status(Extent::between(at, extent.end()));
            assert!(status.allocated, "zeroes without may_unmap gave {at} of {extent:?} away: {status:?}");
            at += status.length;
        }
    }
}

/// Zeroes that have to be fast are zeroes, or are refused with nothing changed, whatever lies there and
/// wherever they are; what is written over them shows.
pub(super) fn refused_fast_zeroes_change_nothing<M: Maker>(maker: &M) {
    for no_fallback in [false, true] {
        let flags = ZeroFlags { fast_only: true, no_fallback, ..ZeroFlags::default() };
        for mut subject in [Subject::usual(maker), Subject::full(maker, 21)] {
            let unit = subject.unit();
            for (offset, length) in [
                (unit, unit),
                (1, 2 * unit),
                (unit / 2, unit),
                (4 * unit - 1, 3 * unit + 2),
                (0, subject.size() - 1),
                (0, subject.size()),
            ] {
                subject.write(subject.fit(offset + length / 2, 1000), 22, WriteFlags::default());
                subject.zero(subject.fit(offset, length), flags);
                subject.compare_all("after zeroes that have to be fast");
            }
            subject.reopen(Access::ReadOnly);
            subject.compare_all("after zeroes that have to be fast, opened again");
        }
    }
}

/// Each discarded byte is old or zero and stays so, also when the disk is opened again; its neighbours are as
/// they were.
pub(super) fn a_discard_leaves_old_bytes_or_zeroes<M: Maker>(maker: &M) {
    let mut subject = Subject::full(maker, 13);
    // What is on stable storage must not come back either.
    subject.flush();
    let unit = subject.unit();
    for (offset, length) in [
        (0, 65_536),
        (70_000, 200_000),
        (1_000_000, 48_000),
        (500_000, 1),
        (unit, unit),
        (2 * unit - 1, unit + 2),
    ] {
        let extent = subject.fit(offset, length);
        if !extent.is_empty() && subject.discard(extent) {
            // Once more, and over a part that is written again.
            subject.discard(extent);
            subject.write(subject.fit(offset + length / 2, length / 4), 15, WriteFlags::default());
        }
    }
    subject.compare_all("after discards");
    subject.walk_status(subject.size());
    subject.reopen(Access::ReadWrite);
    subject.compare_all("after discards, opened again");
}
