//! What each sector of a disk may hold, and why: the history of a disk, as its requests tell it.
//!
//! A *value* is what one request writes (or what was there at first), with the times at which the request was
//! issued and completed. No bytes of it are stored: stamps are made again from the request and the address.
//! In a *piece* of the disk, a value is possible from the issue of its request until it is **superseded**:
//! another request, issued after it had completed, has completed over it, or a read has shown that it is not
//! there. It is **gone** for good once a flush that was issued after that has completed. A discard, and a
//! request that failed, supersede nothing for certain.
//!
//! | view | the values that a sector may hold |
//! |---|---|
//! | live | between the issue and the completion of a look: those issued by then and not superseded before |
//! | after a crash at a time, or after the handle was lost | those issued by then and not gone; a sector is all of one moment |
//!
//! A size is a register of the same kind. What a disk gains by a resize is zero; what it loses stays known,
//! because a crash may bring the old size back. The list of snapshots is one too; a snapshot is a copy. So is
//! the list of dirty bitmaps (`bitmaps`).
//!
//! The model knows requests, numbers, bytes and times: no disk, no report.

mod bitmaps;
mod look;
mod sector;
mod sizes;
mod snapshots;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use blk_core::{Extent, MemoryStorage, Result, Storage};
use blk_sim::Ranges;

use smallvec::{SmallVec, smallvec};

use crate::report::SECTOR_BYTES;
use crate::scenario::Request;
use sizes::Sizes;
use snapshots::Lists;
use value::Value;

pub(crate) use bitmaps::{ActEnded, BitmapChange, Bitmaps, FoundBitmap};
pub(crate) use snapshots::{Change, Held, Slots};
pub(crate) use value::{Source, fill};

/// Ticks of one clock, which the host of the disk shares.
pub(crate) type Time = u64;

/// A time that never comes.
const NEVER: Time = Time::MAX;

/// The number of a value; 0 is what was there at first.
type Id = u32;

/// A value in a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    value: Id,
    /// When its request was issued.
    issued: Time,
    /// When its request completed.
    completed: Time,
    superseded: Time,
    gone: Time,
}

impl Entry {
    fn is_live(&self) -> bool {
        self.superseded == NEVER
    }

    /// Another value is there for certain from `now` on.
    fn supersede(&mut self, now: Time) {
        self.superseded = self.superseded.min(now);
    }
}

/// Most pieces have one value, and had one before.
type Entries = SmallVec<[Entry; 2]>;

/// A part of the disk all of whose sectors may hold the same values, the latest last. It reaches up to the
/// next piece.
#[derive(Debug, Clone)]
struct Piece {
    start: u64,
    entries: Entries,
}

impl Piece {
    fn live(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_live())
    }
}

/// A request that changes content, in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write {
    value: Id,
    pub(crate) extent: Extent,
    issued: Time,
}

/// What a request that changes content has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its value is there, and what was there before is not.
    Replaced,
    /// As before, and it is durable.
    Durable,
    /// Each sector is old or new: a discard, or a request that failed.
    MayStay,
}

/// A look at content, in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) extent: Extent,
    issued: Time,
}

impl Look {
    /// A look at `extent` that is issued at `now`.
    pub(crate) fn begin(now: Time, extent: Extent) -> Self {
        Self { extent, issued: now }
    }
}

/// Bytes that are not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Where their sector lies.
    pub(crate) offset: u64,
    pub(crate) found: Vec<u8>,
    /// Each value that was possible, the latest last; never empty.
    pub(crate) possible: Vec<Vec<u8>>,
}

/// The history of a disk. A copy is cheap: bytes are shared.
#[derive(Debug)]
pub(crate) struct Model {
    /// What was there at first.
    initial: Arc<MemoryStorage>,
    /// One possible content of the live disk, mostly the only one: whole ranges are compared with it at once.
    newest: MemoryStorage,
    /// The unit that compressed writes fill in part.
    fill_bytes: u64,
    values: Vec<Value>,
    pieces: Vec<Piece>,
    in_flight: Vec<Write>,
    sizes: Sizes,
    lists: Lists,
    pub(crate) bitmaps: Bitmaps,
    /// Requests that have failed, of which it is not known yet what they have changed.
    failed: Vec<Write>,
    /// Sectors that were taken over and may be of several requests, since these have written the same there.
    ambiguous: Ranges,
    /// What snapshots that were applied hold.
    held: Vec<Arc<MemoryStorage>>,
    /// Whether values that are gone are kept: crashes at earlier times are asked about.
    keeps_past: bool,
    /// Whether a piece has several live values.
    is_unsettled: bool,
}

