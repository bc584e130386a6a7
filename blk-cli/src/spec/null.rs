//! `null-co`: a storage that stores nothing.

use std::time::Duration;

use blk_core::{Error, Extent, Result, Storage, StorageRun};

/// What qemu-io fills its buffers with before it reads into them.
const UNDEFINED: u8 = 0xab;

/// Takes every write, and keeps none.
#[derive(Debug)]
pub(crate) struct NullStorage {
    /// Bytes.
    pub(crate) size: u64,
    /// Whether reads give zeroes. If not, what is read is undefined; here it is what qemu-io shows for it.
    pub(crate) read_zeroes: bool,
    /// How long each request takes.
    pub(crate) latency: Duration,
}

impl NullStorage {
    fn wait(&self) {
        if !self.latency.is_zero() {
            std::thread::sleep(self.latency);
        }
    }
}

impl Storage for NullStorage {
    fn len(&self) -> Result<u64> {
        Ok(self.size)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        if length == self.size { Ok(()) } else { Err(Error::unsupported("changing the size of null-co")) }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.wait();
        let inside = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        buf[..inside].fill(if self.read_zeroes { 0 } else { UNDEFINED });
        buf[inside..].fill(0);
        Ok(())
    }

    fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<()> {
        self.wait();
        Ok(())
    }

    fn write_zeroes_at(&self, _extent: Extent) -> Result<()> {
        self.wait();
        Ok(())
    }

    fn punch_hole(&self, _extent: Extent) -> Result<()> {
        self.wait();
        Ok(())
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        let rest = self.size.saturating_sub(offset);
        Ok((rest > 0).then_some(StorageRun { length: rest, data: !self.read_zeroes }))
    }

    fn sync(&self) -> Result<()> {
        self.wait();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept() {
        let null = NullStorage { size: 1000, read_zeroes: true, latency: Duration::ZERO };
        null.write_at(0, &[1; 10]).unwrap();
        let mut read = [7; 10];
        null.read_at(0, &mut read).unwrap();
        assert_eq!(read, [0; 10]);
        assert_eq!(null.run_at(1000).unwrap(), None);
        assert_eq!(null.run_at(10).unwrap(), Some(StorageRun { length: 990, data: false }));
        assert!(null.set_len(999).is_err());
        let undefined = NullStorage { read_zeroes: false, ..null };
        read.fill(7);
        undefined.read_at(995, &mut read).unwrap();
        assert_eq!(read, [0xab, 0xab, 0xab, 0xab, 0xab, 0, 0, 0, 0, 0]);
    }
}
