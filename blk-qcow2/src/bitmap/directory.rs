//! The directory of bitmaps: its entries as they are on disk.
//!
//! ```text
//! 0 bitmap_table_offset | 8 bitmap_table_size | 12 flags | 16 type | 17 granularity_bits | 18 name_size | 20 extra_data_size
//! then extra data and name, padded to a multiple of 8 bytes
//! ```

use blk_core::{Error, Result, Storage};
use zerocopy::{FromZeros, IntoBytes};

use super::{BITMAPS_MAX, KIND_DIRTY, NAME_BYTES_MAX};
use crate::extension::BitmapDirectory;
use crate::offset::HostOffset;
use crate::ondisk::BitmapEntry;

/// Coarsest granularity: what the specification allows.
const GRANULARITY_BITS_MAX: u32 = 63;
/// Largest directory that is written, bytes: what other implementations accept.
pub(crate) const DIRECTORY_BYTES_MAX: u64 = 64 << 20;
/// Where the flags of an entry stand.
const FLAGS_OFFSET: u64 = std::mem::offset_of!(BitmapEntry, flags) as u64;

pub(super) const IN_USE: u32 = 1;
pub(super) const AUTO: u32 = 1 << 1;
/// Whoever does not know the extra data may use the bitmap.
pub(super) const EXTRA_COMPATIBLE: u32 = 1 << 2;

/// An entry of the directory. What it says of its table has not been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it stands.
    pub(super) at: HostOffset,
    pub(super) name: Vec<u8>,
    pub(super) table_offset: u64,
    pub(super) table_entries: u32,
    pub(super) flags: u32,
    pub(super) kind: u8,
    pub(super) granularity_bits: u8,
    pub(super) extra_bytes: u32,
}

impl Entry {
    /// Its name, for people: whatever bytes it has.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// Guest bytes that a bit stands for.
    pub(crate) fn granularity_bytes(&self) -> u64 {
        1 << self.granularity_bits
    }

    /// A program that writes the image has it open, or has died with it: its content cannot be trusted.
    pub(crate) fn is_in_use(&self) -> bool {
        self.flags & IN_USE != 0
    }

    /// It follows all writes.
    pub(crate) fn is_auto(&self) -> bool {
        self.flags & AUTO != 0
    }

    /// There is what nobody knows, and which says that the bitmap is not to be used without it.
    pub(super) fn is_strange(&self) -> bool {
        let extra_is_harmless = self.extra_bytes == 0 || self.flags & EXTRA_COMPATIBLE != 0;
        self.kind != KIND_DIRTY || !extra_is_harmless
    }

    /// Where its flags stand.
    pub(super) fn flags_offset(&self) -> u64 {
        self.at.get() + FLAGS_OFFSET
    }

    /// How many bytes it takes in the directory.
    pub(super) fn stored_bytes(&self) -> u64 {
        let rest = u64::from(self.extra_bytes) + self.name.len() as u64;
        (size_of::<BitmapEntry>() as u64 + rest).next_multiple_of(8)
    }

    /// Appends it to a directory that is being encoded; its extra data comes from where it stood.
    pub(super) fn append(&self, storage: &dyn Storage, bytes: &mut Vec<u8>) -> Result<()> {
        let entry = BitmapEntry {
            table_offset: self.table_offset.into(),
            table_size: self.table_entries.into(),
            flags: self.flags.into(),
            kind: self.kind,
            granularity_bits: self.granularity_bits,
            name_size: (self.name.len() as u16).into(),
            extra_data_size: self.extra_bytes.into(),
        };
        bytes.extend_from_slice(entry.as_bytes());
        let extra = bytes.len();
        bytes.resize(extra + self.extra_bytes as usize, 0);
        storage.read_at(self.at.get() + size_of::<BitmapEntry>() as u64, &mut bytes[extra..])?;
        bytes.extend_from_slice(&self.name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        Ok(())
    }
}

/// The bitmaps that the directory names.
///
/// # Errors
/// [`Error::Malformed`] if an entry is outside the directory, or what the specification allows.
pub(crate) fn entries(storage: &dyn Storage, directory: BitmapDirectory) -> Result<Vec<Entry>> {
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
        let extra_bytes = entry.extra_data_size.get();
        let name_at = at + size_of::<BitmapEntry>() as u64 + u64::from(extra_bytes);
        let name_bytes = u64::from(entry.name_size.get());
        let bits = u32::from(entry.granularity_bits);
        if name_at + name_bytes > end || name_bytes > NAME_BYTES_MAX || bits > GRANULARITY_BITS_MAX {
            let reason = format!("entry {number}: a name of {name_bytes} bytes, granularity 2^{bits}");
            return Err(Error::malformed("bitmap directory", at, reason));
        }
        let mut name = vec![0; name_bytes as usize];
        storage.read_at(name_at, &mut name)?;
        found.push(Entry {
            at: HostOffset::new(at),
            name,
            table_offset: entry.table_offset.get(),
            table_entries: entry.table_size.get(),
            flags: entry.flags.get(),
            kind: entry.kind,
            granularity_bits: entry.granularity_bits,
            extra_bytes,
        });
        at = (name_at + name_bytes).next_multiple_of(8);
    }
    Ok(found)
}
