//! Dirty bitmaps: read only, to know which clusters they use.
//!
//! ```text
//! directory entry: 0 bitmap_table_offset | 8 bitmap_table_size | 12 flags | 16 type | 17 granularity_bits | 18 name_size
//!                  20 extra_data_size, then extra data and name, padded to a multiple of 8 bytes
//! table entry:     bits 9 to 55 cluster offset; where that is 0, bit 0 says all ones
//! ```

pub(crate) mod content;

use blk_core::{Error, Extent, Result, Storage};
use zerocopy::{FromZeros, IntoBytes};

use crate::extension::BitmapDirectory;
use crate::geometry::Geometry;
use crate::l2::{OFFSET_MASK, entry_offset};
use crate::offset::{ClusterCount, HostExtent, HostOffset};
use crate::ondisk::BitmapEntry;
use crate::pointer_table::PointerTable;

/// Most bitmaps: what other implementations accept.
const BITMAPS_MAX: u32 = 65535;
/// A table entry without a cluster: this part of the bitmap is all ones.
const ALL_ONES: u64 = 1;
/// Longest name, bytes: what the specification allows.
const NAME_BYTES_MAX: u64 = 1023;
/// Coarsest granularity: what the specification allows.
const GRANULARITY_BITS_MAX: u32 = 63;
const IN_USE: u32 = 1;
const AUTO: u32 = 1 << 1;
/// Whoever does not know the extra data may use the bitmap.
const EXTRA_COMPATIBLE: u32 = 1 << 2;
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

/// A bitmap as the directory names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BitmapName {
    pub(crate) name: String,
    /// Guest bytes that a bit stands for.
    pub(crate) granularity_bytes: u64,
    /// A program that writes the image has it open, or has died with it: its content cannot be trusted.
    pub(crate) in_use: bool,
    /// It follows all writes.
    pub(crate) auto: bool,
    /// There is what nobody knows, and which says that the bitmap is not to be used without it.
    is_strange: bool,
    /// Where its table is, and how many entries that has.
    table: (HostOffset, u32),
}

/// The bitmaps that the directory names.
///
/// # Errors
/// As [`used`].
pub(crate) fn names(storage: &dyn Storage, directory: BitmapDirectory) -> Result<Vec<BitmapName>> {
    let BitmapDirectory { count, extent } = directory;
    let Some(end) = extent.checked_end().filter(|end| *end < 1 << 62) else {
        let reason = format!("{} bytes at {:#x} are in no file", extent.length, extent.offset);
        return Err(Error::malformed("bitmap directory", extent.offset, reason));
    };
    let mut found = Vec::new();
    let mut at = extent.offset;
    for number in 0..count.min(BITMAPS_MAX) {
        let mut entry = BitmapEntry::new_zeroed();
        storage.read_at(at, entry.as_mut_bytes())?;
        let name_at = at + size_of::<BitmapEntry>() as u64 + u64::from(entry.extra_data_size.get());
        let name_bytes = u64::from(entry.name_size.get());
        let bits = u32::from(entry.granularity_bits);
        if name_at + name_bytes > end || name_bytes > NAME_BYTES_MAX || bits > GRANULARITY_BITS_MAX {
            let reason = format!("entry {number}: a name of {name_bytes} bytes, granularity 2^{bits}");
            return Err(Error::malformed("bitmap directory", at, reason));
        }
        let flags = entry.flags.get();
        let extra_is_harmless = entry.extra_data_size.get() == 0 || flags & EXTRA_COMPATIBLE != 0;
        let mut name = vec![0; name_bytes as usize];
        storage.read_at(name_at, &mut name)?;
        found.push(BitmapName {
            name: String::from_utf8_lossy(&name).into_owned(),
            granularity_bytes: 1 << bits,
            in_use: flags & IN_USE != 0,
            auto: flags & AUTO != 0,
            is_strange: entry.kind != KIND_DIRTY || !extra_is_harmless,
            table: (HostOffset::new(entry.table_offset.get()), entry.table_size.get()),
        });
        at = (name_at + name_bytes).next_multiple_of(8);
    }
    Ok(found)
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
