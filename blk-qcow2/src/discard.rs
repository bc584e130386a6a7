//! Discarding: whole clusters give their host clusters back; parts of clusters keep their bytes.

use blk_core::{Extent, Result};

use crate::allocator::Freed;
use crate::l2::{Cluster, ZERO};
use crate::metadata::Metadata;
use crate::qcow2::Qcow2;
use crate::write::{check_old_freeable, free_old};
use crate::zero::mark_run;

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
            at = self.discard_next(&mut metadata, Extent::between(at, inner.end()))?;
        }
        Ok(())
    }

    /// Discards the clusters at the start of `extent` that can be done at once. Returns where to go on.
    fn discard_next(&self, metadata: &mut Metadata, extent: Extent) -> Result<u64> {
        let at = extent.offset;
        let run = metadata.find(extent)?;
        let entry = match (metadata.header.version, self.backing.is_none()) {
            (3.., _) => ZERO,
            (_, true) => 0,
            (_, false) => return Ok(extent.end()),
        };
        match run.cluster {
            Cluster::Unallocated if self.backing.is_some() => mark_run(metadata, at, run.length),
            Cluster::Unallocated | Cluster::Zero { host: None, .. } => Ok(at + run.length),
            stored => {
                check_old_freeable(metadata, stored)?;
                let located = metadata.l2_for_write(at)?;
                metadata.set_l2_entry(located, entry);
                free_old(metadata, stored, Freed::Request);
                Ok(at + metadata.geometry.cluster_bytes())
            }
        }
    }
}
