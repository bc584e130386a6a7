//! Orders requests that overlap while they are in flight.
//!
//! Uncontended, taking and giving back a range costs two short critical sections and no allocation.

use super::{Condvar, Mutex};
use crate::Extent;

/// A fair lock on ranges of bytes: requests that conflict are served in FIFO order, so a writer cannot
/// starve.
#[derive(Debug, Default)]
pub struct RangeLock {
    queue: Mutex<Queue>,
    released: Condvar,
}

/// Holders of ranges and those that wait for one, in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    entries: Vec<Entry>,
    tickets: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    extent: Extent,
    mode: RangeMode,
}

/// Whether others may use a range at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeMode {
    /// With others that share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// A range that is held until this is dropped.
#[derive(Debug)]
#[must_use = "the range is free again when this is dropped"]
pub struct RangeGuard<'a> {
    lock: &'a RangeLock,
    ticket: u64,
}

impl RangeLock {
    /// All bytes there are, for a request that concerns a whole disk.
    pub const EVERYTHING: Extent = Extent { offset: 0, length: u64::MAX };

    /// Waits until no earlier request uses a part of `extent` in a way that conflicts. An empty extent
    /// conflicts with none.
    pub fn lock(&self, extent: Extent, mode: RangeMode) -> RangeGuard<'_> {
        let mut queue = self.queue.lock();
        let ticket = queue.tickets;
        queue.tickets += 1;
        queue.entries.push(Entry { ticket, extent, mode });
        while !queue.may_go(ticket, extent, mode) {
            queue.waiting += 1;
            self.released.wait(&mut queue);
            queue.waiting -= 1;
        }
        RangeGuard { lock: self, ticket }
    }
}

impl RangeLock {
    /// Takes `extent` together with others that share it.
    pub fn share(&self, extent: Extent) -> RangeGuard<'_> {
        self.lock(extent, RangeMode::Shared)
    }

    /// Takes `extent` alone.
    pub fn exclude(&self, extent: Extent) -> RangeGuard<'_> {
        self.lock(extent, RangeMode::Exclusive)
    }
}

impl Queue {
    fn may_go(&self, ticket: u64, extent: Extent, mode: RangeMode) -> bool {
        let earlier = self.entries.iter().take_while(|entry| entry.ticket != ticket);
        !earlier.into_iter().any(|other| {
            other.extent.overlaps(extent)
                && (mode == RangeMode::Exclusive || other.mode == RangeMode::Exclusive)
        })
    }
}

impl Drop for RangeGuard<'_> {
    fn drop(&mut self) {
        let mut queue = self.lock.queue.lock();
        let index = queue.entries.iter().position(|entry| entry.ticket == self.ticket);
        queue.entries.remove(index.expect("a guard's range is held"));
        if queue.waiting > 0 {
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
            let first = lock.lock(Extent::new(0, 100), RangeMode::Exclusive);
            let _elsewhere = lock.lock(Extent::new(100, 100), RangeMode::Exclusive);
            let waiter = scope.spawn(|| {
                let _second = lock.lock(Extent::new(50, 10), RangeMode::Shared);
                assert!(done.load(Ordering::SeqCst), "the reader came before the writer was done");
            });
            std::thread::yield_now();
            done.store(true, Ordering::SeqCst);
            drop(first);
            waiter.join().unwrap();
        });
        let _shared = lock.lock(Extent::new(0, 10), RangeMode::Shared);
        let _too = lock.lock(Extent::new(0, 10), RangeMode::Shared);
    }

    #[test]
    fn what_is_empty_or_apart_never_waits() {
        let lock = RangeLock::default();
        let _first = lock.share(Extent::new(0, 10));
        let _beside = lock.share(Extent::new(5, 10));
        let _apart = lock.exclude(Extent::new(20, 10));
        let _empty = lock.exclude(Extent::new(5, 0));
        assert_eq!(lock.queue.lock().entries.len(), 4);
    }

    #[test]
    fn who_wants_a_range_alone_is_not_kept_out_by_those_who_come_later_and_share_it() {
        let lock = RangeLock::default();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let reader = lock.lock(Extent::new(0, 100), RangeMode::Shared);
            let writer = scope.spawn(|| {
                let _alone = lock.lock(Extent::new(0, u64::MAX), RangeMode::Exclusive);
                order.lock().push("writer");
            });
            while lock.queue.lock().waiting < 1 {
                std::thread::yield_now();
            }
            let later = scope.spawn(|| {
                let _shared = lock.lock(Extent::new(0, 100), RangeMode::Shared);
                order.lock().push("later reader");
            });
            while lock.queue.lock().waiting < 2 {
                assert!(!later.is_finished(), "the later reader went first");
                std::thread::yield_now();
            }
            drop(reader);
            writer.join().unwrap();
            later.join().unwrap();
        });
        assert_eq!(*order.lock(), ["writer", "later reader"]);
        assert!(lock.queue.lock().entries.is_empty());
    }
}
