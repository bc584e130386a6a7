//! What can be asked of any disk: zeroes that are written become requests to zero, and writes that are
//! durable at once.

use blk_core::{
    Amend, Bitmaps, Check, DiscardFlags, Disk, Extent, Info, Overlay, PassThrough, Result, Snapshots,
    VmState, WriteFlags, ZeroFlags, bytes,
};

use super::node::DetectZeroes;

/// What a [`Filter`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    pub(crate) detect_zeroes: DetectZeroes,
    /// Every write is on stable storage before it succeeds.
    pub(crate) writethrough: bool,
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

    fn fua(&self, fua: bool) -> bool {
        fua || self.wishes.writethrough
    }
}

impl PassThrough for Filter {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let fua = self.fua(flags.fua);
        if self.wishes.detect_zeroes == DetectZeroes::Off || flags.compressed || !bytes::is_zero(buf) {
            return self.inner.write(offset, buf, WriteFlags { fua, ..flags });
        }
        let may_unmap = self.wishes.detect_zeroes == DetectZeroes::Unmap;
        let zeroes = ZeroFlags { fua, may_unmap, ..ZeroFlags::default() };
        self.inner.write_zeroes(Extent::new(offset, buf.len() as u64), zeroes)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.inner.write_zeroes(extent, ZeroFlags { fua: self.fua(flags.fua), ..flags })
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        // What a discard leaves is the disk's choice: in no cache mode QEMU forces one.
        self.inner.discard(extent, flags)
    }

    // None of these changes the content that a guest sees, so there is nothing for the filter to do about
    // them.

    fn as_check(&self) -> Option<&dyn Check> {
        self.inner.as_check()
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }

    fn as_amend(&self) -> Option<&dyn Amend> {
        self.inner.as_amend()
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.inner.as_overlay()
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        self.inner.as_snapshots()
    }

    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        self.inner.as_bitmaps()
    }

    fn as_vm_state(&self) -> Option<&dyn VmState> {
        self.inner.as_vm_state()
    }
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
}
