//! The snapshot table: read only, to know which clusters snapshots use.
//!
//! ```text
//! 0 l1_table_offset | 8 l1_size | 12 id size | 14 name size | 16 date | 24 vm clock | 32 vm state size | 36 extra data size
//! then extra data, id, name, padded to a multiple of 8 bytes
//! ```

use blk_core::{Error, Extent, Result, SnapshotInfo, Storage};
use zerocopy::{FromZeros, IntoBytes};

use crate::header::{Header, L1_TABLE_BYTES_MAX};
use crate::ondisk::SnapshotEntry;

/// Most extra data of an entry, in bytes: what other implementations accept.
const EXTRA_BYTES_MAX: u32 = 1024;
/// Largest table that is read whole, in bytes: what other implementations accept.
const TABLE_BYTES_MAX: u64 = 64 << 20;

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

/// What the snapshots say about themselves.
///
/// # Errors
/// As [`SnapshotTable::read`]; a table of more than [`TABLE_BYTES_MAX`] is malformed too.
pub(crate) fn describe(storage: &dyn Storage, header: &Header) -> Result<Vec<SnapshotInfo>> {
    let table = SnapshotTable::read(storage, header)?;
    if table.extent.length > TABLE_BYTES_MAX {
        let reason = format!("it has {} bytes, allowed are {TABLE_BYTES_MAX}", table.extent.length);
        return Err(Error::malformed("snapshot table", table.extent.offset, reason));
    }
    table.l1_tables.iter().map(|snapshot| describe_entry(storage, snapshot.entry_offset)).collect()
}

fn describe_entry(storage: &dyn Storage, at: u64) -> Result<SnapshotInfo> {
    let mut entry = SnapshotEntry::new_zeroed();
    storage.read_at(at, entry.as_mut_bytes())?;
    let (id, name) = (usize::from(entry.id_size.get()), usize::from(entry.name_size.get()));
    let extra = entry.extra_data_size.get() as usize;
    let mut rest = vec![0; extra + id + name];
    storage.read_at(at + size_of::<SnapshotEntry>() as u64, &mut rest)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (extra, names) = rest.split_at(extra);
    // Extra data: size of the machine state in 64 bits, size of the disk, instructions that were run.
    let number = |index: usize| extra.get(index * 8..index * 8 + 8)?.try_into().ok().map(u64::from_be_bytes);
    Ok(SnapshotInfo {
        id: text(&names[..id]),
        name: text(&names[id..]),
        vm_state_bytes: number(0).unwrap_or_else(|| u64::from(entry.vm_state_size.get())),
        date_seconds: entry.date_seconds.get(),
        date_nanoseconds: entry.date_nanoseconds.get(),
        vm_clock_nanoseconds: entry.vm_clock_nanoseconds.get(),
        instruction_count: number(2).filter(|count| *count != u64::MAX),
    })
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
