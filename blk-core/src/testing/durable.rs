//! Rules about what is there when the disk is opened again.

use super::Maker;
use super::subject::Subject;
use crate::{Access, DiscardFlags, WriteFlags, ZeroFlags};

/// What was written is there after closing and opening, and the image is clean.
pub(super) fn a_reopened_disk_keeps_everything<M: Maker>(maker: &M) {
    let mut subject = Subject::usual(maker);
    for round in 0..3u8 {
        scatter(&mut subject, round, false);
        subject.reopen(Access::ReadWrite);
        subject.compare_all("after opening again");
        subject.walk_status(subject.size());
    }
}

/// A flush puts everything on stable storage: a handle that is dropped without a close loses nothing of it.
pub(super) fn what_was_flushed_survives_a_kill<M: Maker>(maker: &M) {
    let mut subject = Subject::usual(maker);
    if !subject.survives() {
        return;
    }
    for round in 0..3u8 {
        scatter(&mut subject, round, false);
        subject.discard(subject.fit(200_000, 70_000));
        subject.flush();
        subject.kill();
        subject.compare_all("after a flush and a kill");
    }
}

/// So does every single request that asks for it.
pub(super) fn what_was_forced_survives_a_kill<M: Maker>(maker: &M) {
    let mut subject = Subject::usual(maker);
    if !subject.survives() {
        return;
    }
    for round in 0..3u8 {
        scatter(&mut subject, round, true);
        subject.kill();
        subject.compare_all("after forced writes and a kill");
    }
    subject.reopen(Access::ReadWrite);
    subject.compare_all("at the end");
}

/// Writes, zeroes and discards all over the disk.
fn scatter<M: Maker>(subject: &mut Subject<'_, M>, round: u8, fua: bool) {
    for number in 0..10u64 {
        let offset = (number * 104_729 + u64::from(round) * 3331) % (subject.size() - 9000);
        subject.write(subject.fit(offset, 9000), round, WriteFlags { fua, compressed: false });
        let zeroes = subject.fit(offset + 2000, 5000);
        let may_unmap = number % 2 == 0;
        subject.zero(zeroes, ZeroFlags { fua, may_unmap, ..ZeroFlags::default() });
        if number % 3 == 0 {
            let discarded = subject.fit(offset + 1000, 8000);
            subject.discard_with(discarded, DiscardFlags { fua });
        }
    }
}
