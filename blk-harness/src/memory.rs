//! The disk that is trusted: bytes in memory.

use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, MemoryStorage, NewSnapshot, Resize,
    Result, SnapshotInfo, Snapshots, Storage, WriteFlags, ZeroFlags, refuse_compressed,
};

/// Bytes that are copied at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// A disk whose bytes lie in memory as they are. Holes cost nothing, so it may be large.
#[derive(Debug)]
pub struct MemoryDisk {
    storage: Arc<MemoryStorage>,
    snapshots: MemorySnapshots,
}

/// Copies of what lies in memory, as snapshots: for a disk whose bytes are those of a storage.
#[derive(Debug)]
pub struct MemorySnapshots {
    storage: Arc<MemoryStorage>,
    copies: Mutex<Vec<(SnapshotInfo, MemoryStorage)>>,
}

impl MemoryDisk {
    /// A disk of `size` zero bytes.
    ///
    /// # Errors
    /// That of the storage, for a size that no file has.
    pub fn open(size: u64) -> Result<Disk> {
        let storage = Arc::new(MemoryStorage::new());
        storage.set_len(size)?;
        Ok(Disk::new(Self::over(storage), Access::ReadWrite))
    }

    fn over(storage: Arc<MemoryStorage>) -> Self {
        Self { snapshots: MemorySnapshots::over(Arc::clone(&storage)), storage }
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

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        Some(&self.snapshots)
    }
}

impl MemorySnapshots {
    /// Of a disk over `storage`, of which there are none yet.
    pub fn over(storage: Arc<MemoryStorage>) -> Self {
        Self { storage, copies: Mutex::default() }
    }

    /// What is done with the snapshot of this ID.
    fn with_snapshot<R>(&self, id: &str, run: impl FnOnce(&MemoryStorage) -> Result<R>) -> Result<R> {
        let snapshots = self.copies.lock();
        let found = snapshots.iter().find(|(info, _)| info.id == id);
        found.map_or_else(|| Err(missing(id)), |(_, content)| run(content))
    }
}

fn missing(id: &str) -> Error {
    Error::Unresolved { name: id.to_owned(), reason: "no snapshot has this ID".to_owned() }
}

impl Snapshots for MemorySnapshots {
    fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        Ok(self.copies.lock().iter().map(|(info, _)| info.clone()).collect())
    }

    fn create_snapshot(&self, new: &NewSnapshot) -> Result<String> {
        let mut snapshots = self.copies.lock();
        let last = snapshots.iter().filter_map(|(info, _)| info.id.parse::<u64>().ok()).max();
        let id = (last.unwrap_or(0) + 1).to_string();
        let info = SnapshotInfo {
            id: id.clone(),
            name: new.name.clone(),
            disk_bytes: Some(self.storage.len()?),
            vm_state_bytes: new.vm_state_bytes,
            date_seconds: new.date_seconds,
            date_nanoseconds: new.date_nanoseconds,
            vm_clock_nanoseconds: new.vm_clock_nanoseconds,
            instruction_count: new.instruction_count,
        };
        snapshots.push((info, self.storage.duplicate()));
        Ok(id)
    }

    fn apply_snapshot(&self, id: &str) -> Result<()> {
        self.with_snapshot(id, |content| {
            self.storage.set_len(0)?;
            self.storage.set_len(content.len()?)?;
            let mut at = 0;
            while let Some(run) = content.run_at(at)? {
                for part in Extent::new(at, run.length).parts(PIECE_BYTES).filter(|_| run.data) {
                    let mut bytes = vec![0; part.length as usize];
                    content.read_at(part.offset, &mut bytes)?;
                    self.storage.write_at(part.offset, &bytes)?;
                }
                at += run.length;
            }
            Ok(())
        })
    }

    fn delete_snapshot(&self, id: &str) -> Result<()> {
        let mut snapshots = self.copies.lock();
        let count = snapshots.len();
        snapshots.retain(|(info, _)| info.id != id);
        if snapshots.len() == count { Err(missing(id)) } else { Ok(()) }
    }

    fn read_snapshot(&self, id: &str, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.with_snapshot(id, |content| {
            let (size, length) = (content.len()?, buf.len() as u64);
            if offset.checked_add(length).is_none_or(|end| end > size) {
                return Err(Error::OutOfRange { offset, length, size });
            }
            content.read_at(offset, buf)
        })
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
            Ok(Disk::new(MemoryDisk::over(Arc::clone(medium)), access))
        }
    }

    #[test]
    fn it_keeps_the_rules() {
        conformance(&Memory);
    }
}
