//! Storage in a regular file or on a block device.
//!
//! One system call for each read and write, and more where that one did not do all of it (`transfer`). Holes
//! are what the file system makes of them: where it cannot punch or zero a range, zeroes are written.

mod transfer;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Seek};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, FallocateFlags, SeekFrom, fallocate};
use rustix::io::Errno;

use self::transfer::{read_all, read_all_vectored, uninterrupted, write_all, write_all_vectored};
use super::{Storage, StorageRun, write_zeroes_as_data};
use crate::{Access, Error, Extent, Result, vectored};

/// A regular file or a block device.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    /// `None` for a regular file.
    device: Option<Device>,
    /// The host has refused to zero a range without freeing it, and need not be asked again.
    lacks_zero_range: AtomicBool,
}

/// What never changes about a block device.
#[derive(Debug, Clone, Copy)]
struct Device {
    size: u64,
    block_bytes: u64,
}

/// File systems refuse to punch where no file of theirs can have bytes; ext4's smallest limit is 4 TiB.
const PUNCH_END_MAX: u64 = 1 << 42;

/// The kernel's offsets are signed.
const OFFSET_MAX: u64 = i64::MAX as u64;

impl FileStorage {
    /// Opens the file of that name, which the caller, not an image, has chosen.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(access == Access::ReadWrite).open(path);
        Self::from_file(file.map_err(|error| named("open", path, &error))?)
    }

    /// Makes the file of that name, or empties it.
    pub fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        Self::from_file(file.map_err(|error| named("create", path, &error))?)
    }

    /// Takes a file that is open already.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for anything but a regular file or a block device.
    pub fn from_file(mut file: File) -> Result<Self> {
        let kind = file.metadata().map_err(|error| Error::io("stat", 0, error))?.file_type();
        let device = if kind.is_block_device() {
            Some(Device::of(&mut file)?)
        } else if kind.is_file() {
            None
        } else {
            return Err(Error::unsupported("storage that is neither a regular file nor a block device"));
        };
        Ok(Self { file, device, lacks_zero_range: AtomicBool::new(false) })
    }

    fn check_device(&self, offset: u64, length: u64) -> Result<()> {
        match self.device {
            Some(Device { size, .. }) if offset.checked_add(length).is_none_or(|end| end > size) => {
                Err(Error::NoSpace { what: format!("the block device has {size} bytes").into() })
            }
            _ => Ok(()),
        }
    }

    /// Asks the host to do something with a range. `Ok(false)` if it cannot.
    fn ask(&self, operation: &'static str, flags: FallocateFlags, extent: Extent) -> Result<bool> {
        loop {
            match fallocate(&self.file, flags, extent.offset, extent.length) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::INVAL | Errno::PERM) => {
                    return Ok(false);
                }
                Err(error) => return Err(Error::io(operation, extent.offset, error.into())),
            }
        }
    }

    /// Zeroes a range that stays allocated. `Ok(false)` if the host cannot without data; zeroes may be there
    /// already.
    fn try_zero(&self, extent: Extent) -> Result<bool> {
        if !self.lacks_zero_range.load(Ordering::Relaxed) {
            if self.ask("zero", FallocateFlags::ZERO_RANGE, extent)? {
                return Ok(true);
            }
            self.lacks_zero_range.store(true, Ordering::Relaxed);
        }
        // A hole that is then allocated anew: what tmpfs can do. The second call also extends the file.
        Ok(self.try_punch(extent)? && self.ask("zero", FallocateFlags::empty(), extent)?)
    }

    /// As [`FileStorage::try_zero`], but nothing is zeroed where the host cannot.
    fn try_zero_fast(&self, extent: Extent) -> Result<bool> {
        if self.lacks_zero_range.load(Ordering::Relaxed)
            && !self.ask("zero", FallocateFlags::KEEP_SIZE, extent)?
        {
            return Ok(false);
        }
        self.try_zero(extent)
    }

    fn try_punch(&self, extent: Extent) -> Result<bool> {
        self.ask("punch", FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, extent)
    }

    /// Lets `attempt` zero a range. What it cannot do, and the edges that are not aligned to a device's
    /// blocks, are written.
    fn zero_or_write(&self, extent: Extent, attempt: impl Fn(Extent) -> Result<bool>) -> Result<()> {
        let inner = extent.align_inward(self.block_bytes());
        if inner.is_empty() || !attempt(inner)? {
            return write_zeroes_as_data(self, extent);
        }
        write_zeroes_as_data(self, Extent::between(extent.offset, inner.offset))?;
        write_zeroes_as_data(self, Extent::between(inner.end(), extent.end()))
    }

    /// What a request to zero or punch has to be aligned to, bytes.
    fn block_bytes(&self) -> u64 {
        self.device.map_or(1, |device| device.block_bytes)
    }

    /// The part of `extent` that the host can be asked to punch: all of it for a file, where nothing past the
    /// end changes.
    fn punchable(&self, extent: Extent) -> Extent {
        let size = self.device.map_or(OFFSET_MAX, |device| device.size);
        let start = extent.offset.min(size);
        Extent::between(start, extent.checked_end().unwrap_or(u64::MAX).clamp(start, size))
    }
}

