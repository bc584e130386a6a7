//! Where requests have been since both disks were compared.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blk_core::Extent;

use crate::scenario::Request;

/// The smallest unit in which places are remembered, bytes: a large cluster of most images.
const UNIT_BYTES_MIN: u64 = 64 << 10;
/// Units of a disk: each takes a bit of memory.
const UNITS_MAX: u64 = 1 << 22;

/// Places where requests have been. Threads add to it at the same time.
#[derive(Debug)]
pub(super) struct Touched {
    size: u64,
    unit_bytes: u64,
    /// A bit for each unit.
    units: Vec<AtomicU64>,
    /// Bytes that requests have moved since everything was compared.
    moved: AtomicU64,
    /// Everything has to be compared.
    all: AtomicBool,
}

impl Touched {
    /// For a disk of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        let unit_bytes = size.div_ceil(UNITS_MAX).next_power_of_two().max(UNIT_BYTES_MIN);
        let words = size.div_ceil(unit_bytes).div_ceil(64);
        let units = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { size, unit_bytes, units, moved: AtomicU64::new(0), all: AtomicBool::new(false) }
    }

    /// A request is about to be made.
    pub(super) fn add(&self, request: Request) {
        if matches!(request, Request::Resize { .. }) {
            self.all.store(true, Ordering::Relaxed);
        }
        let Some((offset, length)) = request.range() else { return };
        self.moved.fetch_add(length.min(self.size), Ordering::Relaxed);
        // What surrounds the request may have suffered by it.
        let first = (offset / self.unit_bytes).saturating_sub(1);
        let last = offset.saturating_add(length) / self.unit_bytes + 1;
        for unit in first..(last + 1).min(self.units.len() as u64 * 64) {
            self.units[(unit / 64) as usize].fetch_or(1 << (unit % 64), Ordering::Relaxed);
        }
    }

    /// The places, in order and apart from one another, which are forgotten then; `None` where everything is
    /// to be compared. No request is under way.
    pub(super) fn take(&self) -> Option<Vec<Extent>> {
        if self.all.load(Ordering::Relaxed) || self.moved.load(Ordering::Relaxed) >= self.size {
            return None;
        }
        let mut parts: Vec<Extent> = Vec::new();
        for (word, bits) in self.units.iter().enumerate() {
            let bits = bits.swap(0, Ordering::Relaxed);
            for bit in (0..64).filter(|bit| bits & (1 << bit) != 0) {
                let unit = Extent::new((word as u64 * 64 + bit) * self.unit_bytes, self.unit_bytes);
                match parts.last_mut() {
                    Some(last) if last.end() == unit.offset => last.length += unit.length,
                    _ => parts.push(unit),
                }
            }
        }
        Some(parts)
    }

    /// Whether requests were made since everything was compared.
    pub(super) fn has_uncompared(&self) -> bool {
        self.all.load(Ordering::Relaxed) || self.moved.load(Ordering::Relaxed) > 0
    }

    /// Everything has been compared.
    pub(super) fn forget(&self) {
        self.units.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
        self.moved.store(0, Ordering::Relaxed);
        self.all.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = UNIT_BYTES_MIN;

    fn read(offset: u64, length: u64) -> Request {
        Request::Read { offset, length }
    }

    #[test]
    fn places_have_surroundings_and_are_told_once() {
        let touched = Touched::new(1000 * UNIT);
        assert!(!touched.has_uncompared());
        touched.add(read(10 * UNIT + 5, 10));
        touched.add(read(12 * UNIT, UNIT));
        touched.add(Request::Flush);
        touched.add(read(0, 1));
        touched.add(read(999 * UNIT, UNIT));
        touched.add(read(u64::MAX, 2));
        let expected = [(0, 2), (9, 15), (998, 1024)].map(|(a, b)| Extent::between(a * UNIT, b * UNIT));
        let parts = touched.take().unwrap();
        assert_eq!(parts[..2], expected[..2]);
        assert!(parts[2].offset == 998 * UNIT && parts[2].end() > 1000 * UNIT);
        assert_eq!(touched.take().unwrap(), []);
        assert!(touched.has_uncompared());
    }

    #[test]
    fn everything_is_due_once_the_requests_have_moved_as_much() {
        let touched = Touched::new(100);
        touched.add(read(0, 50));
        assert!(touched.take().is_some());
        touched.add(read(0, 50));
        assert!(touched.take().is_none());
        touched.forget();
        assert!(!touched.has_uncompared() && touched.take().is_some());
        touched.add(Request::Resize { size: 7 });
        assert!(touched.take().is_none());
    }

    #[test]
    fn huge_and_empty_disks_take_little_memory() {
        assert!(Touched::new(u64::MAX).units.len() as u64 <= UNITS_MAX / 64 + 1);
        let empty = Touched::new(0);
        empty.add(read(0, 0));
        assert!(empty.take().is_none(), "an empty disk is compared whole");
    }
}
