//! What is known of a request, and of the handle that it was made of.

use blk_core::Extent;

use super::Inner;
use crate::model::Time;
use crate::scenario::{OnSnapshot, Request, Turn};
use crate::statistics::{Counter, Tally};

/// A table of a driver maps at least so many units.
pub(crate) const UNITS_PER_TABLE: u64 = 32;

/// A request that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) number: u32,
    pub(crate) request: Request,
    pub(crate) turn: Turn,
}

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    InFlight,
    Done,
    /// A correct driver may refuse it.
    Refused,
    /// It failed, and the storage is to blame.
    Failed,
}

/// A request, and when it was in flight.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) number: u32,
    pub(crate) request: Request,
    /// What it was to change; empty for one that changes no content. Of a snapshot that is applied, also what
    /// the disk gives up, or gains.
    pub(crate) changes: Extent,
    /// Units beside these that it may touch.
    pub(crate) units_beside: u64,
    /// The size of the disk afterwards, where a snapshot was applied.
    pub(crate) new_size: Option<u64>,
    pub(crate) issued: Time,
    /// Changes of the storage that had completed when it began.
    pub(crate) changes_before: u64,
    pub(crate) completed: Time,
    pub(crate) ended: Ended,
    /// Requests that were in flight with it.
    pub(crate) met: Vec<u32>,
}

impl Record {
    /// Of what it was to change, what the disk has afterwards.
    pub(crate) fn left(&self) -> Extent {
        self.new_size.map_or(self.changes, |size| self.changes.intersection(Extent::new(0, size)))
    }
}

/// What failures of the storage have done to the handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Condition {
    /// An operation of the storage has failed, and nothing has made up for it yet: requests may fail as
    /// poisoned.
    pub(crate) is_faulted: bool,
    /// The disk has refused a request because of an earlier failure.
    pub(crate) is_poisoned: bool,
    /// A request or a flush has failed since.
    pub(crate) has_surfaced: bool,
    /// Units touched from before the fault to the last flush.
    pub(crate) touched: u64,
}

impl Inner {
    /// Units of `unit_bytes` that it may touch beside its range. An amendment may write each zero cluster of
    /// the disk and of every snapshot, of which images of others may hold one that the model has not. A
    /// snapshot that is applied replaces the tables of the disk, and a disk that shrinks gives up tables.
    pub(super) fn units_beside(&self, request: Request, unit_bytes: u64) -> u64 {
        let units = |bytes: u64| bytes.div_ceil(unit_bytes);
        let disk = self.model.size();
        match request {
            Request::Amend { .. } => {
                let slots = self.model.slots();
                2 * units(disk) + slots.values().map(|held| units(held.size.max(disk))).sum::<u64>()
            }
            Request::Snapshot { act: OnSnapshot::Apply, .. } => units(disk).div_ceil(UNITS_PER_TABLE) + 1,
            Request::Resize { size } if size < disk => units(disk - size).div_ceil(UNITS_PER_TABLE) + 1,
            _ => 0,
        }
    }

    /// Notes which requests are in flight when another begins, and returns them.
    pub(super) fn meet(&mut self, number: u32, request: Request, unit_bytes: u64) -> Vec<u32> {
        let mut met = Vec::new();
        for flight in self.flights.iter().flatten() {
            let earlier = &mut self.records[flight.record];
            self.stats.add(Counter::Met, u64::from(earlier.met.is_empty()));
            earlier.met.push(number);
            met.push(earlier.number);
            if share_a_unit(&earlier.request, &request, unit_bytes) {
                let names = [earlier.request.kind().name(), request.kind().name(), ""];
                self.stats.tally(Tally::Overlaps, names);
            }
        }
        self.stats.add(Counter::Met, u64::from(!met.is_empty()));
        met
    }
}

/// Whether two requests touch the same unit; one without a range touches all.
pub(super) fn share_a_unit(first: &Request, second: &Request, unit_bytes: u64) -> bool {
    let units = |request: &Request| {
        request.range().map_or(0..u64::MAX, |(offset, length)| {
            offset / unit_bytes..offset.saturating_add(length).div_ceil(unit_bytes)
        })
    };
    let (first, second) = (units(first), units(second));
    first.start < second.end && second.start < first.end
}
