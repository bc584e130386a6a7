//! A medium that grows: a file whose bytes are the storage under test, mounted with FUSE.
//!
//! NBD has no request that makes an export longer, and some drivers allocate at the end of the file. The
//! kernel hands each operation on as it comes, without a cache of its own (`FOPEN_DIRECT_IO`): what the
//! driver writes is what the storage sees, and `fdatasync` of the driver is its sync. Large requests come in
//! pieces.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blk_core::{Error, Extent, MemoryStorage, Result};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyLseek, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::medium::Line;
use blk_harness::plant::Planted;

/// Where the kernel is asked to mount.
const DEVICE: &str = "/dev/fuse";
/// The one file of the mount.
const NAME: &str = "image";
const FILE: INodeNo = INodeNo(2);
/// Bytes of a block, as `stat` counts them.
const BLOCK_BYTES: u64 = 512;
/// Nothing is kept by the kernel: lengths change below it.
const TTL: Duration = Duration::ZERO;

const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 16;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// A storage that is mounted as a file, until it is dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    folder: PathBuf,
    session: Option<BackgroundSession>,
}

/// Why files cannot be mounted here; `None` where they can, which has been tried.
pub(crate) fn refusal() -> Option<String> {
    let tried = || {
        let folder = tempfile::tempdir().map_err(|error| Error::io("create a temporary folder", 0, error))?;
        let line = Line::new(Arc::new(MemoryStorage::new()), Arc::new(Planted::new(None)))?;
        Mounted::mount(Arc::new(line), folder.path()).map(drop)
    };
    let error = tried().err()?;
    Some(format!(
        "a medium that grows is mounted with FUSE, which takes {DEVICE} and the right to mount: {error}"
    ))
}

impl Mounted {
    /// Mounts the storage behind `line` in an empty folder.
    pub(crate) fn mount(line: Arc<Line>, folder: &Path) -> Result<Self> {
        let failed = |error| Error::io("mount the medium", 0, error);
        let owner = std::fs::metadata(folder).map_err(failed)?;
        let file = StorageFile { line, owner: (owner.uid(), owner.gid()) };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("blk-foreign".into())];
        let session = fuser::spawn_mount(file, folder, &config).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), session: Some(session) })
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }
}

impl Drop for Mounted {
    /// Whoever has the file open still keeps it, and can do nothing with it: the line is cut.
    fn drop(&mut self) {
        let detached = rustix::mount::unmount(&self.folder, rustix::mount::UnmountFlags::DETACH);
        // Without the right to do so, fuser asks the program that has it.
        if detached.is_err() {
            drop(self.session.take());
        }
    }
}

/// A folder with one file in it.
#[derive(Debug)]
struct StorageFile {
    line: Arc<Line>,
    owner: (u32, u32),
}

