//! What is left after a crash, or when a handle was lost, sector by sector.

use blk_core::{Extent, MemoryStorage, Result, Storage};

use super::{Entry, Id, Mismatch, Model, NEVER, Time, sectors};
use crate::report::SECTOR_BYTES;
use blk_sim::Ranges;

/// A part of a sector in which one list of values is possible.
struct Part {
    piece: usize,
    extent: Extent,
    /// Those that show what was found, the latest first.
    shown: Vec<Entry>,
}

impl Model {
    /// Holds `found`, a whole disk of one of [`Model::sizes_after_crash`], against what a crash at `time` may
    /// leave. `shadow` is one content that is possible then, mostly the only one, but in `doubtful` sectors.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn judge_crash(
        &self,
        (found, size): (&MemoryStorage, u64),
        time: Time,
        shadow: &[u8],
        doubtful: &Ranges,
    ) -> Result<Option<Mismatch>> {
        let mut bytes = [0; SECTOR_BYTES as usize];
        for part in pieces(size) {
            if is_as(found, shadow, doubtful, part) {
                continue;
            }
            for sector in sectors(part).filter(|sector| !is_as(found, shadow, doubtful, *sector)) {
                let bytes = &mut bytes[..sector.length as usize];
                found.read_at(sector.offset, bytes)?;
                if let Err(mismatch) = self.after_crash(sector, bytes, time)? {
                    return Ok(Some(mismatch));
                }
            }
        }
        Ok(None)
    }

    /// Whether a request touches a sector of which a crash at `time` may leave more than one value.
    pub(crate) fn is_uncertain(&self, sector: Extent, time: Time) -> bool {
        let (first, end) = self.pieces_of(sector);
        self.pieces[first..end].iter().any(|piece| {
            piece.entries.iter().filter(|entry| entry.issued <= time && entry.gone > time).nth(1).is_some()
        })
    }

    /// Writes to `shadow` what the disk shows in `extent` at `time`, and adds to `doubtful` the sectors in
    /// which that may be one thing or another.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn show(
        &self,
        extent: Extent,
        time: Time,
        shadow: &mut [u8],
        doubtful: &mut Ranges,
    ) -> Result<()> {
        let (first, end) = self.pieces_of(extent);
        for piece in first..end {
            let part = self.extent_of(piece).intersection(extent);
            let is_there = |entry: &&Entry| entry.completed <= time && entry.superseded > time;
            let mut there = self.pieces[piece].entries.iter().filter(is_there);
            match (there.next(), there.next()) {
                (Some(entry), None) => {
                    let range = part.offset as usize..part.end() as usize;
                    self.fill_value(entry.value, part.offset, &mut shadow[range])?;
                }
                _ => doubtful.add(part.offset / SECTOR_BYTES..part.end().div_ceil(SECTOR_BYTES)),
            }
        }
        Ok(())
    }

    /// Takes over the size that the disk has after its handle was lost at `now`.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn adopt_size(&mut self, now: Time, size: u64) -> Result<()> {
        let old = self.size();
        if size == old {
            return Ok(());
        }
        assert!(size <= self.reached(), "{size} bytes were never asked for");
        assert!(self.in_flight.is_empty(), "a handle is lost with nothing in flight");
        self.sizes.end(now, size);
        self.newest.set_len(size.min(self.newest.len()?))?;
        if size < old {
            self.cut_off(now, now, Extent::between(size, old));
        }
        Ok(())
    }

    /// Takes over what the disk shows from `at` on after its handle was lost at `now`: whole sectors, each of
    /// which holds what a crash may leave. It is what the live disk shows from then on.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn adopt(
        &mut self,
        now: Time,
        at: u64,
        found: &[u8],
    ) -> Result<std::result::Result<(), Mismatch>> {
        // What is alike from one sector to the next is one piece.
        let mut revived: Option<(Extent, Id)> = None;
        for sector in sectors(Extent::new(at, found.len() as u64)) {
            let bytes = &found[(sector.offset - at) as usize..][..sector.length as usize];
            let parts = match self.after_crash(sector, bytes, now)? {
                Ok(parts) => parts,
                Err(mismatch) => return Ok(Err(mismatch)),
            };
            let is_live = |(part, value): &(Part, Id)| {
                let mut live = self.pieces[part.piece].live();
                live.next().is_some_and(|entry| entry.value == *value) && live.next().is_none()
            };
            let parts = if parts.iter().all(is_live) { Vec::new() } else { parts };
            self.newest.write_at(sector.offset, bytes)?;
            for (Part { extent, shown, .. }, value) in parts {
                if shown.iter().any(|entry| entry.value != value) {
                    let sector = sector.offset / SECTOR_BYTES;
                    self.ambiguous.add(sector..sector + 1);
                }
                match &mut revived {
                    Some((run, last)) if *last == value && run.end() == extent.offset => {
                        run.length += extent.length;
                    }
                    _ => {
                        if let Some((run, last)) = revived.replace((extent, value)) {
                            self.revive(now, run, last);
                        }
                    }
                }
            }
        }
        if let Some((run, last)) = revived {
            self.revive(now, run, last);
        }
        Ok(Ok(()))
    }

    /// The live disk shows nothing but `value` in `extent`.
    fn revive(&mut self, now: Time, extent: Extent, value: Id) {
        let (first, end) = (self.split(extent.offset), self.split(extent.end()));
        for piece in &mut self.pieces[first..end] {
            piece.entries.iter_mut().for_each(|entry| entry.supersede(now));
            piece.entries.push(Entry { value, issued: now, completed: now, superseded: NEVER, gone: NEVER });
        }
    }

    /// The value of each part of a sector in which `found` was left by a crash at `time`.
    fn after_crash(
        &self,
        sector: Extent,
        found: &[u8],
        time: Time,
    ) -> Result<std::result::Result<Vec<(Part, Id)>, Mismatch>> {
        let (first, end) = self.pieces_of(sector);
        let mut parts = Vec::with_capacity(end - first);
        for piece in first..end {
            let extent = self.extent_of(piece).intersection(sector);
            let bytes = &found[(extent.offset - sector.offset) as usize..][..extent.length as usize];
            let mut shown = Vec::new();
            for entry in self.left_at(piece, extent, time).rev() {
                if self.shows(entry.value, extent.offset, bytes)? {
                    shown.push(entry);
                }
            }
            parts.push(Part { piece, extent, shown });
        }
        let mut chosen = Vec::with_capacity(parts.len());
        if choose(&parts, &mut chosen) {
            let values = chosen.iter().map(|entry: &Entry| entry.value);
            return Ok(Ok(parts.into_iter().zip(values).collect()));
        }
        let left = |piece, part| self.left_at(piece, part, time).map(|entry| entry.value).collect();
        self.mismatch(sector, found, left).map(Err)
    }

    /// What a crash at `time` may leave in `part` of a piece, the latest last: what is in flight too.
    fn left_at(&self, piece: usize, part: Extent, time: Time) -> impl DoubleEndedIterator<Item = Entry> {
        let may_be_left = move |entry: &&Entry| entry.issued <= time && entry.gone > time;
        let entries = self.pieces[piece].entries.iter().filter(may_be_left).copied();
        let flying =
            self.in_flight.iter().filter(move |write| write.issued <= time && write.extent.overlaps(part));
        entries.chain(flying.map(|write| Entry {
            value: write.value,
            issued: write.issued,
            completed: NEVER,
            superseded: NEVER,
            gone: NEVER,
        }))
    }
}

