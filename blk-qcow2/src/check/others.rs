//! Snapshots and dirty bitmaps: what else clusters are used for.

use blk_core::{Error, Extent, Result};

use super::walk::{FIXED, Walk};
use crate::bitmap;
use crate::ondisk::AUTOCLEAR_BITMAPS;
use crate::snapshot::SnapshotTable;

impl Walk<'_> {
    /// Claims the snapshot table and the snapshots' L1 tables, and collects the L2 tables.
    pub(super) fn collect_snapshots(&mut self) -> Result<()> {
        if self.header.snapshot_count == 0 {
            return Ok(());
        }
        let table = match SnapshotTable::read(self.storage, &self.header) {
            Ok(table) => table,
            Err(error @ Error::Malformed { .. }) => {
                self.corruption(self.header.snapshots_offset, || error.to_string());
                self.cannot_walk();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.claim("the snapshot table", table.extent, FIXED);
        let distinct = table.distinct_l1_tables();
        let total: u64 = distinct.iter().map(|(extent, _)| extent.length).sum();
        // Tables that do not overlap fit into the file; others are not worth the time.
        if total > self.clusters() * self.geometry.cluster_bytes() {
            self.corruption(table.extent.offset, || {
                "the snapshots' L1 tables take more than the file has".to_owned()
            });
            self.cannot_walk();
            return Ok(());
        }
        // All are claimed before the first is walked, so that no L1 entry may refer to one of them.
        let mut owned = Vec::new();
        for (extent, times) in distinct {
            if self.claim("a snapshot's L1 table", extent, FIXED) {
                owned.push((extent, times));
            } else {
                // Its entries are somebody else's too: none of them may be mended.
                self.cannot_walk();
            }
        }
        for (extent, times) in owned {
            self.collect_snapshot(extent, times)?;
        }
        Ok(())
    }

    /// Snapshots whose L1 tables lie at the same place are walked once, and counted as often as there are such snapshots.
    fn collect_snapshot(&mut self, l1: Extent, times: u32) -> Result<()> {
        if times > 1 {
            self.corruption(l1.offset, || format!("{times} snapshots share an L1 table"));
            self.count(l1, times - 1);
        }
        let entries = self.read_table(l1)?;
        self.collect_from(l1.offset, &entries, Some(times));
        Ok(())
    }

    /// Claims what the bitmaps occupy, unless the image says that they are out of date.
    pub(super) fn count_bitmaps(&mut self) -> Result<()> {
        let Some(directory) = self.header.bitmaps else { return Ok(()) };
        if self.header.autoclear & AUTOCLEAR_BITMAPS == 0 {
            return Ok(());
        }
        match bitmap::used(self.storage, self.geometry, directory, self.clusters()) {
            Ok(used) => {
                for extent in used {
                    self.bitmaps_unusable |= !self.claim("a dirty bitmap", extent, FIXED);
                }
            }
            Err(error @ Error::Malformed { .. }) => {
                self.corruption(directory.extent.offset, || error.to_string());
                self.bitmaps_unusable = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
