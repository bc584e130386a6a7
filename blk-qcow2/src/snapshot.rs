//! The list of snapshots as it lies in the image.
//!
//! ```text
//! 0 l1_table_offset | 8 l1_size | 12 id size | 14 name size | 16 date | 24 vm clock | 32 vm state size | 36 extra data size
//! then extra data, id, name, padded to a multiple of 8 bytes
//! ```

mod at_once;
mod change;
mod complete;
mod references;
mod tables;
mod view;

use blk_core::{Error, Result, SnapshotInfo, Storage};
use zerocopy::{FromZeros, IntoBytes};

use crate::geometry::{Geometry, HOST_OFFSET_END};
use crate::header::{Header, L1_TABLE_BYTES_MAX};
use crate::offset::{HostExtent, HostOffset};
use crate::ondisk::SnapshotEntry;

pub(crate) use references::Flags;
pub(crate) use tables::FoundTable;
pub(crate) use view::Selection;

/// Most extra data of an entry, in bytes: what other implementations accept.
const EXTRA_BYTES_MAX: u32 = 1024;
/// Largest table that is read whole, in bytes: what other implementations accept.
const TABLE_BYTES_MAX: u64 = 64 << 20;

/// Extra data that an entry of version 3 has at least: the size of the machine state and that of the disk.
const EXTRA_BYTES_V3: u32 = 16;

/// Where the table lies, and the snapshots' L1 tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotTable {
    pub(crate) extent: HostExtent,
    /// In the order of the snapshots.
    pub(crate) l1_tables: Vec<SnapshotL1>,
}

/// A snapshot's L1 table, as its entry has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotL1 {
    /// As it was read: it may be no offset in a file.
    pub(crate) offset: u64,
    /// Length, entries of 8 bytes.
    pub(crate) entries: u32,
    /// Where the snapshot's entry starts, which is where the table's offset is stored.
    pub(crate) entry_offset: HostOffset,
    /// The entry lacks what its version asks for.
    pub(crate) is_incomplete: bool,
}

impl SnapshotL1 {
    /// Length of the table.
    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.entries) * 8
    }

    /// Where the table lies, if an image can have one there.
    pub(crate) fn extent(self, geometry: Geometry) -> Option<HostExtent> {
        let bytes = self.bytes();
        let start = HostOffset::try_new(self.offset)?;
        let is_valid = geometry.is_cluster_aligned(start) && start < HOST_OFFSET_END;
        (is_valid && bytes <= L1_TABLE_BYTES_MAX).then(|| start.with_length(bytes))
    }

    /// Where it lies; an empty one lies nowhere.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it lies where none can.
    pub(crate) fn checked_extent(self, geometry: Geometry) -> Result<HostExtent> {
        if self.entries == 0 {
            return Ok(HostExtent::default());
        }
        self.extent(geometry).ok_or_else(|| {
            let Self { offset, entries, entry_offset, .. } = self;
            let reason = format!("its L1 table lies at {offset:#x} and has {entries} entries");
            Error::corrupt("snapshot", entry_offset.get(), reason)
        })
    }
}

impl SnapshotTable {
    /// Reads the table of an image, which may be empty. Entries past the end of the file are zeroes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if an entry, or the table, is larger than allowed.
    pub(crate) fn read(storage: &dyn Storage, header: &Header) -> Result<Self> {
        let mut at = header.snapshots_offset;
        let mut l1_tables = Vec::new();
        for number in 0..header.snapshot_count {
            let mut entry = SnapshotEntry::new_zeroed();
            storage.read_at(at.get(), entry.as_mut_bytes())?;
            let extra = entry.extra_data_size.get();
            if extra > EXTRA_BYTES_MAX {
                let reason = format!(
                    "entry {number} has {extra} bytes of extra data, allowed are up to {EXTRA_BYTES_MAX}"
                );
                return Err(Error::malformed("snapshot table", at.get(), reason));
            }
            l1_tables.push(SnapshotL1 {
                offset: entry.l1_table_offset.get(),
                entries: entry.l1_size.get(),
                entry_offset: at,
                is_incomplete: header.version >= 3 && extra < EXTRA_BYTES_V3,
            });
            let names = u64::from(entry.id_size.get()) + u64::from(entry.name_size.get());
            at = at + (size_of::<SnapshotEntry>() as u64 + u64::from(extra) + names);
            let length = at.get() - header.snapshots_offset.get();
            if length > TABLE_BYTES_MAX {
                let reason = format!("it has {length} bytes or more, allowed are {TABLE_BYTES_MAX}");
                return Err(Error::malformed("snapshot table", header.snapshots_offset.get(), reason));
            }
            if number + 1 < header.snapshot_count {
                at = HostOffset::new(at.get().next_multiple_of(8));
            }
        }
        let start = header.snapshots_offset;
        let extent = start.with_length(at.get() - start.get());
        Ok(Self { extent, l1_tables })
    }

    /// What its snapshots say about themselves.
    pub(crate) fn describe(&self, storage: &dyn Storage) -> Result<Vec<SnapshotInfo>> {
        self.l1_tables.iter().map(|snapshot| describe_entry(storage, snapshot.entry_offset)).collect()
    }
}

/// What the snapshots say about themselves.
///
/// # Errors
/// As [`SnapshotTable::read`].
pub(crate) fn describe(storage: &dyn Storage, header: &Header) -> Result<Vec<SnapshotInfo>> {
    SnapshotTable::read(storage, header)?.describe(storage)
}

/// As [`describe`], for the entry at `at`, which [`SnapshotTable::read`] has found.
pub(crate) fn describe_entry(storage: &dyn Storage, at: HostOffset) -> Result<SnapshotInfo> {
    let mut entry = SnapshotEntry::new_zeroed();
    storage.read_at(at.get(), entry.as_mut_bytes())?;
    let (id, name) = (usize::from(entry.id_size.get()), usize::from(entry.name_size.get()));
    let extra = entry.extra_data_size.get() as usize;
    let mut rest = vec![0; extra + id + name];
    storage.read_at((at + size_of::<SnapshotEntry>() as u64).get(), &mut rest)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (extra, names) = rest.split_at(extra);
    // Extra data: size of the machine state in 64 bits, size of the disk, instructions that were run.
    let number = |index: usize| extra.get(index * 8..index * 8 + 8)?.try_into().ok().map(u64::from_be_bytes);
    Ok(SnapshotInfo {
        id: text(&names[..id]),
        name: text(&names[id..]),
        disk_bytes: number(1),
        vm_state_bytes: number(0).unwrap_or_else(|| u64::from(entry.vm_state_size.get())),
        date_seconds: entry.date_seconds.get(),
        date_nanoseconds: entry.date_nanoseconds.get(),
        vm_clock_nanoseconds: entry.vm_clock_nanoseconds.get(),
        instruction_count: number(2).filter(|count| *count != u64::MAX),
    })
}
