//! Saving bitmaps: new clusters for what has changed, then the header, then the old clusters are free. The
//! order of writes stands in the module above.

use blk_core::bytes::is_zero;
use blk_core::{Bits, DirtyBitmap, Error, Extent, Result};

use super::content::STORED_BYTES_MAX;
use super::directory::{AUTO, DIRECTORY_BYTES_MAX, EXTRA_COMPATIBLE, Entry};
use super::followed::{Bitmap, State};
use super::{ALL_ONES, collect_data};
use crate::extension::BitmapDirectory;
use crate::free_space::{Allocation, FreeReason};
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, HostCluster, HostOffset};
use crate::pointer_table;
use crate::qcow2::Qcow2;
use crate::roles::Role;

/// A directory that is being made.
#[derive(Debug, Default)]
struct Draft {
    /// As they will stand in it.
    entries: Vec<Entry>,
    /// What has been allocated for it.
    made: Vec<Allocation>,
    /// Clusters that nothing refers to once it is in use.
    old: Vec<HostCluster>,
}

impl Qcow2 {
    /// Saves what has been followed: the image's bitmaps can be trusted again.
    pub(crate) fn save_bitmaps(&self) -> Result<()> {
        let mut metadata = self.metadata.write();
        let mut state = self.bitmaps.state();
        let waits = |bitmap: &Bitmap| bitmap.content.is_some() && bitmap.entry.is_in_use();
        if state.bitmaps.iter().any(waits) {
            for bitmap in state.bitmaps.iter_mut().filter(|bitmap| waits(bitmap)) {
                if let Some(content) = &mut bitmap.content {
                    content.cut(metadata.header.size);
                }
            }
            metadata.replace_directory(&mut state, None, true)?;
        }
        self.bitmaps.set_gate(&state, metadata.header.followed_autoclear());
        Ok(())
    }
}

impl Metadata {
    /// Writes the bitmaps of `state` into a new directory, without number `removed`, and has the header name
    /// it. If it `ends`, those that are followed are saved, and their marks go; otherwise all stay as the
    /// image has them, but for new ones, which have no table yet.
    pub(super) fn replace_directory(
        &mut self,
        state: &mut State,
        removed: Option<usize>,
        ends: bool,
    ) -> Result<()> {
        self.check_usable()?;
        let mut draft = Draft::default();
        let drafted = self.draft(state, removed, ends, &mut draft);
        let directory = match drafted.and_then(|directory| self.flush_all().map(|()| directory)) {
            Ok(directory) => directory,
            Err(error) => return Err(self.give_up(draft.made, error)),
        };
        if let Err(error) = self.publish_bitmaps(directory) {
            return Err(self.give_up(draft.made, error));
        }
        let geometry = self.geometry;
        self.roles.set_bitmap_directory(directory.map(BitmapDirectory::host_extent), geometry);
        for cluster in draft.old {
            self.free_later(geometry.offset_of(cluster), FreeReason::Replace);
        }
        if let Some(removed) = removed {
            state.bitmaps.remove(removed);
        }
        assert_eq!(state.bitmaps.len(), draft.entries.len(), "each bitmap has its entry");
        for (bitmap, entry) in state.bitmaps.iter_mut().zip(draft.entries) {
            bitmap.is_stale &= entry.is_in_use();
            bitmap.entry = entry;
        }
        self.flush_all()
    }

    /// Writes the new directory, and all that it refers to, to clusters that nothing refers to yet.
    fn draft(
        &mut self,
        state: &State,
        removed: Option<usize>,
        ends: bool,
        draft: &mut Draft,
    ) -> Result<Option<BitmapDirectory>> {
        if let Some(directory) = self.header.vouched_bitmaps() {
            draft.old.extend(self.geometry.touched(directory.host_extent()));
        }
        for (number, bitmap) in state.bitmaps.iter().enumerate() {
            if removed == Some(number) {
                self.collect_old(&bitmap.entry, draft)?;
                continue;
            }
            let mut entry = bitmap.entry.clone();
            if let Some(content) = &bitmap.content {
                if entry.table_entries == 0 {
                    self.write_bits(&mut entry, content, draft)?;
                } else if ends && (bitmap.is_stale || self.needed_parts(&entry) != entry.table_entries.into())
                {
                    self.collect_old(&bitmap.entry, draft)?;
                    self.write_bits(&mut entry, content, draft)?;
                }
                if ends {
                    let auto = if bitmap.is_enabled { AUTO } else { 0 };
                    entry.flags = entry.flags & EXTRA_COMPATIBLE | auto;
                }
            }
            draft.entries.push(entry);
        }
        self.check_old(draft)?;
        if draft.entries.is_empty() { Ok(None) } else { self.write_directory(draft).map(Some) }
    }

