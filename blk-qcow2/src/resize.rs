//! Changing the size of the disk. How it becomes smaller is `shrink`'s.
//!
//! Write order of growing: the L1 table that the new size needs, zeroes over the range that the disk gains,
//! and clusters that are allocated at once, are durable before the header says the new size.

use blk_core::{Error, Extent, Preallocation, Resize, Result, Snapshots, ZeroFlags};

use crate::grow::check_l1_entries;
use crate::l2::Cluster;
use crate::offset::GuestOffset;
use crate::qcow2::Qcow2;
use crate::shrink::refuse_allocation;

const UNMAPPING: ZeroFlags = ZeroFlags { may_unmap: true, fua: false, no_fallback: false, fast_only: false };

impl Resize for Qcow2 {
    fn resize(&self, size: u64) -> Result<()> {
        self.grow(size, Preallocation::Off)
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        self.noting(self.grow_to(size, preallocation))
    }
}

impl Qcow2 {
    fn grow_to(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        let _one_at_a_time = self.resizing.lock();
        let old = self.size_bytes();
        if size == old {
            return Ok(());
        }
        if size < old && preallocation != Preallocation::Off {
            return Err(refuse_allocation(old, size));
        }
        check_l1_entries(self.geometry.l1_entries(size))?;
        self.check_snapshots_have_sizes()?;
        self.lengthen_data_file(size)?;
        self.begin_resize(size)?;
        if size < old {
            return self.shrink(size);
        }
        self.grow_tables(size)?;
        self.grow_raw_data(old, size, preallocation)?;
        if !self.is_raw_data {
            self.zero_grown_range(old, size)?;
            self.preallocate(Extent::between(old, size), preallocation)?;
        }
        let mut metadata = self.metadata.write();
        metadata.flush()?;
        metadata.header.size = size;
        metadata.publish_header()?;
        assert!(size > self.size_bytes(), "a smaller disk is made elsewhere");
        self.set_size_bytes(size);
        Ok(())
    }

    /// A snapshot that does not say how large its disk is has the size of the disk as it is now.
    pub(crate) fn check_snapshots_have_sizes(&self) -> Result<()> {
        match self.snapshots()?.iter().find(|snapshot| snapshot.disk_bytes.is_none()) {
            None => Ok(()),
            Some(snapshot) => {
                let what =
                    format!("resize while snapshot {} does not say how large its disk is", snapshot.id);
                Err(Error::unsupported(what))
            }
        }
    }

    fn grow_tables(&self, size: u64) -> Result<()> {
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        metadata.reach = size;
        let entries = metadata.geometry.l1_entries(size);
        if entries > metadata.l1.len() as u64 { metadata.grow_l1_table(entries) } else { Ok(()) }
    }

    /// Bytes of the backing file, and of the last subcluster, past the old end must read as zeroes once the
    /// disk is larger.
    fn zero_grown_range(&self, old: u64, size: u64) -> Result<()> {
        let cluster_bytes = self.geometry.cluster_bytes();
        let backing_end = self.backing.as_deref().map_or(0, |backing| backing.size().min(size));
        let rest_end = old.next_multiple_of(self.geometry.subcluster_bytes()).min(size);
        let rest_of_cluster = Extent::between(old, rest_end);
        let run = self.metadata.write().find(rest_of_cluster)?;
        // A zero cluster stays one; what is stored, or is the backing file's, has to be overwritten.
        if !matches!(run.cluster, Cluster::Zero { .. })
            && (!run.cluster.is_unallocated() || backing_end > old)
        {
            self.write_zero_data(rest_of_cluster)?;
        }
        debug_assert!(old <= rest_end && rest_end <= size, "{old} {rest_end} {size}");
        let mut rest = Extent::between(rest_end, size);
        if backing_end > rest_end {
            // Marks cost little, and hide what is past the end of the backing file too, should that grow one
            // day.
            let has_marks = self.metadata.read().header.version >= 3;
            let end = if has_marks { size } else { backing_end };
            let hidden = Extent::between(rest_end, end.next_multiple_of(cluster_bytes));
            self.zero_clusters(hidden, UNMAPPING)?;
            rest = Extent::between(hidden.end().min(size), size);
        }
        self.clear_stray_entries(rest)?;
        self.forget_moved_state(old, size)
    }

    /// A state of the machine that would begin elsewhere is none any more.
    fn forget_moved_state(&self, old: u64, size: u64) -> Result<()> {
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let kept = self.geometry.l1_entries(size);
        let has_state = metadata.l1.entries().iter().skip(kept as usize).any(|entry| *entry != 0);
        if self.geometry.l1_entries(old) == kept || !has_state {
            return Ok(());
        }
        metadata.flush()?;
        metadata.forget_tables_from(kept)?;
        metadata.flush()
    }

    /// What tables hold past the end (the machine's state of a snapshot that was applied, or the rest of a
    /// disk that was made smaller by hand) is no content of the larger disk.
    fn clear_stray_entries(&self, extent: Extent) -> Result<()> {
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        let at = GuestOffset::new(extent.offset);
        let (mut at, end) = (at, self.geometry.round_up(at + extent.length));
        while at < end && !extent.is_empty() {
            let run = metadata.find(at.to(end))?;
            at = if run.cluster.is_unallocated() {
                at + run.length
            } else {
                self.zero_next(&mut metadata, at, end, UNMAPPING)?
            };
        }
        Ok(())
    }
}