impl StorageFile {
    fn attributes(&self, inode: INodeNo) -> Result<FileAttr> {
        let (kind, perm, size) = match inode {
            FILE => (FileType::RegularFile, 0o600, self.line.with(|storage| storage.len())?),
            _ => (FileType::Directory, 0o700, 0),
        };
        Ok(FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(BLOCK_BYTES),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn allocate(&self, extent: Extent, mode: i32) -> Result<()> {
        self.line.with(|storage| {
            let length = storage.len()?;
            let inside = Extent::new(extent.offset, extent.end().min(length).saturating_sub(extent.offset));
            match mode {
                0 if extent.end() > length => storage.set_len(extent.end()),
                0 | KEEP_SIZE => Ok(()),
                _ if mode == PUNCH_HOLE | KEEP_SIZE => storage.punch_hole(extent),
                ZERO_RANGE => storage.write_zeroes_at(extent),
                _ if mode == ZERO_RANGE | KEEP_SIZE && inside.is_empty() => Ok(()),
                _ if mode == ZERO_RANGE | KEEP_SIZE => storage.write_zeroes_at(inside),
                _ => Err(Error::unsupported(format!("fallocate with mode {mode:#x}"))),
            }
        })
    }

    /// Where data, or a hole, begins that is not before `offset`. The end of the file is a hole.
    fn seek(&self, offset: u64, whence: i32) -> std::result::Result<u64, Errno> {
        let wants_data = match whence {
            SEEK_DATA => true,
            SEEK_HOLE => false,
            _ => return Err(Errno::EINVAL),
        };
        let found = self.line.with(|storage| {
            let mut at = offset;
            while let Some(run) = storage.run_at(at)? {
                if run.data == wants_data {
                    return Ok(Some(at));
                }
                at += run.length;
            }
            Ok((!wants_data && offset < at).then_some(at))
        });
        found.map_err(|error| errno(&error))?.ok_or(Errno::ENXIO)
    }
}

fn errno(error: &Error) -> Errno {
    Errno::from_i32(error.errno())
}

fn answer(reply: ReplyEmpty, result: &Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

impl Filesystem for StorageFile {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name != NAME {
            return reply.error(Errno::ENOENT);
        }
        match self.attributes(FILE) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let resized = size.map_or(Ok(()), |size| self.line.with(|storage| storage.set_len(size)));
        match resized.and_then(|()| self.attributes(inode)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.line.with(|storage| {
            let length = storage.len()?.saturating_sub(offset).min(u64::from(size));
            let mut bytes = vec![0; length as usize];
            storage.read_at(offset, &mut bytes)?;
            Ok(bytes)
        });
        match read {
            Ok(mut bytes) => {
                self.line.planted().medium(&mut bytes);
                reply.data(&bytes);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.line.with(|storage| storage.write_at(offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(errno(&error)),
        }
    }

    /// A descriptor is closed, which makes nothing durable.
    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        if self.line.planted().loses_sync() {
            return reply.ok();
        }
        answer(reply, &self.line.sync());
    }

    fn fallocate(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer(reply, &self.allocate(Extent::new(offset, length), mode));
    }

    fn lseek(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match u64::try_from(offset).map_err(|_| Errno::EINVAL).and_then(|offset| self.seek(offset, whence)) {
            Ok(found) => reply.offset(found.cast_signed()),
            Err(errno) => reply.error(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    use blk_core::Storage;
    use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};

    use super::*;

    fn mounted(storage: &Arc<MemoryStorage>) -> (tempfile::TempDir, Arc<Line>, Mounted) {
        assert_eq!(refusal(), None, "this test needs FUSE");
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = storage.clone();
        let line = Arc::new(Line::new(storage, Arc::new(Planted::new(None))).unwrap());
        let mounted = Mounted::mount(Arc::clone(&line), folder.path()).unwrap();
        (folder, line, mounted)
    }

    #[test]
    fn a_file_is_the_storage() {
        let storage = Arc::new(MemoryStorage::from_bytes(&[7; 5000]));
        let (_folder, line, mounted) = mounted(&storage);
        let file = OpenOptions::new().read(true).write(true).open(mounted.path()).unwrap();
        let mut bytes = [1; 6000];
        assert_eq!(file.read_at(&mut bytes, 1000).unwrap(), 4000, "up to the end");
        assert!(bytes[..4000].iter().all(|byte| *byte == 7));
        file.write_all_at(&vec![9; 300_000], 100_000).unwrap();
        assert_eq!((storage.len().unwrap(), file.metadata().unwrap().len()), (400_000, 400_000), "it grows");
        assert!(storage.holds(100_000, &vec![9; 300_000]) && storage.holds(5000, &vec![0; 95_000]));
        file.set_len(350_001).unwrap();
        assert_eq!(storage.len().unwrap(), 350_001);
        file.sync_data().unwrap();
        line.cut();
        assert!(file.read_at(&mut bytes, 0).is_err() && file.write_at(&[1], 0).is_err());
        assert!(file.sync_data().is_err());
    }

    #[test]
    fn holes_are_punched_and_found() {
        let storage = Arc::new(MemoryStorage::from_bytes(&vec![7; 1 << 20]));
        let (_folder, _line, mounted) = mounted(&storage);
        let file = OpenOptions::new().read(true).write(true).open(mounted.path()).unwrap();
        let holes = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, holes, 256 << 10, 256 << 10).unwrap();
        assert!(storage.holds(256 << 10, &vec![0; 256 << 10]) && storage.holds(512 << 10, &[7; 1024]));
        fallocate(&file, FallocateFlags::ZERO_RANGE, (1 << 20) - 4096, 8192).unwrap();
        fallocate(&file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, 1 << 20, 1 << 20).unwrap();
        assert_eq!(storage.len().unwrap(), (1 << 20) + 4096);
        fallocate(&file, FallocateFlags::empty(), 0, 2 << 20).unwrap();
        assert_eq!(storage.len().unwrap(), 2 << 20, "room that is asked for lengthens the file");
        assert!(fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096).is_err());
        assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 256 << 10);
        assert_eq!(seek(&file, SeekFrom::Data(256 << 10)).unwrap(), 512 << 10);
        assert!(seek(&file, SeekFrom::Data(2 << 20)).is_err(), "nothing follows the end");
    }
}
