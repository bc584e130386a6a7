//! Ranges of a disk that requests work on: those that would disturb each other wait.

use blk_core::Extent;
use blk_core::sync::{Condvar, Mutex};

/// What a request that concerns the whole disk keeps busy.
pub(crate) const EVERYTHING: Extent = Extent { offset: 0, length: u64::MAX };

/// Ranges that somebody works on, alone or beside others.
#[derive(Debug, Default)]
pub(crate) struct BusyRanges {
    ranges: Mutex<Vec<Entry>>,
    freed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    range: Extent,
    is_alone: bool,
}

impl Entry {
    fn disturbs(self, other: Self) -> bool {
        (self.is_alone || other.is_alone) && self.range.overlaps(other.range)
    }
}

impl BusyRanges {
    /// Works on `range` alone: waits until nobody else does, and lets others wait.
    pub(crate) fn enter(&self, range: Extent) -> Busy<'_> {
        self.wait(Entry { range, is_alone: true })
    }

    /// Works on `range` beside others that do not ask to be alone.
    pub(crate) fn share(&self, range: Extent) -> Busy<'_> {
        self.wait(Entry { range, is_alone: false })
    }

    fn wait(&self, entry: Entry) -> Busy<'_> {
        let mut ranges = self.ranges.lock();
        while ranges.iter().any(|other| other.disturbs(entry)) {
            self.freed.wait(&mut ranges);
        }
        ranges.push(entry);
        Busy { all: self, entry }
    }
}

/// A range that is busy until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy<'a> {
    all: &'a BusyRanges,
    entry: Entry,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut ranges = self.all.ranges.lock();
        if let Some(index) = ranges.iter().position(|entry| *entry == self.entry) {
            ranges.swap_remove(index);
        }
        self.all.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn only_what_disturbs_waits() {
        let ranges = BusyRanges::default();
        let first = ranges.share(Extent::new(0, 10));
        let _beside = ranges.share(Extent::new(5, 10));
        let _apart = ranges.enter(Extent::new(20, 10));
        let _empty = ranges.enter(Extent::new(5, 0));
        let is_freed = AtomicBool::new(false);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let _alone = ranges.enter(Extent::new(0, 5));
                assert!(is_freed.load(Ordering::SeqCst), "somebody else still worked on it");
            });
            thread::sleep(std::time::Duration::from_millis(20));
            is_freed.store(true, Ordering::SeqCst);
            drop(first);
            waiting.join().unwrap();
        });
        assert_eq!(ranges.ranges.lock().len(), 3);
    }
}
