//! The dirty bitmaps inside an image, as they are found.

use blk_core::{Disk, Error, Result, slot_of_name};

use super::Run;
use crate::model::FoundBitmap;
use crate::promise::{Kept, Promise, Violation};

/// Reads the bitmaps of a disk that requests have made, those of others aside.
///
/// # Errors
/// Those of the disk.
pub(crate) fn bitmaps_in(disk: &Disk) -> Result<Vec<FoundBitmap>> {
    let Some(bitmaps) = disk.as_bitmaps() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for info in bitmaps.bitmaps()? {
        let Some(slot) = slot_of_name(&info.name) else { continue };
        let bits = if info.is_inconsistent { None } else { Some(bitmaps.read_bitmap(&info.name)?) };
        found.push(FoundBitmap { slot, is_enabled: info.is_enabled, bits });
    }
    found.sort_by_key(|bitmap| bitmap.slot);
    Ok(found)
}

/// What is said of bitmaps that cannot be read.
pub(crate) fn unread_bitmaps(error: &Error) -> Box<Violation> {
    Violation::failed(Promise::Bitmaps, "reading the dirty bitmaps", error)
}

/// What is wrong with bitmaps, as a broken promise.
pub(crate) fn kept_bitmaps(judged: std::result::Result<(), String>) -> Kept {
    judged.map_err(|what| Violation::new(Promise::Bitmaps, what))
}

impl Run<'_> {
    fn disk_with_bitmaps(&self) -> Option<std::sync::Arc<Disk>> {
        self.disk.clone().filter(|_| self.images.geometry.bitmaps)
    }

    /// Reads all bitmaps: they are those that were made, and have what was asked for.
    pub(super) fn observe_bitmaps(&mut self) -> Kept {
        let Some(disk) = self.disk_with_bitmaps() else { return Ok(()) };
        match bitmaps_in(&disk) {
            Ok(found) => {
                let size = disk.size();
                kept_bitmaps(self.checker.model(|model, _| model.bitmaps.judge_live(&found, size)))
            }
            Err(error) => self.unreadable(&error),
        }
    }

    /// Reads them after a change that has failed: it has happened, or not.
    pub(super) fn settle_bitmaps(&mut self) -> Kept {
        let Some(disk) = self.disk_with_bitmaps() else { return Ok(()) };
        match bitmaps_in(&disk) {
            Ok(found) => {
                let size = disk.size();
                kept_bitmaps(self.checker.model(|model, now| model.bitmaps.settle(now, &found, size)))
            }
            Err(error) => self.unreadable(&error),
        }
    }

    /// Takes over the bitmaps that are found after the handle was left without a close: such as a crash may
    /// leave.
    pub(super) fn adopt_bitmaps(&mut self) -> Kept {
        let Some(disk) = self.disk_with_bitmaps() else { return Ok(()) };
        let found = bitmaps_in(&disk).map_err(|error| unread_bitmaps(&error))?;
        let size = disk.size();
        kept_bitmaps(self.checker.model(|model, now| model.bitmaps.judge_crash(&found, size, now)))?;
        self.checker.model(|model, now| model.adopt_bitmaps(now, &found, size));
        Ok(())
    }

    /// Judges the bitmaps of an image that was left as it is now, and that `disk` is.
    pub(crate) fn judge_left_bitmaps(&self, disk: &Disk) -> Kept {
        if !self.images.geometry.bitmaps {
            return Ok(());
        }
        let found = bitmaps_in(disk).map_err(|error| unread_bitmaps(&error))?;
        let size = disk.size();
        kept_bitmaps(self.checker.model(|model, now| model.bitmaps.judge_crash(&found, size, now)))
    }

    /// A handle is about to end; a close saves the bitmaps.
    pub(super) fn begin_end(&self, kill: bool) {
        if !kill {
            self.checker.model(|model, now| model.bitmaps.begin_close(now));
        }
    }

    /// It has ended.
    pub(super) fn end_end(&self, kill: bool, is_done: bool) {
        if !kill {
            self.checker.model(|model, now| model.bitmaps.end_close(now, is_done));
        }
    }
}
