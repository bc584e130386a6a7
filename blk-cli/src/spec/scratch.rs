//! Images that are opened for writing, and whose files stay as they are.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use blk_core::sync::Mutex;
use blk_core::{Result, Storage};

use super::file::FileId;
use super::overlay::OverlayStorage;
use super::start::Origins;

/// What is written to the files of one image, by file. The files themselves are opened read-only, and stay
/// open and locked until the last image over them and this are dropped; so an image that is closed and opened
/// again shows what was written.
#[derive(Debug)]
pub struct Scratch {
    memory_bytes_max: u64,
    origins: Origins,
    files: Mutex<HashMap<FileId, Arc<OverlayStorage>>>,
    failure: Arc<OnceLock<String>>,
}

impl Scratch {
    /// Up to `memory_bytes_max` bytes of each file's changes are kept in memory; more go to a temporary file.
    pub fn new(memory_bytes_max: u64) -> Self {
        Self::over(memory_bytes_max, Origins::default())
    }

    /// As [`Scratch::new`], over files as they were at first where that is known.
    pub fn over(memory_bytes_max: u64, origins: Origins) -> Self {
        Self { memory_bytes_max, origins, files: Mutex::default(), failure: Arc::default() }
    }

    /// Why changes were lost, if any were: the temporary file cannot be made, or its file system is full.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// What was written to a file so far.
    pub(super) fn find(&self, id: FileId) -> Option<Arc<dyn Storage>> {
        let found = self.files.lock().get(&id).cloned();
        found.map(|overlay| overlay as Arc<dyn Storage>)
    }

    /// A file as it was at first, if it has changed since.
    pub(super) fn origin(&self, id: FileId) -> Option<Arc<dyn Storage>> {
        self.origins.find(id)
    }

    /// Begins to keep what is written to a file.
    pub(super) fn add(&self, id: FileId, file: Arc<dyn Storage>) -> Result<Arc<dyn Storage>> {
        let file = self.origin(id).unwrap_or(file);
        let overlay = OverlayStorage::over(file, self.memory_bytes_max, Arc::clone(&self.failure))?;
        let overlay = Arc::new(overlay);
        self.files.lock().insert(id, Arc::clone(&overlay));
        Ok(overlay)
    }
}
