//! Memory for the bytes of requests, which is used again: to take it from the host anew, page by page and
//! cleared, takes as long as to move the bytes.

use blk_core::sync::Mutex;
use blk_core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Shorter ones are not worth keeping, bytes.
const KEPT_BYTES_MIN: usize = 1 << 15;
/// What is kept at most while no request needs it, bytes: of all connections of a server together.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// A buffer is used for a request that moves at least this part of it: what is in flight is counted by what
/// requests move, and must not hold much more.
const USED_PART: usize = 4;

/// When requests in flight have more than that, of all connections of a server together, each connection has
/// one request in flight. Bytes.
const IN_FLIGHT_BYTES_MAX: u64 = 256 << 20;

/// What all connections of a server have.
#[derive(Debug, Default)]
pub(in crate::server) struct Buffers {
    kept_bytes: AtomicUsize,
    in_flight_bytes: AtomicU64,
}

/// Buffers of one connection that no request uses. No other one gets them: they hold what this client has
/// read and written.
#[derive(Debug)]
pub(super) struct Spare<'a> {
    all: &'a Buffers,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl<'a> Spare<'a> {
    pub(super) fn new(all: &'a Buffers) -> Self {
        Self { all, buffers: Mutex::default() }
    }

    /// Whether connections that have a request in flight are to wait with others.
    pub(super) fn is_scarce(&self) -> bool {
        self.all.in_flight_bytes.load(Ordering::Relaxed) > IN_FLIGHT_BYTES_MAX
    }

    /// Counts bytes that have memory. What a client has only announced has none, and makes nobody wait.
    pub(super) fn count(&self, bytes: u64) {
        self.all.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A buffer for a request that moves so many bytes. It may hold anything of this connection.
    pub(super) fn take(&self, bytes: u64) -> Vec<u8> {
        let bytes = bytes as usize;
        if bytes < KEPT_BYTES_MIN {
            return Vec::new();
        }
        let mut buffers = self.buffers.lock();
        let fits = |buffer: &Vec<u8>| (bytes..=bytes.saturating_mul(USED_PART)).contains(&buffer.capacity());
        let Some(place) = buffers.iter().rposition(fits) else { return Vec::new() };
        let buffer = buffers.swap_remove(place);
        self.all.kept_bytes.fetch_sub(buffer.capacity(), Ordering::Relaxed);
        buffer
    }

    /// Keeps the buffer of a request of which `counted` bytes were counted for another one.
    pub(super) fn give_back(&self, counted: u64, buffer: Vec<u8>) {
        self.all.in_flight_bytes.fetch_sub(counted, Ordering::Relaxed);
        let bytes = buffer.capacity();
        if bytes < KEPT_BYTES_MIN {
            return;
        }
        let one_more = |kept: usize| kept.checked_add(bytes).filter(|kept| *kept <= KEPT_BYTES_MAX);
        let kept = self.all.kept_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if kept.is_ok() {
            self.buffers.lock().push(buffer);
        }
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        let bytes: usize = self.buffers.lock().iter().map(Vec::capacity).sum();
        self.all.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(all: &Buffers) -> usize {
        all.kept_bytes.load(Ordering::Relaxed)
    }

    #[test]
    fn no_more_is_kept_than_was_said() {
        let all = Buffers::default();
        let (one, other) = (Spare::new(&all), Spare::new(&all));
        for _ in 0..20 {
            one.give_back(0, Vec::with_capacity(1 << 20));
            other.give_back(0, Vec::with_capacity(1 << 20));
        }
        one.give_back(0, Vec::with_capacity(KEPT_BYTES_MIN - 1));
        one.give_back(0, Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert_eq!(kept(&all), 32 << 20);
        assert_eq!(one.take(1 << 20).capacity(), 1 << 20);
        assert_eq!(one.take(4096).capacity(), 0, "a small one is made anew");
        assert_eq!(kept(&all), 31 << 20);
        drop(other);
        assert_eq!(kept(&all), 15 << 20, "what a connection had goes with it");
        drop(one);
        assert_eq!(kept(&all), 0);
    }

    #[test]
    fn a_small_request_does_not_hold_a_large_buffer() {
        let all = Buffers::default();
        let spare = Spare::new(&all);
        spare.give_back(0, Vec::with_capacity(16 << 20));
        spare.give_back(0, Vec::with_capacity(64 << 10));
        for (bytes, capacity) in [(32 << 10, 64 << 10), (64 << 10, 0), (1 << 20, 0), (8 << 20, 16 << 20)] {
            assert_eq!(spare.take(bytes).capacity(), capacity, "{bytes}");
        }
        assert_eq!(kept(&all), 0);
    }

    #[test]
    fn memory_is_scarce_when_much_is_in_flight() {
        let all = Buffers::default();
        let (one, other) = (Spare::new(&all), Spare::new(&all));
        let large = one.take(IN_FLIGHT_BYTES_MAX);
        let small = other.take(1);
        one.count(IN_FLIGHT_BYTES_MAX);
        assert!(!other.is_scarce());
        other.count(1);
        assert!(one.is_scarce() && other.is_scarce());
        other.give_back(1, small);
        assert!(!other.is_scarce());
        one.give_back(IN_FLIGHT_BYTES_MAX, large);
    }
}
