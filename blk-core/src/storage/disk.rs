//! A disk as the storage under a format: qcow2 over NBD, or one format inside another.

use std::sync::Arc;

use super::{Storage, StorageRun};
use crate::sync::Mutex;
use crate::{Disk, Error, Extent, Result, WriteFlags, ZeroFlags};

/// A disk that serves as storage. Requests that are not aligned to the disk's request alignment are widened: read, changed
/// and written back, one at a time.
#[derive(Debug)]
pub struct DiskStorage {
    disk: Arc<Disk>,
    widening: Mutex<()>,
}

impl DiskStorage {
    /// The storage that `disk` makes. Its length is the size of the disk.
    pub fn new(disk: Arc<Disk>) -> Self {
        Self { disk, widening: Mutex::new(()) }
    }

    fn widened(&self, offset: u64, length: u64) -> Result<Extent> {
        let alignment = self.disk.limits().request_alignment;
        let out_of_range = || Error::OutOfRange { offset, length, size: self.disk.size() };
        let end = offset.checked_add(length).and_then(|end| end.checked_next_multiple_of(alignment));
        Ok(Extent::between(offset & !(alignment - 1), end.ok_or_else(out_of_range)?))
    }

    /// Makes the disk at least `end` bytes long.
    fn reach(&self, end: u64) -> Result<()> {
        if end <= self.disk.size() {
            return Ok(());
        }
        let end = end.next_multiple_of(self.disk.limits().request_alignment);
        self.disk.resize(end).map_err(|error| match error {
            Error::Unsupported { .. } => Error::NoSpace {
                what: format!("the disk below has {} bytes and cannot grow", self.disk.size()).into(),
            },
            other => other,
        })
    }

    /// Changes bytes that are not aligned, by reading and writing all of what they touch.
    fn change(&self, offset: u64, length: usize, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let wide = self.widened(offset, length as u64)?;
        let _alone = self.widening.lock();
        let mut bytes = vec![0; wide.length as usize];
        self.disk.read(wide.offset, &mut bytes)?;
        let start = (offset - wide.offset) as usize;
        change(&mut bytes[start..start + length]);
        self.disk.write(wide.offset, &bytes, WriteFlags::default())
    }
}

impl Storage for DiskStorage {
    fn len(&self) -> Result<u64> {
        Ok(self.disk.size())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        if length == self.disk.size() { Ok(()) } else { self.disk.resize(length) }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let inside =
            usize::try_from(self.disk.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        buf[inside..].fill(0);
        let wide = self.widened(offset, inside as u64)?;
        if wide == Extent::new(offset, inside as u64) {
            return self.disk.read(offset, &mut buf[..inside]);
        }
        let mut bytes = vec![0; wide.length as usize];
        self.disk.read(wide.offset, &mut bytes)?;
        let start = (offset - wide.offset) as usize;
        buf[..inside].copy_from_slice(&bytes[start..start + inside]);
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let wide = self.widened(offset, extent.length)?;
        self.reach(wide.end())?;
        if wide == extent {
            return self.disk.write(offset, buf, WriteFlags::default());
        }
        self.change(offset, buf.len(), |bytes| bytes.copy_from_slice(buf))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        if extent.is_empty() {
            return Ok(());
        }
        let alignment = self.disk.limits().request_alignment;
        self.reach(self.widened(extent.offset, extent.length)?.end())?;
        let inner = extent.align_inward(alignment);
        if inner.is_empty() {
            return self.change(extent.offset, extent.length as usize, |bytes| bytes.fill(0));
        }
        for edge in [Extent::between(extent.offset, inner.offset), Extent::between(inner.end(), extent.end())]
        {
            if !edge.is_empty() {
                self.change(edge.offset, edge.length as usize, |bytes| bytes.fill(0))?;
            }
        }
        self.disk.write_zeroes(inner, ZeroFlags { may_unmap: true, ..ZeroFlags::default() })
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.write_zeroes_at(extent.intersection(Extent::new(0, self.disk.size())))
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        let size = self.disk.size();
        if offset >= size {
            return Ok(None);
        }
        let alignment = self.disk.limits().request_alignment;
        let start = offset & !(alignment - 1);
        let status = self.disk.block_status(Extent::between(start, size))?;
        Ok(Some(StorageRun { length: status.length - (offset - start), data: !status.zero }))
    }

    fn sync(&self) -> Result<()> {
        self.disk.flush()
    }
}
