//! Memory for the bytes of requests, which is used again: to take it from the host anew, page by page and
//! cleared, takes as long as to move the bytes.

use blk_core::sync::Mutex;
use blk_core::sync::atomic::{AtomicU64, Ordering};

/// Shorter ones are not worth keeping, bytes.
const KEPT_BYTES_MIN: usize = 1 << 15;
/// What is kept at most while no request needs it, bytes: of all connections of a server together.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// When requests in flight have more than that, of all connections of a server together, each connection has
/// one request in flight. Bytes.
const IN_FLIGHT_BYTES_MAX: u64 = 256 << 20;

/// Buffers that no request uses, and how much those in flight have.
#[derive(Debug, Default)]
pub(in crate::server) struct Buffers {
    spare: Mutex<Spare>,
    in_flight_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// Whether connections that have a request in flight are to wait with others.
    pub(super) fn are_scarce(&self) -> bool {
        self.in_flight_bytes.load(Ordering::Relaxed) > IN_FLIGHT_BYTES_MAX
    }

    /// A buffer for a request that moves so many bytes. It may hold anything.
    pub(super) fn take(&self, bytes: u64) -> Vec<u8> {
        self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        if bytes < KEPT_BYTES_MIN as u64 {
            return Vec::new();
        }
        let mut spare = self.spare.lock();
        let buffer = spare.buffers.pop().unwrap_or_default();
        spare.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps the buffer of a request that moved `moved` bytes for another one.
    pub(super) fn give_back(&self, moved: u64, buffer: Vec<u8>) {
        self.in_flight_bytes.fetch_sub(moved, Ordering::Relaxed);
        let bytes = buffer.capacity();
        if bytes < KEPT_BYTES_MIN {
            return;
        }
        let mut spare = self.spare.lock();
        if spare.bytes + bytes <= KEPT_BYTES_MAX {
            spare.bytes += bytes;
            spare.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_was_said() {
        let buffers = Buffers::default();
        for _ in 0..40 {
            buffers.give_back(0, Vec::with_capacity(1 << 20));
        }
        buffers.give_back(0, Vec::with_capacity(KEPT_BYTES_MIN - 1));
        buffers.give_back(0, Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert_eq!(buffers.spare.lock().bytes, 32 << 20);
        assert_eq!(buffers.spare.lock().buffers.len(), 32);
        assert_eq!(buffers.take(1 << 20).capacity(), 1 << 20);
        assert_eq!(buffers.take(4096).capacity(), 0, "a small one is made anew");
        assert_eq!(buffers.spare.lock().bytes, 31 << 20);
    }

    #[test]
    fn memory_is_scarce_when_much_is_in_flight() {
        let buffers = Buffers::default();
        let large = buffers.take(IN_FLIGHT_BYTES_MAX);
        assert!(!buffers.are_scarce());
        let small = buffers.take(1);
        assert!(buffers.are_scarce());
        buffers.give_back(1, small);
        assert!(!buffers.are_scarce());
        buffers.give_back(IN_FLIGHT_BYTES_MAX, large);
    }
}
