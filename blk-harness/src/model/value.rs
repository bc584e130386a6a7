//! The bytes of a value, made again whenever they are asked for.

use blk_core::bytes::is_zero;
use blk_core::{Extent, MemoryStorage, Result, Storage};

use super::{Id, Model};
use crate::scenario::{Fill, Request};
use crate::stamp;

/// Bytes that are made at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What a request puts into a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// What was there before the first request.
    Initial,
    /// Zeroes.
    Zeroes,
    /// What a write, or a compressed write, of that stamp number puts there.
    Request(u32, Request),
    /// What the snapshot holds that was applied as the one of this number.
    Held(usize),
}

/// What is written to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) extent: Extent,
    pub(super) source: Source,
}

/// Fills `buf` with what a write of stamp number `number` puts at `address`, bytes; a part of it gives the
/// same bytes as the whole.
///
/// # Panics
/// If the request is no write.
pub(crate) fn fill(buf: &mut [u8], address: u64, number: u32, request: Request, fill_bytes: u64) {
    let (Request::Write { fill, .. } | Request::WriteCompressed { fill, .. }) = request else {
        unreachable!("only writes have data");
    };
    match fill {
        Fill::Byte(byte) => buf.fill(byte),
        Fill::Stamp => stamp::fill(buf, address, number),
    }
    if let (Request::WriteCompressed { offset, length, .. }, Fill::Stamp) = (request, fill) {
        keep_first_quarters(buf, address, Extent::new(offset, length), fill_bytes);
    }
}

/// Makes stamped data compressible: of each unit of `whole`, only the first quarter keeps its stamps.
fn keep_first_quarters(buf: &mut [u8], address: u64, whole: Extent, unit_bytes: u64) {
    let part = Extent::new(address, buf.len() as u64);
    assert_eq!(part.intersection(whole), part, "a part of {whole:?}");
    for unit in address / unit_bytes..part.end().div_ceil(unit_bytes) {
        let unit = Extent::new(unit * unit_bytes, unit_bytes).intersection(whole);
        let kept_end = unit.offset + unit.length.div_ceil(4);
        let within = |at: u64| (at.clamp(address, part.end()) - address) as usize;
        buf[within(kept_end)..within(unit.end())].fill(0);
    }
}

impl Model {
    /// Whether a value shows `found` from `at` on.
    pub(super) fn shows(&self, value: Id, at: u64, found: &[u8]) -> Result<bool> {
        match self.values[value as usize].source {
            Source::Zeroes => return Ok(is_zero(found)),
            Source::Initial => return Ok(self.initial.holds(at, found)),
            Source::Held(number) => return Ok(self.held[number].holds(at, found)),
            Source::Request(number, Request::Write { fill: Fill::Stamp, .. }) => {
                return Ok(stamp::matches(found, at, number));
            }
            Source::Request(..) => {}
        }
        let mut bytes = vec![0; found.len()];
        self.fill_value(value, at, &mut bytes)?;
        Ok(bytes == found)
    }

    /// Fills `buf` with what a value has from `at` on.
    pub(super) fn fill_value(&self, value: Id, at: u64, buf: &mut [u8]) -> Result<()> {
        match self.values[value as usize].source {
            Source::Zeroes => buf.fill(0),
            Source::Initial => return self.initial.read_at(at, buf),
            Source::Held(number) => return self.held[number].read_at(at, buf),
            Source::Request(number, request) => fill(buf, at, number, request, self.fill_bytes),
        }
        Ok(())
    }

    /// Writes a value to `bytes`, which hold a disk.
    pub(super) fn write_value(&self, value: Id, extent: Extent, bytes: &MemoryStorage) -> Result<()> {
        if self.values[value as usize].source == Source::Zeroes {
            return bytes.punch_hole(extent);
        }
        let mut buf = vec![0; PIECE_BYTES.min(extent.length as usize)];
        let mut at = extent.offset;
        while at < extent.end() {
            let part = &mut buf[..(extent.end() - at).min(PIECE_BYTES as u64) as usize];
            self.fill_value(value, at, part)?;
            bytes.write_at(at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_write_is_made_as_the_whole() {
        for (offset, length, unit) in [(0, 4096, 4096), (0, 9000, 4096), (8192, 4096, 1024), (100, 3000, 512)]
        {
            let request = Request::WriteCompressed { offset, length, fill: Fill::Stamp };
            let mut whole = vec![0; length as usize];
            fill(&mut whole, offset, 7, request, unit);
            for (from, to) in [(0, 1), (1, 1000), (511, 513), (1024, 2048), (2999, 3000)] {
                let mut part = vec![0; to - from];
                fill(&mut part, offset + from as u64, 7, request, unit);
                assert_eq!(part, whole[from..to], "{offset} {length} {unit}: {from}..{to}");
            }
            let stamped = whole.iter().filter(|byte| **byte != 0).count();
            assert!(stamped * 5 > whole.len() && stamped * 3 < whole.len(), "about a quarter: {stamped}");
        }
    }
}
