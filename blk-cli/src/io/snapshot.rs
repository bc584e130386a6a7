//! A temporary overlay: what is written to it is gone when it is closed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk_core::{Access, Disk, Error, FileStorage, Format, MapResolver, Options, Result, Storage};

/// The name under which the overlay knows the disk below it; nothing looks for a file of this name.
const BELOW: &str = "below";

/// The format of the overlay: QEMU's, which shows it as the format of the disk, whatever other formats the
/// program has.
pub(crate) static OVERLAY: &dyn Format = blk_qcow2::FORMAT;

/// Puts a temporary image over `below`. Its file has no name: the host removes it when the last user closes
/// it.
pub(crate) fn overlay(below: Arc<Disk>, access: Access) -> Result<Disk> {
    let size = below.size();
    let storage: Arc<dyn Storage> = Arc::new(nameless_file()?);
    let backing = Options::new().with("backing_file", BELOW).with("backing_fmt", blk_raw::FORMAT.name());
    OVERLAY.create(&storage, size, backing)?;
    OVERLAY.open(storage, access, Options::new(), &MapResolver::single(BELOW, below))
}

fn nameless_file() -> Result<FileStorage> {
    let path = unique_file().map_err(|error| Error::io("create a temporary file", 0, error))?;
    let storage = FileStorage::open(&path, Access::ReadWrite);
    fs::remove_file(&path).map_err(|error| Error::io("remove the name of a temporary file", 0, error))?;
    storage
}

fn unique_file() -> std::io::Result<PathBuf> {
    let folder =
        std::env::var_os("TMPDIR").map_or_else(|| Path::new("/var/tmp").to_path_buf(), PathBuf::from);
    let (_, path) = tempfile::Builder::new().prefix("blk.").tempfile_in(folder)?.keep()?;
    Ok(path)
}
