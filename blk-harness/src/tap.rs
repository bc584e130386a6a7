//! A storage that an oracle can look at behind the driver's back, and listen to.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::storage::PassThrough;
use blk_core::sync::Mutex;
use blk_core::{Extent, Result, Storage};
use blk_sim::unsynced::{Unsynced, changed, missing};

/// A storage over another one that notes, while it listens, where bytes are written as data: by writes, and
/// by zeroes that the host may have to write.
#[derive(Debug)]
pub struct Tap {
    inner: Arc<dyn Storage>,
    listens: AtomicBool,
    written: Mutex<Vec<Extent>>,
    /// What no sync covers, where that is asked about.
    unsynced: Mutex<Unsynced>,
    follows_syncs: AtomicBool,
}

impl Tap {
    /// Puts a tap over `inner`. It does not listen yet.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self {
            inner,
            listens: AtomicBool::new(false),
            written: Mutex::default(),
            unsynced: Mutex::default(),
            follows_syncs: AtomicBool::new(false),
        }
    }

    /// Follows from now on what no sync covers.
    pub(crate) fn follow_syncs(&self) {
        self.follows_syncs.store(true, Ordering::Relaxed);
    }

    /// How many changes have completed since it follows them, and how many of them a sync covers.
    pub(crate) fn changes(&self) -> (u64, u64) {
        let unsynced = self.unsynced.lock();
        (unsynced.count(), unsynced.synced())
    }

    /// Whether there is a sector that no sync covers, that `is_required` to be durable, and of which there is
    /// no other copy.
    pub(crate) fn is_missing(&self, is_required: &mut dyn FnMut(&[u8]) -> bool) -> Result<bool> {
        let extents = self.unsynced.lock().extents();
        missing(&*self.inner, &extents, is_required).map(|found| found.is_some())
    }

    /// Makes a change, which `bufs` are written by from `offset` on, if it is a write.
    fn change(&self, offset: u64, bufs: &[&[u8]], make: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.follows_syncs.load(Ordering::Relaxed) {
            return make();
        }
        let mut at = offset;
        let mut sectors = Vec::new();
        for buf in bufs {
            sectors.extend(changed(&*self.inner, at, buf));
            at = at.saturating_add(buf.len() as u64);
        }
        let result = make();
        self.unsynced.lock().completed(&sectors);
        result
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
        self.change(offset, &[buf], || self.inner.write_at(offset, buf))
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.inner.read_vectored_at(offset, bufs)
    }

    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        self.note(offset, bufs.iter().map(|buf| buf.len()).sum());
        let parts: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        self.change(offset, &parts, || self.inner.write_vectored_at(offset, bufs))
    }

    fn write_zeroes_at(&self, extent: Extent) -> Result<()> {
        self.note(extent.offset, extent.length as usize);
        self.change(extent.offset, &[], || self.inner.write_zeroes_at(extent))
    }

    fn punch_hole(&self, extent: Extent) -> Result<()> {
        self.change(extent.offset, &[], || self.inner.punch_hole(extent))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.change(length, &[], || self.inner.set_len(length))
    }

    fn sync(&self) -> Result<()> {
        let (issued, _) = self.changes();
        self.inner.sync()?;
        self.unsynced.lock().covered(issued);
        Ok(())
    }

    fn sync_extent(&self, extent: Extent) -> Result<()> {
        let (issued, _) = self.changes();
        self.inner.sync_extent(extent)?;
        self.unsynced.lock().covered_part(issued, extent);
        Ok(())
    }
}
