//! The bits of a dirty bitmap.

use blk_core::bytes::is_zero;
use blk_core::{Bits, DirtyBitmap, Error, Result, Storage};

use super::Part;
use super::directory::Entry;
use crate::geometry::Geometry;
use crate::offset::HostOffset;
use crate::pointer_table::PointerTable;

/// Finest granularity that is read, bytes: what other implementations make.
pub(super) const GRANULARITY_BYTES_MIN: u64 = 512;
/// The most of all bitmaps that is kept in memory, bytes: what other implementations open of one.
pub(super) const STORED_BYTES_MAX: u64 = 512 << 20;

/// The bits that an entry of the directory stands for, of a disk of `size` bytes. What is read is bounded by
/// `file_bytes`, and what is kept of it by `budget`, bytes, which it takes from.
///
/// # Errors
/// [`Error::Malformed`] if its table or its bits lie where they cannot, or there are too few of them.
pub(super) fn read_entry(
    storage: &dyn Storage,
    geometry: Geometry,
    entry: &Entry,
    file_bytes: u64,
    size: u64,
    budget: &mut u64,
) -> Result<DirtyBitmap> {
    let malformed = |reason: String| Error::malformed("bitmap table", entry.table_offset, reason);
    let entries = entry.table_entries;
    let table_bytes = u64::from(entries) * size_of::<u64>() as u64;
    let is_inside = entry.table_offset.checked_add(table_bytes).is_some_and(|end| end <= file_bytes);
    let Some(table) = HostOffset::try_new(entry.table_offset)
        .filter(|table| is_inside && geometry.is_cluster_aligned(*table))
    else {
        return Err(malformed(format!("{entries} entries do not lie in the file, at a cluster")));
    };
    let part_bits = geometry.cluster_bytes() * 8;
    let needed = size.div_ceil(entry.granularity_bytes()).div_ceil(part_bits);
    if u64::from(entries) < needed {
        return Err(malformed(format!("{entries} entries, and the disk takes {needed}")));
    }
    // A cluster that entries share would be read once for each: no bitmap has more bits than the file.
    let mut left = file_bytes.next_multiple_of(geometry.cluster_bytes());
    let table = PointerTable::read(storage, table, needed as usize)?;
    let parts = table.entries().iter().map(|entry| {
        let part = Part::of(*entry, geometry);
        let part =
            part.ok_or_else(|| malformed(format!("{entry:#018x} is neither a cluster nor all ones")))?;
        let offset = match part {
            Part::Clear => return Ok(Bits::Clear),
            Part::Set => return Ok(Bits::Set),
            Part::Stored(offset) => offset,
        };
        let inside = offset.get() < file_bytes;
        left = left.checked_sub(geometry.cluster_bytes()).filter(|_| inside).ok_or_else(|| {
            malformed(format!("the cluster at {:#x} is not in the file, or shared", offset.get()))
        })?;
        let mut bytes = vec![0; geometry.cluster_bytes() as usize];
        let stored = (file_bytes - offset.get()).min(geometry.cluster_bytes()) as usize;
        storage.read_at(offset.get(), &mut bytes[..stored])?;
        if is_zero(&bytes) {
            return Ok(Bits::Clear);
        }
        if bytes.iter().all(|byte| *byte == u8::MAX) {
            return Ok(Bits::Set);
        }
        *budget = budget.checked_sub(geometry.cluster_bytes()).ok_or_else(|| {
            malformed(format!("the bits of all bitmaps take more than {STORED_BYTES_MAX} bytes"))
        })?;
        Ok(Bits::Stored(bytes))
    });
    let parts = parts.collect::<Result<_>>()?;
    Ok(DirtyBitmap::new(entry.granularity_bytes(), part_bits, parts))
}

/// There is no bitmap of that name.
pub(super) fn missing(name: &str) -> Error {
    refused(name, "there is no bitmap of that name")
}

pub(super) fn refused(name: &str, reason: &str) -> Error {
    Error::Unresolved { name: name.to_owned(), reason: reason.to_owned() }
}

/// Fails if the bitmap's content cannot be trusted, or is not to be read here.
pub(super) fn usable(entry: &Entry) -> Result<()> {
    let refused = |reason: &str| Err(refused(&entry.name(), reason));
    if entry.is_in_use() {
        return refused("the bitmap is inconsistent: a program that followed it has not saved it");
    }
    if entry.is_strange() {
        return refused("the bitmap is of a type, or has extra data, that nobody here knows");
    }
    let (granularity, finest) = (entry.granularity_bytes(), GRANULARITY_BYTES_MIN);
    if granularity < finest {
        return refused(&format!("a granularity of {granularity} bytes, at least {finest}"));
    }
    Ok(())
}
