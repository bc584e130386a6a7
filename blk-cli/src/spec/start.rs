//! What files held before images over them were written in place.
//!
//! ```text
//!   write, zero, punch, cut ──► Watched ── first what is there now ──► the file as it was at first (an overlay)
//!                                  └────── then the operation ──────► the file
//! ```
//!
//! Invariant: a byte of a file changes only after it is kept, unless keeping has failed; then nothing is read
//! as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use blk_core::storage::PassThrough;
use blk_core::sync::Mutex;
use blk_core::sync::atomic::{AtomicU64, Ordering};
use blk_core::{Access, Extent, Result, Storage, name};

use super::file::{FileId, OpenFile};
use super::node::Locking;
use super::overlay::OverlayStorage;

/// Changes are kept in pieces of this size: neighbouring ones become one range.
const GRAIN_BYTES: u64 = 4096;

/// Files as they were at first, by what they are now.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<FileId, Origin>);

/// A file as it was at first.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The name of the file that was changed.
    pub name: String,
    /// What it held.
    pub content: Arc<dyn Storage>,
}

impl Origins {
    /// Reads a file instead of another: each pair is the file that images name, and the one that has its
    /// first content.
    ///
    /// # Errors
    /// [`blk_core::Error::Unresolved`] names the file that cannot be opened.
    pub fn from_files<'a>(pairs: impl IntoIterator<Item = (&'a Path, &'a Path)>) -> Result<Self> {
        let mut origins = BTreeMap::new();
        for (changed, first) in pairs {
            let [changed, first] = [changed, first].map(|path| name::from_os(path.as_os_str()));
            let file = OpenFile::open(&changed, Access::ReadOnly, Access::ReadOnly, Locking::Off)?;
            let kept = OpenFile::open(&first, Access::ReadOnly, Access::ReadOnly, Locking::Off)?;
            origins.insert(file.id(), Origin { name: changed, content: kept.storage() });
        }
        Ok(Self(origins))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Origin> {
        self.0.values()
    }

    pub(super) fn find(&self, id: FileId) -> Option<Arc<dyn Storage>> {
        self.0.get(&id).map(|origin| Arc::clone(&origin.content))
    }
}

/// Keeps what the files of images hold before it is overwritten.
#[derive(Debug)]
pub struct Start {
    memory_bytes_max: u64,
    bytes_max: u64,
    files: Mutex<BTreeMap<FileId, Kept>>,
    bytes: AtomicU64,
    failure: Arc<OnceLock<String>>,
}

#[derive(Debug, Clone)]
struct Kept {
    name: String,
    first: Arc<OverlayStorage>,
}

impl Start {
    /// Up to `memory_bytes_max` bytes of each file are kept in memory, more in a temporary file; `bytes_max`
    /// of all files.
    pub fn new(memory_bytes_max: u64, bytes_max: u64) -> Self {
        let (bytes, failure) = (AtomicU64::new(0), Arc::default());
        Self { memory_bytes_max, bytes_max, files: Mutex::default(), bytes, failure }
    }

    /// Why what the files held is no longer known, if it is not.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// The files that were changed, as they were at first. Nothing may be written to them any more.
    pub fn origins(&self) -> Origins {
        let files = self.files.lock();
        let changed = files.iter().filter(|(_, kept)| kept.first.is_changed());
        let origin = |kept: &Kept| Origin { name: kept.name.clone(), content: kept.first.clone() };
        Origins(changed.map(|(id, kept)| (*id, origin(kept))).collect())
    }

    /// Puts itself before a file that is written through `inner`.
    pub(super) fn watch(self: &Arc<Self>, file: &OpenFile, inner: Arc<dyn Storage>) -> Arc<dyn Storage> {
        match self.kept(file) {
            Ok(first) => Arc::new(Watched { inner, first, start: Arc::clone(self) }),
            Err(error) => {
                self.fail(&error.to_string());
                inner
            }
        }
    }

    fn kept(&self, file: &OpenFile) -> Result<Arc<OverlayStorage>> {
        let mut files = self.files.lock();
        if let Some(kept) = files.get(&file.id()) {
            return Ok(Arc::clone(&kept.first));
        }
        // A second handle without locks: it stays open while the first is closed and opened again.
        let again = OpenFile::open(file.name(), Access::ReadOnly, Access::ReadOnly, Locking::Off)?;
        let failure = Arc::clone(&self.failure);
        let first = Arc::new(OverlayStorage::over(again.storage(), self.memory_bytes_max, failure)?);
        let kept = Kept { name: file.name().to_owned(), first: Arc::clone(&first) };
        files.insert(file.id(), kept);
        Ok(first)
    }

    fn fail(&self, why: &str) {
        let _ = self.failure.set(why.to_owned());
    }
}

/// A file that is kept as it was before it is changed.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Storage>,
    first: Arc<OverlayStorage>,
    start: Arc<Start>,
}

impl Watched {
    /// The extent is about to change. That it cannot be kept is no reason not to change it.
    fn before(&self, extent: Extent) {
        let start = &self.start;
        if start.failure().is_some() {
            return;
        }
        let from = extent.offset / GRAIN_BYTES * GRAIN_BYTES;
        let end = extent.checked_end().and_then(|end| end.checked_next_multiple_of(GRAIN_BYTES));
        match self.first.pin(Extent::between(from, end.unwrap_or(u64::MAX).max(from))) {
            Err(error) => start.fail(&error.to_string()),
            Ok(pinned) => {
                let all = start.bytes.fetch_add(pinned, Ordering::Relaxed) + pinned;
                if all > start.bytes_max {
                    start.fail(&format!("more than {} bytes were overwritten", start.bytes_max));
                }
            }
        }
    }
}

impl PassThrough for Watched {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.before(Extent::between(length, u64::MAX));
        self.inner.set_len(length)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.before(Extent::new(offset, buf.len() as u64));
        self.inner.write_at(offset, buf)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.before(extent);
        self.inner.write_zeroes_at(extent)
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.before(extent);
        self.inner.punch_hole(extent)
    }

    fn discard_at(&self, extent: Extent) -> Result<()> {
        self.before(extent);
        self.inner.discard_at(extent)
    }

    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        self.before(extent);
        self.inner.zero_fast(extent, unmap)
    }
}

/// Writes a content into a new file, with holes where it has none. Nothing of the file is left if that fails.
///
/// # Errors
/// [`blk_core::Error::Io`], and if it stores more than `bytes_max` bytes.
pub fn write_sparse(content: &dyn Storage, path: &Path, bytes_max: u64) -> Result<()> {
    super::overlay::write_new_file(content, path, bytes_max).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}
