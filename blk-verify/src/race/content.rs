//! What each sector of a disk may show while requests are in flight.
//!
//! A value is what one request writes (or what was there at first). In a piece of the disk, a value is *possible* from the
//! issue of its request until another request, issued after it had completed, has completed over it. So of two requests that
//! were in flight together either may have come last, sector by sector; what is ordered is exact. A discard and a request that
//! failed replace nothing for certain: what they cover stays possible.
//!
//! A read may return, for each sector, any value that was possible between its issue and its completion. One that no request
//! in flight disturbed leaves only what it has returned: the next has to return the same.

use std::sync::Arc;

use blk_core::Extent;

use crate::report::SECTOR_BYTES;

/// The number of a value; 0 is what was there at first.
type Id = u32;

/// What a request writes to a range.
#[derive(Debug)]
struct Value {
    extent: Extent,
    bytes: Bytes,
}

/// The bytes of a value.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    Zeroes,
    Data(Arc<Vec<u8>>),
}

impl Value {
    fn shows(&self, at: u64, found: &[u8]) -> bool {
        match &self.bytes {
            Bytes::Zeroes => found.iter().all(|byte| *byte == 0),
            Bytes::Data(data) => {
                let from = (at - self.extent.offset) as usize;
                data[from..from + found.len()] == *found
            }
        }
    }
}

/// A value that a piece may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Possible {
    value: Id,
    /// When its request completed.
    completed: u64,
}

/// A piece of the disk, all of whose sectors may hold the same values, the latest last.
#[derive(Debug, Clone)]
struct Piece {
    start: u64,
    possible: Vec<Possible>,
}

/// A request that is to change content.
#[derive(Debug)]
pub(super) struct Write {
    value: Id,
    extent: Extent,
    issued: u64,
}

/// A look at content that is in flight.
#[derive(Debug)]
pub(super) struct Look {
    extent: Extent,
    /// What was possible when it was issued.
    then: Vec<(Extent, Vec<Id>)>,
    /// What has become possible since, or was being written.
    since: Vec<Id>,
}

/// Bytes that are not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Where they lie; inside a sector.
    pub(super) extent: Extent,
    /// Each value that was possible, the latest last.
    pub(super) possible: Vec<Vec<u8>>,
}

/// The content of a disk.
#[derive(Debug)]
pub(super) struct Content {
    size: u64,
    values: Vec<Value>,
    /// In order; each reaches up to the next.
    pieces: Vec<Piece>,
    clock: u64,
    /// Values that are being written.
    in_flight: Vec<Id>,
}

impl Content {
    /// A disk that shows `initial`.
    pub(super) fn new(initial: Arc<Vec<u8>>) -> Self {
        let size = initial.len() as u64;
        let value = Value { extent: Extent::new(0, size), bytes: Bytes::Data(initial) };
        let piece = Piece { start: 0, possible: vec![Possible { value: 0, completed: 0 }] };
        Self { size, values: vec![value], pieces: vec![piece], clock: 0, in_flight: Vec::new() }
    }

    /// Size of the disk, bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The disk has now `size` bytes, with nothing in flight; those that were gained are zero.
    pub(super) fn resized(&mut self, size: u64) {
        if size < self.size {
            let kept = self.split(size);
            self.pieces.truncate(kept);
        } else if size > self.size {
            let gained = Extent::between(self.size, size);
            let at = self.split(gained.offset);
            self.pieces.truncate(at);
            let value = self.add(gained, Bytes::Zeroes);
            let possible = vec![Possible { value, completed: self.clock }];
            self.pieces.push(Piece { start: gained.offset, possible });
        }
        self.size = size;
    }