impl Clone for Model {
    fn clone(&self) -> Self {
        Self {
            initial: Arc::clone(&self.initial),
            newest: self.newest.duplicate(),
            values: self.values.clone(),
            pieces: self.pieces.clone(),
            in_flight: self.in_flight.clone(),
            sizes: self.sizes.clone(),
            lists: self.lists.clone(),
            bitmaps: self.bitmaps.clone(),
            failed: self.failed.clone(),
            ambiguous: self.ambiguous.clone(),
            held: self.held.clone(),
            ..*self
        }
    }
}

impl Model {
    /// A disk of `size` bytes that shows `initial`, all of it durable.
    pub(crate) fn new(initial: Arc<MemoryStorage>, size: u64, fill_bytes: u64, keeps_past: bool) -> Self {
        let value = Value { extent: Extent::new(0, size), source: Source::Initial };
        let entry = Entry { value: 0, issued: 0, completed: 0, superseded: NEVER, gone: NEVER };
        Self {
            newest: initial.duplicate(),
            initial,
            fill_bytes,
            values: vec![value],
            pieces: vec![Piece { start: 0, entries: smallvec![entry] }],
            in_flight: Vec::new(),
            sizes: Sizes::new(size),
            lists: Lists::default(),
            bitmaps: Bitmaps::default(),
            failed: Vec::new(),
            ambiguous: Ranges::default(),
            held: Vec::new(),
            keeps_past,
            is_unsettled: false,
        }
    }

    /// The memory that a copy takes, about, bytes: what it shares with the original is left out.
    pub(crate) fn bytes_about(&self) -> u64 {
        let entries = size_of_val(&*self.pieces) + size_of_val(&*self.values) + size_of_val(&*self.in_flight);
        let spilled = self.pieces.iter().filter(|piece| piece.entries.spilled());
        let spilled: usize = spilled.map(|piece| piece.entries.capacity() * size_of::<Entry>()).sum();
        // The index of the newest content, of 8 bytes for a page of 4096.
        (entries + spilled) as u64 + self.size().min(1 << 30) / 512
    }

    /// Size of the live disk, bytes.
    pub(crate) fn size(&self) -> u64 {
        self.sizes.live()
    }

    /// Sizes that the disk may have after a crash at `time`.
    pub(crate) fn sizes_after_crash(&self, time: Time) -> Vec<u64> {
        self.sizes.after_crash(time)
    }

    /// Whether anything may be one thing or another. A read that nothing disturbs settles it.
    pub(crate) fn is_settled(&self) -> bool {
        !self.is_unsettled
    }

    /// The parts of the live disk that may be one thing or another, as whole sectors.
    pub(crate) fn unsettled(&mut self) -> Vec<Extent> {
        let size = self.size();
        let mut parts: Vec<Extent> = Vec::new();
        for at in 0..self.pieces.len() {
            let piece = self.extent_of(at).intersection(Extent::new(0, size));
            if piece.is_empty() || self.pieces[at].live().nth(1).is_none() {
                continue;
            }
            let end = piece.end().next_multiple_of(SECTOR_BYTES).min(size);
            let whole = Extent::between(piece.offset & !(SECTOR_BYTES - 1), end);
            match parts.last_mut() {
                Some(last) if whole.offset <= last.end() => {
                    *last = Extent::between(last.offset, last.end().max(whole.end()));
                }
                _ => parts.push(whole),
            }
        }
        self.is_unsettled = !parts.is_empty();
        parts
    }

    /// A request that puts `source` into `extent` is issued.
    pub(crate) fn begin_write(&mut self, now: Time, extent: Extent, source: Source) -> Write {
        assert!(extent.end() <= self.size(), "{extent:?} on a disk of {} bytes", self.size());
        assert!(self.keeps_past || self.in_flight.is_empty(), "what is in flight together needs the past");
        self.bitmaps.asked(now, extent);
        let write = Write { value: self.add(extent, source), extent, issued: now };
        self.in_flight.push(write);
        if !extent.is_empty() {
            // What is in flight over a piece is in flight over all of it.
            self.split(extent.offset);
            self.split(extent.end());
        }
        write
    }

