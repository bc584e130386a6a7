//! What of a state depends on what was asked before: C3, C4 and the bound on leaks.

use blk_core::{Extent, Result};
use blk_sim::SECTOR_BYTES;

use super::{Explorer, History};
use crate::checker::{Record, UNITS_PER_TABLE};
use crate::crash::Profile;
use crate::judge::{Analysis, Content};
use crate::model::{FoundBitmap, Model, Time};
use crate::promise::{Kept, Promise, Violation};
use crate::report::{self, OriginClass};
use crate::run::{judged, kept_bitmaps};

impl Explorer<'_> {
    /// C4 for snapshots.
    fn judge_snapshots(&self, model: &Model, analysis: &Analysis, time: Time) -> Kept {
        if !self.images.geometry.snapshots {
            return Ok(());
        }
        judged(&analysis.snapshots, &model.slots_after_crash(time)).map(drop)
    }

    /// C4 for dirty bitmaps.
    fn judge_bitmaps(&self, history: &History, analysis: &Analysis, time: Time) -> Kept {
        let (model, records) = (&history.model, &history.records);
        if !self.images.geometry.bitmaps {
            return Ok(());
        }
        let size = analysis.content.size;
        kept_bitmaps(model.bitmaps.judge_crash(&analysis.bitmaps, size, time))?;
        self.judge_followed(records, analysis, time)
    }

    /// A bitmap that has been saved, and says that nothing has happened since, has whatever a crash has kept
    /// of the requests in flight.
    fn judge_followed(&self, records: &[Record], analysis: &Analysis, time: Time) -> Kept {
        let follows = |bitmap: &&FoundBitmap| bitmap.is_enabled && bitmap.bits.is_some();
        let following: Vec<&FoundBitmap> = analysis.bitmaps.iter().filter(follows).collect();
        if following.is_empty() {
            return Ok(());
        }
        let Content { bytes, size } = &analysis.content;
        let shown = Extent::new(0, (*size).min(self.shadow.len() as u64));
        let is_in_flight = |record: &&Record| record.issued <= time && time < record.completed;
        for record in records.iter().filter(is_in_flight) {
            for sector in record.changes.intersection(shown).parts(SECTOR_BYTES) {
                let before = &self.shadow[sector.offset as usize..sector.end() as usize];
                if self.doubtful.contains(sector.offset / SECTOR_BYTES) || bytes.holds(sector.offset, before)
                {
                    continue;
                }
                let is_clean =
                    |bitmap: &&&FoundBitmap| bitmap.bits.as_ref().is_some_and(|bits| !bits.run(sector).1);
                if let Some(FoundBitmap { slot, .. }) = following.iter().find(is_clean) {
                    let what = "has not what a request in flight has changed, and does not say so";
                    return Err(Violation::new(Promise::Bitmaps, format!("bitmap {slot} {what}")));
                }
            }
        }
        Ok(())
    }

    /// C3, C4 and the bound on leaks: what depends on what was asked.
    pub(super) fn judge_content(
        &self,
        history: &History,
        analysis: &Analysis,
        time: Time,
    ) -> Result<Option<Box<Violation>>> {
        let model = &history.model;
        let size = analysis.content.size;
        let sizes = model.sizes_after_crash(time);
        if !sizes.contains(&size) {
            let what = format!("the disk has {size} bytes, allowed are {sizes:?}");
            return Ok(Some(Violation::new(Promise::Size, what)));
        }
        let touched = self.touched[0].count() + self.touched[1].count() + self.units_beside;
        let replaced = model.bitmaps.units_max();
        // The tables that are to refer to what was touched are counted before they are written.
        if analysis.leaks > touched + touched / UNITS_PER_TABLE + replaced {
            let what = "more clusters have leaked than were touched since the last flush";
            let note = format!("{} leaks, {touched} clusters touched", analysis.leaks);
            return Ok(Some(Violation::new(Promise::Leaks, what).note(note)));
        }
        let broken = {
            let Content { bytes, size } = &analysis.content;
            model.judge_crash((bytes, *size), time, &self.shadow, &self.doubtful)?
        };
        let Some(mismatch) = broken else {
            let judged = self.judge_snapshots(model, analysis, time);
            return Ok(judged.and_then(|()| self.judge_bitmaps(history, analysis, time)).err());
        };
        let sector = Extent::new(mismatch.offset, mismatch.found.len() as u64);
        let class = report::source(self.journal, &mismatch.found, mismatch.offset, 0, size).class();
        let is_known = matches!(class, OriginClass::Misplaced | OriginClass::InitialMisplaced);
        if self.options.profile == Profile::Lenient && is_known && model.is_uncertain(sector, time) {
            return Ok(None);
        }
        Ok(Some(Violation::bytes(Promise::Content, "a sector holds what it must not", mismatch)))
    }
}