    /// The clusters of a bitmap, where its table can be one. Otherwise they stay what they are: leaks.
    fn collect_old(&mut self, entry: &Entry, draft: &mut Draft) -> Result<()> {
        let geometry = self.geometry;
        let bytes = u64::from(entry.table_entries) * 8;
        let file_bytes = geometry.bytes_of(self.free.file_end().since(HostCluster::default()));
        let inside = entry.table_offset.checked_add(bytes).is_some_and(|end| end <= file_bytes);
        let is_large = u64::from(entry.table_entries) * geometry.cluster_bytes() > STORED_BYTES_MAX;
        if bytes == 0 || is_large || !inside || !geometry.is_aligned_number(entry.table_offset) {
            return Ok(());
        }
        let table = HostOffset::new(entry.table_offset).with_length(bytes);
        let mut used = vec![table];
        match collect_data(&*self.storage, geometry, table, &mut used) {
            Ok(()) => {}
            Err(Error::Malformed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        draft.old.extend(used.into_iter().flat_map(|extent| geometry.touched(extent)));
        Ok(())
    }

    /// Fails if what is replaced cannot be freed.
    fn check_old(&mut self, draft: &mut Draft) -> Result<()> {
        draft.old.sort_unstable();
        // What lies there twice is freed once: at worst it leaks.
        draft.old.dedup();
        for cluster in &draft.old {
            let extent = self.geometry.extent_of(*cluster, ClusterCount::ONE);
            self.check_freeable(extent, Some(Role::BitmapDirectory))?;
        }
        Ok(())
    }

    /// How many entries the table of a bitmap has to have.
    fn needed_parts(&self, entry: &Entry) -> u64 {
        let bits = self.header.size.div_ceil(entry.granularity_bytes());
        bits.div_ceil(self.geometry.cluster_bytes() * 8).max(1)
    }

    /// Writes the bits of a bitmap, and a table of them, which `entry` says then.
    fn write_bits(&mut self, entry: &mut Entry, content: &DirtyBitmap, draft: &mut Draft) -> Result<()> {
        let geometry = self.geometry;
        let cluster_bytes = geometry.cluster_bytes();
        let parts = self.needed_parts(entry);
        let mut table = Vec::with_capacity(parts as usize);
        for index in 0..parts {
            table.push(match content.bits(index) {
                None | Some(Bits::Clear) => 0,
                Some(Bits::Set) => ALL_ONES,
                Some(Bits::Stored(bytes)) if is_zero(bytes) => 0,
                Some(Bits::Stored(bytes)) => {
                    let mut cluster = bytes.clone();
                    cluster.resize(cluster_bytes as usize, 0);
                    self.write_clusters(&cluster, draft)?.get()
                }
            });
        }
        let mut bytes = pointer_table::encode(&table);
        bytes.resize(bytes.len().next_multiple_of(cluster_bytes as usize), 0);
        entry.table_offset = self.write_clusters(&bytes, draft)?.get();
        entry.table_entries = parts as u32;
        Ok(())
    }

    fn write_directory(&mut self, draft: &mut Draft) -> Result<BitmapDirectory> {
        let mut bytes = Vec::new();
        for entry in &draft.entries {
            entry.append(&*self.storage, &mut bytes)?;
        }
        let length = bytes.len() as u64;
        if length > DIRECTORY_BYTES_MAX {
            let what = format!("the directory of bitmaps would have {length} bytes");
            return Err(Error::NoSpace { what: what.into() });
        }
        bytes.resize(bytes.len().next_multiple_of(self.geometry.cluster_bytes() as usize), 0);
        let start = self.write_clusters(&bytes, draft)?;
        let mut at = start;
        for entry in &mut draft.entries {
            entry.at = at;
            at = at + entry.stored_bytes();
        }
        Ok(BitmapDirectory { count: draft.entries.len() as u32, extent: Extent::new(start.get(), length) })
    }

    /// Writes whole clusters to new ones, in a row.
    fn write_clusters(&mut self, bytes: &[u8], draft: &mut Draft) -> Result<HostOffset> {
        let count = self.geometry.clusters_of(bytes.len() as u64);
        // A search for a single one goes on where the last one ended.
        let allocation = match count {
            ClusterCount::ONE => self.allocate(count)?,
            _ => self.allocate_contiguous(count)?,
        };
        draft.made.push(allocation);
        let start = self.geometry.offset_of(allocation.first);
        self.storage.write_at(start.get(), bytes)?;
        Ok(start)
    }
}
