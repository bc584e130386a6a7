//! What can be done with the bitmaps of an open image.

use blk_core::{BitmapInfo, Bitmaps, DirtyBitmap, Error, Extent, Result};

use super::content::{GRANULARITY_BYTES_MIN, missing};
use super::directory::{AUTO, Entry, IN_USE};
use super::followed::{Bitmap, State, check_bits};
use super::{BITMAPS_MAX, KIND_DIRTY, NAME_BYTES_MAX};
use crate::metadata::Metadata;
use crate::offset::HostOffset;
use crate::qcow2::Qcow2;

/// Coarsest granularity that is made, bytes: what other implementations read.
const GRANULARITY_BYTES_MAX: u64 = 1 << 31;
/// Between these the cluster size is the granularity that suits an image.
const DEFAULT_BYTES: (u64, u64) = (4096, 65536);

impl Qcow2 {
    /// Changes the bitmaps, which have been read, with the metadata locked.
    fn change_bitmaps(&self, change: impl FnOnce(&mut Metadata, &mut State) -> Result<()>) -> Result<()> {
        self.noting(self.make_change(change))
    }

    fn make_change(&self, change: impl FnOnce(&mut Metadata, &mut State) -> Result<()>) -> Result<()> {
        // A directory that is none is given up by the first change, and has no bitmaps.
        self.begin_unfollowed()?;
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let mut state = self.bitmaps.state();
        state.load(&metadata)?;
        let changed = change(&mut metadata, &mut state);
        self.bitmaps.set_gate(&state, metadata.header.followed_autoclear());
        changed
    }

    /// Changes one bitmap in memory; the image says before that its copy is out of date.
    fn change_bitmap(&self, name: &str, change: impl FnOnce(&mut Bitmap, u64)) -> Result<()> {
        self.change_bitmaps(|metadata, state| {
            state.find(name)?.usable()?;
            state.mark(metadata, |bitmap| bitmap.entry.name == name.as_bytes())?;
            let bitmap = state.find(name)?;
            change(bitmap, metadata.header.size);
            bitmap.is_stale = true;
            Ok(())
        })
    }

    /// Asks `known` of the bitmaps, which are read once, and of the disk's size.
    fn with_bitmaps<T>(&self, known: impl FnOnce(&mut State, u64) -> Result<T>) -> Result<T> {
        let metadata = self.metadata.read();
        let mut state = self.bitmaps.state();
        state.load(&metadata)?;
        known(&mut state, metadata.header.size)
    }
}

impl Bitmaps for Qcow2 {
    fn bitmaps(&self) -> Result<Vec<BitmapInfo>> {
        self.with_bitmaps(|state, size| Ok(state.bitmaps.iter().map(|bitmap| info(bitmap, size)).collect()))
    }

    fn read_bitmap(&self, name: &str) -> Result<DirtyBitmap> {
        self.with_bitmaps(|state, _| state.find(name)?.usable().cloned())
    }

    fn bitmap_run(&self, name: &str, extent: Extent) -> Result<(u64, bool)> {
        self.with_bitmaps(|state, _| Ok(state.find(name)?.usable()?.run(extent)))
    }

    fn default_granularity_bytes(&self) -> u64 {
        self.geometry.cluster_bytes().clamp(DEFAULT_BYTES.0, DEFAULT_BYTES.1)
    }

    fn add_bitmap(&self, name: &str, granularity_bytes: u64, is_enabled: bool) -> Result<()> {
        check_new(name, granularity_bytes)?;
        // A table is as long as the disk asks for.
        let _same_size = self.resizing.lock();
        check_bits(name, self.size_bytes(), granularity_bytes)?;
        self.change_bitmaps(|metadata, state| {
            if metadata.header.version < 3 {
                return Err(Error::unsupported("dirty bitmaps in an image of version 2"));
            }
            if state.find(name).is_ok() {
                return Err(Error::invalid_option("bitmap", format!("there is a bitmap '{name}' already")));
            }
            if state.bitmaps.len() as u64 >= u64::from(BITMAPS_MAX) {
                return Err(Error::NoSpace { what: "an image has at most 65535 bitmaps".into() });
            }
            let bits_in_part = metadata.geometry.cluster_bytes() * 8;
            let entry = Entry {
                at: HostOffset::default(),
                name: name.as_bytes().to_vec(),
                table_offset: 0,
                table_entries: 0,
                // Requests that are under way are recorded too: from the start the image's copy may be stale.
                flags: if is_enabled { AUTO | IN_USE } else { 0 },
                kind: KIND_DIRTY,
                granularity_bits: granularity_bytes.trailing_zeros() as u8,
                extra_bytes: 0,
            };
            let content = Some(DirtyBitmap::new(granularity_bytes, bits_in_part, Vec::new()));
            state.bitmaps.push(Bitmap { entry, content, is_enabled, is_stale: false });
            let added = metadata.replace_directory(state, None, false);
            // After it a failure has poisoned the handle.
            if added.is_err() {
                state.bitmaps.retain(|bitmap| bitmap.entry.table_entries > 0);
            }
            added
        })
    }

    fn remove_bitmap(&self, name: &str) -> Result<()> {
        self.change_bitmaps(|metadata, state| {
            let is_meant = |bitmap: &Bitmap| bitmap.entry.name == name.as_bytes();
            let number = state.bitmaps.iter().position(is_meant).ok_or_else(|| missing(name))?;
            metadata.replace_directory(state, Some(number), false)
        })
    }

    fn clear_bitmap(&self, name: &str) -> Result<()> {
        self.change_bitmap(name, |bitmap, _| bitmap.content.iter_mut().for_each(DirtyBitmap::clear))
    }

    fn enable_bitmap(&self, name: &str, is_enabled: bool) -> Result<()> {
        self.change_bitmap(name, |bitmap, _| bitmap.is_enabled = is_enabled)
    }

    fn merge_bitmap(&self, name: &str, source: &DirtyBitmap) -> Result<()> {
        self.change_bitmap(name, |bitmap, size| {
            bitmap.content.iter_mut().for_each(|content| content.merge(source, size));
        })
    }
}

fn info(bitmap: &Bitmap, size: u64) -> BitmapInfo {
    let Bitmap { entry, content, is_enabled, .. } = bitmap;
    BitmapInfo {
        name: entry.name(),
        granularity_bytes: entry.granularity_bytes(),
        is_enabled: *is_enabled,
        is_in_use: entry.is_in_use(),
        is_inconsistent: content.is_none(),
        dirty_bytes: content.as_ref().map_or(0, |bits| bits.dirty_bytes(size)),
    }
}

/// What a new bitmap cannot be called, or be like.
fn check_new(name: &str, granularity_bytes: u64) -> Result<()> {
    let length = name.len() as u64;
    if length == 0 || length > NAME_BYTES_MAX {
        let reason = format!("its name has {length} bytes, allowed are 1 to {NAME_BYTES_MAX}");
        return Err(Error::invalid_option("bitmap", reason));
    }
    let allowed = GRANULARITY_BYTES_MIN..=GRANULARITY_BYTES_MAX;
    if !granularity_bytes.is_power_of_two() || !allowed.contains(&granularity_bytes) {
        let reason = format!(
            "a granularity of {granularity_bytes} bytes is no power of two from {GRANULARITY_BYTES_MIN} to \
             {GRANULARITY_BYTES_MAX}"
        );
        return Err(Error::invalid_option("granularity", reason));
    }
    Ok(())
}