    /// A request that writes `bytes` to `extent` is issued. `looks` are all that are in flight.
    pub(super) fn begin_write<'a>(
        &mut self,
        extent: Extent,
        bytes: Bytes,
        looks: impl Iterator<Item = &'a mut Look>,
    ) -> Write {
        self.clock += 1;
        let value = self.add(extent, bytes);
        self.in_flight.push(value);
        for look in looks.filter(|look| look.extent.overlaps(extent)) {
            look.since.push(value);
        }
        Write { value, extent, issued: self.clock }
    }

    /// It has completed. What it covers may stay if `may_stay`: it was a discard, or has failed.
    pub(super) fn end_write(&mut self, write: &Write, may_stay: bool) {
        self.clock += 1;
        self.in_flight.retain(|value| *value != write.value);
        let possible = Possible { value: write.value, completed: self.clock };
        let (first, end) = (self.split(write.extent.offset), self.split(write.extent.end()));
        for piece in &mut self.pieces[first..end] {
            if !may_stay {
                piece.possible.retain(|older| older.completed > write.issued);
            }
            piece.possible.push(possible);
        }
    }

    /// A request that looks at `extent` is issued.
    pub(super) fn begin_look(&mut self, extent: Extent) -> Look {
        self.clock += 1;
        let (first, end) = (self.split(extent.offset), self.split(extent.end()));
        let then = (first..end).map(|at| {
            let values = self.pieces[at].possible.iter().map(|possible| possible.value);
            (self.extent_of(at), values.collect())
        });
        let then = then.collect();
        let overlaps = |value: &Id| self.values[*value as usize].extent.overlaps(extent);
        let since = self.in_flight.iter().copied().filter(overlaps).collect();
        Look { extent, then, since }
    }

    /// It has completed and found `found`, the bytes of its whole extent.
    ///
    /// # Errors
    /// The first that are not possible.
    pub(super) fn end_look(&mut self, look: &Look, found: &[u8]) -> Result<(), Wrong> {
        for (extent, values) in look.parts(&self.values) {
            let is_settled = values.len() == 1;
            let is_undisturbed = !look.since.iter().any(|value| values.contains(value));
            let mut at = extent.offset;
            while at < extent.end() {
                let end = if is_settled { extent.end() } else { sector_end(at).min(extent.end()) };
                let bytes = &found[(at - look.extent.offset) as usize..(end - look.extent.offset) as usize];
                let shown: Vec<Id> =
                    values.iter().copied().filter(|value| self.value(*value).shows(at, bytes)).collect();
                if shown.is_empty() {
                    return Err(self.wrong(at, bytes, &values));
                }
                if is_undisturbed && shown.len() < values.len() {
                    self.settle(Extent::between(at, end), &shown);
                }
                at = end;
            }
        }
        Ok(())
    }

    /// A look has completed and claims that `extent`, a part of what it looked at, reads as zeroes. Returns whether that is
    /// possible.
    pub(super) fn may_be_zero(&self, look: &Look, extent: Extent) -> bool {
        look.parts(&self.values).into_iter().all(|(part, values)| {
            let part = part.intersection(extent);
            let mut zeroes = [0; SECTOR_BYTES as usize];
            let mut at = part.offset;
            while at < part.end() {
                let end = sector_end(at).min(part.end());
                let zero = &mut zeroes[..(end - at) as usize];
                if !values.iter().any(|value| self.value(*value).shows(at, zero)) {
                    return false;
                }
                at = end;
            }
            true
        })
    }

    fn add(&mut self, extent: Extent, bytes: Bytes) -> Id {
        self.values.push(Value { extent, bytes });
        self.values.len() as Id - 1
    }

    fn value(&self, value: Id) -> &Value {
        &self.values[value as usize]
    }

    fn extent_of(&self, piece: usize) -> Extent {
        let end = self.pieces.get(piece + 1).map_or(self.size, |next| next.start);
        Extent::between(self.pieces[piece].start, end)
    }

    /// Makes a piece begin at `at`, and returns which; at the end of the disk, the number of pieces.
    fn split(&mut self, at: u64) -> usize {
        if at >= self.size {
            return self.pieces.len();
        }
        match self.pieces.binary_search_by_key(&at, |piece| piece.start) {
            Ok(index) => index,
            Err(index) => {
                let possible = self.pieces[index - 1].possible.clone();
                self.pieces.insert(index, Piece { start: at, possible });
                index
            }
        }
    }

    /// Of what `extent` may hold, only `shown` is left.
    fn settle(&mut self, extent: Extent, shown: &[Id]) {
        let (first, end) = (self.split(extent.offset), self.split(extent.end()));
        for piece in &mut self.pieces[first..end] {
            piece.possible.retain(|possible| shown.contains(&possible.value));
        }
    }

    /// What is wrong with `found`, the bytes at `at`, none of `values`.
    fn wrong(&self, at: u64, found: &[u8], values: &[Id]) -> Wrong {
        let wrong_at = |part: &(usize, &[u8])| {
            let start = at + part.0 as u64;
            !values.iter().any(|value| self.value(*value).shows(start, part.1))
        };
        // Of a longer part, the first sector that is wrong.
        let mut parts = Vec::new();
        let mut from = 0;
        while from < found.len() {
            let end = found.len().min((sector_end(at + from as u64) - at) as usize);
            parts.push((from, &found[from..end]));
            from = end;
        }
        let (from, part) = parts.into_iter().find(wrong_at).unwrap_or((0, found));
        let extent = Extent::new(at + from as u64, part.len() as u64);
        let bytes_of = |value: &Id| match self.value(*value) {
            Value { bytes: Bytes::Zeroes, .. } => vec![0; part.len()],
            Value { bytes: Bytes::Data(data), extent: of } => {
                let from = (extent.offset - of.offset) as usize;
                data[from..from + part.len()].to_vec()
            }
        };
        Wrong { extent, possible: values.iter().map(bytes_of).collect() }
    }
}