    /// It has completed.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn end_write(&mut self, now: Time, write: Write, ending: Ending) -> Result<()> {
        let flying = self.in_flight.len();
        self.in_flight.retain(|other| other.value != write.value);
        assert_eq!(self.in_flight.len() + 1, flying, "{write:?} is not in flight");
        self.put(now, write, ending);
        if ending != Ending::MayStay {
            self.make_newest(write.value, write.extent)?;
        }
        Ok(())
    }

    fn put(&mut self, now: Time, write: Write, ending: Ending) {
        let (first, end) = (self.split(write.extent.offset), self.split(write.extent.end()));
        let entry = Entry {
            value: write.value,
            issued: write.issued,
            completed: now,
            superseded: NEVER,
            gone: NEVER,
        };
        for piece in &mut self.pieces[first..end] {
            if ending != Ending::MayStay {
                for older in piece.entries.iter_mut().filter(|older| older.completed <= write.issued) {
                    older.supersede(now);
                    if ending == Ending::Durable {
                        older.gone = older.gone.min(now);
                    }
                }
                if !self.keeps_past {
                    piece.entries.retain(|entry| entry.gone == NEVER);
                }
            }
            piece.entries.push(entry);
            self.is_unsettled |= piece.live().nth(1).is_some();
        }
        debug_assert!(self.is_sound(), "{:?}", self.pieces);
    }

    /// What holds between any two calls.
    fn is_sound(&self) -> bool {
        let in_order = self.pieces.is_sorted_by(|one, next| one.start < next.start);
        let in_time = |entry: &Entry| {
            entry.issued <= entry.completed
                && entry.issued <= entry.superseded
                && entry.superseded <= entry.gone
        };
        let is_kept = |piece: &Piece| piece.live().next().is_some() && piece.entries.iter().all(in_time);
        // Bytes past the end of the disk cannot be read.
        let size = self.size();
        let is_settled =
            || self.pieces.iter().all(|piece| piece.start >= size || piece.live().nth(1).is_none());
        self.pieces.first().is_some_and(|first| first.start == 0)
            && in_order
            && self.pieces.iter().all(is_kept)
            && (self.is_unsettled || is_settled())
    }

    /// A flush that was issued at `issued` has completed: what had completed before it is durable.
    pub(crate) fn flushed(&mut self, issued: Time, now: Time) {
        assert!(issued <= now, "a flush that completes before it is issued");
        for piece in &mut self.pieces {
            for entry in piece.entries.iter_mut().filter(|entry| entry.superseded <= issued) {
                entry.gone = entry.gone.min(now);
            }
            if !self.keeps_past {
                piece.entries.retain(|entry| entry.gone == NEVER);
            }
            assert!(piece.live().next().is_some(), "a flush leaves something to be there");
        }
        self.sizes.flushed(issued, now);
        self.lists.flushed(issued, now);
        self.bitmaps.flushed(issued, now);
        debug_assert!(self.is_sound(), "{:?}", self.pieces);
    }

    /// A resize to `size` is issued; others wait.
    pub(crate) fn begin_resize(&mut self, now: Time, size: u64) {
        let kept = size.min(self.size());
        let stays = |write: &Write| write.extent.end() <= kept;
        assert!(self.in_flight.iter().all(stays), "what a resize cuts off or adds, nothing in flight writes");
        let reached = self.reached();
        if size > reached {
            let value = self.add(Extent::between(reached, size), Source::Zeroes);
            // What the disk has never had was zero all the time: a sector in which it ended may come to hold
            // that beside any value of its beginning.
            let entry = Entry { value, issued: 0, completed: 0, superseded: NEVER, gone: NEVER };
            let piece = Piece { start: reached, entries: smallvec![entry] };
            // A disk of no bytes had one empty piece.
            self.pieces.retain(|piece| piece.start < reached);
            self.pieces.push(piece);
        }
        self.sizes.begin(now, size);
        self.bitmaps.resizing(now);
    }

    /// It has completed, with the disk at `found` bytes.
    ///
    /// # Errors
    /// Those of the memory for the content.
    pub(crate) fn end_resize(&mut self, issued: Time, now: Time, found: u64) -> Result<()> {
        let old = self.size();
        self.sizes.end(now, found);
        self.bitmaps.resized(found);
        self.newest.set_len(found.min(self.newest.len()?))?;
        self.cut_off(issued, now, Extent::between(old.min(found), old.max(found)));
        Ok(())
    }

    /// The disk gains or loses `extent`. What is cut off is gone once a flush follows: a disk that grows
    /// later does not show it, not even after a crash.
    fn cut_off(&mut self, issued: Time, now: Time, extent: Extent) {
        let write = Write { value: self.add(extent, Source::Zeroes), extent, issued };
        self.put(now, write, Ending::Replaced);
    }

    /// What is said of a sector that holds what it must not: `values` are those that are possible in a part
    /// of a piece, the latest last. Where there are several parts, the latest values of all are put together,
    /// then those before them.
    fn mismatch(
        &self,
        sector: Extent,
        found: &[u8],
        values: impl Fn(usize, Extent) -> Vec<Id>,
    ) -> Result<Mismatch> {
        let (first, end) = self.pieces_of(sector);
        let parts: Vec<(Extent, Vec<Id>)> = (first..end)
            .map(|piece| {
                let part = self.extent_of(piece).intersection(sector);
                (part, values(piece, part))
            })
            .collect();
        assert!(parts.iter().all(|(_, values)| !values.is_empty()), "something is always possible");
        let count = parts.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let mut possible = Vec::with_capacity(count);
        for back in (0..count).rev() {
            let mut bytes = vec![0; sector.length as usize];
            for (part, values) in &parts {
                let value = values[values.len() - 1 - back.min(values.len() - 1)];
                let range = (part.offset - sector.offset) as usize..(part.end() - sector.offset) as usize;
                self.fill_value(value, part.offset, &mut bytes[range])?;
            }
            if possible.last() != Some(&bytes) {
                possible.push(bytes);
            }
        }
        Ok(Mismatch { offset: sector.offset, found: found.to_vec(), possible })
    }

    fn add(&mut self, extent: Extent, source: Source) -> Id {
        self.values.push(Value { extent, source });
        self.values.len() as Id - 1
    }

    /// The largest size that the disk has had or was asked to have: pieces reach up to it.
    fn reached(&self) -> u64 {
        self.sizes.largest()
    }

    fn extent_of(&self, piece: usize) -> Extent {
        let start = self.pieces[piece].start;
        let end = self.pieces.get(piece + 1).map_or(self.reached(), |next| next.start);
        Extent::between(start, end.max(start))
    }

    /// The pieces that overlap `extent`: the first, and the one after the last.
    fn pieces_of(&self, extent: Extent) -> (usize, usize) {
        if extent.is_empty() {
            return (0, 0);
        }
        let first = self.pieces.partition_point(|piece| piece.start <= extent.offset) - 1;
        let end = self.pieces.partition_point(|piece| piece.start < extent.end());
        (first, end)
    }

    /// Makes a piece begin at `at`, and returns which; at the end of the disk, the number of pieces.
    fn split(&mut self, at: u64) -> usize {
        if at >= self.reached() {
            return self.pieces.len();
        }
        let after = self.pieces.partition_point(|piece| piece.start <= at);
        let before = &self.pieces[after - 1];
        if before.start == at {
            return after - 1;
        }
        let entries = before.entries.clone();
        self.pieces.insert(after, Piece { start: at, entries });
        after
    }

    fn is_newest(&self, at: u64, found: &[u8]) -> bool {
        self.newest.holds(at, found)
    }

    fn newest_part(&self, part: Extent) -> Result<Vec<u8>> {
        let mut bytes = vec![0; part.length as usize];
        self.newest.read_at(part.offset, &mut bytes)?;
        Ok(bytes)
    }

    fn make_newest(&mut self, value: Id, extent: Extent) -> Result<()> {
        self.write_value(value, extent, &self.newest)
    }
}

/// The sector in which `at` lies.
fn sector_around(at: u64) -> Extent {
    Extent::new(at / SECTOR_BYTES * SECTOR_BYTES, SECTOR_BYTES)
}

/// The sectors of `extent`, the first and the last as far as it covers them.
fn sectors(extent: Extent) -> impl Iterator<Item = Extent> {
    extent.parts(SECTOR_BYTES)
}

/// Whether `request` asks that what it writes is durable when it completes.
pub(crate) fn is_fua(request: Request) -> bool {
    matches!(request, Request::Write { fua: true, .. } | Request::WriteZeroes { fua: true, .. })
}
