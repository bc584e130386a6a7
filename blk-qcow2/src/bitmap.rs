//! Dirty bitmaps: which parts of the disk have changed since some time.
//!
//! ```text
//! header extension -> directory, of entries -> a bitmap's table -> clusters of bits
//! table entry: bits 9 to 55 cluster offset; where that is 0, bit 0 says all ones
//! ```
//!
//! While an image is written its bitmaps are followed in memory; the image has them as they were saved last.
//!
//! ```text
//! saved --(in_use durable)--> first change that they have to follow ... --(close)--> saved
//! ```
//!
//! Write order of the mark: the bit `in_use` of the entries is set where they stand, each inside a sector,
//! and is durable before the first change of the disk, or of the bitmap, that the image's copy does not have.
//! Only bitmaps that this makes stale are marked: what is disabled stays usable after a crash. An image that
//! is opened for writing, and not written, is not changed (QEMU marks all at the open).
//!
//! Write order of a save: bits, tables and the directory go to new clusters; they and their counts are
//! durable before the header extension names the directory, in one sector; the old clusters are freed after
//! that is durable. A crash leaves the old directory, whose entries are marked, or the new one. A bitmap that
//! is added or removed has a new directory at once, in the same order; all other changes wait for the close.
//!
//! Without the autoclear bit 0 the extension says nothing, and its clusters are leaks. The bit is durable
//! after an extension that has just been made, and is cleared before one is taken away.

mod ability;
mod content;
pub(crate) mod directory;
mod followed;
mod publish;
mod save;

use blk_core::{Error, Extent, Result, Storage};
use zerocopy::{FromZeros, IntoBytes};

use crate::extension::BitmapDirectory;
use crate::geometry::Geometry;
use crate::l2::{OFFSET_MASK, entry_offset};
use crate::offset::{ClusterCount, HostExtent, HostOffset};
use crate::ondisk::BitmapEntry;
use crate::pointer_table::PointerTable;

pub(crate) use followed::Followed;

/// Most bitmaps: what other implementations accept.
const BITMAPS_MAX: u32 = 65535;
/// A table entry without a cluster: this part of the bitmap is all ones.
const ALL_ONES: u64 = 1;
/// Longest name, bytes: what the specification allows.
const NAME_BYTES_MAX: u64 = 1023;
/// The only type of bitmap.
const KIND_DIRTY: u8 = 1;

/// Everything that the bitmaps of an image occupy: the directory, the tables, the data. `file_clusters`
/// bounds the work.
///
/// # Errors
/// [`Error::Malformed`] if a structure is outside what the specification or the file allows.
pub(crate) fn used(
    storage: &dyn Storage,
    geometry: Geometry,
    directory: BitmapDirectory,
    file_clusters: ClusterCount,
) -> Result<Vec<HostExtent>> {
    let bad = |offset: u64, reason: String| Err(Error::malformed("bitmap directory", offset, reason));
    let file_bytes = geometry.bytes_of(file_clusters);
    let BitmapDirectory { count, extent } = directory;
    if count > BITMAPS_MAX || !geometry.is_aligned_number(extent.offset) {
        return bad(
            extent.offset,
            format!("{count} bitmaps at {:#x}: too many, or not at a cluster", extent.offset),
        );
    }
    if extent.checked_end().is_none_or(|end| end > file_bytes) {
        return bad(extent.offset, format!("{} bytes reach past the end of the file", extent.length));
    }
    let mut used = vec![HostOffset::new(extent.offset).with_length(extent.length)];
    let mut table_bytes = 0;
    let mut at = extent.offset;
    for _ in 0..count {
        let mut entry = BitmapEntry::new_zeroed();
        if at + size_of::<BitmapEntry>() as u64 > extent.end() {
            return bad(at, "an entry reaches past the directory's end".to_owned());
        }
        storage.read_at(at, entry.as_mut_bytes())?;
        let table = Extent::new(entry.table_offset.get(), u64::from(entry.table_size.get()) * 8);
        table_bytes += table.length;
        let inside = table.checked_end().is_some_and(|end| end <= file_bytes);
        // A table is read whole; what it may name is bounded as for a bitmap that is read.
        let inside = inside && table.length / 8 * geometry.cluster_bytes() <= content::STORED_BYTES_MAX;
        if !inside || !geometry.is_aligned_number(table.offset) || table_bytes > file_bytes {
            return bad(
                at,
                format!("a bitmap table at {:#x}, {} bytes, does not fit", table.offset, table.length),
            );
        }
        let table = HostOffset::new(table.offset).with_length(table.length);
        used.push(table);
        collect_data(storage, geometry, table, &mut used)?;
        let rest = u64::from(entry.extra_data_size.get()) + u64::from(entry.name_size.get());
        at = (at + size_of::<BitmapEntry>() as u64 + rest).next_multiple_of(8);
    }
    Ok(used)
}

/// What a table entry says of its part of the bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Clear,
    Set,
    /// The bits are in this cluster.
    Stored(HostOffset),
}

impl Part {
    /// `None` for an entry that is neither a cluster nor all ones.
    fn of(entry: u64, geometry: Geometry) -> Option<Self> {
        let offset = entry_offset(entry);
        let has_cluster = offset != HostOffset::default();
        let allowed = if has_cluster { OFFSET_MASK } else { ALL_ONES };
        if entry & !allowed != 0 || !geometry.is_cluster_aligned(offset) {
            return None;
        }
        Some(match entry {
            _ if has_cluster => Self::Stored(offset),
            ALL_ONES => Self::Set,
            _ => Self::Clear,
        })
    }
}

fn collect_data(
    storage: &dyn Storage,
    geometry: Geometry,
    table: HostExtent,
    used: &mut Vec<HostExtent>,
) -> Result<()> {
    let entries = PointerTable::read(storage, table.start, (table.length / 8) as usize)?;
    for (index, entry) in entries.entries().iter().enumerate() {
        match Part::of(*entry, geometry) {
            Some(Part::Stored(offset)) => used.push(offset.with_length(geometry.cluster_bytes())),
            Some(Part::Clear | Part::Set) => {}
            None => {
                let at = entries.offset_of_entry(index as u64).get();
                let reason = format!("entry {index} is {entry:#018x}: neither a cluster nor all ones");
                return Err(Error::malformed("bitmap table", at, reason));
            }
        }
    }
    Ok(())
}
