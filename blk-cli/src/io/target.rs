//! The open disk as the commands see it: whole sectors.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use blk_core::{Access, DiscardFlags, Disk, Error, Extent, Result, VmState, WriteFlags, ZeroFlags};

use crate::spec::{Breakpoints, OpenFile};

/// The unit in which the size of a disk is counted, whatever the size of the file.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// A run of bytes of which the top layer determines all, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Bytes.
    pub(crate) length: u64,
    /// Whether the top layer determines them.
    pub(crate) is_allocated: bool,
}

/// An open disk. A last sector that is not whole reads as zeroes behind its end, and grows when it is written
/// there.
#[derive(Debug)]
pub(crate) struct Target {
    disk: Arc<Disk>,
    /// The driver on top, by name.
    format: &'static str,
    /// Whether discards reach the disk.
    discard: bool,
    breakpoints: Option<Arc<dyn Breakpoints>>,
    /// The file that changes with the size of the disk.
    file: Option<Arc<OpenFile>>,
}

impl Target {
    /// `disk` with a driver of the name `format` on top.
    pub(crate) fn new(disk: Arc<Disk>, format: &'static str) -> Self {
        Self { disk, format, discard: true, breakpoints: None, file: None }
    }

    /// The same, where discards reach the disk or not.
    #[must_use]
    pub(crate) fn with_discard(self, discard: bool) -> Self {
        Self { discard, ..self }
    }

    /// The same with what can stop its requests.
    #[must_use]
    pub(crate) fn with_breakpoints(self, breakpoints: Option<Arc<dyn Breakpoints>>) -> Self {
        Self { breakpoints, ..self }
    }

    /// The same with the file that changes with the size of the disk.
    #[must_use]
    pub(crate) fn with_file(self, file: Option<Arc<OpenFile>>) -> Self {
        Self { file, ..self }
    }

    /// Claims that the size of the disk changes. A read-only disk will refuse that itself.
    pub(crate) fn claim_resize(&self) -> Result<()> {
        match &self.file {
            Some(file) if !self.is_read_only() => file.claim_resize(),
            _ => Ok(()),
        }
    }

