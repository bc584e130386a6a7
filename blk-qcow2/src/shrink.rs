//! Shrinking the disk.
//!
//! Write order: a copy of the L2 table in which the new end lies, if a snapshot has that table too; the
//! header, whose one write is where the disk becomes smaller; then the entries behind the new end go, then
//! the counts of what they referred to fall, and the file ends after its last cluster in use. A data file is
//! cut last.
//!
//! The size comes first so that a crash leaves the old disk whole, or the new one: with the entries first, it
//! could leave a disk of the old size that has lost a part of its bytes. What it leaves behind the new end is
//! counted and named by entries, as before: nothing leaks, and a larger disk does not show it (see `resize`).

use blk_core::{Error, Result};

use crate::free_space::FreeReason;
use crate::l2::{Cluster, Entry};
use crate::metadata::Metadata;
use crate::offset::{GuestOffset, HostCluster};
use crate::overlay::{check_table, forget_table};
use crate::qcow2::Qcow2;
use crate::write::{check_old_freeable, free_old};

/// How many references may wait to be dropped: each takes 16 bytes of memory.
const WAITING_MAX: usize = if cfg!(test) { 3 } else { 1 << 16 };

impl Qcow2 {
    /// Makes the disk end at `size`, before its present end.
    pub(crate) fn shrink(&self, size: u64) -> Result<()> {
        let mut metadata = self.metadata.write();
        let old = metadata.header.size;
        let shrunk = metadata.shrink(size);
        if metadata.header.size == size {
            self.set_size_bytes(size);
            self.bitmaps.cut(size);
        }
        shrunk?;
        self.shorten_data_file(&mut metadata, old, size)
    }
}

impl Metadata {
    fn shrink(&mut self, size: u64) -> Result<()> {
        assert!(size < self.header.size, "from {} to {size} bytes", self.header.size);
        self.flush()?;
        let end = self.geometry.round_up(GuestOffset::new(size));
        self.check_behind(end)?;
        self.own_table_at(end)?;
        self.reach = size;
        self.header.size = size;
        self.publish_header()?;
        // The size counts: a failure from here on is no refusal.
        self.drop_behind(end).map_err(|error| self.poison(error))
    }

    /// The first entry of the L1 table that is all behind `end`, the start of a cluster.
    fn first_table_behind(&self, end: GuestOffset) -> u64 {
        self.geometry.l1_entries(end.get())
    }

    /// Where the L2 table ends that `end` lies inside of; `end` where it lies between two tables.
    fn end_of_table(&self, end: GuestOffset) -> GuestOffset {
        GuestOffset::new(self.first_table_behind(end) * self.geometry.l2_table_reach_bytes())
    }

    /// Fails if something behind `end` cannot be given back. Asked before anything is changed.
    fn check_behind(&mut self, end: GuestOffset) -> Result<()> {
        let mut at = end;
        while at < self.end_of_table(end) {
            let entry = self.entry_of(at)?;
            check_old_freeable(self, entry)?;
            at += self.geometry.cluster_bytes();
        }
        for index in self.first_table_behind(end)..self.l1.len() as u64 {
            check_table(self, index as usize)?;
        }
        Ok(())
    }

