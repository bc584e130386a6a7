//! Writes in flight: what they write is durable nowhere yet, whatever sync completes beside them.

use blk_core::{Extent, MemoryStorage, Result, Storage};

use crate::SECTOR_BYTES;
use crate::operation::Edit;
use crate::unsynced::missing;

/// A sector that is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Where it lies, or will lie once its write has completed.
    pub at: u64,
    /// Whether its write has not completed.
    pub is_in_flight: bool,
}

struct Write {
    issued: u64,
    offset: u64,
    bytes: Vec<u8>,
    /// The parts of sectors that it gives other bytes.
    changed: Vec<Extent>,
}

/// The writes of a host that are in flight.
#[derive(Default)]
pub(crate) struct InFlight {
    is_kept: bool,
    writes: Vec<Write>,
}

impl InFlight {
    /// Nothing yet. Writes are forgotten at once unless they are kept: it costs a copy of each.
    pub(crate) fn new(is_kept: bool) -> Self {
        Self { is_kept, writes: Vec::new() }
    }

    /// An edit was issued that will have changed these parts of sectors.
    pub(crate) fn begin(&mut self, issued: u64, edit: Edit<'_>, changed: &[Extent]) {
        if let Edit::Write(offset, bytes) = edit
            && self.is_kept
            && !changed.is_empty()
        {
            self.writes.push(Write { issued, offset, bytes: bytes.to_vec(), changed: changed.to_vec() });
        }
    }

    /// The edit that was issued then has completed.
    pub(crate) fn end(&mut self, issued: u64) {
        self.writes.retain(|write| write.issued != issued);
    }

    /// A sector of `unsynced` or of a write in flight that `is_required` to be durable, and of which `live`
    /// has no other copy.
    ///
    /// # Errors
    /// Those of memory.
    pub(crate) fn missing(
        &self,
        live: &MemoryStorage,
        mut unsynced: Vec<Extent>,
        is_required: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Option<Missing>> {
        if self.writes.is_empty() {
            let found = missing(live, &unsynced, is_required)?;
            return Ok(found.map(|at| Missing { at, is_in_flight: false }));
        }
        let changed: Vec<Extent> =
            self.writes.iter().flat_map(|write| write.changed.iter().copied()).collect();
        let image = live.duplicate();
        for write in &self.writes {
            image.write_at(write.offset, &write.bytes)?;
        }
        unsynced.extend(&changed);
        let is_in_flight = |at| changed.iter().any(|extent| extent.overlaps(Extent::new(at, SECTOR_BYTES)));
        let found = missing(&image, &unsynced, is_required)?;
        Ok(found.map(|at| Missing { at, is_in_flight: is_in_flight(at) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unsynced::changed;

    const OLD: [u8; 512] = [1; 512];
    const NEW: [u8; 512] = [2; 512];

    /// What is missing of sectors of [`NEW`] while these are in flight, on an image of [`OLD`] that has `NEW`
    /// at `copies` too.
    fn found(is_kept: bool, writes: &[(u64, u64)], copies: &[u64]) -> Option<Missing> {
        let live = MemoryStorage::from_bytes(&OLD.repeat(16));
        for copy in copies {
            live.write_at(*copy, &NEW).unwrap();
        }
        let mut in_flight = InFlight::new(is_kept);
        for (issued, offset) in writes {
            in_flight.begin(*issued, Edit::Write(*offset, &NEW), &changed(&live, *offset, &NEW));
        }
        in_flight.end(7);
        in_flight.missing(&live, Vec::new(), &mut |sector| sector == NEW).unwrap()
    }

    #[test]
    fn what_is_in_flight_is_missing_unless_there_is_a_copy_that_is_not() {
        let at = |at| Some(Missing { at, is_in_flight: true });
        assert_eq!(found(true, &[(1, 1024)], &[]), at(1024));
        assert_eq!(found(true, &[(1, 1024), (2, 4096)], &[]), at(1024));
        assert_eq!(found(true, &[(1, 1024)], &[4096]), None);
        assert_eq!(found(true, &[(7, 1024)], &[]), None, "it has completed");
        assert_eq!(found(true, &[(1, 1024), (7, 512)], &[]), at(1024));
        assert_eq!(found(true, &[(1, 1024)], &[1024]), None, "it changes nothing");
        assert_eq!(found(false, &[(1, 1024)], &[]), None, "it is not kept");
    }

    #[test]
    fn what_has_completed_and_is_not_synced_is_not_in_flight() {
        let live = MemoryStorage::from_bytes(&OLD.repeat(16));
        live.write_at(512, &NEW).unwrap();
        let unsynced = vec![Extent::new(512, 512)];
        let mut in_flight = InFlight::new(true);
        let mut is_required = |sector: &[u8]| sector == NEW;
        let completed = Some(Missing { at: 512, is_in_flight: false });
        assert_eq!(in_flight.missing(&live, unsynced.clone(), &mut is_required).unwrap(), completed);
        in_flight.begin(1, Edit::Write(2048, &[3; 512]), &[Extent::new(2048, 512)]);
        assert_eq!(in_flight.missing(&live, unsynced, &mut is_required).unwrap(), completed);
    }
}
