//! What a request has answered, and what was read, held against what the model allows.

use blk_core::{Error, Extent, MemoryStorage, Storage};

use super::{Flight, Inner};
use crate::execute::Reply;
use crate::model::{Look, Mismatch, Time};
use crate::promise::{Evidence, Kept, Promise, Violation};
use crate::refusal::is_handle_lost;
use crate::report::SECTOR_BYTES;
use crate::scenario::Request;
use crate::statistics::Counter;

impl Inner {
    pub(super) fn judge_reply(
        &mut self,
        flight: &Flight,
        request: Request,
        issued: Time,
        reply: Reply,
    ) -> Kept {
        let promise = if self.condition.is_faulted { Promise::Content } else { Promise::Answers };
        match reply {
            Reply::Zeroes(zeroes) if flight.is_inside => {
                let (offset, length) = request.range().unwrap_or((0, 0));
                let look = Look::begin(issued, Extent::new(offset, length));
                for zero in zeroes {
                    let may_be = self.model.may_be_zero(look, zero.intersection(look.extent));
                    if !may_be.map_err(|error| Violation::memory(&error))? {
                        let what = format!(
                            "claims zeroes at {}, {} bytes, where none can be",
                            zero.offset, zero.length
                        );
                        return Err(Violation::with(promise, what, Evidence::Status));
                    }
                }
                Ok(())
            }
            // Once something has failed, what it has leaked may still be there.
            Reply::Checked(checked) => {
                let is_fine = checked.is_clean()
                    || (self.condition.is_faulted
                        && (checked.is_repaired()
                            || (checked.corruptions == 0 && checked.check_errors == 0)));
                if is_fine {
                    return Ok(());
                }
                let promise = if self.condition.is_faulted { Promise::Consistent } else { Promise::Answers };
                Err(Violation::image(promise, "the check of the image is not clean", &checked))
            }
            Reply::Bitmap(slot, bits) => {
                let size = self.model.size();
                let judged = self.model.bitmaps.judge_bits(slot, &bits, size);
                judged.map_err(|what| Violation::new(Promise::Bitmaps, what))
            }
            Reply::Zeroes(_) | Reply::Done => Ok(()),
        }
    }

    /// Judges a failure that no driver may answer with on healthy storage.
    pub(super) fn excuse(&mut self, what: &'static str, has_failed: bool, error: &Error) -> Kept {
        self.condition.has_surfaced = true;
        self.condition.is_faulted |= has_failed;
        let is_refused = is_handle_lost(error);
        self.condition.is_poisoned |= is_refused && self.condition.is_faulted;
        if has_failed || self.condition.is_poisoned {
            return Ok(());
        }
        let promise = if self.condition.is_faulted { Promise::Works } else { Promise::Answers };
        let evidence = Evidence::Answer(format!("{:?}", error.kind()));
        Err(Violation::with(promise, format!("{what} failed, with no fault at work: {error}"), evidence))
    }

    pub(super) fn judge_look(&mut self, now: Time, look: Look, at: u64, found: &[u8]) -> Kept {
        self.stats.add(Counter::BytesRead, found.len() as u64);
        self.stats.add(Counter::BytesCompared, found.len() as u64);
        let looked = self.model.end_look(now, look, at, found).map_err(|error| Violation::memory(&error))?;
        looked.map_err(|mismatch| {
            let promise = if self.condition.is_faulted { Promise::Content } else { Promise::Answers };
            Violation::bytes(promise, "bytes that cannot be there are read", mismatch)
        })
    }

    /// Judges what a snapshot shows.
    pub(super) fn judge_snapshot(&mut self, slot: u8, at: u64, found: &[u8]) -> Kept {
        self.stats.add(Counter::BytesRead, found.len() as u64);
        let Some(held) = self.model.slot(slot) else {
            return Err(Violation::new(Promise::Snapshots, format!("slot {slot} holds what was never made")));
        };
        let mismatch = differing(&held.content, at, found).map_err(|error| Violation::memory(&error))?;
        self.stats.add(Counter::BytesCompared, found.len() as u64);
        let what = || format!("snapshot {slot} holds other bytes than when it was made");
        mismatch.map_or(Ok(()), |mismatch| Err(Violation::bytes(Promise::Snapshots, what(), mismatch)))
    }
}

/// The first sector from `at` on in which `found` is not what `content` has.
///
/// # Errors
/// Those of the memory for the content.
pub(crate) fn differing(content: &MemoryStorage, at: u64, found: &[u8]) -> Result<Option<Mismatch>, Error> {
    if content.holds(at, found) {
        return Ok(None);
    }
    for sector in Extent::new(at, found.len() as u64).parts(SECTOR_BYTES) {
        let bytes = &found[(sector.offset - at) as usize..(sector.end() - at) as usize];
        if !content.holds(sector.offset, bytes) {
            let mut expected = vec![0; bytes.len()];
            content.read_at(sector.offset, &mut expected)?;
            let (offset, found) = (sector.offset, bytes.to_vec());
            return Ok(Some(Mismatch { offset, found, possible: vec![expected] }));
        }
    }
    Ok(None)
}
