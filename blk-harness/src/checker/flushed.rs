//! Whether a flush has made durable what it answers for: judged by the operations of the storage, without a
//! crash.
//!
//! A sector that was written and has to be durable lies, if it lies in the storage as it is, in a write that
//! a sync covers; and no flush succeeds after a write without a sync since that write began.

use blk_core::Extent;
use blk_sim::Host;

use super::Inner;
use super::record::{Ended, Record};
use crate::model::{Time, is_fua};
use crate::promise::{Kept, Promise, Violation};
use crate::report::SECTOR_BYTES;
use crate::scenario::{Fill, Request};
use crate::stamp::{self, Writer};

/// What no flush may leave behind, in one line.
pub(crate) const NOT_SYNCED: &str = "a flush succeeds, and a sector that it answers for lies in no write that \
                                     was synced";
/// The same where there was no sync.
pub(crate) const NO_SYNC: &str = "a flush succeeds without a sync since the last write began";

/// What a request answers for that has succeeded: that these bytes of the disk are durable.
pub(crate) fn answered_for(request: Request) -> Option<Extent> {
    let (offset, length) = match request {
        Request::Flush => (0, u64::MAX),
        _ if is_fua(request) => request.range().unwrap_or((0, u64::MAX)),
        _ => return None,
    };
    Some(Extent::new(offset, length))
}

/// The address that a sector was stamped for by a request, if all of it was and `within` has it.
pub(crate) fn stamped_address(sector: &[u8], size: u64, within: Extent) -> Option<u64> {
    let first = sector.first_chunk::<8>()?;
    let origin = stamp::decode(*first, size)?;
    let Writer::Request(number) = origin.writer else { return None };
    let is_whole = origin.address.is_multiple_of(SECTOR_BYTES) && origin.address + SECTOR_BYTES <= size;
    let is_within = origin.address >= within.offset && origin.address - within.offset < within.length;
    (is_whole && is_within && stamp::matches(sector, origin.address, number)).then_some(origin.address)
}

/// Whether a request writes bytes that were nowhere before.
pub(crate) fn is_new_data(request: Request) -> bool {
    let is_write = matches!(
        request,
        Request::Write { fill: Fill::Stamp, .. } | Request::WriteCompressed { fill: Fill::Stamp, .. }
    );
    is_write && request.range().is_some_and(|(_, length)| length > 0)
}

impl Inner {
    /// Judges a flush, a write with FUA or a close that has succeeded `now`. `issued` is when it was.
    ///
    /// Only where it was `alone`, sectors are looked at: others may write once more what is durable elsewhere
    /// in another form.
    pub(super) fn judge_flushed(
        &self,
        host: &Host,
        request: Request,
        (issued, now): (Time, Time),
        alone: bool,
    ) -> Kept {
        let Some(within) = answered_for(request) else { return Ok(()) };
        // A sync that fails may have made all durable, or have lost it: that is for those who open the image.
        if host.failures() > 0 {
            return Ok(());
        }
        let mut is_required = |sector: &[u8]| self.is_required(now, within, sector);
        let missing = if alone { host.missing(&mut is_required) } else { Ok(None) };
        if let Some(at) = missing.map_err(|error| Violation::memory(&error))? {
            let note = format!("the sector lies at {at:#x} in the storage");
            return Err(Violation::new(Promise::Durable, NOT_SYNCED).note(note));
        }
        let (_, synced) = host.changes();
        if self.last_write(issued, is_fua(request)).is_some_and(|write| synced <= write.changes_before) {
            return Err(Violation::new(Promise::Durable, NO_SYNC));
        }
        Ok(())
    }

    /// Whether these bytes are what the disk shows where they were stamped for, and nothing else can be after
    /// a crash.
    fn is_required(&self, now: Time, within: Extent, sector: &[u8]) -> bool {
        let size = self.model.size();
        let Some(address) = stamped_address(sector, size, within) else { return false };
        let extent = Extent::new(address, SECTOR_BYTES);
        matches!(self.model.compare(address, sector), Ok(None)) && !self.model.is_uncertain(extent, now)
    }

    /// The last request that changed the disk, if it is a write of new data that had completed alone by
    /// `time`; of a write that `is_forced`, itself, which began then.
    fn last_write(&self, time: Time, is_forced: bool) -> Option<&Record> {
        let last = self.records.iter().rev().find(|record| !record.changes.is_empty())?;
        // A forced write answers for itself alone.
        let is_before = if is_forced { last.issued == time } else { last.completed < time };
        let is_certain = last.ended == Ended::Done && last.met.is_empty() && is_new_data(last.request);
        (is_before && is_certain).then_some(last)
    }
}
