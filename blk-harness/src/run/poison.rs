//! A handle that has failed: it changes nothing any more, where its driver promises that.

use blk_core::{DiscardFlags, Disk, Error, ErrorKind, Extent, WriteFlags, ZeroFlags};

use super::Run;
use crate::execute::Reply;
use crate::promise::{Kept, Promise, Violation};
use crate::report::SECTOR_BYTES;
use crate::scenario::Request;

/// Places that a handle which has failed is asked to write to.
const PLACES_MAX: usize = 8;

/// Whether a change or a flush was refused because of an earlier failure.
pub(super) fn is_refusal(request: Request, replied: &Result<Reply, Error>) -> bool {
    let changes =
        request.kind().changes_content() || matches!(request, Request::Flush | Request::Resize { .. });
    changes && replied.as_ref().is_err_and(|error| error.kind() == ErrorKind::Poisoned)
}

impl Run<'_> {
    /// Whether a handle that has failed before has changed nothing since there were `edits` changes.
    pub(super) fn stays_as_it_is(&self, edits: u64, what: &str) -> Kept {
        let has_changed = self.refuses && self.host.edits() > edits;
        if !has_changed || !self.images.promises.stops_when_poisoned {
            return Ok(());
        }
        let what = format!("{what} changes the storage after the handle has refused a change as poisoned");
        Err(Violation::new(Promise::Poisoned, what))
    }

    /// Asks a handle that says it has failed for changes, where something is written in place too: it refuses
    /// them all, and changes nothing in the storage.
    pub(crate) fn try_poisoned(&mut self) -> Kept {
        self.refuses = true;
        let Some(disk) = self.disk.clone().filter(|_| self.images.promises.stops_when_poisoned) else {
            return Ok(());
        };
        let writes = self.places.iter().filter(|place| place.kind().changes_content());
        let mut offsets: Vec<u64> = writes.filter_map(Request::range).map(|range| range.0).collect();
        offsets.truncate(PLACES_MAX);
        offsets.push(0);
        for offset in offsets {
            self.try_changes(&disk, offset)?;
        }
        Ok(())
    }

    fn try_changes(&self, disk: &Disk, offset: u64) -> Kept {
        let unit = SECTOR_BYTES.max(disk.limits().request_alignment);
        let start = offset & !(unit - 1);
        if start.checked_add(unit).is_none_or(|end| end > disk.size()) {
            return Ok(());
        }
        let extent = Extent::new(start, unit);
        let edits = self.host.edits();
        let written = disk.write(start, &vec![0xd0; unit as usize], WriteFlags::default());
        let zeroed = disk.write_zeroes(extent, ZeroFlags::default());
        let discarded = disk.discard(extent, DiscardFlags::default());
        self.stays_as_it_is(edits, "a write, zeroes or a discard")?;
        // A discard of less than a unit may have nothing to do.
        drop(discarded);
        for (result, what) in [(written, "a write"), (zeroed, "zeroes")] {
            if result.is_ok() {
                let what = format!("{what} succeeds after the handle has refused a change as poisoned");
                return Err(Violation::new(Promise::Poisoned, what));
            }
        }
        Ok(())
    }
}
