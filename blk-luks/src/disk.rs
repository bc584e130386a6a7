//! The driver: every sector of the disk is a sector of the file, encrypted. What is no whole sector is read,
//! changed and written back, with its range locked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use blk_core::bytes::SECTOR_BYTES as SECTOR;
use blk_core::sync::{Mutex, RangeLock};
use blk_core::{
    Amend, BlockDriver, BlockStatus, DiscardFlags, Error, Extent, ImageInfo, Info, Limits, Preallocation,
    Resize, Result, Secret, Storage, WriteFlags, refuse_compressed,
};

use crate::cipher::{SECTOR_BYTES, SectorCipher};
use crate::info;
use crate::one_sync::OneSync;
use crate::slots::KeySlots;
use crate::steps;

/// What is encrypted and written at once, bytes: it fits into a processor's cache.
const PIECE_BYTES: u64 = 256 << 10;

/// An open image.
#[derive(Debug)]
pub(crate) struct LuksDisk {
    storage: Arc<OneSync>,
    payload_offset: u64,
    size: AtomicU64,
    /// `None` where the image was opened to look at its header.
    unlocked: Option<Unlocked>,
    pub(crate) slots: Mutex<KeySlots>,
    is_detached: bool,
    /// Of the disk, in whole sectors: a read sees no sector half written, and nobody changes a sector that
    /// somebody else has read to change it.
    ranges: RangeLock,
    /// Something was written after the last flush.
    is_written: AtomicBool,
}

/// What it takes to read and write.
#[derive(Debug)]
pub(crate) struct Unlocked {
    pub(crate) cipher: SectorCipher,
    /// The key of the volume, for new slots.
    pub(crate) key: Secret,
}

impl LuksDisk {
    /// The disk of that size behind the header of `slots`.
    pub(crate) fn new(
        storage: Arc<OneSync>,
        size: u64,
        slots: KeySlots,
        unlocked: Option<Unlocked>,
        is_detached: bool,
    ) -> Self {
        Self {
            storage,
            payload_offset: slots.header().payload_offset,
            size: AtomicU64::new(size),
            unlocked,
            slots: Mutex::new(slots),
            is_detached,
            ranges: RangeLock::default(),
            is_written: AtomicBool::new(false),
        }
    }

    pub(crate) fn unlocked(&self) -> Result<&Unlocked> {
        let missing = "reading or writing an encrypted disk that was opened without its key";
        self.unlocked.as_ref().ok_or_else(|| Error::unsupported(missing))
    }

    fn in_file(&self, offset: u64) -> u64 {
        self.payload_offset + offset
    }

    /// Reads whole sectors.
    fn read_sectors(&self, cipher: &SectorCipher, offset: u64, buf: &mut [u8]) -> Result<()> {
        Storage::read_at(&*self.storage, self.in_file(offset), buf)?;
        cipher.decrypt(offset / SECTOR, buf);
        Ok(())
    }

    /// Reads the sector that `offset` lies in.
    fn read_sector(&self, cipher: &SectorCipher, offset: u64) -> Result<[u8; SECTOR_BYTES]> {
        let mut sector = [0; SECTOR_BYTES];
        self.read_sectors(cipher, offset / SECTOR * SECTOR, &mut sector)?;
        Ok(sector)
    }

