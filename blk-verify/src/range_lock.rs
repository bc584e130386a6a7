//! Orders requests that overlap while they are in flight, so that both disks see them in the same order.
//!
//! Uncontended, taking and giving back a range costs two short critical sections and no allocation.

use blk_core::Extent;
use blk_core::sync::{Condvar, Mutex};

/// Ranges of bytes that are in use.
#[derive(Debug, Default)]
pub(crate) struct RangeLock {
    queue: Mutex<Queue>,
    released: Condvar,
}

/// Who has a range or waits for one, in the order in which they came. Who came earlier goes first, wherever two conflict: so
/// many who share a range do not keep out one who wants it alone.
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
    mode: Mode,
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
    ticket: u64,
}

impl RangeLock {
    /// Waits until nobody who came earlier uses `extent` in a way that conflicts.
    pub(crate) fn lock(&self, extent: Extent, mode: Mode) -> RangeGuard<'_> {
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

impl Queue {
    fn may_go(&self, ticket: u64, extent: Extent, mode: Mode) -> bool {
        let earlier = self.entries.iter().take_while(|entry| entry.ticket != ticket);
        !earlier.into_iter().any(|other| {
            other.extent.overlaps(extent) && (mode == Mode::Exclusive || other.mode == Mode::Exclusive)
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

    #[test]
    fn who_wants_a_range_alone_is_not_kept_out_by_those_who_come_later_and_share_it() {
        let lock = RangeLock::default();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let reader = lock.lock(Extent::new(0, 100), Mode::Shared);
            let writer = scope.spawn(|| {
                let _alone = lock.lock(Extent::new(0, u64::MAX), Mode::Exclusive);
                order.lock().push("writer");
            });
            while lock.queue.lock().waiting < 1 {
                std::thread::yield_now();
            }
            let later = scope.spawn(|| {
                let _shared = lock.lock(Extent::new(0, 100), Mode::Shared);
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
