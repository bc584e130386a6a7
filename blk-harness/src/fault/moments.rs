//! What was so before each request of a run without faults: runs with a fault begin to judge there, and only
//! repeat what came before.
//!
//! Each state has a model of the disk, which grows with the requests. So all states together have a bound:
//! where they would take more memory, one in two goes, and later ones are kept as rarely. A run then begins
//! to judge at the last state before its fault, which finds the same.

use blk_core::Extent;

use crate::model::{Model, Time};
use crate::scenario::Request;

/// Bytes that all states may take, about.
const BYTES_MAX: u64 = 64 << 20;
/// What a write of one byte keeps from being shared, bytes.
const PAGE_BYTES: u64 = 4096;

/// The state of a run before a request.
#[derive(Debug)]
pub(super) struct State {
    pub(super) model: Model,
    pub(super) time: Time,
    /// Units that requests had touched since the last flush.
    pub(super) touched: u64,
}

#[derive(Debug)]
struct Kept {
    state: State,
    /// What the model takes, bytes.
    own: u64,
    /// What it does not share with the next one, at most, bytes.
    changed: u64,
}

#[derive(Debug)]
struct Moment {
    /// Operations of the storage before the request; the first is after the open.
    operations: u64,
    kept: Option<Box<Kept>>,
    /// What the request left open and was read.
    settled: Vec<Extent>,
}

/// All moments of a run.
#[derive(Debug)]
pub(super) struct Moments {
    all: Vec<Moment>,
    /// One state in so many is kept.
    one_in: usize,
    bytes: u64,
    bytes_max: u64,
    /// The largest disk so far, bytes.
    size_max: u64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { all: Vec::new(), one_in: 1, bytes: 0, bytes_max: BYTES_MAX, size_max: 0 }
    }
}

impl Moments {
    /// A request is about to be made after so many operations; `state` is asked for what is so now, if that
    /// is to be kept.
    pub(super) fn begin(&mut self, operations: u64, state: impl FnOnce() -> State) {
        let mut kept = None;
        if self.all.len().is_multiple_of(self.one_in) {
            let state = state();
            let own = state.model.bytes_about();
            self.bytes += own;
            kept = Some(Box::new(Kept { state, own, changed: 0 }));
        }
        self.all.push(Moment { operations, kept, settled: Vec::new() });
    }

    /// The request was made, on a disk of `size` bytes.
    pub(super) fn end(&mut self, request: &Request, size: u64, settled: Vec<Extent>) {
        if let Some(moment) = self.all.last_mut() {
            moment.settled = settled;
        }
        let changed = match request {
            Request::Resize { .. } => size,
            Request::Read { .. } | Request::Status { .. } => 0,
            _ => request.range().map_or(0, |(_, length)| length.min(size) + 2 * PAGE_BYTES),
        };
        self.size_max = self.size_max.max(size);
        let last = self.all.len().saturating_sub(1) / self.one_in * self.one_in;
        self.charge(last, changed);
        while self.bytes > self.bytes_max && self.one_in < self.all.len() {
            self.thin();
        }
    }

    /// The state at `index` shares so many bytes less with the next one; all of the disk at most.
    fn charge(&mut self, index: usize, bytes: u64) {
        if let Some(kept) = self.all.get_mut(index).and_then(|moment| moment.kept.as_mut()) {
            let more = bytes.min(self.size_max.saturating_sub(kept.changed));
            kept.changed += more;
            self.bytes += more;
        }
    }

    /// Drops every second state. What it did not share, the one before it does not share either.
    fn thin(&mut self) {
        self.one_in *= 2;
        for at in 0..self.all.len() {
            if at.is_multiple_of(self.one_in) {
                continue;
            }
            if let Some(dropped) = self.all[at].kept.take() {
                self.bytes -= dropped.own + dropped.changed;
                self.charge(at / self.one_in * self.one_in, dropped.changed);
            }
        }
    }

    /// The request during which operation number `operation` is made; none for the open.
    pub(super) fn request_at(&self, operation: u64) -> Option<usize> {
        self.all.partition_point(|moment| moment.operations <= operation).checked_sub(1)
    }

    /// The last request up to `index` before which the state is known, and that state.
    pub(super) fn known_before(&self, index: usize) -> (usize, &State) {
        let at = index / self.one_in * self.one_in;
        let kept = self.all[at].kept.as_ref().expect("one state in so many is kept");
        (at, &kept.state)
    }

    /// How many operations of the storage came before the request at `index`.
    pub(super) fn operations_before(&self, index: usize) -> usize {
        self.all[index].operations as usize
    }

    /// What the request at `index` left open and was read.
    pub(super) fn settled(&self, index: usize) -> &[Extent] {
        &self.all[index].settled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::scenario::Fill;
    use blk_core::MemoryStorage;

    const SIZE: u64 = 1 << 20;

    fn state(time: Time) -> State {
        let model = Model::new(Arc::new(MemoryStorage::new()), SIZE, 512, false);
        State { model, time, touched: 0 }
    }

    fn write(length: u64) -> Request {
        Request::Write { offset: 0, length, fill: Fill::Stamp, fua: false }
    }

    fn moments(bytes_max: u64, requests: &[Request]) -> Moments {
        let mut moments = Moments { bytes_max, ..Moments::default() };
        for (at, request) in (0..).zip(requests) {
            moments.begin(10 + 2 * at, || state(at));
            moments.end(request, SIZE, vec![Extent::new(at, 1)]);
        }
        moments
    }

    fn kept(moments: &Moments) -> usize {
        moments.all.iter().filter(|moment| moment.kept.is_some()).count()
    }

    #[test]
    fn each_request_is_found_by_its_operations() {
        let moments = moments(BYTES_MAX, &[write(512); 3]);
        let found: Vec<_> = (9..16).map(|operation| moments.request_at(operation)).collect();
        assert_eq!(found, [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]);
        for index in 0..3 {
            let (known, state) = moments.known_before(index);
            assert_eq!((known, state.time), (index, index as u64));
            assert_eq!(moments.settled(index), [Extent::new(index as u64, 1)]);
        }
    }

    #[test]
    fn states_that_would_take_too_much_are_kept_rarely_and_the_last_one_before_is_known() {
        // Each takes 64 KiB and two pages that it does not share.
        let moments = moments(4 << 20, &[write(64 << 10); 100]);
        assert_eq!((moments.one_in, kept(&moments)), (32, 4), "{}", moments.bytes);
        assert!(moments.bytes <= 4 << 20);
        for index in [0, 15, 32, 50, 99] {
            let (known, state) = moments.known_before(index);
            assert!(known <= index && index < known + 32 && state.time == known as u64, "{index}");
        }
        // What changes nothing takes little.
        assert_eq!(kept(&self::moments(1 << 20, &[Request::Flush; 100])), 100);
    }

    #[test]
    fn however_much_is_written_the_states_take_no_more_than_the_disk_each() {
        let moments = moments(4 << 20, &[write(SIZE); 64]);
        assert!(kept(&moments) >= 2 && moments.bytes <= 4 << 20, "{} of {}", kept(&moments), moments.bytes);
    }
}