    /// Writes whole sectors, which `fill` puts into a buffer for each piece.
    fn write_pieces(
        &self,
        cipher: &SectorCipher,
        sectors: Extent,
        mut fill: impl FnMut(Extent, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = Vec::with_capacity(sectors.length.min(PIECE_BYTES) as usize);
        for piece in sectors.parts(PIECE_BYTES) {
            buffer.clear();
            fill(piece, &mut buffer)?;
            assert_eq!(buffer.len() as u64, piece.length, "a piece is whole sectors: {piece:?}");
            cipher.encrypt(piece.offset / SECTOR, &mut buffer);
            Storage::write_at(&*self.storage, self.in_file(piece.offset), &buffer)?;
        }
        Ok(())
    }

    /// Makes a part of the disk read as zeroes.
    fn fill_with_zeroes(&self, cipher: &SectorCipher, sectors: Extent) -> Result<()> {
        self.write_pieces(cipher, sectors, |piece, buffer| {
            buffer.resize(piece.length as usize, 0);
            Ok(())
        })
    }

    /// What has passed the front door may find a smaller disk.
    fn check_inside(&self, extent: Extent) -> Result<()> {
        let size = self.size();
        if extent.end() <= size {
            return Ok(());
        }
        Err(Error::OutOfRange { offset: extent.offset, length: extent.length, size })
    }
}

/// The size of the disk from `payload_offset` of a file on. A part of a sector at the end counts as a whole
/// one.
pub(crate) fn size_in(storage: &dyn Storage, payload_offset: u64) -> Result<u64> {
    let length = storage.len()?;
    if let Some(size) = length.checked_sub(payload_offset) {
        return Ok(size.next_multiple_of(SECTOR));
    }
    let reason = format!("the payload offset is {payload_offset}, the file has {length} bytes");
    Err(Error::Malformed { structure: "LUKS header", offset: 104, reason })
}

/// Bytes of a file with a disk of `size` bytes, rounded up to whole sectors, from `payload_offset` on.
///
/// # Errors
/// [`Error::OutOfRange`] where no file is so long.
pub(crate) fn file_bytes(payload_offset: u64, size: u64) -> Result<u64> {
    let payload = size.checked_next_multiple_of(SECTOR);
    let bytes = payload.and_then(|payload| payload.checked_add(payload_offset));
    bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or(Error::OutOfRange {
        offset: payload_offset,
        length: size,
        size: i64::MAX as u64,
    })
}

/// The whole sectors that `extent` touches. It lies inside a disk, which is whole sectors.
fn sectors_of(extent: Extent) -> Extent {
    Extent::between(extent.offset / SECTOR * SECTOR, extent.end().next_multiple_of(SECTOR))
}

impl BlockDriver for LuksDisk {
    #[inline]
    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// There are no zeroes but such as are encrypted. A discard does nothing.
    fn limits(&self) -> Limits {
        Limits {
            can_write_zeroes: false,
            zero_granularity: SECTOR,
            discard_granularity: SECTOR,
            discard_bytes_max: Limits::ANY_LENGTH,
            ..Limits::default()
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let cipher = &self.unlocked()?.cipher;
        let extent = Extent::new(offset, buf.len() as u64);
        let sectors = sectors_of(extent);
        let _shared = self.ranges.share(sectors);
        Storage::step(&*self.storage, &steps::READ_AIO);
        if sectors == extent {
            return self.read_sectors(cipher, offset, buf);
        }
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let within = (at % SECTOR) as usize;
            let whole = rest.len() / SECTOR_BYTES * SECTOR_BYTES;
            let length = if within == 0 && whole > 0 {
                self.read_sectors(cipher, at, &mut rest[..whole])?;
                whole
            } else {
                let sector = self.read_sector(cipher, at)?;
                let length = rest.len().min(SECTOR_BYTES - within);
                rest[..length].copy_from_slice(&sector[within..within + length]);
                length
            };
            at += length as u64;
            rest = &mut rest[length..];
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        let cipher = &self.unlocked()?.cipher;
        let extent = Extent::new(offset, buf.len() as u64);
        let sectors = sectors_of(extent);
        let _alone = self.ranges.exclude(sectors);
        self.check_inside(sectors)?;
        Storage::step(&*self.storage, &steps::WRITE_AIO);
        let written = self.write_pieces(cipher, sectors, |piece, buffer| {
            let data = piece.intersection(extent);
            if piece.offset < data.offset {
                let sector = self.read_sector(cipher, piece.offset)?;
                buffer.extend_from_slice(&sector[..(data.offset - piece.offset) as usize]);
            }
            buffer.extend_from_slice(&buf[(data.offset - offset) as usize..(data.end() - offset) as usize]);
            if data.end() < piece.end() {
                let sector = self.read_sector(cipher, data.end())?;
                buffer.extend_from_slice(&sector[(data.end() % SECTOR) as usize..]);
            }
            Ok(())
        });
        // A write that failed may have written something.
        self.is_written.store(true, Ordering::Relaxed);
        written
    }

    /// Nothing: what the host would make zeroes of would read as noise.
    fn discard(&self, _extent: Extent, _flags: DiscardFlags) -> Result<()> {
        self.unlocked().map(drop)
    }

    fn prefetch(&self, extent: Extent) -> Result<()> {
        Storage::prefetch_at(&*self.storage, Extent::new(self.in_file(extent.offset), extent.length));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Storage::step(&*self.storage, &steps::FLUSH_TO_DISK);
        self.is_written.store(false, Ordering::Relaxed);
        Storage::sync(&*self.storage)
    }

    fn close(&self) -> Result<()> {
        // A flush that failed has nothing more to write, and yet not all is well.
        if self.is_written.load(Ordering::Relaxed) { self.flush() } else { self.storage.check() }
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let length = extent.length;
        Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_info(&self) -> Option<&dyn Info> {
        Some(self)
    }

    fn as_amend(&self) -> Option<&dyn Amend> {
        Some(self)
    }
}

impl Info for LuksDisk {
    fn info(&self) -> Result<ImageInfo> {
        Ok(info::of(self.slots.lock().header(), self.is_detached))
    }

    fn is_encrypted(&self) -> bool {
        true
    }
}

impl Resize for LuksDisk {
    fn resize(&self, size: u64) -> Result<()> {
        self.grow(size, Preallocation::Off)
    }

    /// What is gained is written, so that it reads as zeroes; so it is allocated, whatever was asked for. A
    /// crash in the midst of it may leave noise in what is gained.
    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        let cipher = &self.unlocked()?.cipher;
        if preallocation == Preallocation::Metadata {
            return Err(Error::unsupported("Unsupported preallocation mode: metadata"));
        }
        if !size.is_multiple_of(SECTOR) {
            let what = format!("a disk of {size} bytes, which are no whole sectors of {SECTOR}");
            return Err(Error::unsupported(what));
        }
        let length = file_bytes(self.payload_offset, size)?;
        let _alone = self.ranges.exclude(RangeLock::EVERYTHING);
        let old = self.size();
        self.is_written.store(true, Ordering::Relaxed);
        let resized = Storage::set_len(&*self.storage, length);
        // A host may say that it failed and have done it: the size is what the next open will find.
        if resized.is_ok() || Storage::len(&*self.storage).is_ok_and(|found| found == length) {
            self.size.store(size, Ordering::Relaxed);
        }
        resized?;
        let gained = Extent::between(old.min(size), size);
        let filled = self.fill_with_zeroes(cipher, gained);
        // A flush meanwhile has seen nothing of it, or a part.
        self.is_written.store(true, Ordering::Relaxed);
        if filled.is_err() && Storage::set_len(&*self.storage, self.in_file(old)).is_ok() {
            self.size.store(old, Ordering::Relaxed);
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{OnceLock, Weak};

    use blk_core::storage::PassThrough;
    use blk_core::{Format, MapResolver, MemoryStorage, Options};

    use super::*;
    use crate::environment::Repeatable;
    use crate::format::LuksFormat;

    /// While it is written to, somebody flushes the disk.
    #[derive(Debug)]
    struct FlushedMeanwhile {
        inner: MemoryStorage,
        disk: OnceLock<Weak<LuksDisk>>,
        syncs: AtomicUsize,
    }

    impl PassThrough for FlushedMeanwhile {
        fn inner(&self) -> &dyn Storage {
            &self.inner
        }

        fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
            if let Some(disk) = self.disk.get().and_then(Weak::upgrade) {
                disk.flush()?;
            }
            self.inner.write_at(offset, buf)
        }

        fn sync(&self) -> Result<()> {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.inner.sync()
        }
    }

    #[test]
    fn what_a_disk_gains_is_synced_when_it_is_closed() {
        static ENVIRONMENT: Repeatable = Repeatable::new(1);
        let storage = Arc::new(FlushedMeanwhile {
            inner: MemoryStorage::new(),
            disk: OnceLock::new(),
            syncs: AtomicUsize::new(0),
        });
        let mut resolver = MapResolver::default();
        let passphrase = Secret::from(b"first".to_vec());
        resolver.insert_secret("s", passphrase.clone());
        let options = Options::new().with("key-secret", "s");
        let format = LuksFormat::new(&ENVIRONMENT).with_stripes(2);
        format.create_with(&(Arc::clone(&storage) as _), 512, options, &resolver).unwrap();
        let slots = KeySlots::open(Arc::clone(&storage) as _, 0, &ENVIRONMENT).unwrap();
        let (_, key) = slots.unlock(&passphrase).unwrap().unwrap();
        let cipher = SectorCipher::new(slots.header().algorithms, key.expose()).unwrap();
        let file = Arc::new(OneSync::new(Arc::clone(&storage) as _));
        let disk = Arc::new(LuksDisk::new(file, 512, slots, Some(Unlocked { cipher, key }), false));
        storage.disk.set(Arc::downgrade(&disk)).unwrap();
        disk.grow(4096, Preallocation::Off).unwrap();
        let before = storage.syncs.load(Ordering::Relaxed);
        disk.close().unwrap();
        assert_eq!(storage.syncs.load(Ordering::Relaxed), before + 1, "what was gained may be lost");
    }
}