    /// Makes the L2 table in which the disk is about to end its own, where entries of it have to go: a copy
    /// takes a cluster, which the host may not have.
    fn own_table_at(&mut self, end: GuestOffset) -> Result<()> {
        let table_end = self.end_of_table(end);
        if end == table_end {
            return Ok(());
        }
        let run = self.find(end.to(table_end))?;
        // A place that is reserved goes, too.
        if run.cluster != Cluster::Unallocated || end + run.length < table_end {
            self.l2_for_write(end)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Gives back all that lies behind `end`, where no disk is any more.
    fn drop_behind(&mut self, end: GuestOffset) -> Result<()> {
        self.clear_entries(end, self.end_of_table(end))?;
        self.flush()?;
        self.forget_tables_from(self.first_table_behind(end))?;
        self.flush()?;
        self.drop_last_blocks()?;
        self.trim_file()?;
        if self.header.snapshot_count > 0 {
            self.collect_roles();
        }
        Ok(())
    }

    /// Gives back the L2 tables of the L1 table from entry `first` on. They have been written back.
    pub(crate) fn forget_tables_from(&mut self, first: u64) -> Result<()> {
        for index in first..self.l1.len() as u64 {
            forget_table(self, index as usize)?;
            if self.free.pending_count() >= WAITING_MAX {
                self.write_back()?;
            }
        }
        Ok(())
    }

    /// Gives back the blocks of refcounts that are the last clusters in use and count nothing but themselves.
    /// With lazy refcounts, the table on the storage need not name them: they stay.
    fn drop_last_blocks(&mut self) -> Result<()> {
        let header = HostCluster::default();
        for cluster in header.next().until(self.free.end()).rev() {
            if self.refcount(cluster)? == 0 {
                continue;
            }
            let index = self.geometry.table_index(cluster);
            let is_first = self.geometry.block_start(index) == cluster;
            let block = self.refcounts.block_offset(cluster)?;
            if self.is_lazy() || !is_first || block != Some(self.geometry.offset_of(cluster)) {
                break;
            }
            self.refcounts.drop_block(index);
            self.roles.release_refcount_block(cluster);
            self.free.release(cluster);
        }
        if self.refcounts.table.is_dirty() {
            self.write_refcounts().map_err(|error| self.poison(error))?;
            self.sync()?;
        }
        Ok(())
    }

    /// Clears the entries of `at..end`, which lie in one L2 table of the disk's own.
    fn clear_entries(&mut self, mut at: GuestOffset, end: GuestOffset) -> Result<()> {
        while at < end {
            let run = self.find_in_slice(at, end)?;
            if run.cluster == Cluster::Unallocated {
                at += run.length;
                continue;
            }
            let entry = self.entry_of(at)?;
            let slot = self.l2_for_write(at)?;
            self.set_l2_entry(slot, Entry::UNALLOCATED);
            free_old(self, entry, FreeReason::Drop);
            at = self.geometry.cluster_start(at) + self.geometry.cluster_bytes();
        }
        Ok(())
    }
}

/// The error where a disk that becomes smaller is to allocate something.
pub(crate) fn refuse_allocation(old: u64, size: u64) -> Error {
    let reason = format!("a disk that gets smaller, from {old} to {size} bytes, allocates nothing");
    Error::invalid_option("preallocation", reason)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::{
        BlockDriver, DiscardFlags, Extent, MemoryStorage, Options, Resize, Storage, VmState, WriteFlags,
        ZeroFlags,
    };

    use super::*;
    use crate::data_file::Opened;
    use crate::header::Header;
    use crate::open_options::OpenOptions;

    fn opened(options: Options) -> Qcow2 {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        crate::FORMAT.create(&storage, 1 << 20, options).unwrap();
        let header = Header::read(&*storage).unwrap();
        let mut options = OpenOptions::default();
        (options.is_writable, options.discard_frees) = (true, true);
        let files = Opened { data: Arc::clone(&storage), storage };
        Qcow2::new(files, header, None, None, options).unwrap()
    }

    /// A driver's caller has checked a request before the disk became smaller.
    #[test]
    fn a_request_that_comes_after_a_smaller_size_is_refused() {
        type Request = fn(&Qcow2, u64) -> Result<()>;
        let requests: [(&str, Request); 6] = [
            ("write", |image, at| image.write(at, &[9; 4096], WriteFlags::default())),
            ("compressed", |image, at| {
                image.write(at, &[9; 4096], WriteFlags { compressed: true, ..WriteFlags::default() })
            }),
            ("zero", |image, at| image.write_zeroes(Extent::new(at, 4096), ZeroFlags::default())),
            ("zero a part", |image, at| image.write_zeroes(Extent::new(at + 4, 100), ZeroFlags::default())),
            ("zero and unmap", |image, at| {
                let flags = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
                image.write_zeroes(Extent::new(at, 4096), flags)
            }),
            ("discard", |image, at| image.discard(Extent::new(at, 4096), DiscardFlags::default())),
        ];
        for cluster in [512_u64, 4096] {
            for (name, request) in requests {
                let what = format!("{name}, clusters of {cluster}");
                let image = opened(Options::new().with("cluster_size", cluster));
                request(&image, 512 << 10).unwrap_or_else(|error| panic!("{what}: {error}"));
                image.resize(256 << 10).unwrap();
                for at in [256 << 10, 512 << 10] {
                    let refused = request(&image, at);
                    assert!(matches!(refused, Err(Error::OutOfRange { .. })), "{what} at {at}: {refused:?}");
                }
                request(&image, (256 << 10) - 4096).unwrap_or_else(|error| panic!("{what}: {error}"));
                image.write_vm_state(0, &[1; 5000]).unwrap();
                image.resize(1 << 20).unwrap();
                request(&image, 512 << 10).unwrap_or_else(|error| panic!("{what}, larger: {error}"));
            }
        }
    }
}
