//! The disk that is trusted: bytes in memory.

use std::sync::Arc;

use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Extent, MemoryStorage, Resize, Result, Storage,
    WriteFlags, ZeroFlags, refuse_compressed,
};

/// A disk whose bytes lie in memory as they are. Holes cost nothing, so it may be large.
#[derive(Debug)]
pub struct MemoryDisk {
    storage: Arc<MemoryStorage>,
}

impl MemoryDisk {
    /// A disk of `size` zero bytes.
    ///
    /// # Errors
    /// That of the storage, for a size that no file has.
    pub fn open(size: u64) -> Result<Disk> {
        let storage = Arc::new(MemoryStorage::new());
        storage.set_len(size)?;
        Ok(Disk::new(Self { storage }, Access::ReadWrite))
    }

    fn len(&self) -> u64 {
        self.storage.len().unwrap_or(0)
    }
}

impl BlockDriver for MemoryDisk {
    fn size(&self) -> u64 {
        self.len()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.storage.read_at(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        self.storage.write_at(offset, buf)
    }

    fn write_zeroes(&self, extent: Extent, _flags: ZeroFlags) -> Result<()> {
        self.storage.write_zeroes_at(extent)
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.storage.punch_hole(extent)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let run = self.storage.run_at(extent.offset)?;
        let (length, data) = run.map_or((extent.length, false), |run| (run.length, run.data));
        Ok(BlockStatus {
            length: length.min(extent.length),
            allocated: true,
            zero: !data,
            compressed: false,
            host_offset: Some(extent.offset),
        })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }
}

impl Resize for MemoryDisk {
    fn resize(&self, size: u64) -> Result<()> {
        self.storage.set_len(size)
    }
}

/// What [`blk_core::testing`] asks of every driver, the trusted one too.
#[cfg(test)]
mod tests {
    use blk_core::testing::{Maker, conformance};

    use super::*;

    struct Memory;

    impl Maker for Memory {
        type Medium = Arc<MemoryStorage>;

        fn make(&self, size: u64) -> Result<Self::Medium> {
            let storage = MemoryStorage::new();
            storage.set_len(size)?;
            Ok(Arc::new(storage))
        }

        fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
            Ok(Disk::new(MemoryDisk { storage: Arc::clone(medium) }, access))
        }
    }

    #[test]
    fn it_keeps_the_rules() {
        conformance(&Memory);
    }
}
