//! What bitmaps are told of requests that have ended.

use blk_core::Extent;

use super::FoundBitmap;
use crate::model::{Model, SECTOR_BYTES, Time, Write};

impl Model {
    /// What dirty bitmaps follow is told of a request that has ended: one that has succeeded is in them; of
    /// one that has failed, what it is found to have changed.
    pub(crate) fn follow(&mut self, now: Time, write: Write, is_done: bool) {
        if is_done {
            self.bitmaps.followed(write.issued, now, write.extent);
        } else if !self.bitmaps.live.is_empty() {
            self.failed.push(write);
        }
    }

    /// As [`super::Bitmaps::adopt`]. A bitmap that does not say that it is inconsistent has what a request
    /// that has failed has changed even so.
    pub(crate) fn adopt_bitmaps(&mut self, now: Time, found: &[FoundBitmap], size: u64) {
        self.bitmaps.adopt(now, found, size);
        self.follow_failed(now);
        self.ambiguous.clear();
    }

    /// A look has settled what requests that have failed have changed: where nothing else is possible than
    /// what one has written, it has.
    pub(crate) fn follow_failed(&mut self, now: Time) {
        let shown = Extent::new(0, self.size());
        for write in std::mem::take(&mut self.failed) {
            let (first, end) = self.pieces_of(write.extent);
            for piece in first..end {
                let mut live = self.pieces[piece].live();
                let part = self.extent_of(piece).intersection(write.extent).intersection(shown);
                if !live.all(|entry| entry.value == write.value) {
                    continue;
                }
                if self.ambiguous.count() == 0 {
                    self.bitmaps.followed(write.issued, now, part);
                    continue;
                }
                for sector in part.parts(SECTOR_BYTES) {
                    if !self.ambiguous.contains(sector.offset / SECTOR_BYTES) {
                        self.bitmaps.followed(write.issued, now, sector);
                    }
                }
            }
        }
    }
}
