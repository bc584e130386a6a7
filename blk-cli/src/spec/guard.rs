//! The guard of a disk whose format was guessed as raw: its first sector stays that of a raw image.
//!
//! A guest that may write its disk's first sector could make an image of it that names any file of the host
//! as its backing file, and would be shown that file once the format is guessed again. So each request that
//! changes the first sector is judged by what the sector will hold, whatever the request is and however the
//! bytes come together.

use blk_core::sync::Mutex;
use blk_core::{
    DiscardFlags, Disk, Error, Extent, Info, PROBED_BYTES, PassThrough, Preallocation, Probe, Result,
    WriteFlags, ZeroFlags,
};

use crate::formats::registry;

/// "Operation not permitted", as QEMU says it.
const EPERM: i32 = 1;

/// A sector, with zeroes past the end of the disk.
type Sector = [u8; PROBED_BYTES];

const SECTOR_BYTES: u64 = PROBED_BYTES as u64;

/// A raw disk that stays raw for whoever looks at it.
#[derive(Debug)]
pub(crate) struct RawGuard {
    inner: Disk,
    /// Held while the first sector changes: two requests could each leave a raw image, and both together
    /// another one.
    changing: Mutex<()>,
    /// A format that could be opened has its header in the last sector.
    has_footers: bool,
}

/// What a request puts into its extent.
#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    Bytes(&'a [u8]),
    Zeroes,
}

impl RawGuard {
    /// Puts the guard before a raw disk.
    pub(crate) fn over(disk: Disk) -> Disk {
        let access = disk.access();
        let has_footers = registry().formats().any(|format| format.features().has_footer);
        Disk::new(Self { inner: disk, changing: Mutex::new(()), has_footers }, access)
    }

    /// Makes a request on `extent` that puts `content` there, if the disk stays raw.
    fn change(
        &self,
        extent: Extent,
        content: Content<'_>,
        request: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let size = self.inner.size();
        let touches_end = self.has_footers && extent.end().saturating_add(SECTOR_BYTES) > size;
        if extent.is_empty() || (extent.offset >= SECTOR_BYTES && !touches_end) {
            return request();
        }
        let _alone = self.changing.lock();
        self.check(extent, content, size)?;
        request()
    }

    fn change_size(&self, size: u64, request: impl FnOnce() -> Result<()>) -> Result<()> {
        let _alone = self.changing.lock();
        let old = self.inner.size();
        if size < old || self.has_footers {
            self.check(Extent::between(size.min(old), old), Content::Zeroes, size)?;
        }
        request()
    }

    /// Refuses what a probe of the disk, `size` bytes long then, would take for another format than raw. Of
    /// formats that cannot be opened, only what the start says counts: there is no disk that a footer could
    /// make them show.
    fn check(&self, extent: Extent, content: Content<'_>, size: u64) -> Result<()> {
        let start = self.sector_after(0, extent, content)?;
        let claimed = registry().claimed_by(&Probe { start: &start, end: &[], length: size });
        let mut is_other = extent.offset < SECTOR_BYTES && claimed.is_some();
        if let Some(place) = size.checked_sub(SECTOR_BYTES).filter(|_| self.has_footers) {
            let end = self.sector_after(place, extent, content)?;
            let probe = Probe { start: &start, end: &end, length: size };
            is_other |= registry().opened_by(&probe).is_some_and(|format| !format.features().is_raw);
        }
        if !is_other {
            return Ok(());
        }
        Err(Error::io("write", extent.offset, std::io::Error::from_raw_os_error(EPERM)))
    }

    /// The sector at `place` after the request.
    fn sector_after(&self, place: u64, extent: Extent, content: Content<'_>) -> Result<Sector> {
        let mut sector = [0; PROBED_BYTES];
        let part = extent.intersection(Extent::new(place, SECTOR_BYTES));
        let inside = self.inner.size().saturating_sub(place).min(SECTOR_BYTES);
        if part.is_empty() || part.offset > place || part.length < inside {
            self.inner.read(place, &mut sector[..inside as usize])?;
        }
        if part.is_empty() {
            return Ok(sector);
        }
        let changed = &mut sector[(part.offset - place) as usize..(part.end() - place) as usize];
        match content {
            Content::Zeroes => changed.fill(0),
            Content::Bytes(bytes) => {
                let from = (part.offset - extent.offset) as usize;
                changed.copy_from_slice(&bytes[from..from + changed.len()]);
            }
        }
        Ok(sector)
    }
}

impl PassThrough for RawGuard {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.change(extent, Content::Bytes(buf), || self.inner.write(offset, buf, flags))
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.change(extent, Content::Zeroes, || self.inner.write_zeroes(extent, flags))
    }

    /// As if all of it became zeroes: what stays as it is has been judged before.
    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        self.change(extent, Content::Zeroes, || self.inner.discard(extent, flags))
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
            |disk: &Disk| disk.discard(Extent::new(19, 4000), DiscardFlags::default()),
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
        disk.discard(Extent::new(0, 8192), DiscardFlags::default()).unwrap();
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
