//! The suite itself is tested: a right driver passes, each planted bug is caught.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Maker, conformance};
use crate::sync::Mutex;
use crate::{
    Access, BlockDriver, BlockStatus, Disk, Error, Extent, Resize, Result, WriteFlags, ZeroFlags,
    refuse_compressed,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    LosesTail,
    ZeroesOneTooMany,
    ZeroIgnored,
    DiscardGarbage,
    ResizeShowsOld,
    StatusLies,
    ReadOnlyChanges,
    ForgetsAtReopen,
    LosesNeighbourOfThreads,
    CompressedIsIgnored,
    NotZeroWhenFresh,
}

type Bytes = Arc<Mutex<Vec<u8>>>;

#[derive(Debug)]
struct Flat(Bytes, Bug);

impl BlockDriver for Flat {
    fn size(&self) -> u64 {
        self.0.lock().len() as u64
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(&self.0.lock()[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        if self.1 == Bug::CompressedIsIgnored && flags.compressed {
            return Ok(());
        }
        refuse_compressed(flags)?;
        let lost = usize::from(self.1 == Bug::LosesTail && buf.len() > 4096);
        let buf = &buf[..buf.len() - lost];
        if self.1 == Bug::LosesNeighbourOfThreads {
            let mut copy = self.0.lock().clone();
            std::thread::yield_now();
            copy[offset as usize..offset as usize + buf.len()].copy_from_slice(buf);
            *self.0.lock() = copy;
            return Ok(());
        }
        self.0.lock()[offset as usize..offset as usize + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, _flags: ZeroFlags) -> Result<()> {
        let mut bytes = self.0.lock();
        let more = usize::from(self.1 == Bug::ZeroesOneTooMany);
        let end = (extent.end() as usize + more).min(bytes.len());
        if self.1 != Bug::ZeroIgnored {
            bytes[extent.offset as usize..end].fill(0);
        }
        Ok(())
    }

    fn discard(&self, extent: Extent) -> Result<()> {
        let byte = if self.1 == Bug::DiscardGarbage { 0xd0 } else { 0 };
        self.0.lock()[extent.offset as usize..extent.end() as usize].fill(byte);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let zero = self.1 == Bug::StatusLies;
        Ok(BlockStatus { length: extent.length, allocated: true, zero, compressed: false, host_offset: None })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }
}

impl Resize for Flat {
    fn resize(&self, size: u64) -> Result<()> {
        let byte = if self.1 == Bug::ResizeShowsOld { 0x0d } else { 0 };
        self.0.lock().resize(size as usize, byte);
        Ok(())
    }
}

struct FlatMaker(Bug);

impl Maker for FlatMaker {
    type Medium = Bytes;

    fn make(&self, size: u64) -> Result<Bytes> {
        let byte = u8::from(self.0 == Bug::NotZeroWhenFresh);
        Ok(Arc::new(Mutex::new(vec![byte; size as usize])))
    }

    fn open(&self, medium: &Bytes, access: Access) -> Result<Disk> {
        if self.0 == Bug::ForgetsAtReopen && medium.lock().iter().any(|byte| *byte != 0) {
            medium.lock().fill(0);
        }
        let access = if self.0 == Bug::ReadOnlyChanges { Access::ReadWrite } else { access };
        Ok(Disk::new(Flat(Arc::clone(medium), self.0), access))
    }
}

#[test]
fn a_right_driver_passes() {
    conformance(&FlatMaker(Bug::None));
}

#[test]
fn every_planted_bug_is_caught() {
    let bugs = [
        Bug::LosesTail,
        Bug::ZeroesOneTooMany,
        Bug::ZeroIgnored,
        Bug::DiscardGarbage,
        Bug::ResizeShowsOld,
        Bug::StatusLies,
        Bug::ReadOnlyChanges,
        Bug::ForgetsAtReopen,
        Bug::LosesNeighbourOfThreads,
        Bug::CompressedIsIgnored,
        Bug::NotZeroWhenFresh,
    ];
    for bug in bugs {
        let caught = catch_unwind(AssertUnwindSafe(|| conformance(&FlatMaker(bug))));
        assert!(caught.is_err(), "{bug:?} was not caught");
    }
}

#[test]
fn a_size_that_the_format_does_not_have_is_skipped() {
    struct Picky;
    impl Maker for Picky {
        type Medium = Bytes;

        fn make(&self, size: u64) -> Result<Bytes> {
            if !size.is_multiple_of(512) {
                return Err(Error::invalid_option("size", "a multiple of 512"));
            }
            FlatMaker(Bug::None).make(size)
        }

        fn open(&self, medium: &Bytes, access: Access) -> Result<Disk> {
            FlatMaker(Bug::None).open(medium, access)
        }
    }
    conformance(&Picky);
}
