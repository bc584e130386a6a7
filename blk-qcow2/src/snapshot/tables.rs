//! The L2 tables of an image, of the disk and of its snapshots, each once.

use std::collections::BTreeMap;

use blk_core::Result;

use super::SnapshotTable;
use super::references::Tree;
use crate::metadata::Metadata;
use crate::offset::{GuestOffset, HostOffset};
use crate::pointer_table::PointerTable;

/// An L2 table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundTable {
    pub(crate) at: HostOffset,
    /// What its first entry maps, in one of the trees that reach it.
    pub(crate) start: GuestOffset,
    /// The disk itself reaches it.
    pub(crate) is_active: bool,
    /// How many trees reach it: its count may be higher, since a crash leaves leaks.
    pub(crate) references: u64,
}

impl Metadata {
    /// All of them, in the order in which they lie in the file. Whoever is `doing` something may rely on what
    /// they refer to: everything is counted, and is nothing else. Everything has been flushed.
    pub(crate) fn all_tables(&mut self, doing: &str) -> Result<Vec<FoundTable>> {
        let mut found = BTreeMap::new();
        let active = self.active_tree();
        self.check_tree(&active, doing)?;
        self.add_tables(&active, true, &mut found)?;
        for l1 in SnapshotTable::read(&*self.storage, &self.header)?.l1_tables {
            let at = l1.checked_extent(self.geometry)?.start;
            let l1 = PointerTable::read(&*self.storage, at, l1.entries as usize)?.into_entries();
            let tree = Tree { at, l1 };
            self.check_inactive_tree(&tree, doing)?;
            self.add_tables(&tree, false, &mut found)?;
        }
        Ok(found.into_values().collect())
    }

    fn add_tables(
        &self,
        tree: &Tree,
        is_active: bool,
        found: &mut BTreeMap<HostOffset, FoundTable>,
    ) -> Result<()> {
        let reach = self.geometry.l2_table_reach_bytes();
        for (index, &entry) in (0..).zip(&tree.l1) {
            if let Some(at) = self.table_of_entry(entry, tree.at, index)? {
                let start = GuestOffset::new(index * reach);
                let table = found.entry(at).or_insert(FoundTable { at, start, is_active, references: 0 });
                table.references += 1;
            }
        }
        Ok(())
    }
}
