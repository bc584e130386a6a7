//! The bitmaps of an image that is written, in memory: what is written is recorded in those that are enabled.
//!
//! A request is recorded before its first change and after its last one, whether it has failed or not. The
//! first time for a bitmap that is copied, or ended, while the request is under way; the second time for one
//! that is emptied, or begun, meanwhile. An image without bitmaps costs a request one relaxed load.
//!
//! The lock of the state is taken after that of the metadata.

use std::sync::atomic::{AtomicU8, Ordering};

use blk_core::bytes::SECTOR_BYTES;
use blk_core::sync::{Mutex, MutexGuard};
use blk_core::{DirtyBitmap, Error, Extent, Result};

use super::content::{self, STORED_BYTES_MAX};
use super::directory::{self, Entry, IN_USE};
use crate::metadata::Metadata;
use crate::offset::HostOffset;
use crate::ondisk::AUTOCLEAR_BITMAPS;
use crate::qcow2::Qcow2;
use crate::roles::Role;

/// Something has to be done in the image before the next change of the disk.
const PENDING: u8 = 1;
/// A bitmap follows what is written.
const RECORDING: u8 = 1 << 1;
/// Most bits of a bitmap that is made: what other implementations accept.
const BITS_MAX: u64 = 1 << 32;

/// A bitmap of an open image.
#[derive(Debug)]
pub(super) struct Bitmap {
    /// As the image has it.
    pub(super) entry: Entry,
    /// `None` where nobody knows its bits: it is kept as it is.
    pub(super) content: Option<DirtyBitmap>,
    pub(super) is_enabled: bool,
    /// The image has other bits, or another state: its entry is marked.
    pub(super) is_stale: bool,
}

/// All bitmaps, once they have been read.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) is_loaded: bool,
    pub(super) bitmaps: Vec<Bitmap>,
}

/// The bitmaps of an open image.
#[derive(Debug)]
pub(crate) struct Followed {
    gate: AtomicU8,
    state: Mutex<State>,
}

/// A request that is under way. It is recorded when this is dropped.
#[derive(Debug)]
pub(crate) struct Recording<'a> {
    followed: &'a Followed,
    extent: Extent,
}

impl Drop for Recording<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.followed.gate.load(Ordering::Relaxed) & RECORDING != 0 {
            self.followed.record(self.extent);
        }
    }
}

impl Followed {
    /// For an image with these autoclear bits.
    pub(crate) fn new(autoclear: u64) -> Self {
        let gate = if autoclear == 0 { 0 } else { PENDING };
        Self { gate: AtomicU8::new(gate), state: Mutex::default() }
    }

    /// The bitmaps; the caller has the metadata locked.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether there is one, as far as they have been read.
    pub(crate) fn has_any(&self) -> bool {
        !self.state().bitmaps.is_empty()
    }

    /// A repair has changed the image: its header is this one now.
    pub(crate) fn after_repair(&self, metadata: &Metadata) {
        let mut state = self.state();
        if metadata.header.vouched_bitmaps().is_none() {
            *state = State::default();
        }
        self.set_gate(&state, metadata.header.followed_autoclear());
    }

    /// The disk has become smaller, and ends at `size`: bits behind do not come back.
    pub(crate) fn cut(&self, size: u64) {
        for bitmap in &mut self.state().bitmaps {
            if let Some(content) = &mut bitmap.content {
                content.cut(size);
                bitmap.is_stale = true;
            }
        }
    }

    #[cold]
    fn record(&self, extent: Extent) {
        let mut state = self.state();
        for bitmap in state.bitmaps.iter_mut().filter(|bitmap| bitmap.is_enabled) {
            if let Some(content) = &mut bitmap.content {
                content.set(extent);
                bitmap.is_stale = true;
            }
        }
    }

    /// What the next request has to do, and what the one under way does at its end.
    pub(super) fn set_gate(&self, state: &State, autoclear: u64) {
        let is_known = state.is_loaded || autoclear == 0;
        let unmarked = state.bitmaps.iter().any(Bitmap::waits_for_its_mark);
        let pending = !is_known || unmarked || autoclear & !AUTOCLEAR_BITMAPS != 0;
        let records = state.bitmaps.iter().any(|bitmap| bitmap.is_enabled && bitmap.content.is_some());
        let gate = if pending { PENDING } else { 0 } | if records { RECORDING } else { 0 };
        self.gate.store(gate, Ordering::Release);
    }
}

