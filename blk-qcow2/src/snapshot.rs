//! The snapshot table: read only, to know which clusters snapshots use.
//!
//! ```text
//! 0 l1_table_offset | 8 l1_size | 12 id size | 14 name size | 16 date | 24 vm clock | 32 vm state size | 36 extra data size
//! then extra data, id, name, padded to a multiple of 8 bytes
//! ```

use blk_core::{Error, Extent, Result, Storage};
use zerocopy::{FromZeros, IntoBytes};

use crate::header::{Header, L1_TABLE_BYTES_MAX};
use crate::ondisk::SnapshotEntry;

/// Most extra data of an entry, in bytes: what other implementations accept.
const EXTRA_BYTES_MAX: u32 = 1024;

/// Where the table lies, and the snapshots' L1 tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotTable {
    pub(crate) extent: Extent,
    /// In the order of the snapshots.
    pub(crate) l1_tables: Vec<SnapshotL1>,
}

/// A snapshot's L1 table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotL1 {
    pub(crate) extent: Extent,
    /// Where the snapshot's entry starts, which is where the table's offset stands.
    pub(crate) entry_offset: u64,
}

impl SnapshotTable {
    /// Reads the table of an image, which may be empty.
    ///
    /// # Errors
    /// [`Error::Malformed`] if an entry is outside what the specification allows.
    pub(crate) fn read(storage: &dyn Storage, header: &Header) -> Result<Self> {
        let mut at = header.snapshots_offset;
        let file_bytes = storage.len()?;
        let mut l1_tables = Vec::new();
        for number in 0..header.snapshot_count {
            if at >= file_bytes {
                return Err(Error::malformed(
                    "snapshot table",
                    at,
                    format!("entry {number} lies past the end of the file"),
                ));
            }
            let mut entry = SnapshotEntry::new_zeroed();
            storage.read_at(at, entry.as_mut_bytes())?;
            let extent = validate(header, number, at, &entry)?;
            l1_tables.push(SnapshotL1 { extent, entry_offset: at });
            let names = u64::from(entry.id_size.get()) + u64::from(entry.name_size.get());
            let length = size_of::<SnapshotEntry>() as u64 + u64::from(entry.extra_data_size.get()) + names;
            at = (at + length).next_multiple_of(8);
        }
        let extent = Extent::between(header.snapshots_offset, at);
        Ok(Self { extent, l1_tables })
    }
}

fn validate(header: &Header, number: u32, at: u64, entry: &SnapshotEntry) -> Result<Extent> {
    let bytes = u64::from(entry.l1_size.get()) * 8;
    let offset = entry.l1_table_offset.get();
    let reason = if entry.extra_data_size.get() > EXTRA_BYTES_MAX {
        format!("extra_data_size is {}, allowed are up to {EXTRA_BYTES_MAX}", entry.extra_data_size.get())
    } else if bytes > L1_TABLE_BYTES_MAX {
        format!("l1_size is {}, the largest is {}", entry.l1_size.get(), L1_TABLE_BYTES_MAX / 8)
    } else if !header.geometry.is_cluster_aligned(offset) || offset >= crate::geometry::HOST_OFFSET_END {
        format!("l1_table_offset is {offset:#x}, allowed is a multiple of the cluster size below 2^56")
    } else {
        return Ok(Extent::new(offset, bytes));
    };
    Err(Error::malformed("snapshot table", at, format!("entry {number}: {reason}")))
}
