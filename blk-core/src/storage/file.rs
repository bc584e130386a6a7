//! Storage in a regular file or on a block device.
//!
//! One system call for each read and write. Holes are what the file system makes of them: where it cannot punch or zero a
//! range, zeroes are written.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{Storage, StorageRun};
use crate::{Access, Error, Extent, Result};

/// Zeroes are written in pieces of this size where the file system has nothing better.
const ZEROES_BYTES: usize = 256 << 10;
static ZEROES: [u8; ZEROES_BYTES] = [0; ZEROES_BYTES];

/// A regular file or a block device.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    /// The length of a block device, which never changes; `None` for a regular file.
    device_bytes: Option<u64>,
}

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
        let device_bytes = if kind.is_block_device() {
            Some(file.seek(SeekFrom::End(0)).map_err(|error| Error::io("seek", 0, error))?)
        } else if kind.is_file() {
            None
        } else {
            return Err(Error::unsupported("storage that is neither a regular file nor a block device"));
        };
        Ok(Self { file, device_bytes })
    }

    fn check_device(&self, offset: u64, length: u64) -> Result<()> {
        match self.device_bytes {
            Some(size) if offset.checked_add(length).is_none_or(|end| end > size) => {
                Err(Error::NoSpace { what: format!("the block device has {size} bytes").into() })
            }
            _ => Ok(()),
        }
    }

    fn write_zeroes_as_data(&self, extent: Extent) -> Result<()> {
        let mut at = extent.offset;
        while at < extent.end() {
            let length = (extent.end() - at).min(ZEROES_BYTES as u64);
            self.write_at(at, &ZEROES[..length as usize])?;
            at += length;
        }
        Ok(())
    }

    /// Asks the file system to do something with a range. `Ok(false)` if it cannot.
    fn try_fallocate(&self, operation: &'static str, flags: FallocateFlags, extent: Extent) -> Result<bool> {
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
}

fn named(operation: &'static str, path: &Path, error: &io::Error) -> Error {
    let text = format!("{}: {error}", path.display());
    Error::io(operation, 0, io::Error::new(error.kind(), text))
}

fn check_end(offset: u64, length: u64) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(Error::OutOfRange { offset, length, size: i64::MAX as u64 }),
    }
}

impl Storage for FileStorage {
    fn len(&self) -> Result<u64> {
        match self.device_bytes {
            Some(size) => Ok(size),
            None => Ok(self.file.metadata().map_err(|error| Error::io("stat", 0, error))?.len()),
        }
    }

    fn set_len(&self, length: u64) -> Result<()> {
        match self.device_bytes {
            Some(size) if length == size => Ok(()),
            Some(_) => Err(Error::unsupported("changing the length of a block device")),
            None => {
                check_end(length, 0)?;
                self.file.set_len(length).map_err(|error| Error::io("truncate", length, error))
            }
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_end(offset, buf.len() as u64)?;
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => {
                    buf[done..].fill(0);
                    break;
                }
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", offset + done as u64, error)),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_end(offset, buf.len() as u64)?;
        self.check_device(offset, buf.len() as u64)?;
        self.file.write_all_at(buf, offset).map_err(|error| Error::io("write", offset, error))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        check_end(extent.offset, extent.length)?;
        self.check_device(extent.offset, extent.length)?;
        if extent.is_empty() || self.try_fallocate("zero", FallocateFlags::ZERO_RANGE, extent)? {
            return Ok(());
        }
        self.write_zeroes_as_data(extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        let inside = extent.intersection(Extent::new(0, self.len()?));
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if inside.is_empty() || self.try_fallocate("punch", flags, inside)? {
            return Ok(());
        }
        self.write_zeroes_as_data(inside)
    }

    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>> {
        let length = self.len()?;
        if offset >= length {
            return Ok(None);
        }
        let rest = length - offset;
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(data) if data > offset => {
                Ok(Some(StorageRun { length: rest.min(data - offset), data: false }))
            }
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => Ok(Some(StorageRun { length: rest, data: false })),
            Ok(_) => {
                let hole = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Hole(offset)).unwrap_or(length);
                Ok(Some(StorageRun { length: rest.min(hole.saturating_sub(offset)).max(1), data: true }))
            }
            Err(_) => Ok(Some(StorageRun { length: rest, data: true })),
        }
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io("sync", 0, error))
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

    #[test]
    fn what_is_no_file_is_refused_and_errors_name_the_file() {
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(FileStorage::from_file(null), Err(Error::Unsupported { .. })));
        let error = FileStorage::open(Path::new("/nonexistent/image"), Access::ReadOnly).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/image"), "{error}");
        assert!(storage().write_at(u64::MAX, b"x").is_err());
    }
}
