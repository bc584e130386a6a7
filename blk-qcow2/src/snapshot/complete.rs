//! Giving entries of the list what version 3 asks for: the size of the machine's state and that of the disk.

use blk_core::Result;
use zerocopy::{FromBytes, IntoBytes};

use super::change::listed_at;
use super::{EXTRA_BYTES_V3, SnapshotTable, describe_entry};
use crate::metadata::Metadata;
use crate::ondisk::SnapshotEntry;
use crate::pointer_table;
use crate::roles::Role;

impl Metadata {
    /// Writes the list again if an entry lacks something. An entry that says nothing of the disk's size has
    /// the size of the disk as it is now. Everything has been flushed, and is again afterwards.
    pub(crate) fn complete_snapshot_entries(&mut self) -> Result<()> {
        let table = SnapshotTable::read(&*self.storage, &self.header)?;
        let mut entries = self.read_entries(&table)?;
        let mut has_changed = false;
        for (entry, l1) in entries.iter_mut().zip(&table.l1_tables) {
            let (fixed, rest) = SnapshotEntry::read_from_prefix(entry).expect("each has its fixed part");
            if fixed.extra_data_size.get() >= EXTRA_BYTES_V3 {
                continue;
            }
            let info = describe_entry(&*self.storage, l1.entry_offset)?;
            let names = &rest[fixed.extra_data_size.get() as usize..];
            let extra = [info.vm_state_bytes, self.header.size];
            let fixed = SnapshotEntry { extra_data_size: EXTRA_BYTES_V3.into(), ..fixed };
            let length = usize::from(fixed.id_size.get()) + usize::from(fixed.name_size.get());
            let mut complete = fixed.as_bytes().to_vec();
            complete.extend(pointer_table::encode(&extra));
            complete.extend_from_slice(&names[..length]);
            complete.resize(complete.len().next_multiple_of(8), 0);
            *entry = complete;
            has_changed = true;
        }
        if !has_changed {
            return Ok(());
        }
        self.check_given_up(listed_at(&self.header, &table), Role::SnapshotTable)?;
        let list = self.write_list(&entries)?;
        self.flush_all().map_err(|error| self.poison(error))?;
        self.switch_list(list, entries.len() as u32, table.extent)?;
        self.flush_all().map_err(|error| self.poison(error))
    }
}
