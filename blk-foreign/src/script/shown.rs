//! What a disk shows after the requests of a script: the byte of each range, or that it is open.

use blk_harness::scenario::{Fill, Request};

/// A range, and the byte that fills it; `None` where the content is left open, as after a discard.
pub(super) type Piece = (u64, u64, Option<u8>);

/// What the disk shows: pieces in order, without gaps, from 0 to the size of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown(Vec<Piece>);

impl Shown {
    /// A disk of zeroes.
    pub(super) fn zeroes(size: u64) -> Self {
        Self(vec![(0, size, Some(0))])
    }

    pub(super) fn size(&self) -> u64 {
        self.0.last().map_or(0, |piece| piece.1)
    }

    /// The pieces of a range.
    pub(super) fn pieces(&self, offset: u64, length: u64) -> Vec<Piece> {
        let end = offset.saturating_add(length);
        let touched = self.0.iter().filter(|piece| piece.0 < end && piece.1 > offset);
        touched.map(|piece| (piece.0.max(offset), piece.1.min(end), piece.2)).collect()
    }

    /// Takes in a request, which is one that a disk of this size takes.
    pub(super) fn make(&mut self, request: &Request) {
        if let Some((range, byte)) = change(request) {
            self.set(range, byte);
        }
    }

    /// A range shows this byte from now on.
    pub(super) fn set(&mut self, (start, end): (u64, u64), byte: Option<u8>) {
        if start >= end {
            return;
        }
        let size = self.size();
        let mut pieces = self.pieces(0, start);
        pieces.push((start, end, byte));
        pieces.extend(self.pieces(end, size.saturating_sub(end)));
        self.0 = pieces;
    }
}

/// The range that a request changes, and what it shows afterwards.
pub(super) fn change(request: &Request) -> Option<((u64, u64), Option<u8>)> {
    let (offset, length) = request.range()?;
    let byte = match *request {
        Request::Write { fill: Fill::Byte(byte), .. }
        | Request::WriteCompressed { fill: Fill::Byte(byte), .. } => Some(byte),
        Request::WriteZeroes { .. } => Some(0),
        Request::Write { .. } | Request::WriteCompressed { .. } | Request::Discard { .. } => None,
        _ => return None,
    };
    Some(((offset, offset.saturating_add(length)), byte))
}

/// What each sector may show after a crash: what was there at the last flush, and all that was written later.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    /// Bytes by sector; `None` where anything may be.
    sectors: Vec<Option<Vec<u8>>>,
    now: Shown,
}

const SECTOR: u64 = 512;

impl Allowed {
    pub(super) fn of(size: u64) -> Self {
        let mut allowed = Self { sectors: Vec::new(), now: Shown::zeroes(size) };
        allowed.flush();
        allowed
    }

    /// From now on a sector may show what it shows now, and no more.
    pub(super) fn flush(&mut self) {
        let count = self.now.size().div_ceil(SECTOR);
        self.sectors = (0..count)
            .map(|number| match self.now.pieces(number * SECTOR, SECTOR).as_slice() {
                [(_, _, Some(byte))] => Some(vec![*byte]),
                pieces if pieces.iter().all(|piece| piece.2 == pieces[0].2) => {
                    pieces[0].2.map(|byte| vec![byte])
                }
                _ => None,
            })
            .collect();
    }

    /// Takes in a request that may have been done.
    pub(super) fn make(&mut self, request: &Request) {
        self.now.make(request);
        if request == &Request::Flush {
            return self.flush();
        }
        let Some(((start, end), byte)) = change(request) else { return };
        for number in start / SECTOR..end.div_ceil(SECTOR).min(self.sectors.len() as u64) {
            let is_whole = start <= number * SECTOR && end >= (number + 1) * SECTOR;
            let sector = &mut self.sectors[number as usize];
            match (byte.filter(|_| is_whole), sector.as_mut()) {
                (Some(byte), Some(bytes)) => bytes.push(byte),
                _ => *sector = None,
            }
        }
    }

    /// Lines `FIRST LAST BYTE...` of sectors with the same bytes; those that may show anything are left out.
    pub(super) fn table(&self) -> String {
        let mut lines = String::new();
        let mut first = 0;
        for group in self.sectors.chunk_by(|one, other| one == other) {
            let end = first + group.len();
            if let Some(bytes) = &group[0] {
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                lines = format!("{lines}{first} {} {}\n", end - 1, bytes.join(" "));
            }
            first = end;
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(text: &str) -> Vec<Request> {
        blk_harness::scenario::Scenario::from_text(&format!("blk-scenario 1\n{text}")).unwrap().requests
    }

    #[test]
    fn a_disk_shows_what_was_written_last() {
        let mut shown = Shown::zeroes(4096);
        for request in requests("write -P 7 512 1k\nwrite -z 1k 512\ndiscard 2k 512") {
            shown.make(&request);
        }
        let expected = [
            (0, 512, Some(0)),
            (512, 1024, Some(7)),
            (1024, 1536, Some(0)),
            (1536, 2048, Some(0)),
            (2048, 2560, None),
            (2560, 4096, Some(0)),
        ];
        assert_eq!(shown.pieces(0, 4096), expected);
        assert_eq!(shown.pieces(600, 10), [(600, 610, Some(7))]);
        assert_eq!(shown.size(), 4096);
    }

    #[test]
    fn a_crash_leaves_what_was_flushed_or_written_later() {
        let mut allowed = Allowed::of(2048);
        for request in
            requests("write -P 1 0 1k\nflush\nwrite -P 2 512 512\nwrite -P 3 1k 100\ndiscard 1536 512")
        {
            allowed.make(&request);
        }
        assert_eq!(allowed.table(), "0 0 01\n1 1 01 02\n");
    }
}
