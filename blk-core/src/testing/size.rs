//! Rules about changing the size, for drivers that can.

use super::Maker;
use super::subject::Subject;
use crate::{Access, Extent, Preallocation, WriteFlags};

/// What a larger disk gains reads as zeroes, also behind what was written at the old end, and is there for
/// use.
pub(super) fn growing_shows_only_zeroes<M: Maker>(maker: &M) {
    for reopened in [false, true] {
        let mut subject = Subject::full(maker, 17);
        let start = subject.size();
        for more in [1, 512, 513, 69_632, 4096 * 30, 2 << 20] {
            if !subject.resize(start + more) {
                continue;
            }
            assert!(subject.resize(start + more), "to the size that it has");
            if reopened {
                subject.reopen(Access::ReadWrite);
            }
            subject.compare_all("after growing");
            subject.walk_status(subject.size());
            let last = subject.fit(subject.size().saturating_sub(10), 10);
            subject.write(last, 18, WriteFlags::default());
        }
        subject.compare_all("after all growing");
        subject.reopen(Access::ReadOnly);
        subject.compare_all("after growing, opened again");
    }
}

/// Bytes that a smaller disk lost are gone when it grows again.
pub(super) fn what_was_cut_off_does_not_come_back<M: Maker>(maker: &M) {
    let mut subject = Subject::full(maker, 19);
    let full = subject.size();
    for smaller in [full - 512, 700_001, 524_288, 1, 0] {
        if !subject.resize(smaller) {
            continue;
        }
        subject.compare_all("after shrinking");
        subject.resize(full);
        subject.compare_all("after growing again");
        subject.walk_status(subject.size());
        let extent = subject.fit(smaller / 2, full / 2);
        subject.write(extent, 20, WriteFlags::default());
    }
    subject.reopen(Access::ReadOnly);
    subject.compare_all("after resizing, opened again");
}

/// What is allocated at once reads as zeroes like all that a disk gains, and is the layer's own, or has a
/// place there; a driver that cannot do it changes nothing.
pub(super) fn what_is_gained_can_be_allocated<M: Maker>(maker: &M) {
    for preallocation in [Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full] {
        let mut subject = Subject::full(maker, 23);
        for more in [512, 69_632, 4096 * 30, 300_001] {
            let old = subject.size();
            if !subject.grow(old + more, preallocation) {
                continue;
            }
            subject.compare_all("after allocating");
            let mut at = old;
            while at < subject.size() {
                let status = subject.status(Extent::between(at, subject.size()));
                let has_place = status.allocated || status.host_offset.is_some();
                assert!(has_place, "{preallocation:?} left {at} unallocated: {status:?}");
                at += status.length;
            }
            let inside = subject.fit(old + more / 2, more / 3);
            subject.write(inside, 24, WriteFlags::default());
        }
        subject.reopen(Access::ReadOnly);
        subject.compare_all("after allocating, opened again");
    }
}
