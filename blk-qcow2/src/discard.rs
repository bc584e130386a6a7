//! Discarding: whole clusters give their host clusters back; parts of clusters keep their bytes.

use blk_core::{Extent, Result};

use crate::l2::{Cluster, ZERO};
use crate::metadata::Metadata;
use crate::qcow2::Qcow2;
use crate::write::{check_old_freeable, free_old};

impl Qcow2 {
    /// Gives back what the whole clusters inside `extent` occupy. They read as zeroes afterwards, except on version 2 over a
    /// backing disk, where nothing could hide that disk's older bytes: there they stay as they are.
    pub(crate) fn discard_guest(&self, extent: Extent) -> Result<()> {
        let inner = self.whole_clusters(extent);
        if inner.is_empty() || !self.discard_frees {
            return Ok(());
        }
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let mut at = inner.offset;
        while at < inner.end() {
            let run = metadata.find(Extent::between(at, inner.end()))?;
            if matches!(run.cluster, Cluster::Unallocated | Cluster::Zero { host: None, .. }) {
                at += run.length;
            } else {
                self.discard_cluster(&mut metadata, run.cluster, at)?;
                at += metadata.geometry.cluster_bytes();
            }
        }
        Ok(())
    }

    fn discard_cluster(&self, metadata: &mut Metadata, cluster: Cluster, at: u64) -> Result<()> {
        let entry = match (metadata.header.version, self.below_is_zero(Extent::new(at, 1))) {
            (_, true) => 0,
            (3.., false) => ZERO,
            (_, false) => return Ok(()),
        };
        check_old_freeable(metadata, cluster)?;
        let located = metadata.l2_for_write(at)?;
        metadata.set_l2_entry(located, entry);
        free_old(metadata, cluster);
        Ok(())
    }
}
