//! Orders requests that overlap while they are in flight, so that both disks see them in the same order.
//!
//! Uncontended, taking and giving back a range costs two short critical sections and no allocation.

use blk_core::Extent;
use blk_core::sync::{Condvar, Mutex};

/// Ranges of bytes that are in use.
#[derive(Debug, Default)]
pub(crate) struct RangeLock {
    held: Mutex<Held>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    ranges: Vec<(Extent, Mode)>,
    waiting: usize,
}

/// Whether others may use a range at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With others that share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// A range that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct RangeGuard<'a> {
    lock: &'a RangeLock,
    extent: Extent,
    mode: Mode,
}

impl RangeLock {
    /// Waits until nobody uses `extent` in a way that conflicts.
    pub(crate) fn lock(&self, extent: Extent, mode: Mode) -> RangeGuard<'_> {
        let mut held = self.held.lock();
        while held.conflicts(extent, mode) {
            held.waiting += 1;
            self.released.wait(&mut held);
            held.waiting -= 1;
        }
        held.ranges.push((extent, mode));
        RangeGuard { lock: self, extent, mode }
    }
}

impl Held {
    fn conflicts(&self, extent: Extent, mode: Mode) -> bool {
        self.ranges.iter().any(|(other, theirs)| {
            other.overlaps(extent) && (mode == Mode::Exclusive || *theirs == Mode::Exclusive)
        })
    }
}

impl Drop for RangeGuard<'_> {
    fn drop(&mut self) {
        let mut held = self.lock.held.lock();
        let mine = (self.extent, self.mode);
        let index = held.ranges.iter().position(|range| *range == mine).expect("a guard's range is held");
        held.ranges.swap_remove(index);
        if held.waiting > 0 {
            self.lock.released.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn an_overlapping_writer_waits_and_others_do_not() {
        let lock = RangeLock::default();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let first = lock.lock(Extent::new(0, 100), Mode::Exclusive);
            let _elsewhere = lock.lock(Extent::new(100, 100), Mode::Exclusive);
            let waiter = scope.spawn(|| {
                let _second = lock.lock(Extent::new(50, 10), Mode::Shared);
                assert!(done.load(Ordering::SeqCst), "the reader came before the writer was done");
            });
            std::thread::yield_now();
            done.store(true, Ordering::SeqCst);
            drop(first);
            waiter.join().unwrap();
        });
        let _shared = lock.lock(Extent::new(0, 10), Mode::Shared);
        let _too = lock.lock(Extent::new(0, 10), Mode::Shared);
    }
}
