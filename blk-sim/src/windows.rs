//! An image file, its data file and its backing file on one simulated host: windows of one storage.
//!
//! ```text
//! host   0 .... data file .... BASE_BYTES .... backing file .... DATA_BYTES .... image file ....
//! ```
//!
//! The first two are devices of fixed length. All have one clock and one log, so that a crash cuts all at the
//! same time, and a planned fault hits one operation of any. A sync reaches its own window alone
//! ([`Storage::sync_extent`]): what is durable of one file says nothing about the other. The data file comes
//! first, so that a host offset in it is one of the host's storage, where oracles read behind a driver's
//! back.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use blk_core::storage::{PassThrough, Step};
use blk_core::{Error, Extent, Result, Storage, StorageRun};

/// Where the image file begins: past the longest data file. Bytes.
pub const DATA_BYTES: u64 = 1 << 50;
/// Where the backing file begins: past a data file beside it. Bytes.
pub const BASE_BYTES: u64 = DATA_BYTES / 2;
/// Smallest device that a data file is. Bytes.
const DEVICE_BYTES_MIN: u64 = 64 << 20;

/// One of the files.
#[derive(Debug)]
struct Window {
    host: Arc<dyn Storage>,
    extent: Extent,
}

/// The image file of a host.
#[must_use]
pub fn image(host: &Arc<dyn Storage>) -> Arc<dyn Storage> {
    let extent = Extent::between(DATA_BYTES, i64::MAX as u64);
    Arc::new(Window { host: Arc::clone(host), extent })
}

/// The bytes that the data file of a disk of `size` bytes has: the disk may grow, and each cluster of a data
/// file that is the disk costs an entry.
#[must_use]
pub fn data_bytes(size: u64) -> u64 {
    size.saturating_mul(4).max(DEVICE_BYTES_MIN).next_multiple_of(1 << 20).min(DATA_BYTES)
}

/// The data file of a host, of so many bytes.
///
/// # Panics
/// If they are more than [`DATA_BYTES`].
#[must_use]
pub fn data(host: &Arc<dyn Storage>, length: u64) -> Arc<dyn Storage> {
    assert!(length <= DATA_BYTES, "the image file lies behind");
    Arc::new(Window { host: Arc::clone(host), extent: Extent::new(0, length) })
}

/// The backing file of a host, of so many bytes.
///
/// # Panics
/// If they reach [`DATA_BYTES`].
#[must_use]
pub fn base(host: &Arc<dyn Storage>, length: u64) -> Arc<dyn Storage> {
    assert!(length <= DATA_BYTES - BASE_BYTES, "the image file lies behind");
    Arc::new(Window { host: Arc::clone(host), extent: Extent::new(BASE_BYTES, length) })
}

impl Window {
    /// Whether its length is fixed.
    fn is_device(&self) -> bool {
        self.extent.offset < DATA_BYTES
    }

    /// Where `extent` lies on the host.
    fn place(&self, extent: Extent) -> Result<Extent> {
        let offset = self.offset(extent.offset)?;
        let placed = Extent::new(offset, extent.length);
        if placed.checked_end().is_some_and(|end| end <= self.extent.end()) {
            return Ok(placed);
        }
        Err(Error::OutOfRange { offset: extent.offset, length: extent.length, size: self.extent.length })
    }

    fn offset(&self, offset: u64) -> Result<u64> {
        let past = || Error::OutOfRange { offset, length: 0, size: self.extent.length };
        self.extent.offset.checked_add(offset).ok_or_else(past)
    }
}

impl PassThrough for Window {
    fn inner(&self) -> &dyn Storage {
        &*self.host
    }

    fn len(&self) -> Result<u64> {
        if self.is_device() {
            return Ok(self.extent.length);
        }
        Ok(self.host.len()?.saturating_sub(self.extent.offset))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        if self.is_device() {
            return Err(Error::unsupported("changing the length of a device"));
        }
        self.host.set_len(self.offset(length)?)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.host.read_at(self.offset(offset)?, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.host.write_at(self.place(Extent::new(offset, buf.len() as u64))?.offset, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.host.read_vectored_at(self.offset(offset)?, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        self.host.write_vectored_at(self.offset(offset)?, bufs)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.host.write_zeroes_at(self.place(extent)?)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.host.punch_hole(self.place(extent)?)
    }

    fn discard_at(&self, extent: Extent) -> Result<()> {
        self.host.discard_at(self.place(extent)?)
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        self.host.zero_fast(self.place(extent)?, unmap)
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        let at = self.offset(offset)?;
        let Some(run) = self.host.run_at(at)? else {
            let left = self.extent.end().saturating_sub(at);
            return Ok((self.is_device() && left > 0).then_some(StorageRun { length: left, data: false }));
        };
        Ok(Some(StorageRun { length: run.length.min(self.extent.end() - at), ..run }))
    }

    /// Of the host: nobody knows of a part.
    fn allocated_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn sync(&self) -> Result<()> {
        self.host.sync_extent(self.extent)
    }

    fn step(&self, step: &'static Step) {
        self.host.step(step);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Durability, Host, Settings};
    use blk_core::MemoryStorage;

    use super::*;

    #[test]
    fn each_file_has_its_bytes_its_length_and_its_syncs() {
        let simulated = Arc::new(Host::new(MemoryStorage::new(), Settings::crashing()));
        let host: Arc<dyn Storage> = simulated.clone();
        let (image, base, data) = (image(&host), base(&host, 4096), data(&host, BASE_BYTES));
        base.write_at(3584, &[4; 512]).unwrap();
        base.sync().unwrap();
        assert!(base.set_len(0).is_err() && base.write_at(3585, &[0; 512]).is_err());
        image.write_at(0, &[1; 512]).unwrap();
        data.write_at(0, &[2; 512]).unwrap();
        data.write_at(512, &[3; 512]).unwrap();
        assert_eq!((image.len().unwrap(), data.len().unwrap()), (512, BASE_BYTES));
        assert!(data.set_len(0).is_err() && data.write_at(BASE_BYTES, &[0]).is_err());
        image.set_len(1024).unwrap();
        data.sync().unwrap();
        let mut durability = Durability::new(MemoryStorage::new(), 512);
        for operation in simulated.take_log() {
            durability.apply(&operation).unwrap();
        }
        let left: Vec<&str> = durability.pending().iter().map(|pending| pending.name).collect();
        assert_eq!(left, ["write", "truncate"], "those of the image file");
        let mut of_data = [9; 1024];
        durability.durable().read_at(0, &mut of_data).unwrap();
        assert_eq!(of_data[..], [[2; 512], [3; 512]].concat());
        let mut found = [9; 4];
        durability.durable().read_at(BASE_BYTES + 4092, &mut found).unwrap();
        assert_eq!(found, [4; 4]);
        image.read_at(0, &mut found).unwrap();
        assert_eq!(found, [1; 4]);
    }
}