impl Bitmap {
    /// Whether the next change of the disk makes the image's copy stale.
    fn waits_for_its_mark(&self) -> bool {
        (self.is_enabled || self.entry.is_auto()) && !self.entry.is_in_use()
    }

    /// Fails unless its bits are known.
    pub(super) fn usable(&self) -> Result<&DirtyBitmap> {
        let refused = |reason: &str| content::refused(&self.entry.name(), reason);
        self.content.as_ref().ok_or_else(|| {
            content::usable(&self.entry).err().unwrap_or_else(|| refused("the bitmap cannot be read"))
        })
    }
}

impl State {
    pub(super) fn find(&mut self, name: &str) -> Result<&mut Bitmap> {
        let found = self.bitmaps.iter_mut().find(|bitmap| bitmap.entry.name == name.as_bytes());
        found.ok_or_else(|| content::missing(name))
    }

    /// Reads the bitmaps, once. Those that cannot be used are kept as they are.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the directory itself is not one.
    pub(super) fn load(&mut self, metadata: &Metadata) -> Result<()> {
        if self.is_loaded {
            return Ok(());
        }
        if let Some(directory) = metadata.header.vouched_bitmaps() {
            let storage = &*metadata.storage;
            let file_bytes = storage.len()?;
            let inside = directory.extent.checked_end().is_some_and(|end| end <= file_bytes);
            let fits = inside && directory.extent.length <= directory::DIRECTORY_BYTES_MAX;
            let geometry = metadata.geometry;
            let is_own = || {
                let extent = directory.host_extent();
                let lost = |cluster| metadata.roles.lost_with(cluster, Some(Role::BitmapDirectory));
                !extent.is_empty() && geometry.touched(extent).all(|cluster| lost(cluster).is_none())
            };
            if !fits || !geometry.is_aligned_number(directory.extent.offset) || !is_own() {
                let reason = format!("{:?} cannot be one", directory.extent);
                return Err(Error::malformed("bitmap directory", directory.extent.offset, reason));
            }
            let entries = directory::entries(storage, directory)?;
            let mut budget = STORED_BYTES_MAX;
            let load = |entry| Bitmap::load(metadata, entry, file_bytes, &mut budget);
            self.bitmaps = entries.into_iter().map(load).collect::<Result<_>>()?;
        }
        self.is_loaded = true;
        Ok(())
    }

    /// Marks the entries that `is_wanted` and are not marked yet, where they stand, and makes that durable.
    pub(super) fn mark(
        &mut self,
        metadata: &mut Metadata,
        is_wanted: impl Fn(&Bitmap) -> bool,
    ) -> Result<()> {
        let wanted = |bitmap: &&mut Bitmap| !bitmap.entry.is_in_use() && is_wanted(bitmap);
        let mut changed: Vec<&mut Bitmap> = self.bitmaps.iter_mut().filter(wanted).collect();
        if changed.is_empty() {
            return Ok(());
        }
        for bitmap in &changed {
            let cluster = metadata.geometry.cluster_of(HostOffset::new(bitmap.entry.flags_offset()));
            metadata.check_losing(
                cluster,
                Some(Role::BitmapDirectory),
                "a mark in the directory of bitmaps",
            )?;
        }
        let written = write_marks(metadata, &changed);
        written.map_err(|error| metadata.poison(error))?;
        for bitmap in &mut changed {
            bitmap.entry.flags |= IN_USE;
        }
        Ok(())
    }
}

/// Sets the bit `in_use` of these entries, a sector at a time.
fn write_marks(metadata: &Metadata, bitmaps: &[&mut Bitmap]) -> Result<()> {
    let storage = &*metadata.storage;
    let sector_of = |bitmap: &&mut Bitmap| bitmap.entry.flags_offset() / SECTOR_BYTES;
    for group in bitmaps.chunk_by(|a, b| sector_of(a) == sector_of(b)) {
        let start = sector_of(&group[0]) * SECTOR_BYTES;
        let mut sector = [0; SECTOR_BYTES as usize];
        storage.read_at(start, &mut sector)?;
        for bitmap in group {
            let at = (bitmap.entry.flags_offset() - start) as usize;
            sector[at..at + 4].copy_from_slice(&(bitmap.entry.flags | IN_USE).to_be_bytes());
        }
        storage.write_at(start, &sector)?;
    }
    // Beside the flushes of others: each hears of a failure.
    metadata.syncs.sync(storage)
}