    /// The name of the driver on top.
    pub(crate) fn format(&self) -> &'static str {
        self.format
    }

    /// The disk itself.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What can stop its requests.
    pub(crate) fn breakpoints(&self) -> Option<&dyn Breakpoints> {
        self.breakpoints.as_deref()
    }

    /// Whether requests that write are refused.
    pub(crate) fn is_read_only(&self) -> bool {
        self.disk.access() == Access::ReadOnly
    }

    /// Size in bytes, whole sectors.
    pub(crate) fn length(&self) -> u64 {
        self.disk.size().checked_next_multiple_of(SECTOR_BYTES).unwrap_or(u64::MAX)
    }

    /// Writes `data` at `offset`.
    pub(crate) fn write(&self, offset: u64, data: &[u8], flags: WriteFlags) -> Result<()> {
        self.check_and_grow(offset, data.len() as u64)?;
        self.disk.write(offset, data, flags)
    }

    /// Fills `buf` with the bytes from `offset` on. It is one request with a buffer for each of `parts`,
    /// lengths that make up that of `buf`; with one buffer where there are none.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8], parts: &[u64]) -> Result<()> {
        self.check(offset, buf.len() as u64)?;
        let stored = self.stored(offset, buf.len() as u64);
        let (mut rest, behind) = buf.split_at_mut(stored as usize);
        behind.fill(0);
        if parts.len() < 2 || rest.is_empty() {
            return if rest.is_empty() { Ok(()) } else { self.disk.read(offset, rest) };
        }
        let mut bufs = Vec::with_capacity(parts.len());
        for part in parts {
            let (piece, others) = rest.split_at_mut(rest.len().min(*part as usize));
            bufs.push(IoSliceMut::new(piece));
            rest = others;
        }
        self.disk.read_vectored(offset, &mut bufs)
    }

    /// Fills `buf` with the state of the machine from `offset` on, which lies behind the disk.
    pub(crate) fn read_state(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.state()?.read_vm_state(offset, buf)
    }

    /// Writes `data` at `offset` of the state of the machine.
    pub(crate) fn write_state(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.state()?.write_vm_state(offset, data)
    }

    fn state(&self) -> Result<&dyn VmState> {
        let missing = || Error::unsupported(format!("a machine state behind the disk ({})", self.format));
        self.disk.as_vm_state().ok_or_else(missing)
    }

    /// As [`Target::write`], as one request with a buffer for each of `parts`.
    pub(crate) fn write_parts(
        &self,
        offset: u64,
        data: &[u8],
        parts: &[u64],
        flags: WriteFlags,
    ) -> Result<()> {
        self.check_and_grow(offset, data.len() as u64)?;
        let mut rest = data;
        let mut bufs = Vec::with_capacity(parts.len());
        for part in parts {
            let (piece, others) = rest.split_at(rest.len().min(*part as usize));
            bufs.push(IoSlice::new(piece));
            rest = others;
        }
        self.disk.write_vectored(offset, &bufs, flags)
    }

    /// Makes `extent` read as zeroes.
    pub(crate) fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.check_and_grow(extent.offset, extent.length)?;
        let may_unmap = flags.may_unmap && self.discard;
        self.disk.write_zeroes(extent, ZeroFlags { may_unmap, ..flags })
    }

    /// Tells that the bytes are no longer needed. Where that is switched off, or the disk has no use for it,
    /// it is done.
    pub(crate) fn discard(&self, extent: Extent) -> Result<()> {
        self.check(extent.offset, extent.length)?;
        let stored = Extent::new(extent.offset, self.stored(extent.offset, extent.length));
        if !self.discard || stored.is_empty() {
            return Ok(());
        }
        match self.disk.discard(stored, DiscardFlags::default()) {
            Err(Error::Unsupported { .. }) => Ok(()),
            answered => answered,
        }
    }

    /// The run that starts at `offset`, which lies inside the disk; at most `length` bytes, at least 1.
    pub(crate) fn run_at(&self, offset: u64, length: u64) -> Result<Run> {
        let length = length.min(self.length() - offset);
        let stored = self.stored(offset, length);
        if stored == 0 {
            return Ok(Run { length, is_allocated: true });
        }
        let first = self.disk.block_status(Extent::new(offset, stored))?;
        let mut covered = first.length;
        while covered < stored {
            let next = self.disk.block_status(Extent::new(offset + covered, stored - covered))?;
            if next.allocated != first.allocated {
                return Ok(Run { length: covered, is_allocated: first.allocated });
            }
            covered += next.length;
        }
        Ok(Run { length, is_allocated: first.allocated })
    }

    /// How many of these bytes lie before the end of what is stored.
    fn stored(&self, offset: u64, length: u64) -> u64 {
        length.min(self.disk.size().saturating_sub(offset))
    }

    fn check(&self, offset: u64, length: u64) -> Result<()> {
        let size = self.length();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::OutOfRange { offset, length, size }),
        }
    }

    fn check_and_grow(&self, offset: u64, length: u64) -> Result<()> {
        self.check(offset, length)?;
        if offset + length > self.disk.size() { self.disk.resize(offset + length) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use blk_core::{DenyResolver, MemoryStorage, Options, Storage};

    use super::*;

    fn raw(length: usize) -> Target {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&vec![1; length]));
        let disk = blk_raw::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        Target::new(Arc::new(disk), "raw")
    }

    #[test]
    fn the_last_sector_is_whole() {
        let target = raw(1025);
        assert_eq!(target.length(), 1536);
        let mut buf = [9; 511];
        target.read(1025, &mut buf, &[]).unwrap();
        assert_eq!(buf, [0; 511]);
        target.read(1024, &mut buf, &[]).unwrap();
        assert_eq!((buf[0], buf[1]), (1, 0));
        assert!(matches!(target.read(1026, &mut buf, &[]), Err(Error::OutOfRange { size: 1536, .. })));
        assert!(target.read(u64::MAX, &mut buf, &[]).is_err());
    }

    #[test]
    fn a_write_behind_the_end_grows_the_last_sector_only() {
        let target = raw(1025);
        target.write(1030, &[2; 10], WriteFlags::default()).unwrap();
        assert_eq!((target.disk().size(), target.length()), (1040, 1536));
        assert!(target.write(1530, &[2; 10], WriteFlags::default()).is_err());
        assert_eq!(target.disk().size(), 1040);
        target.write_zeroes(Extent::new(1039, 497), ZeroFlags::default()).unwrap();
        assert_eq!(target.disk().size(), 1536);
        let mut buf = [9; 16];
        target.read(1024, &mut buf, &[]).unwrap();
        assert_eq!(buf, [1, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0]);
    }

    #[test]
    fn discards_that_are_switched_off_change_nothing() {
        let target = raw(1024).with_discard(false);
        target.discard(Extent::new(0, 1024)).unwrap();
        assert!(target.discard(Extent::new(512, 1024)).is_err());
        let mut buf = [0; 1024];
        target.read(0, &mut buf, &[]).unwrap();
        assert_eq!(buf, [1; 1024]);
    }

    #[test]
    fn runs_cover_the_whole_last_sector() {
        let target = raw(1025);
        assert_eq!(target.run_at(0, 4096).unwrap(), Run { length: 1536, is_allocated: true });
        assert_eq!(target.run_at(1025, 100).unwrap(), Run { length: 100, is_allocated: true });
    }
}
