//! A disk that is kept in memory and written at each flush, with a table in three copies. Its recovery is
//! right unless all three fall back while all else persists, as a medium does that forgets a run.

use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{
    BlockDriver, BlockStatus, DiscardFlags, Error, Extent, Result, Storage, WriteFlags, ZeroFlags,
};

use super::SIZE_BYTES;

const SECTOR: u64 = 512;
/// Two places of the disk's content, written in turn.
const PLACES: [u64; 2] = [128 << 10, 192 << 10];
/// The copies of the table, a sector each: the number of the flush.
const COPIES: [u64; 3] = [64 << 10, (64 << 10) + SECTOR, (64 << 10) + 2 * SECTOR];
/// The number of the flush, and a sum of the content.
const COMMIT: u64 = 0;

/// The driver.
#[derive(Debug)]
pub(crate) struct Mirrors {
    storage: Arc<dyn Storage>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    content: Vec<u8>,
    flushes: u64,
}

fn sum(content: &[u8]) -> u64 {
    content.chunks(8).fold(1, |sum: u64, part| {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        sum.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from_le_bytes(word)
    })
}

/// The content as flush number `flushes` writes it: no two write the same.
fn masked(content: &[u8], flushes: u64) -> Vec<u8> {
    content.iter().map(|byte| byte ^ flushes as u8).collect()
}

fn words(storage: &dyn Storage, at: u64) -> Result<[u64; 2]> {
    let mut bytes = [0; 16];
    storage.read_at(at, &mut bytes)?;
    let words = bytes.as_chunks::<8>().0;
    Ok([u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])])
}

fn put(storage: &dyn Storage, at: u64, words: [u64; 2]) -> Result<()> {
    let mut sector = vec![0; SECTOR as usize];
    sector[..8].copy_from_slice(&words[0].to_le_bytes());
    sector[8..16].copy_from_slice(&words[1].to_le_bytes());
    storage.write_at(at, &sector)
}

impl Mirrors {
    pub(crate) fn create(storage: &dyn Storage) -> Result<()> {
        storage.set_len(256 << 10)?;
        put(storage, COMMIT, [0, sum(&vec![0; SIZE_BYTES as usize])])?;
        storage.sync()
    }

    pub(crate) fn open(storage: Arc<dyn Storage>) -> Result<Self> {
        let [flushes, expected] = words(&*storage, COMMIT)?;
        let copies = COPIES.map(|at| words(&*storage, at).map(|words| words[0]));
        let copies: Vec<u64> = copies.into_iter().collect::<Result<_>>()?;
        let read = |flushes: u64| {
            let mut content = vec![0; SIZE_BYTES as usize];
            storage.read_at(PLACES[(flushes % 2) as usize], &mut content).map(|()| masked(&content, flushes))
        };
        let content = read(flushes)?;
        if sum(&content) != expected {
            // The last flush has not got so far: what was before it is whole.
            let before = flushes.saturating_sub(1);
            let content = read(before)?;
            return Ok(Self { storage, inner: Mutex::new(Inner { content, flushes: before }) });
        }
        if copies.iter().all(|copy| *copy < flushes) {
            return Err(Error::corrupt("table", COPIES[0], "no copy of it is of the last flush"));
        }
        Ok(Self { storage, inner: Mutex::new(Inner { content, flushes }) })
    }

    fn change(&self, offset: u64, length: u64, byte: impl Fn(usize) -> u8) {
        let mut inner = self.inner.lock();
        for at in 0..length as usize {
            inner.content[offset as usize + at] = byte(at);
        }
    }
}

impl BlockDriver for Mirrors {
    fn size(&self) -> u64 {
        SIZE_BYTES
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(&self.inner.lock().content[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        blk_core::refuse_compressed(flags)?;
        self.change(offset, buf.len() as u64, |at| buf[at]);
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, _flags: ZeroFlags) -> Result<()> {
        self.change(extent.offset, extent.length, |_| 0);
        Ok(())
    }

    fn discard(&self, _extent: Extent, _flags: DiscardFlags) -> Result<()> {
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.flushes += 1;
        let flushes = inner.flushes;
        let place = PLACES[(flushes % 2) as usize];
        for copy in COPIES {
            put(&*self.storage, copy, [flushes, 0])?;
        }
        for (number, part) in masked(&inner.content, flushes).chunks(2 << 10).enumerate() {
            self.storage.write_at(place + number as u64 * (2 << 10), part)?;
        }
        put(&*self.storage, COMMIT, [flushes, sum(&inner.content)])?;
        self.storage.sync()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let length = extent.length;
        Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None })
    }
}
