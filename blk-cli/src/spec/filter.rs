//! What can be asked of any disk: zeroes that are written become requests to zero, writes that are durable at once, and a
//! first sector that keeps a guessed raw image raw.

use blk_core::{Check, Disk, Error, Extent, Info, Overlay, PassThrough, Result, WriteFlags, ZeroFlags};

use super::node::DetectZeroes;

/// "Operation not permitted", as QEMU says it.
const EPERM: i32 = 1;
/// What a probe looks at: the first sector.
const PROBED_BYTES: u64 = 512;

/// What a [`Filter`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    pub(crate) detect_zeroes: DetectZeroes,
    /// Every write is on stable storage before it succeeds.
    pub(crate) writethrough: bool,
    /// Nothing may be written to the start of the disk that a probe would take for another format than raw: a guest could
    /// make its own disk an image that names any file of the host as its backing file.
    pub(crate) stay_raw: bool,
}

/// A disk that does some things in another way; all else, abilities included, is the disk's own.
#[derive(Debug)]
pub(crate) struct Filter {
    inner: Disk,
    wishes: Wishes,
}

impl Filter {
    /// `disk` itself where nothing is wished for.
    pub(crate) fn over(disk: Disk, wishes: Wishes) -> Disk {
        let access = disk.access();
        if wishes == Wishes::default() { disk } else { Disk::new(Self { inner: disk, wishes }, access) }
    }

    /// Refuses a write that would make a raw image look like another format.
    fn check_start(&self, offset: u64, buf: &[u8]) -> Result<()> {
        if !self.wishes.stay_raw || offset >= PROBED_BYTES || buf.is_empty() {
            return Ok(());
        }
        let mut start = [0; PROBED_BYTES as usize];
        let inside = self.inner.size().min(PROBED_BYTES) as usize;
        self.inner.read(0, &mut start[..inside])?;
        let from = offset as usize;
        let length = buf.len().min(inside.saturating_sub(from));
        start[from..from + length].copy_from_slice(&buf[..length]);
        if blk_qcow2::FORMAT.probe(&start) == 0 {
            return Ok(());
        }
        Err(Error::io("write", offset, std::io::Error::from_raw_os_error(EPERM)))
    }

    fn fua(&self, fua: bool) -> bool {
        fua || self.wishes.writethrough
    }
}

impl PassThrough for Filter {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.check_start(offset, buf)?;
        let fua = self.fua(flags.fua);
        if self.wishes.detect_zeroes == DetectZeroes::Off || flags.compressed || !is_zero(buf) {
            return self.inner.write(offset, buf, WriteFlags { fua, ..flags });
        }
        let may_unmap = self.wishes.detect_zeroes == DetectZeroes::Unmap;
        let zeroes = ZeroFlags { fua, may_unmap, no_fallback: false };
        self.inner.write_zeroes(Extent::new(offset, buf.len() as u64), zeroes)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.inner.write_zeroes(extent, ZeroFlags { fua: self.fua(flags.fua), ..flags })
    }

    // None of these changes the content that a guest sees, so there is nothing for the filter to do about them.

    fn as_check(&self) -> Option<&dyn Check> {
        self.inner.as_check()
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.inner.as_overlay()
    }
}

/// Whether all bytes are zero; a block at a time, so that many are looked at at once.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(512).all(|block| block.iter().fold(0, |any, byte| any | byte) == 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::storage::{FaultStorage, Operation};
    use blk_core::{Access, DenyResolver, MemoryStorage, Options, Storage};

    use super::*;

    fn filtered(wishes: Wishes) -> (Disk, Arc<FaultStorage>) {
        let counting = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::from_bytes(&[1; 8192]))));
        let storage: Arc<dyn Storage> = Arc::clone(&counting) as Arc<dyn Storage>;
        let raw = blk_raw::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        (Filter::over(raw, wishes), counting)
    }

    #[test]
    fn zeroes_become_requests_to_zero() {
        for (detect_zeroes, operation) in
            [(DetectZeroes::On, Operation::WriteZeroes), (DetectZeroes::Unmap, Operation::PunchHole)]
        {
            let (disk, counting) = filtered(Wishes { detect_zeroes, ..Wishes::default() });
            disk.write(1024, &[0; 1000], WriteFlags::default()).unwrap();
            assert_eq!((counting.count_of(operation), counting.count_of(Operation::Write)), (1, 0));
            let mut almost = [0; 1000];
            almost[999] = 1;
            disk.write(1024, &almost, WriteFlags::default()).unwrap();
            assert_eq!(counting.count_of(Operation::Write), 1);
            let mut read = [9; 1000];
            disk.read(1024, &mut read).unwrap();
            assert_eq!(read, almost);
        }
    }

    #[test]
    fn writing_through_syncs_every_write() {
        let (disk, counting) = filtered(Wishes { writethrough: true, ..Wishes::default() });
        disk.write(0, &[2; 512], WriteFlags::default()).unwrap();
        disk.write_zeroes(Extent::new(0, 512), ZeroFlags::default()).unwrap();
        assert_eq!(counting.count_of(Operation::Sync), 2);
    }

    #[test]
    fn a_guessed_raw_disk_stays_raw() {
        let (disk, _) = filtered(Wishes { stay_raw: true, ..Wishes::default() });
        let header = *b"QFI\xfb\0\0\0\x03";
        assert_eq!(disk.write(0, &header, WriteFlags::default()).unwrap_err().errno(), 1);
        disk.write(0, &header[..4], WriteFlags::default()).unwrap();
        assert_eq!(
            disk.write(4, &header[4..], WriteFlags::default()).unwrap_err().errno(),
            1,
            "in two parts"
        );
        disk.write(512, &header, WriteFlags::default()).unwrap();
        disk.resize(4).unwrap();
        disk.write(0, b"QFI\xfb", WriteFlags::default()).unwrap();
    }
}