/// Parts of a disk of `size` bytes that are compared at a time.
fn pieces(size: u64) -> impl Iterator<Item = Extent> {
    const BYTES: u64 = 8 * SECTOR_BYTES;
    (0..size).step_by(BYTES as usize).map(move |at| Extent::between(at, (at + BYTES).min(size)))
}

/// Whether `found` holds in `extent` what the shadow does, and that is possible.
fn is_as(found: &MemoryStorage, shadow: &[u8], doubtful: &Ranges, extent: Extent) -> bool {
    let sectors = extent.offset / SECTOR_BYTES..extent.end().div_ceil(SECTOR_BYTES);
    let shadow = shadow.get(extent.offset as usize..extent.end() as usize);
    !doubtful.overlaps(sectors) && shadow.is_some_and(|shadow| found.holds(extent.offset, shadow))
}

/// Chooses one of the values of each part so that all were there at one moment: a sector is written whole.
/// None of them may have been superseded before another was issued.
fn choose(parts: &[Part], chosen: &mut Vec<Entry>) -> bool {
    let Some(part) = parts.get(chosen.len()) else { return true };
    for entry in &part.shown {
        let agrees = |other: &Entry| entry.superseded >= other.issued && other.superseded >= entry.issued;
        if chosen.iter().all(agrees) {
            chosen.push(*entry);
            if choose(parts, chosen) {
                return true;
            }
            chosen.pop();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_shadow_holds_is_possible_but_for_sectors_that_are_in_doubt() {
        let shadow: Vec<u8> = (0..4096_u64).map(|at| (at / 100) as u8).collect();
        let found = MemoryStorage::new();
        found.write_at(0, &shadow).unwrap();
        let mut doubtful = Ranges::default();
        doubtful.add(3..5);
        for (first, count, is_possible) in
            [(0, 3, true), (0, 4, false), (3, 1, false), (4, 1, false), (5, 3, true), (4, 4, false)]
        {
            let extent = Extent::new(first * SECTOR_BYTES, count * SECTOR_BYTES);
            assert_eq!(is_as(&found, &shadow, &doubtful, extent), is_possible, "{extent:?}");
        }
        let part = Extent::new(2 * SECTOR_BYTES, SECTOR_BYTES + 1);
        assert!(!is_as(&found, &shadow, &doubtful, part), "a byte of a sector in doubt");
        found.write_at(700, &[0xff]).unwrap();
        assert!(!is_as(&found, &shadow, &Ranges::default(), Extent::new(512, 512)));
        assert!(!is_as(&found, &shadow, &Ranges::default(), Extent::new(3584, 1024)), "past the shadow");
    }
}
