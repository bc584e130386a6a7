//! What imago's images of the short workloads lie on.
//!
//! A file without a name in the given folder. imago's own storage in memory is private to its tests, and its
//! `Storage` trait can be implemented only with `unsafe fn`, which this project does not write. So each
//! access that misses imago's caches costs a system call, and the measures are named after that: they are not
//! what imago does in bare memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use imago::StorageOpenOptions;

/// The type that imago reads and writes.
pub(crate) type Storage = imago::file::File;

/// What begins the names of the measures.
pub(crate) const PREFIX: &str = "imago_tmpfs";

/// Bytes that outlive an open image.
pub(crate) struct Medium {
    file: File,
}

impl Medium {
    /// Empty.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let file =
            tempfile::tempfile_in(folder).with_context(|| format!("no file in {}", folder.display()))?;
        Ok(Self { file })
    }

    /// Replaces everything.
    pub(crate) fn set(&self, bytes: &[u8]) -> Result<()> {
        self.file.set_len(0)?;
        Ok(self.file.write_all_at(bytes, 0)?)
    }

    /// A copy of everything.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.file.metadata()?.len())?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// What imago opens.
    pub(crate) fn storage(&self) -> Result<Storage> {
        Ok(Storage::from_open_file(self.file.try_clone()?, StorageOpenOptions::new().write(true))?)
    }
}
