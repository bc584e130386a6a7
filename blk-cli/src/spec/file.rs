//! Files of the host: opened once, by whatever name, and locked for what is done with them. A disk of a
//! server is one that nobody here can lock.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk_core::{Access, Error, FileStorage, MemoryStorage, Result, Storage, name};

use super::lock::{Claim, Locks, Permissions};
use super::node::Locking;
use super::place::{Place, is_read_only_device};
use super::server::Export;
use crate::formats;

/// A file, whatever name it has: device and inode.
pub(super) type FileId = (u64, u64);

/// A file that is open, and what is claimed of it.
#[derive(Debug)]
pub struct OpenFile {
    name: String,
    id: FileId,
    whereabouts: Whereabouts,
    /// What it is used for; what is written may go elsewhere.
    access: Access,
    storage: Arc<dyn Storage>,
    /// Of a file of the host.
    locks: Option<(Arc<FileStorage>, Locks)>,
}

/// Where the bytes are, whatever the name.
#[derive(Debug)]
enum Whereabouts {
    Host(Place),
    Server(Export),
}

/// Files that are in use already, which a new one must not be if either is written.
pub type FilesInUse = Vec<Arc<OpenFile>>;

impl OpenFile {
    /// Opens the file of that name, which has to exist, to use it as `access` says. Nothing is locked yet.
    pub(super) fn open(name: &str, on_host: Access, access: Access, locking: Locking) -> Result<Self> {
        let failed = |reason: String| unresolved(name, reason);
        let path = name::to_path(name);
        let metadata = std::fs::metadata(&path).map_err(|error| failed(plain(&error)))?;
        let kind = metadata.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(failed("it is neither a regular file nor a block device".to_owned()));
        }
        let write = on_host == Access::ReadWrite;
        let file = OpenOptions::new().read(true).write(write).custom_flags(NONBLOCK).open(&path);
        let file = file.map_err(|error| failed(plain(&error)))?;
        Self::from_file(file, name, on_host, access, locking)
    }

    fn from_file(file: File, name: &str, on_host: Access, access: Access, locking: Locking) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| unresolved(name, plain(&error)))?;
        if on_host == Access::ReadWrite && is_read_only_device(&metadata) {
            return Err(unresolved(name, "the device is read-only".to_owned()));
        }
        let id = (metadata.dev(), metadata.ino());
        let whereabouts = Whereabouts::Host(Place::of(&metadata));
        let file = Arc::new(FileStorage::from_file(file)?);
        let storage = Arc::clone(&file) as Arc<dyn Storage>;
        let locks = Some((file, Locks::new(locking)));
        Ok(Self { name: name.to_owned(), id, whereabouts, access, storage, locks })
    }

    /// A disk of a server, which this is not connected to: it has no bytes here, and nothing is locked.
    pub(super) fn on_server(name: String, id: FileId, export: Export, access: Access) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        Self { name, id, whereabouts: Whereabouts::Server(export), access, storage, locks: None }
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which file it is.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        name::to_path(&self.name)
    }

    /// Whether it is a block device.
    fn is_device(&self) -> bool {
        std::fs::metadata(self.path()).is_ok_and(|metadata| metadata.file_type().is_block_device())
    }

    /// The length of a block device, which keeps it.
    ///
    /// # Errors
    /// Those of the host.
    pub fn fixed_length(&self) -> Result<Option<u64>> {
        if self.is_device() { self.storage.len().map(Some) } else { Ok(None) }
    }

    /// Its bytes.
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.storage)
    }

    /// Claims more of it than is claimed already.
    pub(super) fn claim(&self, claim: Claim) -> Result<()> {
        match &self.locks {
            Some((file, locks)) => locks.claim(file, &self.name, claim),
            None => Ok(()),
        }
    }

    /// Claims that its length may change, as a raw image does only where it is resized.
    ///
    /// # Errors
    /// [`Error::Unresolved`] if somebody else relies on the length.
    pub fn claim_resize(&self) -> Result<()> {
        self.claim(Claim { uses: Permissions::RESIZE, unshared: Permissions::NONE })
    }

    /// Whether both are the same file, or one is a device that lies in the other.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.whereabouts, &other.whereabouts) {
            (Whereabouts::Host(one), Whereabouts::Host(other)) => one.overlaps(other),
            (Whereabouts::Server(one), Whereabouts::Server(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Refuses the file if it is one of `others`, and one of the two is written.
    pub(super) fn check_apart(&self, others: &[Arc<Self>]) -> Result<()> {
        let writes = |file: &Self| file.access == Access::ReadWrite;
        match others.iter().find(|other| self.is_same(other) && (writes(self) || writes(other))) {
            None => Ok(()),
            Some(other) => {
                let what = if writes(other) { "written" } else { "read" };
                let kind = if self.locks.is_some() { "file" } else { "disk of a server" };
                let reason = format!("it is the same {kind} as '{}', which is {what}", other.name);
                Err(unresolved(&self.name, reason))
            }
        }
    }
}

/// Whether both names lead to files that share bytes. A file that is not there shares none.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    match (Place::of_path(one), Place::of_path(other)) {
        (Ok(one), Ok(other)) => one.overlaps(&other),
        _ => false,
    }
}

/// Never waits for somebody at the other end, should a name have come to mean a pipe.
const NONBLOCK: i32 = nix::libc::O_NONBLOCK;

/// Opens the file of that name to put a new image of `format` into it, or makes it. It is locked as QEMU
/// locks it, it is none of `in_use`, and only then it is emptied; a block device keeps what it holds.
///
/// # Errors
/// [`Error::Unresolved`] says why not; then the file holds what it held.
pub fn new_file(
    name: &str,
    format: &str,
    in_use: &[Arc<OpenFile>],
) -> Result<(Arc<dyn Storage>, Arc<OpenFile>)> {
    let file = kept_file(name, format, in_use)?;
    let storage = file.storage();
    if !file.is_device() {
        storage.set_len(0)?;
    }
    Ok((storage, file))
}

/// As [`new_file`], of a file that is left as it is: whoever fills it empties it.
///
/// # Errors
/// As of [`new_file`].
pub fn kept_file(name: &str, format: &str, in_use: &[Arc<OpenFile>]) -> Result<Arc<OpenFile>> {
    let failed = |error: &std::io::Error| unresolved(name, plain(error));
    let path = name::to_path(name);
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(NONBLOCK);
    // The kernel refuses to make what exists as a device.
    let is_device = std::fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_block_device());
    let file = options.create(!is_device).truncate(false).open(&path).map_err(|error| failed(&error))?;
    let file = OpenFile::from_file(file, name, Access::ReadWrite, Access::ReadWrite, Locking::Auto)?;
    file.check_apart(in_use)?;
    file.claim(new_claim(format, is_device))?;
    Ok(Arc::new(file))
}

/// A new file is given a length, which nobody else may change meanwhile; what the format writes into it
/// afterwards is an image in use.
fn new_claim(format: &str, is_device: bool) -> Claim {
    let file = Claim { uses: Permissions::CHANGES, unshared: Permissions::RESIZE };
    let device = Claim { uses: Permissions::ALL, unshared: Permissions::NONE };
    let image = Claim { uses: Permissions::ALL, unshared: Permissions::CHANGES };
    match (formats::features(format).is_raw, is_device) {
        (true, false) => file,
        (true, true) => device,
        (false, _) => image,
    }
}

fn unresolved(name: &str, reason: String) -> Error {
    Error::Unresolved { name: name.to_owned(), reason }
}

/// What the host says, without the number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((before, _)) => before.to_owned(),
        None => text,
    }
}
