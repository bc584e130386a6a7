//! A safe rebase: a disk stores whatever it would lose with another backing file.

use std::ops::Range;

use super::{BUFFER_BYTES, read_padded, whole_sectors};
use crate::{Disk, Extent, Result, WriteFlags, ZeroFlags};

/// A rebase under way. Each [`Rebase::step`] copies a part; then the caller flushes the disk, and names the
/// new backing file ([`crate::Overlay::set_backing`]). It may end anywhere: the disk shows the same bytes.
/// Nobody else writes to the disk meanwhile.
#[derive(Debug)]
pub struct Rebase<'a> {
    disk: &'a Disk,
    new: Option<&'a Disk>,
    is_compressed: bool,
    /// What is copied as one, bytes.
    unit: u64,
    at: u64,
}

impl<'a> Rebase<'a> {
    /// Of `disk` from its backing file to `new`, or to none. What is copied is stored compressed where
    /// `is_compressed`, and where that can be.
    pub fn new(disk: &'a Disk, new: Option<&'a Disk>, is_compressed: bool) -> Self {
        let limits = disk.limits();
        // What is compressed is compressed by the cluster; all else may be a part of one.
        let cluster = limits.discard_granularity.max(limits.zero_granularity);
        let unit = if is_compressed { cluster } else { limits.zero_granularity }.max(1);
        Self { disk, new, is_compressed, unit, at: 0 }
    }

    /// Copies what the next part of the disk would lose. Returns how far all steps have come, bytes; `None`
    /// at the end.
    ///
    /// # Errors
    /// Those of the disk and its backing files.
    pub fn step(&mut self) -> Result<Option<u64>> {
        let size = self.disk.size();
        if self.at >= size {
            return Ok(None);
        }
        let (at, unit) = (self.at, self.unit);
        let status = self.disk.block_status(Extent::between(at, size))?;
        let mut length = status.length;
        if !status.allocated {
            // Each piece but the last ends where a unit does.
            length = length.min(BUFFER_BYTES - at % unit);
            // A piece past the end of the old backing file is all zeroes.
            let shown = whole_sectors(self.old().map_or(0, Disk::size)).next_multiple_of(unit);
            if at < shown {
                length = length.min(shown - at);
            }
            self.keep(at, length)?;
        }
        self.at += length;
        Ok(Some(self.at))
    }

    fn old(&self) -> Option<&Disk> {
        self.disk.backing().map(|disk| &**disk)
    }

    /// Writes those units of a range that the disk does not store, and that differ between the two backing
    /// files.
    fn keep(&self, at: u64, length: u64) -> Result<()> {
        let shows = |disk: Option<&Disk>| disk.is_some_and(|disk| at < disk.size());
        if !shows(self.old()) && !shows(self.new) {
            return Ok(());
        }
        let old_bytes = bytes_of(self.old(), at, length)?;
        let new_bytes = bytes_of(self.new, at, length)?;
        if old_bytes == new_bytes {
            return Ok(());
        }
        let mut start = 0;
        while start < old_bytes.len() {
            let end = self.unit_end(at, start, old_bytes.len());
            if old_bytes[start..end] == new_bytes[start..end] {
                start = end;
                continue;
            }
            let compressed = self.can_compress(at, start..end);
            // Neighbours that differ too are written in one piece, so that they lie in one.
            let mut last = end;
            while last < old_bytes.len() {
                let next = self.unit_end(at, last, old_bytes.len());
                let is_equal = old_bytes[last..next] == new_bytes[last..next];
                if is_equal || self.can_compress(at, last..next) != compressed {
                    break;
                }
                last = next;
            }
            let extent = Extent::new(at + start as u64, (last - start) as u64);
            if shows(self.old()) {
                let flags = WriteFlags { compressed, ..WriteFlags::default() };
                self.disk.write(extent.offset, &old_bytes[start..last], flags)?;
            } else {
                self.hold_zeroes(extent, &old_bytes[start..last])?;
            }
            start = last;
        }
        Ok(())
    }

    /// Zeroes that the disk itself stores, so that no backing file shows. A format without a mark for them
    /// stores nothing as long as there is no backing file: what it has not, it gets as data. `zeroes` are as
    /// many.
    fn hold_zeroes(&self, extent: Extent, zeroes: &[u8]) -> Result<()> {
        self.disk.write_zeroes(extent, ZeroFlags::default())?;
        let mut rest = extent;
        while !rest.is_empty() {
            let status = self.disk.block_status(rest)?;
            if !status.allocated {
                self.disk.write(rest.offset, &zeroes[..status.length as usize], WriteFlags::default())?;
            }
            rest = Extent::between(rest.offset + status.length, extent.end());
        }
        Ok(())
    }

    /// Whether a part of a buffer, which begins at `at` of the disk, can be stored compressed: a whole
    /// cluster of which the disk stores nothing.
    fn can_compress(&self, at: u64, part: Range<usize>) -> bool {
        let (start, end) = (at + part.start as u64, at + part.end as u64);
        let ends_whole = end.is_multiple_of(self.unit) || end == self.disk.size();
        self.is_compressed && start.is_multiple_of(self.unit) && ends_whole
    }

    /// Where the unit ends that byte `start` of a buffer lies in; the buffer begins at `at` of the disk.
    fn unit_end(&self, at: u64, start: usize, length: usize) -> usize {
        let rest = self.unit - (at + start as u64) % self.unit;
        length.min(start + rest as usize)
    }
}

/// The bytes that `disk` shows; zeroes where it ends, or where there is none.
fn bytes_of(disk: Option<&Disk>, at: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    if let Some(disk) = disk {
        read_padded(disk, at, &mut bytes)?;
    }
    Ok(bytes)
}
