//! Looks at the live disk: what they may find, and what they settle.

use blk_core::{Extent, Result, Storage};

use super::{Id, Look, Mismatch, Model, Time, sector_around, sectors};
use crate::report::SECTOR_BYTES;

impl Model {
    /// A look has found `found` from `at` on, a part of its extent.
    ///
    /// # Errors
    /// The first bytes that are not possible.
    pub(crate) fn end_look(
        &mut self,
        now: Time,
        look: Look,
        at: u64,
        found: &[u8],
    ) -> Result<std::result::Result<(), Mismatch>> {
        let extent = Extent::new(at, found.len() as u64);
        let (first, end) = self.pieces_of(extent);
        // Pieces may be split on the way, but only behind what is still to come.
        for piece in (first..end).rev() {
            let part = self.extent_of(piece).intersection(extent);
            let bytes = &found[(part.offset - at) as usize..(part.end() - at) as usize];
            // Where one value alone is possible, it is the newest: there is nothing to settle.
            let mut possible =
                self.pieces[piece].entries.iter().filter(|entry| entry.superseded > look.issued);
            if possible.nth(1).is_none() && self.is_newest(part.offset, bytes) {
                continue;
            }
            for sector in sectors(part) {
                let bytes = &bytes[(sector.offset - part.offset) as usize..][..sector.length as usize];
                if !self.look_at_sector(now, look, sector, bytes)? {
                    let whole = sector_around(sector.offset).intersection(extent);
                    let found = &found[(whole.offset - at) as usize..(whole.end() - at) as usize];
                    return self
                        .mismatch(whole, found, |piece, part| self.candidates(piece, look, part))
                        .map(Err);
                }
            }
        }
        Ok(Ok(()))
    }

    /// Holds `found` against what the live disk shows, with nothing in flight; nothing is settled by it.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn compare(&self, at: u64, found: &[u8]) -> Result<Option<Mismatch>> {
        if self.is_newest(at, found) {
            return Ok(None);
        }
        for part in sectors(Extent::new(at, found.len() as u64)) {
            let bytes = &found[(part.offset - at) as usize..(part.end() - at) as usize];
            if self.is_newest(part.offset, bytes) {
                continue;
            }
            return self.newest_part(part).map(|expected| {
                let (offset, found) = (part.offset, bytes.to_vec());
                Some(Mismatch { offset, found, possible: vec![expected] })
            });
        }
        Ok(None)
    }

    /// Whether a look that has completed may have found zeroes in `extent`, a part of what it looked at.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn may_be_zero(&self, look: Look, extent: Extent) -> Result<bool> {
        let (first, end) = self.pieces_of(extent);
        for at in first..end {
            let piece = self.extent_of(at).intersection(extent);
            for part in sectors(piece) {
                let candidates = self.candidates(at, look, part);
                let zeroes = [0; SECTOR_BYTES as usize];
                let zeroes = &zeroes[..part.length as usize];
                if !self.any_shows(&candidates, part.offset, zeroes)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn any_shows(&self, values: &[Id], at: u64, found: &[u8]) -> Result<bool> {
        for value in values {
            if self.shows(*value, at, found)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Judges one sector, or a part of one, that a look has found. Returns whether it is possible.
    fn look_at_sector(&mut self, now: Time, look: Look, sector: Extent, found: &[u8]) -> Result<bool> {
        let (first, end) = self.pieces_of(sector);
        for at in (first..end).rev() {
            let part = self.extent_of(at).intersection(sector);
            let bytes = &found[(part.offset - sector.offset) as usize..][..part.length as usize];
            let candidates = self.candidates(at, look, part);
            let mut shown = Vec::with_capacity(candidates.len());
            for value in &candidates {
                if self.shows(*value, part.offset, bytes)? {
                    shown.push(*value);
                }
            }
            if shown.is_empty() {
                return Ok(false);
            }
            let is_disturbed = self.in_flight.iter().any(|write| write.extent.overlaps(part))
                || self.pieces[at].entries.iter().any(|entry| entry.completed > look.issued);
            if !is_disturbed && shown.len() < candidates.len() {
                self.settle(now, part, &shown);
            }
            if !is_disturbed && !self.is_newest(part.offset, bytes) {
                self.newest.write_at(part.offset, bytes)?;
            }
        }
        Ok(true)
    }

    /// All that a look may have found in piece number `at`, the latest last.
    fn candidates(&self, at: usize, look: Look, part: Extent) -> Vec<Id> {
        let entries = self.pieces[at].entries.iter().filter(|entry| entry.superseded > look.issued);
        let flying = self.in_flight.iter().filter(|write| write.extent.overlaps(part));
        entries.map(|entry| entry.value).chain(flying.map(|write| write.value)).collect()
    }

    /// Of what `extent` may hold, only `shown` is left.
    fn settle(&mut self, now: Time, extent: Extent, shown: &[Id]) {
        assert!(!shown.is_empty(), "a look shows something");
        let (first, end) = (self.split(extent.offset), self.split(extent.end()));
        for piece in &mut self.pieces[first..end] {
            let others = piece.entries.iter_mut().filter(|entry| !shown.contains(&entry.value));
            others.for_each(|entry| entry.supersede(now));
        }
    }
}
