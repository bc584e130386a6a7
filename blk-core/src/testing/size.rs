//! Rules about changing the size, for drivers that can.

use super::Maker;
use super::subject::Subject;
use crate::{Access, WriteFlags};

/// What a larger disk gains reads as zeroes, also behind what was written at the old end, and is there for use.
pub(super) fn growing_shows_only_zeroes<M: Maker>(maker: &M) {
    for reopened in [false, true] {
        let mut subject = Subject::full(maker, 17);
        let start = subject.size();
        for more in [1, 512, 513, 69_632, 4096 * 30, 2 << 20] {
            if !subject.resize(start + more) {
                continue;
            }
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
