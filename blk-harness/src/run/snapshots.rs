//! The snapshots inside an image, as they are found: which there are, and what each holds.

use std::sync::Arc;

use blk_core::{Disk, Error, MemoryStorage, Result, slot_of_name};
use blk_sim::progress;

use super::Run;
use crate::checker::differing;
use crate::execute::SNAPSHOT_BYTES_MAX;
use crate::model::{Held, Mismatch, Slots};
use crate::promise::{Kept, Promise, Violation};
use crate::verify::UNREAD;

/// What is found in an image: each snapshot that requests have made, by its slot, with its size and its first
/// [`SNAPSHOT_BYTES_MAX`] bytes.
pub(crate) type Found = Vec<(u8, u64, Vec<u8>)>;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Reads the snapshots of a disk that requests have made, those of others aside.
///
/// # Errors
/// Those of the disk.
pub(crate) fn found_in(disk: &Disk) -> Result<Found> {
    let Some(snapshots) = disk.as_snapshots() else { return Ok(Found::new()) };
    let mut found = Found::new();
    for info in snapshots.snapshots()? {
        let Some(slot) = slot_of_name(&info.name) else { continue };
        let size = info.disk_bytes.unwrap_or(disk.size());
        // Bytes that the driver forgets to fill must not be right by accident.
        let mut content = vec![UNREAD; size.min(SNAPSHOT_BYTES_MAX) as usize];
        for (part, buf) in (0..).step_by(PIECE_BYTES).zip(content.chunks_mut(PIECE_BYTES)) {
            progress::step();
            snapshots.read_snapshot(&info.id, part, buf)?;
        }
        found.push((slot, size, content));
    }
    found.sort_by_key(|(slot, ..)| *slot);
    Ok(found)
}

/// What is said of snapshots that cannot be read.
pub(crate) fn unread(error: &Error) -> Box<Violation> {
    Violation::failed(Promise::Snapshots, "reading the snapshots", error)
}

/// What is found, as a list of what is to be there.
pub(crate) fn slots_of(found: &Found) -> Arc<Slots> {
    let held = |(slot, size, content): &(u8, u64, Vec<u8>)| {
        (*slot, Held { content: Arc::new(MemoryStorage::from_bytes(content)), size: *size })
    };
    Arc::new(found.iter().map(held).collect())
}

/// How what is found differs from a list: in the slots and sizes, or in what one holds.
fn difference(found: &Found, slots: &Slots) -> Result<Option<(String, Option<Mismatch>)>> {
    let sizes: Vec<(u8, u64)> = found.iter().map(|(slot, size, _)| (*slot, *size)).collect();
    let expected: Vec<(u8, u64)> = slots.iter().map(|(slot, held)| (*slot, held.size)).collect();
    if sizes != expected {
        let what = format!("the snapshots, with their sizes, are {sizes:?}, expected are {expected:?}");
        return Ok(Some((what, None)));
    }
    for ((slot, _, content), held) in found.iter().zip(slots.values()) {
        if let Some(mismatch) = differing(&held.content, 0, content)? {
            let what = format!("snapshot {slot} holds other bytes than when it was made");
            return Ok(Some((what, Some(mismatch))));
        }
    }
    Ok(None)
}

/// Whether what is found is one of `lists`: which one. The latest is what a report is about.
pub(crate) fn judged(found: &Found, lists: &[Arc<Slots>]) -> Kept<Arc<Slots>> {
    let mut last = None;
    for slots in lists.iter().rev() {
        match difference(found, slots).map_err(|error| Violation::memory(&error))? {
            None => return Ok(Arc::clone(slots)),
            Some(different) => drop(last.get_or_insert(different)),
        }
    }
    let (what, mismatch) = last.expect("an image has a list, which may be empty");
    Err(match mismatch {
        Some(mismatch) => Violation::bytes(Promise::Snapshots, what, mismatch),
        None => Violation::new(Promise::Snapshots, what),
    })
}

impl Run<'_> {
    /// Reads all snapshots: they are those that were made, and hold what the disk held.
    pub(super) fn observe_snapshots(&mut self) -> Kept {
        let Some(disk) = self.disk.clone().filter(|_| self.images.geometry.snapshots) else { return Ok(()) };
        let slots = self.checker.model(|model, _| model.slots());
        match found_in(&disk) {
            Ok(found) => judged(&found, &[slots]).map(drop),
            Err(error) => self.unreadable(&error),
        }
    }

    /// Takes over the list that is found after the handle had to be given up: one that a crash may leave.
    pub(super) fn adopt_snapshots(&mut self) -> Kept {
        let Some(disk) = self.disk.clone().filter(|_| self.images.geometry.snapshots) else { return Ok(()) };
        let lists = self.checker.model(|model, now| model.slots_after_crash(now));
        let found = found_in(&disk).map_err(|error| unread(&error))?;
        let slots = judged(&found, &lists)?;
        self.checker.model(|model, now| model.adopt_slots(now, slots));
        Ok(())
    }
}
