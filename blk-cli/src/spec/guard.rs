//! The guard of a disk whose format was guessed as raw: its first sector stays that of a raw image.
//!
//! A guest that may write its disk's first sector could make an image of it that names any file of the host as its backing
//! file, and would be shown that file once the format is guessed again. So each request that changes the first sector is judged
//! by what the sector will hold, whatever the request is and however the bytes come together.

use std::ops::Range;

use blk_core::sync::Mutex;
use blk_core::{
    Disk, Error, Extent, Info, PROBED_BYTES, PassThrough, Preallocation, Result, WriteFlags, ZeroFlags,
};

use super::open::registry;

/// "Operation not permitted", as QEMU says it.
const EPERM: i32 = 1;

/// The first sector, with zeroes past the end of the disk.
type Sector = [u8; PROBED_BYTES];

/// A raw disk that stays raw for whoever looks at it.
#[derive(Debug)]
pub(crate) struct RawGuard {
    inner: Disk,
    /// Held while the first sector changes: two requests could each leave a raw image, and both together another one.
    changing: Mutex<()>,
}

impl RawGuard {
    /// Puts the guard before a raw disk.
    pub(crate) fn over(disk: Disk) -> Disk {
        let access = disk.access();
        Disk::new(Self { inner: disk, changing: Mutex::new(()) }, access)
    }

    /// The first sector as it is, but for what is about to change anyway.
    fn start(&self, changed: Extent) -> Result<Sector> {
        let mut start = [0; PROBED_BYTES];
        let inside = self.inner.size().min(PROBED_BYTES as u64) as usize;
        if changed.offset > 0 || changed.length < inside as u64 {
            self.inner.read(0, &mut start[..inside])?;
        }
        Ok(start)
    }

    /// Makes a request on `extent`, of whose start `change` says what it becomes, if the disk stays raw.
    fn change(
        &self,
        extent: Extent,
        change: impl FnOnce(&mut [u8]),
        request: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let part = extent.intersection(Extent::new(0, PROBED_BYTES as u64));
        if part.is_empty() {
            return request();
        }
        let _alone = self.changing.lock();
        let mut start = self.start(part)?;
        change(&mut start[bytes(part)]);
        check(&start, extent.offset)?;
        request()
    }

    fn change_size(&self, size: u64, request: impl FnOnce() -> Result<()>) -> Result<()> {
        let _alone = self.changing.lock();
        let old = self.inner.size().min(PROBED_BYTES as u64);
        if size < old {
            let cut = Extent::between(size, old);
            let mut start = self.start(cut)?;
            start[bytes(cut)].fill(0);
            check(&start, size)?;
        }
        request()
    }
}

/// Of an extent inside the sector.
fn bytes(part: Extent) -> Range<usize> {
    part.offset as usize..part.end() as usize
}

/// Refuses what a probe would take for another format than raw.
fn check(start: &Sector, offset: u64) -> Result<()> {
    match registry().claimed_by(start) {
        None => Ok(()),
        Some(_) => Err(Error::io("write", offset, std::io::Error::from_raw_os_error(EPERM))),
    }
}

impl PassThrough for RawGuard {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        let change = |start: &mut [u8]| start.copy_from_slice(&buf[..start.len()]);
        self.change(extent, change, || self.inner.write(offset, buf, flags))
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.change(extent, |start| start.fill(0), || self.inner.write_zeroes(extent, flags))
    }

    /// As if all of it became zeroes: what stays as it is has been judged before.
    fn discard(&self, extent: Extent) -> Result<()> {
        self.change(extent, |start| start.fill(0), || self.inner.discard(extent))
    }

    fn resize(&self, size: u64) -> Result<()> {
        self.change_size(size, || self.inner.resize(size))
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        self.change_size(size, || self.inner.grow(size, preallocation))
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::{Access, DenyResolver, MemoryStorage, Options};

    use super::*;

    const HEADER: &[u8; 8] = b"QFI\xfb\0\0\0\x03";

    fn guarded(content: &[u8]) -> Disk {
        let storage = Arc::new(MemoryStorage::from_bytes(content));
        let raw = blk_raw::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        RawGuard::over(raw)
    }

    #[track_caller]
    fn refused(result: Result<()>) {
        assert_eq!(result.unwrap_err().errno(), EPERM);
    }

    #[test]
    fn a_header_is_refused_however_its_bytes_come_together() {
        let disk = guarded(&[0; 8192]);
        refused(disk.write(0, HEADER, WriteFlags::default()));
        disk.write(0, &HEADER[..4], WriteFlags::default()).unwrap();
        for at in 4..8 {
            // Any version is one, not only those that we open.
            refused(disk.write(at, &[2], WriteFlags::default()));
        }
        disk.write(3, &[0], WriteFlags::default()).unwrap();
        disk.write(4, &HEADER[4..], WriteFlags::default()).unwrap();
        refused(disk.write(3, &HEADER[3..4], WriteFlags::default()));
    }

    #[test]
    fn zeroes_discards_and_a_smaller_size_make_no_header_whole() {
        // Whole but for a byte that is to be zero.
        let parallels = b"WithoutFreeSpace\x02\0\0\x07";
        for request in [
            |disk: &Disk| disk.write_zeroes(Extent::new(19, 1), ZeroFlags::default()),
            |disk: &Disk| disk.write_zeroes(Extent::new(19, 5000), ZeroFlags::default()),
            |disk: &Disk| disk.discard(Extent::new(19, 4000)),
            |disk: &Disk| disk.resize(19),
            |disk: &Disk| disk.resize(17),
            |disk: &Disk| disk.write(19, &[0; 1], WriteFlags::default()),
        ] {
            let mut content = [3; 8192];
            content[..20].copy_from_slice(parallels);
            let disk = guarded(&content);
            refused(request(&disk));
            let mut read = [0; 20];
            disk.read(0, &mut read).unwrap();
            assert_eq!((read, disk.size()), (*parallels, 8192), "nothing has changed");
        }
    }

    #[test]
    fn all_else_passes() {
        let disk = guarded(&[1; 8192]);
        disk.write(512, HEADER, WriteFlags::default()).unwrap();
        disk.write(0, &[0xfb; 8192], WriteFlags::default()).unwrap();
        disk.write_zeroes(Extent::new(0, 8192), ZeroFlags::default()).unwrap();
        disk.discard(Extent::new(0, 8192)).unwrap();
        disk.resize(0).unwrap();
        disk.resize(4).unwrap();
        disk.write(0, b"QFI\xfb", WriteFlags::default()).unwrap();
        disk.grow(8192, Preallocation::Full).unwrap();
        refused(disk.write(7, &[2], WriteFlags::default()));
    }

    #[test]
    fn two_writers_together_make_no_header() {
        for _ in 0..200 {
            let disk = guarded(&[0; 8192]);
            std::thread::scope(|scope| {
                for (offset, part) in [(0, &HEADER[..4]), (4, &HEADER[4..])] {
                    let disk = &disk;
                    scope.spawn(move || disk.write(offset, part, WriteFlags::default()));
                }
            });
            let mut read = [0; 8];
            disk.read(0, &mut read).unwrap();
            assert_ne!(read, *HEADER);
        }
    }
}
