//! What a disk shows now, and what it may show after a crash.

use std::collections::BTreeMap;

use blk_core::{Disk, Extent, Result};

use crate::perform;
use crate::report::SECTOR_BYTES;
use crate::scenario::Request;

/// So much of a disk is read and compared at once.
const PIECE_BYTES: usize = 64 << 10;

/// What a request will change, if it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Predicted {
    pub(crate) extent: Extent,
    /// The bytes of `extent` afterwards.
    bytes: Vec<u8>,
    /// Whether old bytes may stay although it succeeds.
    may_stay: bool,
}

/// The bytes of a disk, as completed requests have left them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
}

/// A byte of the disk that is neither what it was nor what it was to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Where the range that was read starts.
    pub(crate) offset: u64,
    pub(crate) expected: Vec<u8>,
    pub(crate) found: Vec<u8>,
}

impl Content {
    /// What `disk` shows.
    pub(crate) fn read(disk: &Disk) -> Result<Self> {
        let mut bytes = vec![0; disk.size() as usize];
        disk.read(0, &mut bytes)?;
        Ok(Self { bytes })
    }

    /// Where `disk` shows anything else: read in pieces that stay in the processor's cache.
    pub(crate) fn first_mismatch(&self, disk: &Disk) -> Result<Option<Wrong>> {
        if disk.size() != self.size() {
            return Ok(Some(Wrong {
                offset: 0,
                expected: self.bytes.clone(),
                found: Self::read(disk)?.bytes,
            }));
        }
        let mut found = vec![0xee; PIECE_BYTES.min(self.bytes.len())];
        for (index, expected) in self.bytes.chunks(PIECE_BYTES).enumerate() {
            let (offset, found) = ((index * PIECE_BYTES) as u64, &mut found[..expected.len()]);
            disk.read(offset, found)?;
            if found != expected {
                return Ok(Some(Wrong { offset, expected: expected.to_vec(), found: found.to_vec() }));
            }
        }
        Ok(None)
    }

    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What `request` is to change; `None` for one that changes no content or reaches past the end.
    pub(crate) fn predict(&self, number: u32, request: Request, fill_bytes: u64) -> Option<Predicted> {
        let (offset, length) = request.range()?;
        let end = offset.checked_add(length).filter(|end| *end <= self.size())?;
        let mut bytes = vec![0; length as usize];
        let may_stay = match request {
            Request::Write { .. } | Request::WriteCompressed { .. } => {
                perform::fill(&mut bytes, offset, number, request, fill_bytes);
                false
            }
            Request::WriteZeroes { .. } => false,
            Request::Discard { .. } => true,
            _ => return None,
        };
        Some(Predicted { extent: Extent::between(offset, end), bytes, may_stay })
    }

    /// Takes over what a request has changed. What a discard or a failed request did is read from the disk: each byte is the
    /// old or the new one.
    pub(crate) fn settle(
        &mut self,
        disk: &Disk,
        predicted: &Predicted,
        succeeded: bool,
    ) -> Result<std::result::Result<(), Wrong>> {
        let range = predicted.extent.offset as usize..predicted.extent.end() as usize;
        if succeeded && !predicted.may_stay {
            self.bytes[range].copy_from_slice(&predicted.bytes);
            return Ok(Ok(()));
        }
        let mut found = vec![0; range.len()];
        disk.read(predicted.extent.offset, &mut found)?;
        let old = &self.bytes[range.clone()];
        if found == old {
            return Ok(Ok(()));
        }
        if found == predicted.bytes {
            self.bytes[range].copy_from_slice(&found);
            return Ok(Ok(()));
        }
        let is_wrong = |at: &usize| found[*at] != old[*at] && found[*at] != predicted.bytes[*at];
        if let Some(at) = (0..found.len()).find(is_wrong) {
            let mut expected = found.clone();
            expected[at..].copy_from_slice(&predicted.bytes[at..]);
            return Ok(Err(Wrong { offset: predicted.extent.offset, expected, found }));
        }
        self.bytes[range].copy_from_slice(&found);
        Ok(Ok(()))
    }
}

/// What each sector may show after a crash: its durable value, or that of any request since.
#[derive(Debug, Clone)]
pub(crate) struct Allowed {
    durable: Vec<u8>,
    /// Values since then, oldest first, of the sectors that have any.
    later: BTreeMap<u64, Vec<Vec<u8>>>,
    sizes: Vec<u64>,
}

impl Allowed {
    /// Everything is durable.
    pub(crate) fn new(content: &Content) -> Self {
        Self { durable: content.bytes.clone(), later: BTreeMap::new(), sizes: vec![content.size()] }
    }

