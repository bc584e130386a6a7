//! Replacing zero clusters by what version 2 can hold: nothing where there is no backing file, else clusters
//! that hold zeroes.
//!
//! An L2 table that several trees share is changed in place: each of its entries counts as many references as
//! the table has. A cluster that keeps its place is one to which nothing else refers, so that zeroes may be
//! written there.
//!
//! Write order: zeroes and counts are durable before the entries that refer to them, and counts fall after
//! that. Each entry shows the same before and after. A cluster that loses references may be left to one
//! active entry, which then needs its copied flag: the dirty bit is set from before counts fall until flags
//! follow.

use blk_core::{Error, Result, Storage};

use super::Progress;
use crate::crypt::{Crypt, Located};
use crate::free_space::{Allocation, FreeReason};
use crate::l2::{Entry, Place};
use crate::metadata::Metadata;
use crate::offset::{ClusterCount, GuestOffset, HostExtent, HostOffset};
use crate::snapshot::{Flags, FoundTable};
use crate::steps;

/// How many bytes of tables wait until they are written.
const WAITING_BYTES_MAX: usize = if cfg!(test) { 1024 } else { 1 << 20 };

/// How many references may wait to be dropped: each takes 16 bytes of memory.
const PENDING_MAX: usize = if cfg!(test) { 3 } else { 1 << 16 };

/// What zero clusters become.
#[derive(Debug, Clone, Copy)]
struct Becomes<'a> {
    /// What is not allocated shows the backing file.
    has_backing: bool,
    crypt: Option<&'a Crypt>,
}

impl Becomes<'_> {
    /// Has a cluster read as zeroes.
    fn write_zeroes(self, storage: &dyn Storage, to: Located, length: u64) -> Result<()> {
        match self.crypt {
            None => storage.write_zeroes_at(to.host.with_length(length).on_storage()),
            Some(crypt) => crypt.write_zeroes(storage, to, length),
        }
    }
}

/// Tables that are about to be written.
#[derive(Debug, Default)]
struct Batch {
    tables: Vec<(HostOffset, Vec<u8>)>,
    allocated: Vec<Allocation>,
    /// What loses as many references.
    dropped: Vec<(HostExtent, u64)>,
}

impl Metadata {
    /// Leaves no zero cluster in the disk, nor in a snapshot. Everything has been flushed, and is again
    /// afterwards.
    pub(super) fn expand_zero_clusters(
        &mut self,
        has_backing: bool,
        crypt: Option<&Crypt>,
        progress: Progress<'_>,
    ) -> Result<()> {
        let expanded = self.expand_tables(Becomes { has_backing, crypt }, progress);
        if self.header.is_dirty() && self.poison.is_none() {
            let flagged = self.set_flags(Flags::ByCount).and_then(|()| self.end_lazy());
            flagged.map_err(|error| self.poison(error))?;
        }
        expanded
    }

    fn expand_tables(&mut self, becomes: Becomes<'_>, progress: Progress<'_>) -> Result<()> {
        let tables = self.all_tables("changing the version")?;
        let mut batch = Batch::default();
        for (number, &table) in (1..).zip(&tables) {
            if let Err(error) = self.expand_table(table, becomes, &mut batch) {
                return Err(self.give_up(batch.allocated, error));
            }
            let is_early = self.options.control.choose(4) > 0;
            if is_early || batch.tables.len() * self.geometry.cluster_bytes() as usize >= WAITING_BYTES_MAX {
                self.write_batch(&mut batch)?;
            }
            progress(number, tables.len() as u64);
        }
        self.write_batch(&mut batch)
    }

    /// Adds the table to `batch` if it has a zero cluster.
    fn expand_table(&mut self, table: FoundTable, becomes: Becomes<'_>, batch: &mut Batch) -> Result<()> {
        let geometry = self.geometry;
        let mut bytes = self.read_table(table.at)?;
        let mut has_changed = false;
        for (number, raw) in (0..).zip(bytes.as_chunks_mut::<8>().0) {
            let at = table.start + number * geometry.cluster_bytes();
            let raw_entry = crate::l2::RawEntry { descriptor: u64::from_be_bytes(*raw), bitmap: 0 };
            let entry = self.decode_inside(raw_entry, at)?;
            if entry.zero == 0 {
                continue;
            }
            let shared = (table.is_active, table.references);
            let expanded = self.expand((at, entry), shared, becomes, batch)?;
            *raw = expanded.encode(geometry).descriptor.to_be_bytes();
            has_changed = true;
        }
        if has_changed {
            batch.tables.push((table.at, bytes));
        }
        Ok(())
    }

    /// What becomes of a zero cluster to which `references` trees refer through one table, which may be the
    /// active one's.
    fn expand(
        &mut self,
        (guest, entry): (GuestOffset, Entry),
        (is_active, references): (bool, u64),
        becomes: Becomes<'_>,
        batch: &mut Batch,
    ) -> Result<Entry> {
        let geometry = self.geometry;
        if let Place::Plain { host, .. } = entry.place {
            let extent = host.with_length(geometry.cluster_bytes());
            let count = self.refcount(geometry.cluster_of(host))?;
            if count < references {
                let reason = format!("it is {count}, {references} trees refer to the cluster");
                return Err(self.poison(Error::corrupt("refcount", host.get(), reason)));
            }
            if count == references {
                self.check_data_target(extent)?;
                becomes.write_zeroes(&*self.storage, Located { host, guest }, extent.length)?;
                return Ok(Entry { allocated: 1, zero: 0, ..entry });
            }
            // Others have data there.
            batch.dropped.push((extent, references));
        }
        if !becomes.has_backing {
            return Ok(Entry::UNALLOCATED);
        }
        let new = self.allocate(ClusterCount::ONE)?;
        batch.allocated.push(new);
        let host = geometry.offset_of(new.first);
        if !new.fresh || becomes.crypt.is_some() {
            let to = Located { host, guest };
            becomes.write_zeroes(&*self.storage, to, geometry.cluster_bytes())?;
        }
        self.refcounts.set(&*self.storage, new.first, references)?;
        let copied = is_active && references == 1;
        Ok(Entry { place: Place::Plain { host, copied }, allocated: 1, zero: 0 })
    }

    fn write_batch(&mut self, batch: &mut Batch) -> Result<()> {
        let Batch { tables, allocated, dropped } = std::mem::take(batch);
        let counted = self.write_refcounts().map_err(|error| self.give_up_written(allocated, error));
        counted?;
        self.sync()?;
        for (at, bytes) in tables {
            self.storage.step(&steps::L2_UPDATE);
            self.storage.write_at(at.get(), &bytes).map_err(|error| self.poison(error))?;
            self.forget_cached_table(at);
        }
        self.sync()?;
        if !dropped.is_empty() {
            self.begin_unordered()?;
        }
        for (extent, references) in dropped {
            for _ in 0..references {
                self.free_extent_later(extent, FreeReason::Replace);
                if self.free.pending_count() >= PENDING_MAX {
                    self.write_back().map_err(|error| self.poison(error))?;
                }
            }
        }
        self.flush_all().map_err(|error| self.poison(error))
    }

    /// What counts have been written is not known, and nothing refers to what they count.
    fn give_up_written(&mut self, allocated: Vec<Allocation>, error: Error) -> Error {
        match error {
            Error::NoSpace { .. } => self.give_up(allocated, error),
            error => self.poison(error),
        }
    }
}
