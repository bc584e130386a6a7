//! The bits of a dirty bitmap.

use blk_core::bytes::is_zero;
use blk_core::{Bits, DirtyBitmap, Error, Result, Storage};

use super::{BitmapName, Part, names};
use crate::extension::BitmapDirectory;
use crate::geometry::Geometry;
use crate::pointer_table::PointerTable;

/// Finest granularity that is read, bytes: what other implementations make.
const GRANULARITY_BYTES_MIN: u64 = 512;
/// The most of a bitmap that is kept in memory, bytes: what other implementations open.
const STORED_BYTES_MAX: u64 = 512 << 20;

/// The bitmap of that name, of a disk of `size` bytes. What is read is bounded by `file_bytes`.
///
/// # Errors
/// [`Error::Unresolved`] if there is none, or it is not to be trusted; [`Error::Malformed`] if its table or
/// its bits lie where they cannot, or there are too few of them.
pub(crate) fn read(
    storage: &dyn Storage,
    geometry: Geometry,
    directory: BitmapDirectory,
    file_bytes: u64,
    size: u64,
    name: &str,
) -> Result<DirtyBitmap> {
    let bitmap = find(storage, directory, name)?;
    let (table, entries) = bitmap.table;
    let malformed = |reason: String| Error::malformed("bitmap table", table.get(), reason);
    let table_bytes = u64::from(entries) * size_of::<u64>() as u64;
    let is_inside = table.get().checked_add(table_bytes).is_some_and(|end| end <= file_bytes);
    if !is_inside || !geometry.is_cluster_aligned(table) {
        return Err(malformed(format!("{entries} entries do not lie in the file, at a cluster")));
    }
    let part_bits = geometry.cluster_bytes() * 8;
    let needed = size.div_ceil(bitmap.granularity_bytes).div_ceil(part_bits);
    if u64::from(entries) < needed {
        return Err(malformed(format!("{entries} entries, and the disk takes {needed}")));
    }
    // A cluster that entries share would be read once for each: no bitmap has more bits than the file.
    let mut left = file_bytes.next_multiple_of(geometry.cluster_bytes());
    let mut stored_bytes = 0;
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
        stored_bytes += geometry.cluster_bytes();
        if stored_bytes > STORED_BYTES_MAX {
            return Err(malformed(format!("its bits take more than {STORED_BYTES_MAX} bytes")));
        }
        Ok(Bits::Stored(bytes))
    });
    let parts = parts.collect::<Result<_>>()?;
    Ok(DirtyBitmap::new(bitmap.granularity_bytes, part_bits, parts))
}

/// The entry of that name in the directory, of a bitmap that can be trusted.
fn find(storage: &dyn Storage, directory: BitmapDirectory, name: &str) -> Result<BitmapName> {
    let refused = |reason: &str| Error::Unresolved { name: name.to_owned(), reason: reason.to_owned() };
    let found = names(storage, directory)?.into_iter().find(|bitmap| bitmap.name == name);
    let bitmap = found.ok_or_else(|| refused("there is no bitmap of that name"))?;
    if bitmap.in_use {
        return Err(refused("the bitmap is inconsistent: a program that followed it has not saved it"));
    }
    if bitmap.is_strange {
        return Err(refused("the bitmap is of a type, or has extra data, that nobody here knows"));
    }
    let (granularity, finest) = (bitmap.granularity_bytes, GRANULARITY_BYTES_MIN);
    if granularity < finest {
        return Err(refused(&format!("a granularity of {granularity} bytes, at least {finest}")));
    }
    Ok(bitmap)
}