    /// Sizes that the disk may have.
    pub(crate) fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// A resize to `size` is about to be made: bytes that are gained read as zeroes.
    pub(crate) fn resize(&mut self, size: u64) {
        if !self.sizes.contains(&size) {
            self.sizes.push(size);
        }
        if size as usize > self.durable.len() {
            self.durable.resize(size as usize, 0);
        }
    }

    /// What `predicted` will leave is allowed from now on.
    pub(crate) fn begin(&mut self, content: &Content, predicted: &Predicted) {
        self.allow(content, predicted.extent, &predicted.bytes);
    }

    /// What the disk shows in `extent` is allowed.
    pub(crate) fn note(&mut self, content: &Content, extent: Extent) {
        let bytes = content.bytes[extent.offset as usize..extent.end() as usize].to_vec();
        self.allow(content, extent, &bytes);
    }

    fn allow(&mut self, content: &Content, extent: Extent, bytes: &[u8]) {
        if extent.is_empty() {
            return;
        }
        for sector in extent.offset / SECTOR_BYTES..extent.end().div_ceil(SECTOR_BYTES) {
            let whole = sector_of(content.size(), sector);
            let part = whole.intersection(extent);
            let mut value = content.bytes[whole.offset as usize..whole.end() as usize].to_vec();
            let from = (part.offset - extent.offset) as usize;
            let at = (part.offset - whole.offset) as usize;
            value[at..at + part.length as usize].copy_from_slice(&bytes[from..from + part.length as usize]);
            let later = self.later.entry(sector).or_default();
            if later.last() != Some(&value) {
                later.push(value);
            }
        }
    }

    /// Everything that has completed is durable.
    pub(crate) fn flushed(&mut self, content: &Content) {
        self.durable.clone_from(&content.bytes);
        self.later.clear();
        self.sizes = vec![content.size()];
    }

    /// The sectors of `extent` are durable as they are; a sector that it covers in part as far as it does.
    pub(crate) fn flushed_part(&mut self, content: &Content, extent: Extent) {
        for sector in extent.offset / SECTOR_BYTES..extent.end().div_ceil(SECTOR_BYTES) {
            let whole = sector_of(content.size(), sector);
            if whole.intersection(extent) == whole {
                let range = whole.offset as usize..whole.end() as usize;
                self.durable[range.clone()].copy_from_slice(&content.bytes[range]);
                self.later.remove(&sector);
            }
        }
    }

    /// The first sector of `found`, a whole disk, that holds what it may not.
    pub(crate) fn first_wrong(&self, found: &[u8]) -> Option<u64> {
        let length = found.len().min(self.durable.len());
        let mut at = 0;
        for (&sector, later) in &self.later {
            let start = ((sector * SECTOR_BYTES) as usize).min(length);
            let end = (start + SECTOR_BYTES as usize).min(length);
            if let Some(wrong) = first_difference(&found[at..start], &self.durable[at..start]) {
                return Some((at + wrong) as u64 / SECTOR_BYTES);
            }
            let value = &found[start..end];
            let is_later = |old: &Vec<u8>| {
                // Where the disk has grown since, what was gained is zero.
                let common = old.len().min(value.len());
                value[..common] == old[..common] && value[common..].iter().all(|byte| *byte == 0)
            };
            if value != &self.durable[start..end] && !later.iter().any(is_later) {
                return Some(sector);
            }
            at = end;
        }
        first_difference(&found[at..length], &self.durable[at..length])
            .map(|wrong| (at + wrong) as u64 / SECTOR_BYTES)
    }

    /// The values that a sector may hold, the durable one first.
    pub(crate) fn values(&self, sector: u64) -> Vec<&[u8]> {
        let whole = sector_of(self.durable.len() as u64, sector);
        let durable = &self.durable[whole.offset as usize..whole.end() as usize];
        let later = self.later.get(&sector).into_iter().flatten().map(Vec::as_slice);
        std::iter::once(durable).chain(later).collect()
    }

    /// Whether a request since the last flush has touched the sector.
    pub(crate) fn is_uncertain(&self, sector: u64) -> bool {
        self.later.contains_key(&sector)
    }
}

/// The bytes of a sector of a disk of `size` bytes: the last may be short.
pub(crate) fn sector_of(size: u64, sector: u64) -> Extent {
    let start = (sector * SECTOR_BYTES).min(size);
    Extent::between(start, (start + SECTOR_BYTES).min(size))
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b { None } else { a.iter().zip(b).position(|(a, b)| a != b) }
}
