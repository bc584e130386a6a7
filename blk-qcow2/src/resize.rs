//! Growing the disk.
//!
//! Write order: the L1 table that the new size needs, zeroes over whatever would come to light, and clusters that are allocated
//! at once, are durable before the header says the new size.

use blk_core::{Error, Extent, Preallocation, Resize, Result, ZeroFlags};

use crate::l2::Cluster;
use crate::qcow2::Qcow2;

const UNMAPPING: ZeroFlags = ZeroFlags { may_unmap: true, fua: false, no_fallback: false, fast_only: false };

impl Resize for Qcow2 {
    fn resize(&self, size: u64) -> Result<()> {
        self.grow(size, Preallocation::Off)
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        let _one_at_a_time = self.resizing.lock();
        let old = self.size_bytes();
        if size < old {
            return Err(Error::unsupported(format!("shrinking from {old} to {size} bytes")));
        }
        if size == old {
            return Ok(());
        }
        self.begin_write()?;
        self.grow_tables(size)?;
        self.hide_what_comes_to_light(old, size)?;
        self.preallocate(Extent::between(old, size), preallocation)?;
        let mut metadata = self.metadata.write();
        metadata.flush()?;
        metadata.header.size = size;
        metadata.publish_header()?;
        self.set_size_bytes(size);
        Ok(())
    }
}

impl Qcow2 {
    fn grow_tables(&self, size: u64) -> Result<()> {
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let entries = metadata.geometry.l1_entries(size);
        if entries > metadata.l1.len() as u64 { metadata.grow_l1_table(entries) } else { Ok(()) }
    }

    /// Bytes of the backing disk, and of the last cluster, behind the old end must read as zeroes once the disk is larger.
    fn hide_what_comes_to_light(&self, old: u64, size: u64) -> Result<()> {
        let cluster_bytes = self.geometry.cluster_bytes();
        let below = self.backing.as_deref().map_or(0, |backing| backing.size().min(size));
        let rest_end = old.next_multiple_of(cluster_bytes).min(size);
        let rest_of_cluster = Extent::between(old, rest_end);
        let run = self.metadata.write().find(rest_of_cluster)?;
        // A zero cluster stays one; what is stored or shows from below has to be overwritten.
        if !matches!(run.cluster, Cluster::Zero { .. })
            && (run.cluster != Cluster::Unallocated || below > old)
        {
            self.write_zero_data(rest_of_cluster)?;
        }
        let mut rest = Extent::between(rest_end, size);
        if below > rest_end {
            // Marks cost little, and hide what is past the end of the backing file too, should that grow one day.
            let has_marks = self.metadata.read().header.version >= 3;
            let end = if has_marks { size } else { below };
            let hidden = Extent::between(rest_end, end.next_multiple_of(cluster_bytes));
            self.zero_clusters(hidden, UNMAPPING)?;
            rest = Extent::between(hidden.end().min(size), size);
        }
        self.clear_stray_entries(rest)
    }

    /// What tables hold past the end (the machine's state of a snapshot that was applied, or the rest of a disk that was made
    /// smaller by hand) is no content of the larger disk.
    fn clear_stray_entries(&self, extent: Extent) -> Result<()> {
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let mut at = extent.offset;
        while at < extent.end() {
            let run = metadata.find(Extent::between(at, extent.end()))?;
            at = match run.cluster {
                Cluster::Unallocated => at + run.length,
                _ => self.zero_next(&mut metadata, at, extent.end(), UNMAPPING)?,
            };
        }
        Ok(())
    }
}
