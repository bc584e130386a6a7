//! The size of a disk: a register like any sector, with one value at a time.

use super::{NEVER, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    bytes: u64,
    issued: Time,
    superseded: Time,
    gone: Time,
    /// The change to it has not completed: a crash may find it, the live disk does not have it.
    in_flight: bool,
}

/// The sizes that a disk has had and may have.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// The live one is the last that is not superseded.
    all: Vec<Size>,
}

impl Sizes {
    /// A disk of `bytes` bytes, for certain.
    pub(super) fn new(bytes: u64) -> Self {
        Self { all: vec![Size { bytes, issued: 0, superseded: NEVER, gone: NEVER, in_flight: false }] }
    }

    /// A change to `bytes` is issued.
    pub(super) fn begin(&mut self, now: Time, bytes: u64) {
        debug_assert!(self.all.iter().all(|size| size.issued <= now), "time goes on");
        self.all.push(Size { bytes, issued: now, superseded: NEVER, gone: NEVER, in_flight: true });
    }

    /// It has completed: the live disk has `bytes` bytes.
    pub(super) fn end(&mut self, now: Time, bytes: u64) {
        for size in &mut self.all {
            size.superseded = size.superseded.min(now);
            size.in_flight = false;
        }
        self.all.push(Size { bytes, issued: now, superseded: NEVER, gone: NEVER, in_flight: false });
    }

    /// A flush that was issued at `issued` has completed.
    pub(super) fn flushed(&mut self, issued: Time, now: Time) {
        for size in self.all.iter_mut().filter(|size| size.superseded <= issued) {
            size.gone = size.gone.min(now);
        }
    }

    pub(super) fn live(&self) -> u64 {
        let live = self.all.iter().rfind(|size| size.superseded == NEVER && !size.in_flight);
        live.expect("a disk has a size").bytes
    }

    pub(super) fn largest(&self) -> u64 {
        self.all.iter().map(|size| size.bytes).max().expect("a disk has a size")
    }

    /// Those that it may have after a crash at `time`, the latest last.
    pub(super) fn after_crash(&self, time: Time) -> Vec<u64> {
        let mut sizes: Vec<u64> = self
            .all
            .iter()
            .filter(|size| size.issued <= time && size.gone > time)
            .map(|size| size.bytes)
            .collect();
        sizes.dedup();
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_may_undo_what_no_flush_has_made_durable() {
        let mut sizes = Sizes::new(100);
        sizes.begin(1, 200);
        assert_eq!((sizes.live(), sizes.after_crash(1)), (100, vec![100, 200]));
        sizes.end(2, 200);
        assert_eq!((sizes.live(), sizes.largest()), (200, 200));
        assert_eq!(sizes.after_crash(2), [100, 200]);
        sizes.flushed(3, 4);
        assert_eq!((sizes.after_crash(3), sizes.after_crash(4)), (vec![100, 200], vec![200]));
        sizes.begin(5, 50);
        sizes.end(6, 200);
        assert_eq!((sizes.live(), sizes.after_crash(6)), (200, vec![200, 50, 200]));
    }

    #[test]
    fn a_flush_beside_a_change_does_not_decide_it() {
        let mut sizes = Sizes::new(100);
        sizes.begin(1, 200);
        sizes.flushed(2, 3);
        assert_eq!((sizes.live(), sizes.after_crash(3)), (100, vec![100, 200]));
        sizes.end(4, 200);
        assert_eq!((sizes.live(), sizes.after_crash(4)), (200, vec![100, 200]));
    }
}
