//! What a disk shows, and what it may show after a failure.

use blk_core::{Disk, Extent, MemoryStorage, Result, Storage};

use crate::perform;
use crate::report::SECTOR_BYTES;
use crate::scenario::Request;

/// Bytes compared at a time.
const PIECE_BYTES: u64 = 64 << 10;
/// What a buffer holds before a read, so that bytes that are not read show.
const UNREAD: u8 = 0xee;

/// The bytes of a disk. A duplicate takes memory only where one of the two changes.
#[derive(Debug)]
pub(super) struct Expected {
    bytes: MemoryStorage,
    size: u64,
}

/// What a request will change, if it succeeds.
#[derive(Debug)]
pub(super) struct Predicted {
    pub(super) extent: Extent,
    /// The bytes of `extent` afterwards; `None` for zeroes.
    bytes: Option<Vec<u8>>,
    /// Whether old bytes may stay although it succeeds.
    pub(super) may_stay: bool,
}

/// Bytes that are none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Where the sector starts, on the disk.
    pub(super) offset: u64,
    pub(super) found: Vec<u8>,
    /// What it may hold, the latest first.
    pub(super) allowed: Vec<Vec<u8>>,
}

impl Expected {
    /// What `disk` shows; what it knows to be zero is not read.
    pub(super) fn of(disk: &Disk) -> Result<Self> {
        let expected = Self { bytes: MemoryStorage::new(), size: disk.size() };
        let mut at = 0;
        let mut buf = vec![0; PIECE_BYTES as usize];
        while at < expected.size {
            let status = disk.block_status(Extent::new(at, expected.size - at))?;
            let mut length = status.length;
            if status.has_data() {
                length = length.min(PIECE_BYTES);
                let part = &mut buf[..length as usize];
                disk.read(at, part)?;
                expected.bytes.write_at(at, part)?;
            }
            at += length;
        }
        Ok(expected)
    }

    pub(super) fn duplicate(&self) -> Self {
        Self { bytes: self.bytes.duplicate(), size: self.size }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Takes over a new size; what is gained is zero.
    pub(super) fn resize(&mut self, size: u64) -> Result<()> {
        let shown = self.bytes.len()?.min(self.size.min(size));
        self.bytes.set_len(shown)?;
        self.size = size;
        Ok(())
    }

    /// What `request` is to change; `None` for one that changes no content or reaches past the end.
    pub(super) fn predict(&self, number: u32, request: Request, fill_bytes: u64) -> Option<Predicted> {
        let (offset, length) = request.range()?;
        let end = offset.checked_add(length).filter(|end| *end <= self.size)?;
        let (bytes, may_stay) = match request {
            Request::Write { .. } | Request::WriteCompressed { .. } => {
                let mut bytes = vec![0; length as usize];
                perform::fill(&mut bytes, offset, number, request, fill_bytes);
                (Some(bytes), false)
            }
            Request::WriteZeroes { .. } => (None, false),
            Request::Discard { .. } => (None, true),
            _ => return None,
        };
        Some(Predicted { extent: Extent::between(offset, end), bytes, may_stay })
    }

    pub(super) fn apply(&mut self, predicted: &Predicted) -> Result<()> {
        match &predicted.bytes {
            Some(bytes) => self.bytes.write_at(predicted.extent.offset, bytes),
            None => self.bytes.punch_hole(predicted.extent),
        }
    }

    /// Takes over the bytes that `other` has in `extent`.
    pub(super) fn take(&mut self, other: &Self, extent: Extent) -> Result<()> {
        for piece in pieces(extent) {
            let bytes = other.part(piece)?;
            self.bytes.write_at(piece.offset, &bytes)?;
        }
        Ok(())
    }

    fn part(&self, extent: Extent) -> Result<Vec<u8>> {
        let mut bytes = vec![0; extent.length as usize];
        self.bytes.read_at(extent.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads as a request does and compares. `None` if all is as expected.
    pub(super) fn read(&self, disk: &Disk, extent: Extent, buf: &mut Vec<u8>) -> Result<Option<Wrong>> {
        for piece in pieces_of(extent, 4 << 20) {
            buf.clear();
            buf.resize(piece.length as usize, UNREAD);
            disk.read(piece.offset, buf)?;
            let bytes = self.part(piece)?;
            if let Some(at) = first_difference(buf, &bytes) {
                let end = (at + SECTOR_BYTES as usize).min(bytes.len());
                let (found, allowed) = (buf[at..end].to_vec(), vec![bytes[at..end].to_vec()]);
                return Ok(Some(Wrong { offset: piece.offset + at as u64, found, allowed }));
            }
        }
        Ok(None)
    }
}

/// Holds each sector of `extents` against `allowed`, the latest first: it has to be as in one of them. What is found is written to
/// `taken`.
pub(super) fn hold(
    disk: &Disk,
    extents: &[Extent],
    allowed: &[&Expected],
    mut taken: Option<&mut Expected>,
) -> Result<Option<Wrong>> {
    let size = disk.size();
    let mut found = Vec::new();
    for piece in extents.iter().flat_map(|extent| pieces(whole_sectors(*extent, size))) {
        found.clear();
        found.resize(piece.length as usize, UNREAD);
        disk.read(piece.offset, &mut found)?;
        let latest = allowed[0].part(piece)?;
        if let Some(taken) = &mut taken
            && taken.part(piece)? != found
        {
            taken.bytes.write_at(piece.offset, &found)?;
        }
        if found == latest {
            continue;
        }
        let older: Vec<Vec<u8>> =
            allowed[1..].iter().map(|older| older.part(piece)).collect::<Result<_>>()?;
        for (number, sector) in found.chunks(SECTOR_BYTES as usize).enumerate() {
            let at = number * SECTOR_BYTES as usize;
            let range = at..at + sector.len();
            let mut values = std::iter::once(&latest).chain(&older).map(|bytes| &bytes[range.clone()]);
            if values.clone().all(|value| value != sector) {
                let mut allowed: Vec<Vec<u8>> = values.by_ref().map(<[u8]>::to_vec).collect();
                allowed.dedup();
                return Ok(Some(Wrong { offset: piece.offset + at as u64, found: sector.to_vec(), allowed }));
            }
        }
    }
    Ok(None)
}

fn whole_sectors(extent: Extent, size: u64) -> Extent {
    let start = (extent.offset & !(SECTOR_BYTES - 1)).min(size);
    let end = extent.end().min(size).next_multiple_of(SECTOR_BYTES).min(size);
    Extent::between(start, end.max(start))
}

fn pieces(extent: Extent) -> impl Iterator<Item = Extent> {
    pieces_of(extent, PIECE_BYTES)
}

fn pieces_of(extent: Extent, bytes: u64) -> impl Iterator<Item = Extent> {
    let starts = (extent.offset..extent.end()).step_by(bytes as usize);
    starts.map(move |at| Extent::new(at, (extent.end() - at).min(bytes)))
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b { None } else { a.iter().zip(b).position(|(a, b)| a != b) }
}
