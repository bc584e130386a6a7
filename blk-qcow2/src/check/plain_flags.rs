//! The copied flags of the active tables against the stored refcounts.

use std::collections::HashSet;

use blk_core::Result;

use super::walk::{Fix, Walk};
use crate::l2::{COMPRESSED, COPIED, OFFSET_MASK, RawEntry, entry_offset};
use crate::offset::HostOffset;

impl Walk<'_> {
    /// Reports every copied flag that is not set exactly where the stored refcount is 1. With `fixes`, what
    /// would be right is noted.
    pub(super) fn compare_plain_flags(&mut self, fixes: bool) -> Result<()> {
        let fixes = fixes && self.l1_is_own;
        let l1 = std::mem::take(&mut self.l1);
        let mut seen = HashSet::new();
        let shares_clusters = self.shares_clusters();
        for (index, &entry) in l1.iter().enumerate().filter(|(_, entry)| **entry & OFFSET_MASK != 0) {
            let at = self.header.l1_table_offset + index as u64 * 8;
            self.compare_plain_flag(at, entry, fixes, || {
                format!("L2 cluster: l1_index={index} l1_entry={entry:x}")
            })?;
            let table = entry_offset(entry);
            let is_walked =
                self.geometry.is_cluster_aligned(table) && self.geometry.cluster_of(table) < self.file_end();
            if is_walked && !self.has_right_flags(table, shares_clusters) && seen.insert(table) {
                self.compare_plain_table(table, fixes)?;
            }
        }
        self.l1 = l1;
        Ok(())
    }

    fn compare_plain_table(&mut self, table: HostOffset, fixes: bool) -> Result<()> {
        let bytes = self.read_l2(table)?;
        for (index, raw) in RawEntry::all(&bytes, self.geometry).enumerate() {
            let entry = raw.descriptor;
            if entry & COMPRESSED == 0 && entry & OFFSET_MASK != 0 {
                let at = self.l2_entry_at(table, index);
                let what = || format!("data cluster: l2_entry={entry:x}");
                if self.geometry.has_data_file() {
                    // Nobody else can have it.
                    self.compare_with_count(at, entry, fixes, (1, what));
                } else {
                    self.compare_plain_flag(at, entry, fixes, what)?;
                }
            }
        }
        self.l2_read = (Some(table), bytes);
        Ok(())
    }

    #[inline]
    fn compare_plain_flag(
        &mut self,
        at: HostOffset,
        entry: u64,
        fixes: bool,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        let count = self.stored(self.geometry.cluster_of(entry_offset(entry)))?;
        self.compare_with_count(at, entry, fixes, (count, what));
        Ok(())
    }

    #[inline]
    fn compare_with_count(
        &mut self,
        at: HostOffset,
        entry: u64,
        fixes: bool,
        (count, what): (u64, impl FnOnce() -> String),
    ) {
        if (entry & COPIED != 0) == (count == 1) {
            return;
        }
        let fixes = fixes && !self.is_contested(at);
        let verb = if fixes { "Repairing" } else { "ERROR" };
        self.corruption(at.get(), || format!("{verb} OFLAG_COPIED {} refcount={count}", what()));
        if fixes {
            self.fixes.push(Fix { host_offset: at, entry: entry ^ COPIED, bitmap: None });
        }
    }
}
