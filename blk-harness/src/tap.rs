//! A storage that an oracle can look at behind the driver's back, and listen to.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::storage::PassThrough;
use blk_core::sync::Mutex;
use blk_core::{Extent, Result, Storage};

/// A storage over another one that notes, while it listens, where bytes are written as data: by writes, and
/// by zeroes that the host may have to write.
#[derive(Debug)]
pub struct Tap {
    inner: Arc<dyn Storage>,
    listens: AtomicBool,
    written: Mutex<Vec<Extent>>,
}

impl Tap {
    /// Puts a tap over `inner`. It does not listen yet.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, listens: AtomicBool::new(false), written: Mutex::default() }
    }

    /// Listens from now on, or no more. What was written so far is forgotten.
    pub(crate) fn listen(&self, listens: bool) {
        self.written.lock().clear();
        self.listens.store(listens, Ordering::Relaxed);
    }

    /// Whether bytes of this range were written as data since it listens.
    pub(crate) fn has_written(&self, extent: Extent) -> bool {
        self.written.lock().iter().any(|written| written.overlaps(extent))
    }

    fn note(&self, offset: u64, length: usize) {
        if self.listens.load(Ordering::Relaxed) {
            self.written.lock().push(Extent::new(offset, length as u64));
        }
    }
}

impl PassThrough for Tap {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    #[inline]
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.note(offset, buf.len());
        self.inner.write_at(offset, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.inner.read_vectored_at(offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        self.note(offset, bufs.iter().map(|buf| buf.len()).sum());
        self.inner.write_vectored_at(offset, bufs)
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.note(extent.offset, extent.length as usize);
        self.inner.write_zeroes_at(extent)
    }
}
