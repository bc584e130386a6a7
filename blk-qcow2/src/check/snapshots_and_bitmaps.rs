//! Snapshots and dirty bitmaps: what else clusters are used for.

use blk_core::{Error, Result};

use super::walk::{FIXED, OverlappingL1, SNAPSHOTS, Walk};
use crate::bitmap;
use crate::offset::{HostExtent, HostOffset};
use crate::snapshot::{SnapshotL1, SnapshotTable};

impl Walk<'_> {
    /// Reads and claims the snapshot table.
    pub(super) fn count_snapshot_table(&mut self) -> Result<()> {
        if self.header.snapshot_count == 0 {
            return Ok(());
        }
        match SnapshotTable::read(self.storage, &self.header) {
            Ok(table) => {
                self.claim("the snapshot table", table.extent, FIXED);
                self.snapshots = table.l1_tables;
                Ok(())
            }
            Err(error @ Error::Malformed { .. }) => {
                self.corruption(self.header.snapshots_offset.get(), || error.to_string());
                self.cannot_walk();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Claims the snapshots' L1 tables, and collects the L2 tables. All are claimed before the first is
    /// walked, so that no L1 entry may refer to one of them.
    pub(super) fn collect_snapshots(&mut self) -> Result<()> {
        let mut owned = Vec::new();
        // Tables that do not overlap fit into the file; more are not worth the time.
        let mut bytes_left = self.geometry.bytes_of(self.clusters());
        for (number, snapshot) in std::mem::take(&mut self.snapshots).into_iter().enumerate() {
            let Some(extent) = snapshot.extent(self.geometry) else {
                self.corruption(snapshot.entry_offset.get(), || {
                    let SnapshotL1 { offset, entries, .. } = snapshot;
                    format!("snapshot {number} has an L1 table at {offset:#x} of {entries} entries")
                });
                self.cannot_walk();
                continue;
            };
            let Some(left) = bytes_left.checked_sub(extent.length) else {
                self.corruption(snapshot.entry_offset.get(), || {
                    "the snapshots' L1 tables take more than the file has".to_owned()
                });
                self.cannot_walk();
                break;
            };
            bytes_left = left;
            if self.claim_snapshot(extent, snapshot.entry_offset) {
                owned.push((number, extent));
            }
        }
        for (number, extent) in owned {
            let entries = self.read_table(extent)?;
            self.collect_from(extent.start, &entries, SNAPSHOTS + number as u32);
        }
        Ok(())
    }

    fn claim_snapshot(&mut self, extent: HostExtent, entry_offset: HostOffset) -> bool {
        let is_own = self.claim("a snapshot's L1 table", extent, FIXED);
        if !is_own {
            // Its entries belong to another structure too: none of them may be fixed before the table has
            // been moved.
            self.cannot_walk();
            if self.is_inside(extent) {
                self.overlapping_l1.push(OverlappingL1 { extent, entry_offset });
            }
        }
        is_own
    }

    /// Claims what the bitmaps occupy, unless the image says that they are out of date.
    pub(super) fn count_bitmaps(&mut self) -> Result<()> {
        let Some(directory) = self.header.vouched_bitmaps() else { return Ok(()) };
        match bitmap::used(self.storage, self.geometry, directory, self.clusters()) {
            Ok(used) => {
                for extent in used {
                    self.bitmaps_unusable |= !self.claim("a dirty bitmap", extent, FIXED);
                }
            }
            Err(error @ Error::Malformed { .. }) => {
                let prefix = self.prefix;
                self.corruption(directory.extent.offset, || format!("{prefix}{error}"));
                self.bitmaps_unusable = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
