//! Discarding: the host clusters of whole guest clusters are freed; parts of clusters keep their bytes.

use blk_core::{Extent, Result};

use crate::free_space::FreeReason;
use crate::l2::{Cluster, Entry, Place};
use crate::metadata::Metadata;
use crate::offset::GuestOffset;
use crate::qcow2::Qcow2;
use crate::write::{check_old_freeable, free_old};
use crate::zero::{LOCKED_BYTES_MAX, mark_run};

impl Qcow2 {
    /// Frees what the whole clusters inside `extent` occupy. They read as zeroes afterwards, except on
    /// version 2 over a backing file, where nothing could hide that file's older bytes: there they stay as
    /// they are.
    pub(crate) fn discard_guest(&self, extent: Extent) -> Result<()> {
        let inner = self.whole_clusters(extent);
        if inner.is_empty() {
            return Ok(());
        }
        for part in inner.parts(LOCKED_BYTES_MAX) {
            let mut metadata = self.metadata.write();
            metadata.check_usable()?;
            metadata.check_clusters_reach(part)?;
            let (mut at, end) = (GuestOffset::new(part.offset), GuestOffset::new(part.end()));
            while at < end {
                let next = self.discard_next(&mut metadata, at, end)?;
                debug_assert!(next > at, "each step discards something");
                at = next;
            }
        }
        Ok(())
    }

    /// Discards the clusters at the start of `at..end` that can be done at once. Returns where to go on.
    fn discard_next(
        &self,
        metadata: &mut Metadata,
        at: GuestOffset,
        end: GuestOffset,
    ) -> Result<GuestOffset> {
        let run = metadata.find_in_slice(at, end)?;
        let geometry = metadata.geometry;
        let entry = match (metadata.header.version, self.backing.is_none()) {
            (3.., _) => Entry::zeroes(geometry),
            (_, true) => Entry::UNALLOCATED,
            (_, false) => return Ok(end),
        };
        // A run inside a cluster is one of its kinds of subclusters.
        let whole = geometry.cluster_start(GuestOffset::new(run.length)).get();
        match run.cluster {
            Cluster::Unallocated if self.backing.is_some() && whole > 0 => {
                return mark_run(metadata, at, whole);
            }
            Cluster::Unallocated | Cluster::Zero { host: None, .. } if whole > 0 => return Ok(at + whole),
            _ => {}
        }
        let stored = metadata.entry_of(at)?;
        if stored.place != Place::Nowhere || self.backing.is_some() {
            check_old_freeable(metadata, stored)?;
            if stored.place != Place::Nowhere {
                self.punch_data(metadata, at)?;
            }
            let slot = metadata.l2_for_write(at)?;
            metadata.set_l2_entry(slot, entry);
            free_old(metadata, stored, FreeReason::Discard);
        }
        Ok(at + geometry.cluster_bytes())
    }
}
