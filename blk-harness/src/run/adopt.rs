//! Going on with what is left after the handle was lost.

use std::sync::Arc;

use blk_core::Extent;

use super::{Run, Trouble, read_parts};
use crate::oracle::touched::apart;
use crate::promise::{Kept, Promise, Violation};

/// Of what a disk regains, so many bytes are read at most.
const REGAINED_BYTES_MAX: u64 = 16 << 20;

impl Run<'_> {
    /// Takes over what the disk shows after its handle had to be given up: each sector holds what a crash may
    /// leave.
    pub(crate) fn adopt(&mut self, has_lost: bool) -> Kept {
        let Some(disk) = self.disk.clone() else { return Ok(()) };
        let size = disk.size();
        let is_length_of_file = self.images.geometry.size_is_file_length && has_lost;
        let (is_allowed, sizes) = self.checker.model(|model, now| {
            let sizes = model.sizes_after_crash(now);
            let is_between =
                sizes.iter().any(|smaller| *smaller < size) && sizes.iter().any(|larger| size < *larger);
            (sizes.contains(&size) || (is_length_of_file && is_between), sizes)
        });
        if !is_allowed {
            let what = format!("the disk has {size} bytes after it was opened again, allowed are {sizes:?}");
            return Err(Violation::new(Promise::Size, what));
        }
        let (old, adopted) = self.checker.model(|model, now| (model.size(), model.adopt_size(now, size)));
        adopted.map_err(|error| Violation::memory(&error))?;
        let (checker, mut parts) = (Arc::clone(&self.checker), self.parts());
        if size > old {
            // A disk that had become smaller, but not durably: what it held is there again.
            parts.push(Extent::new(old, (size - old).min(REGAINED_BYTES_MAX)));
            parts = apart(parts);
        }
        let adopted = read_parts(&disk, &parts, &mut self.scratch.buffer, &mut |at, found| {
            let adopted = checker.model(|model, now| model.adopt(now, at, found));
            adopted.map_err(|error| Violation::memory(&error))?.map_err(|mismatch| {
                let what =
                    "after it was opened again, a sector holds neither what was durable nor anything later";
                Violation::bytes(Promise::Content, what, mismatch)
            })
        });
        match adopted {
            Err(Trouble::Unread(error)) => {
                Err(Violation::failed(Promise::Content, "reading what was opened again", &error))
            }
            Err(Trouble::Broken(violation)) => Err(violation),
            Ok(()) => {
                self.observe(&parts).map_err(|violation| violation.of(Promise::Stable))?;
                self.adopt_snapshots()?;
                self.adopt_bitmaps()
            }
        }
    }
}