impl AsFd for FileStorage {
    /// The open file, for locks; its content is the storage's alone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl FileStorage {
    /// The run from `offset` up to the end of the file; none at and past that.
    fn rest_at(&self, offset: u64, data: bool) -> Result<Option<StorageRun>> {
        let length = self.len()?.saturating_sub(offset);
        Ok((length > 0).then_some(StorageRun { length, data }))
    }
}

impl Device {
    fn of(file: &mut File) -> Result<Self> {
        let size = file.seek(io::SeekFrom::End(0)).map_err(|error| Error::io("seek", 0, error))?;
        let block_bytes =
            rustix::fs::ioctl_blksszget(&*file).map_err(|error| Error::io("block size", 0, error.into()))?;
        Ok(Self { size, block_bytes: u64::from(block_bytes).next_power_of_two() })
    }
}

fn named(operation: &'static str, path: &Path, error: &io::Error) -> Error {
    let text = format!("{}: {error}", path.display());
    Error::io(operation, 0, io::Error::new(error.kind(), text))
}

fn check_end(offset: u64, length: u64) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if end <= OFFSET_MAX => Ok(()),
        _ => Err(Error::OutOfRange { offset, length, size: OFFSET_MAX }),
    }
}

impl Storage for FileStorage {
    fn len(&self) -> Result<u64> {
        match self.device {
            Some(device) => Ok(device.size),
            None => Ok(self.file.metadata().map_err(|error| Error::io("stat", 0, error))?.len()),
        }
    }

