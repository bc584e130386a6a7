//! Whether a flush has made durable what it answers for: judged by the operations of the storage, without a
//! crash.
//!
//! A sector that was written and has to be durable lies, if it lies in the storage as it is, in a write that
//! a sync covers, and not in one that is still in flight; and no flush succeeds after a write without a sync
//! since that write began.

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
/// The same where the write has not even completed.
const IN_FLIGHT: &str =
    "a flush succeeds, and a sector that it answers for lies in a write that is in flight";
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

/// The address that a sector was stamped for, and the number of the request that did, if all of it was
/// stamped and `within` has it.
pub(crate) fn stamped(sector: &[u8], size: u64, within: Extent) -> Option<(u64, u32)> {
    let first = sector.first_chunk::<8>()?;
    let origin = stamp::decode(*first, size)?;
    let Writer::Request(number) = origin.writer else { return None };
    let is_whole = origin.address.is_multiple_of(SECTOR_BYTES) && origin.address + SECTOR_BYTES <= size;
    let is_within = origin.address >= within.offset && origin.address - within.offset < within.length;
    let is_stamped = is_whole && is_within && stamp::matches(sector, origin.address, number);
    is_stamped.then_some((origin.address, number))
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
    /// Judges a flush, a write with FUA or a close that has succeeded. `issued` is when it was.
    ///
    /// Where it was not `alone`, only sectors of plain writes are looked at: others in flight may write once
    /// more what is durable elsewhere in another form, such as compressed.
    pub(super) fn judge_flushed(&self, host: &Host, request: Request, issued: Time, alone: bool) -> Kept {
        let Some(within) = answered_for(request) else { return Ok(()) };
        // A sync that fails may have made all durable, or have lost it: that is for those who open the image.
        if host.failures() > 0 {
            return Ok(());
        }
        // The model is asked as it is: where threads end requests, it may have gone on since this one ended.
        let now = host.tick();
        let mut is_required = |sector: &[u8]| self.is_required(now, within, sector, alone);
        if let Some(missing) = host.missing(&mut is_required).map_err(|error| Violation::memory(&error))? {
            let what = if missing.is_in_flight { IN_FLIGHT } else { NOT_SYNCED };
            let note = format!("the sector lies at {:#x} in the storage", missing.at);
            return Err(Violation::new(Promise::Durable, what).note(note));
        }
        let (_, synced) = host.changes();
        if self.last_write(issued, is_fua(request)).is_some_and(|write| synced <= write.changes_before) {
            return Err(Violation::new(Promise::Durable, NO_SYNC));
        }
        Ok(())
    }

    /// Whether these bytes are what the disk shows where they were stamped for, and nothing else can be after
    /// a crash.
    fn is_required(&self, now: Time, within: Extent, sector: &[u8], alone: bool) -> bool {
        let size = self.model.size();
        let Some((address, number)) = stamped(sector, size, within) else { return false };
        let extent = Extent::new(address, SECTOR_BYTES);
        (alone || self.is_plain_write(number))
            && matches!(self.model.compare(address, sector), Ok(None))
            && !self.model.is_uncertain(extent, now)
    }

    fn is_plain_write(&self, number: u32) -> bool {
        let is_it = |record: &&Record| record.number == number;
        let record = self.records.iter().rev().find(is_it);
        record.is_some_and(|record| matches!(record.request, Request::Write { .. }))
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