impl Look {
    /// The parts of its extent, each with all that was possible in it, the latest last.
    fn parts(&self, values: &[Value]) -> Vec<(Extent, Vec<Id>)> {
        if self.since.is_empty() {
            return self.then.clone();
        }
        let mut parts = Vec::with_capacity(self.then.len() + 2 * self.since.len());
        for (piece, then) in &self.then {
            let since = self.since.iter().map(|value| (*value, values[*value as usize].extent));
            let since: Vec<(Id, Extent)> = since.filter(|(_, extent)| extent.overlaps(*piece)).collect();
            let mut edges: Vec<u64> = vec![piece.offset, piece.end()];
            edges.extend(since.iter().flat_map(|(_, extent)| {
                [extent.offset, extent.end()].into_iter().filter(|edge| piece.range().contains(edge))
            }));
            edges.sort_unstable();
            edges.dedup();
            for edge in edges.windows(2) {
                let part = Extent::between(edge[0], edge[1]);
                let new = since.iter().filter(|(_, extent)| extent.overlaps(part)).map(|(value, _)| *value);
                parts.push((part, then.iter().copied().chain(new).collect()));
            }
        }
        parts
    }
}

fn sector_end(at: u64) -> u64 {
    (at / SECTOR_BYTES + 1) * SECTOR_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 4096;

    fn content() -> Content {
        Content::new(Arc::new(vec![0xaa; SIZE as usize]))
    }

    /// Sizes and what is possible afterwards: what was cut off does not come back.
    #[test]
    fn a_disk_that_shrinks_forgets_what_is_cut_off() {
        for size in [0, 1, 512, 1000, SIZE - 1, SIZE] {
            let mut content = content();
            write(&mut content, sectors(1, 3), 0xbb);
            content.resized(size);
            let mut look = content.begin_look(Extent::new(0, size));
            let covered: u64 = look.then.iter().map(|(extent, _)| extent.length).sum();
            assert_eq!(covered, size);
            content.resized(SIZE);
            look = content.begin_look(Extent::between(size, SIZE));
            assert!(content.may_be_zero(&look, Extent::between(size, SIZE)), "{size}");
            content.end_look(&look, &vec![0; (SIZE - size) as usize]).unwrap();
        }
    }

    fn sectors(first: u64, count: u64) -> Extent {
        Extent::new(first * 512, count * 512)
    }

    fn begin(content: &mut Content, extent: Extent, byte: u8, looks: &mut [&mut Look]) -> Write {
        let bytes = Bytes::Data(Arc::new(vec![byte; extent.length as usize]));
        content.begin_write(extent, bytes, looks.iter_mut().map(|look| &mut **look))
    }

    fn write(content: &mut Content, extent: Extent, byte: u8) {
        let write = begin(content, extent, byte, &mut []);
        content.end_write(&write, false);
    }

    /// Which bytes a read of `extent` might return now, with nothing else in flight; it settles on the last.
    fn possible(content: &mut Content, extent: Extent, bytes: &[u8]) -> Vec<u8> {
        let may = |content: &mut Content, byte: &u8| {
            let look = content.begin_look(extent);
            content.end_look(&look, &vec![*byte; extent.length as usize]).is_ok()
        };
        // Each on a copy of its own would be simplest; wrong ones settle nothing.
        bytes.iter().copied().filter(|byte| may(content, byte)).collect()
    }

    #[test]
    fn what_is_ordered_is_exact() {
        let mut content = content();
        write(&mut content, sectors(0, 2), 1);
        write(&mut content, sectors(1, 2), 2);
        assert_eq!(possible(&mut content, sectors(0, 1), &[0xaa, 2, 0, 1]), [1]);
        assert_eq!(possible(&mut content, sectors(1, 2), &[0xaa, 1, 0, 2]), [2]);
        assert_eq!(possible(&mut content, sectors(3, 5), &[1, 2, 0xaa]), [0xaa]);
    }

    #[test]
    fn of_two_writes_in_flight_either_comes_last_and_a_read_decides_it() {
        for first in [1, 2] {
            let mut content = content();
            let one = begin(&mut content, sectors(0, 2), 1, &mut []);
            let two = begin(&mut content, sectors(0, 2), 2, &mut []);
            content.end_write(&one, false);
            content.end_write(&two, false);
            assert_eq!(possible(&mut content, sectors(0, 1), &[0xaa, first, 3 - first]), [first]);
            assert_eq!(possible(&mut content, sectors(1, 1), &[0xaa, 3 - first, first]), [3 - first]);
        }
    }

    #[test]
    fn a_read_returns_what_was_possible_in_its_time() {
        let mut content = content();
        write(&mut content, sectors(0, 1), 1);
        let early = begin(&mut content, sectors(0, 4), 2, &mut []);
        let mut look = content.begin_look(sectors(0, 4));
        let late = begin(&mut content, sectors(2, 1), 3, &mut [&mut look]);
        content.end_write(&late, false);
        content.end_write(&early, false);
        let mut may = |bytes: [u8; 4]| {
            let found: Vec<u8> = bytes.iter().flat_map(|byte| [*byte; 512]).collect();
            content.end_look(&look, &found).map_err(|wrong| wrong.extent)
        };
        assert_eq!(may([1, 0xaa, 0xaa, 0xaa]), Ok(()));
        assert_eq!(may([2, 2, 3, 2]), Ok(()));
        assert_eq!(may([1, 2, 2, 3]), Err(sectors(3, 1)), "3 was written elsewhere");
        assert_eq!(may([0xaa, 2, 2, 2]), Err(sectors(0, 1)), "that was over before the read began");
    }

    #[test]
    fn discards_and_failed_writes_are_possible_and_leave_what_was() {
        let mut content = content();
        let discard = content.begin_write(sectors(0, 2), Bytes::Zeroes, [].into_iter());
        content.end_write(&discard, true);
        assert_eq!(possible(&mut content, sectors(0, 1), &[1, 0]), [0]);
        assert_eq!(possible(&mut content, sectors(1, 1), &[1, 0xaa, 0]), [0xaa], "settled by the read");
        let look = content.begin_look(sectors(0, 2));
        assert!(content.may_be_zero(&look, sectors(0, 1)) && !content.may_be_zero(&look, sectors(0, 2)));
    }

    #[test]
    fn a_sector_is_one_writer_s() {
        let mut content = content();
        let one = begin(&mut content, sectors(0, 1), 1, &mut []);
        let two = begin(&mut content, sectors(0, 1), 2, &mut []);
        content.end_write(&one, false);
        content.end_write(&two, false);
        let look = content.begin_look(sectors(0, 1));
        let torn: Vec<u8> = [[1; 256], [2; 256]].concat();
        assert_eq!(content.end_look(&look, &torn).unwrap_err().possible, [vec![1; 512], vec![2; 512]]);
        let parts = [begin(&mut content, Extent::new(0, 100), 3, &mut [])];
        content.end_write(&parts[0], false);
        let look = content.begin_look(sectors(0, 1));
        let joined: Vec<u8> = [vec![3; 100], vec![2; 412]].concat();
        assert_eq!(content.end_look(&look, &joined), Ok(()));
    }

    #[test]
    fn what_a_disk_gains_is_zero() {
        let mut content = content();
        content.resized(SIZE + 700);
        assert_eq!(possible(&mut content, Extent::new(SIZE, 700), &[0xaa, 0]), [0]);
        assert_eq!(possible(&mut content, sectors(7, 1), &[0, 0xaa]), [0xaa]);
    }
}
