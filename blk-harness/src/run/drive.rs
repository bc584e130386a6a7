//! What each lane does.

use blk_core::Disk;

use crate::checker::{Checker, LaneReader};
use crate::execute::Executor;
use crate::scenario::Turn;

/// Makes requests as lane number `lane`, until there are no more. `begins` hears of each before it is made.
pub(crate) fn drive(
    checker: &Checker,
    disk: &Disk,
    lane: usize,
    fill_bytes: u64,
    begins: impl Fn(u32, Turn),
) {
    drive_after(checker, disk, lane, fill_bytes, || (), begins);
}

/// The same; before each request it calls `waits`.
pub(super) fn drive_after(
    checker: &Checker,
    disk: &Disk,
    lane: usize,
    fill_bytes: u64,
    waits: impl Fn(),
    begins: impl Fn(u32, Turn),
) {
    let mut executor = Executor::default();
    let next = || {
        waits();
        checker.next(lane)
    };
    while let Some(begun) = next() {
        begins(begun.number, begun.turn);
        let mut reader = LaneReader::new(checker, begun.number);
        let replied = executor.execute(disk, begun.number, begun.request, fill_bytes, &mut reader);
        checker.end(lane, disk.size(), replied);
    }
}