impl Bitmap {
    fn load(metadata: &Metadata, entry: Entry, file_bytes: u64, budget: &mut u64) -> Result<Self> {
        let is_enabled = entry.is_auto();
        let header = &metadata.header;
        let table_bytes = u64::from(entry.table_entries) * metadata.geometry.cluster_bytes();
        let is_usable = content::usable(&entry).is_ok() && table_bytes <= STORED_BYTES_MAX;
        let mut content = None;
        if is_usable {
            let (storage, geometry) = (&*metadata.storage, header.geometry);
            let read = content::read_entry(storage, geometry, &entry, file_bytes, header.size, budget);
            content = match read {
                Ok(content) => Some(content),
                Err(Error::Malformed { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(Self { entry, content, is_enabled, is_stale: false })
    }
}

/// Whether a disk of `size` bytes may have a bitmap of that granularity.
pub(super) fn check_bits(name: &str, size: u64, granularity_bytes: u64) -> Result<()> {
    let bits = size.div_ceil(granularity_bytes);
    if bits <= BITS_MAX {
        return Ok(());
    }
    let reason = format!(
        "bitmap '{name}' would have {bits} bits, the most are {BITS_MAX}; use a larger granularity than \
         {granularity_bytes}"
    );
    Err(Error::invalid_option("granularity", reason))
}

impl Qcow2 {
    /// Before a request that changes the bytes of `extent`: bitmaps that have to follow it are marked in the
    /// image, and autoclear bits are cleared whose structures become stale with it. A request that is refused
    /// changes nothing.
    #[inline]
    pub(crate) fn begin_write(&self, extent: Extent) -> Result<Recording<'_>> {
        let gate = self.bitmaps.gate.load(Ordering::Acquire);
        if gate != 0 {
            self.begin_followed(gate, extent)?;
        }
        Ok(Recording { followed: &self.bitmaps, extent })
    }

    #[cold]
    fn begin_followed(&self, gate: u8, extent: Extent) -> Result<()> {
        if gate & PENDING != 0 {
            self.begin_change(Bitmap::waits_for_its_mark)?;
        }
        self.bitmaps.record(extent);
        Ok(())
    }

    /// Before another size: the image's copies of all bitmaps are too short, or too long, from then on.
    pub(crate) fn begin_resize(&self, size: u64) -> Result<()> {
        self.begin_change(|_| false)?;
        let state = self.bitmaps.state();
        for Bitmap { entry, .. } in state.bitmaps.iter().filter(|bitmap| bitmap.content.is_some()) {
            check_bits(&entry.name(), size, entry.granularity_bytes())?;
        }
        drop(state);
        self.begin_change(|_| true)
    }

    /// Before a change of the image that no bitmap has to follow.
    pub(crate) fn begin_unfollowed(&self) -> Result<()> {
        let is_pending = self.bitmaps.gate.load(Ordering::Acquire) & PENDING != 0;
        if is_pending { self.begin_change(|_| false) } else { Ok(()) }
    }

    /// Marks the bitmaps that `become_stale`, and clears autoclear bits that nobody here keeps up to date.
    fn begin_change(&self, become_stale: impl Fn(&Bitmap) -> bool) -> Result<()> {
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let mut state = self.bitmaps.state();
        let own = metadata.header.kept_autoclear();
        let mut kept = AUTOCLEAR_BITMAPS | own;
        match state.load(&metadata) {
            Ok(()) => {}
            // Nobody can follow them: without the bit they are out of date.
            Err(Error::Malformed { .. }) => {
                kept = own;
                *state = State { is_loaded: true, bitmaps: Vec::new() };
            }
            Err(error) => return Err(error),
        }
        if metadata.header.autoclear & !kept != 0 {
            metadata.header.autoclear &= kept;
            metadata.publish_header()?;
        }
        state.mark(&mut metadata, become_stale)?;
        self.bitmaps.set_gate(&state, metadata.header.followed_autoclear());
        Ok(())
    }
}
