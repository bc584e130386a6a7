//! A disk with the state of a machine behind it, as one disk: requests of any kind reach the state by their
//! offsets, and every engine judges what it holds.
//!
//! ```text
//! 0 ..... the image's disk ..... half of the size ..... state of the machine ..... the size
//! ```
//!
//! A resize would forget the state, and no snapshot can be read beyond its disk: such a disk has neither.

use blk_core::{
    Access, Amend, BlockStatus, Check, DiscardFlags, Disk, Error, Extent, Info, PassThrough, Preallocation,
    Result, VmState, WriteFlags, ZeroFlags,
};

/// The option of scenarios.
pub(crate) const OPTION: &str = "x-vm-state";

const SECTOR_BYTES: u64 = 512;
/// How much is zeroed at a time, bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// The bytes that the disk of an image has, where both have `size` bytes: no sector lies in both.
pub(crate) fn disk_bytes(size: u64) -> u64 {
    size / 2 / SECTOR_BYTES * SECTOR_BYTES
}

#[derive(Debug)]
struct Tall {
    inner: Disk,
    size: u64,
}

/// `inner` and the state behind it, of `size` bytes in all.
pub(crate) fn over(inner: Disk, size: u64) -> Disk {
    assert!(inner.size() <= size, "the disk is the first half");
    Disk::new(Tall { inner, size }, Access::ReadWrite)
}

impl Tall {
    /// The parts of a range that lie in the disk, and in the state: the latter counts from its beginning.
    fn parts(&self, extent: Extent) -> (Extent, Extent) {
        let edge = self.inner.size();
        let disk = Extent::between(extent.offset.min(edge), extent.end().min(edge));
        let state = Extent::between(extent.offset.max(edge) - edge, extent.end().max(edge) - edge);
        (disk, state)
    }

    fn state(&self) -> Result<&dyn VmState> {
        self.inner.as_vm_state().ok_or_else(|| Error::unsupported("the state of a machine"))
    }

    fn zero_state(&self, extent: Extent) -> Result<()> {
        for part in extent.parts(PIECE_BYTES) {
            self.state()?.write_vm_state(part.offset, &vec![0; part.length as usize])?;
        }
        Ok(())
    }
}

impl PassThrough for Tall {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (disk, state) = self.parts(Extent::new(offset, buf.len() as u64));
        let (of_disk, of_state) = buf.split_at_mut(disk.length as usize);
        if !of_disk.is_empty() {
            self.inner.read(disk.offset, of_disk)?;
        }
        if of_state.is_empty() { Ok(()) } else { self.state()?.read_vm_state(state.offset, of_state) }
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let (disk, state) = self.parts(Extent::new(offset, buf.len() as u64));
        let (of_disk, of_state) = buf.split_at(disk.length as usize);
        if !of_disk.is_empty() {
            self.inner.write(disk.offset, of_disk, flags)?;
        }
        if of_state.is_empty() {
            return Ok(());
        }
        self.state()?.write_vm_state(state.offset, of_state)?;
        if flags.fua { self.inner.flush() } else { Ok(()) }
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let (disk, state) = self.parts(extent);
        if !state.is_empty() && (flags.no_fallback || flags.fast_only) {
            return Err(Error::unsupported("zeroes in the state of a machine without writing them"));
        }
        if !disk.is_empty() {
            self.inner.write_zeroes(disk, flags)?;
        }
        self.zero_state(state)?;
        if flags.fua && !state.is_empty() { self.inner.flush() } else { Ok(()) }
    }

    /// The state keeps what it has.
    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        let (disk, _) = self.parts(extent);
        if disk.is_empty() { Ok(()) } else { self.inner.discard(disk, flags) }
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let (disk, state) = self.parts(extent);
        if !disk.is_empty() {
            return self.inner.block_status(disk);
        }
        let length = state.length;
        Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None })
    }

    fn prefetch(&self, extent: Extent) -> Result<()> {
        let (disk, _) = self.parts(extent);
        if disk.is_empty() { Ok(()) } else { self.inner.prefetch(disk) }
    }

    fn resize(&self, _size: u64) -> Result<()> {
        Err(Error::unsupported("a resize, which forgets the state of the machine"))
    }

    fn grow(&self, size: u64, _preallocation: Preallocation) -> Result<()> {
        PassThrough::resize(self, size)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        self.inner.as_check()
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }

    fn as_amend(&self) -> Option<&dyn Amend> {
        self.inner.as_amend()
    }
}