    fn set_len(&self, length: u64) -> Result<()> {
        match self.device {
            Some(device) if length == device.size => Ok(()),
            Some(_) => Err(Error::unsupported("changing the length of a block device")),
            None => {
                check_end(length, 0)?;
                uninterrupted(|| self.file.set_len(length))
                    .map_err(|error| Error::io("truncate", length, error))
            }
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_end(offset, buf.len() as u64)?;
        read_all(offset, buf, |part, at| self.file.read_at(part, at))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_end(offset, buf.len() as u64)?;
        self.check_device(offset, buf.len() as u64)?;
        write_all(offset, buf, |part, at| self.file.write_at(part, at))
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        check_end(offset, vectored::bytes_of_mut(bufs)?)?;
        read_all_vectored(offset, bufs, |rest, at| Ok(rustix::io::preadv(&self.file, rest, at)?))
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        let length = vectored::bytes_of(bufs)?;
        check_end(offset, length)?;
        self.check_device(offset, length)?;
        write_all_vectored(offset, bufs, |rest, at| Ok(rustix::io::pwritev(&self.file, rest, at)?))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        check_end(extent.offset, extent.length)?;
        self.check_device(extent.offset, extent.length)?;
        if extent.is_empty() { Ok(()) } else { self.zero_or_write(extent, |part| self.try_zero(part)) }
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        let inside = self.punchable(extent);
        // Past the end nothing is punched; only what may be longer than any file can be is cut first.
        if inside.is_empty()
            || (inside.end() <= PUNCH_END_MAX && self.device.is_none() && self.try_punch(inside)?)
        {
            return Ok(());
        }
        let inside = inside.intersection(Extent::new(0, self.len()?.max(inside.offset)));
        if inside.is_empty() { Ok(()) } else { self.zero_or_write(inside, |part| self.try_punch(part)) }
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        let inside = Extent::new(0, if unmap { self.len()? } else { 0 });
        let extent = if unmap { self.punchable(extent).intersection(inside) } else { extent };
        check_end(extent.offset, extent.length)?;
        self.check_device(extent.offset, extent.length)?;
        let unaligned = (extent.offset | extent.length) % self.block_bytes() != 0;
        let done = extent.is_empty()
            || (!unaligned && if unmap { self.try_punch(extent)? } else { self.try_zero_fast(extent)? });
        if done { Ok(()) } else { Err(Error::unsupported("zeroes without writing them to this file")) }
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        if offset > OFFSET_MAX {
            return Ok(None);
        }
        let run = |end: u64, data| Ok(Some(StorageRun { length: end - offset, data }));
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) if data > offset => run(data, false),
            Ok(_) => match rustix::fs::seek(&self.file, SeekFrom::Hole(offset)) {
                Ok(hole) if hole > offset => run(hole, true),
                // Somebody has cut the file, or punched it, since the other call.
                _ => self.rest_at(offset, true),
            },
            // Nothing but a hole up to the end, or past the end.
            Err(Errno::NXIO) => self.rest_at(offset, false),
            // A host that cannot tell.
            Err(_) => self.rest_at(offset, true),
        }
    }

    fn allocated_bytes(&self) -> Result<Option<u64>> {
        let metadata = self.file.metadata().map_err(|error| Error::io("stat", 0, error))?;
        // The kernel counts in 512 bytes, whatever the file system's blocks are.
        Ok(self.device.is_none().then(|| metadata.blocks().saturating_mul(512)))
    }

    /// A hint to the page cache; where it is refused, nothing is lost.
    fn prefetch_at(&self, extent: Extent) {
        if let Some(length) = NonZeroU64::new(extent.length) {
            let _ = rustix::fs::fadvise(&self.file, extent.offset, Some(length), Advice::WillNeed);
        }
    }

    fn sync(&self) -> Result<()> {
        uninterrupted(|| self.file.sync_data()).map_err(|error| Error::io("sync", 0, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> FileStorage {
        FileStorage::from_file(tempfile::tempfile().unwrap()).unwrap()
    }

    #[test]
    fn a_file_keeps_what_memory_keeps() {
        let storage = storage();
        storage.write_at(10_000, b"abc").unwrap();
        assert_eq!(storage.len().unwrap(), 10_003);
        let mut read = [9; 8];
        storage.read_at(9_999, &mut read).unwrap();
        assert_eq!(&read, b"\0abc\0\0\0\0");
        storage.write_zeroes_at(Extent::new(10_001, 1000)).unwrap();
        assert_eq!(storage.len().unwrap(), 11_001);
        storage.punch_hole(Extent::new(10_000, 1 << 40)).unwrap();
        assert_eq!(storage.len().unwrap(), 11_001);
        storage.read_at(10_000, &mut read).unwrap();
        assert_eq!(read, [0; 8]);
    }

    #[test]
    fn runs_cover_the_file_and_end_with_it() {
        let storage = storage();
        storage.set_len(1 << 20).unwrap();
        storage.write_at(256 << 10, &[1; 4096]).unwrap();
        let mut at = 0;
        let mut data = 0;
        while let Some(run) = storage.run_at(at).unwrap() {
            assert!(run.length > 0);
            data += if run.data { run.length } else { 0 };
            at += run.length;
        }
        assert_eq!(at, 1 << 20);
        assert!((4096..=1 << 20).contains(&data), "{data}");
    }

    /// Files on the file system of temporary files, and on a tmpfs where there is one.
    fn storages() -> Vec<FileStorage> {
        let on_tmpfs = tempfile::tempfile_in("/dev/shm").ok();
        let files = [Some(tempfile::tempfile().unwrap()), on_tmpfs];
        files.into_iter().flatten().map(|file| FileStorage::from_file(file).unwrap()).collect()
    }

    /// The runs of a file from `offset` on: where each ends, and whether it is data.
    fn runs(storage: &FileStorage, offset: u64) -> Vec<(u64, bool)> {
        let mut at = offset;
        let mut runs = Vec::new();
        while let Some(run) = storage.run_at(at).unwrap() {
            assert!(run.length > 0, "{at}");
            at += run.length;
            runs.push((at, run.data));
        }
        runs
    }

    #[test]
    fn runs_are_those_of_the_file_now() {
        const MIB: u64 = 1 << 20;
        for storage in storages() {
            assert_eq!(runs(&storage, 0), [], "an empty file has none");
            storage.set_len(MIB).unwrap();
            assert_eq!(runs(&storage, 0), [(MIB, false)]);
            assert_eq!(runs(&storage, MIB - 1), [(MIB, false)]);
            for past in [MIB, MIB + 1, OFFSET_MAX, OFFSET_MAX + 1, u64::MAX] {
                assert_eq!(storage.run_at(past).unwrap(), None, "{past}");
            }
            // On both file systems blocks have 4 KiB; the file ends inside of one.
            storage.write_at(MIB, &[1; 100]).unwrap();
            assert_eq!(runs(&storage, 0), [(MIB, false), (MIB + 100, true)]);
            assert_eq!(runs(&storage, MIB + 99), [(MIB + 100, true)]);
            storage.write_at(MIB / 2, &[1; 4096]).unwrap();
            let (start, end) = (MIB / 2, MIB / 2 + 4096);
            let expected = [(start, false), (end, true), (MIB, false), (MIB + 100, true)];
            assert_eq!(runs(&storage, 0), expected);
            assert_eq!(runs(&storage, start + 5), expected[1..]);
            assert_eq!(storage.allocated_bytes().unwrap(), Some(8192));
            storage.punch_hole(Extent::new(start, 4096)).unwrap();
            assert_eq!(runs(&storage, 7), [(MIB, false), (MIB + 100, true)], "nothing is remembered");
            storage.set_len(10).unwrap();
            assert_eq!(runs(&storage, 0), [(10, false)]);
            assert_eq!(storage.allocated_bytes().unwrap(), Some(0));
        }
    }

    #[test]
    fn what_is_no_file_is_refused_and_errors_name_the_file() {
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(FileStorage::from_file(null), Err(Error::Unsupported { .. })));
        let error = FileStorage::open(Path::new("/nonexistent/image"), Access::ReadOnly).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/image"), "{error}");
    }

    #[test]
    fn ranges_that_no_file_has_are_errors_or_nothing() {
        let storage = storage();
        storage.write_at(0, &[7; 100]).unwrap();
        assert!(matches!(storage.write_at(u64::MAX, b"x"), Err(Error::OutOfRange { .. })));
        assert!(matches!(storage.read_at(u64::MAX, &mut [0]), Err(Error::OutOfRange { .. })));
        assert!(matches!(storage.write_zeroes_at(Extent::new(u64::MAX, 1)), Err(Error::OutOfRange { .. })));
        assert!(storage.set_len(u64::MAX).is_err());
        storage.punch_hole(Extent::new(u64::MAX - 5, u64::MAX)).unwrap();
        storage.punch_hole(Extent::new(50, u64::MAX)).unwrap();
        let mut read = [1; 100];
        storage.read_at(0, &mut read).unwrap();
        assert_eq!((storage.len().unwrap(), read[49], read[50], read[99]), (100, 7, 0, 0));
    }

    /// What a file system of memory lacks is made up for; the test passes on any folder.
    #[test]
    fn zeroes_and_holes_wherever_the_file_lies() {
        for folder in [std::env::temp_dir(), "/dev/shm".into()] {
            let Ok(file) = tempfile::tempfile_in(&folder) else { continue };
            let storage = FileStorage::from_file(file).unwrap();
            storage.write_at(0, &vec![9; 20_000]).unwrap();
            storage.write_zeroes_at(Extent::new(19_999, 10_002)).unwrap();
            storage.write_zeroes_at(Extent::new(1, 9_000)).unwrap();
            storage.punch_hole(Extent::new(12_000, 5_001)).unwrap();
            let fast = storage.zero_fast(Extent::new(18_000, 3), true);
            assert!(matches!(fast, Ok(()) | Err(Error::Unsupported { .. })), "{fast:?}");
            let mut read = vec![1; 30_001];
            storage.read_at(0, &mut read).unwrap();
            let mut expected = vec![9; 19_999];
            expected.resize(30_001, 0);
            expected[1..9_001].fill(0);
            expected[12_000..17_001].fill(0);
            if fast.is_ok() {
                expected[18_000..18_003].fill(0);
            }
            assert!(read == expected, "in {}", folder.display());
            assert_eq!(storage.len().unwrap(), 30_001);
        }
    }
}
