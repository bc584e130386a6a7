//! Writing changed metadata back, in the order that `metadata` states, and making it durable.

use blk_core::{Error, Result};

use crate::metadata::{Metadata, overlap_of};
use crate::offset::HostOffset;
use crate::roles::Role;
use crate::steps;

/// A part of the changes. Each is written after a sync, which makes those before durable; the first needs
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The blocks of refcounts; with lazy refcounts, the dirty bit.
    Counts,
    /// The refcount table, which refers to new blocks.
    CountTable,
    /// The L2 tables, which refer to data.
    L2Tables,
    /// The L1 table, which refers to new L2 tables.
    L1Table,
    /// Counts that fall, and holes, of clusters that nothing refers to any more.
    Frees,
}

impl Part {
    /// All of them, in the order in which they are written.
    pub(crate) const ORDER: [Self; 5] =
        [Self::Counts, Self::CountTable, Self::L2Tables, Self::L1Table, Self::Frees];

    /// Whether what was written before has to be durable before this part is written.
    pub(crate) const fn follows_sync(self) -> bool {
        !matches!(self, Self::Counts)
    }
}

impl Metadata {
    /// Writes all changes in the order that keeps a crash harmless; everything is in the storage's hands
    /// afterwards, and everything but the last part is durable.
    pub(crate) fn write_back(&mut self) -> Result<()> {
        self.check_usable()?;
        for part in Part::ORDER {
            if self.has_changed(part) {
                if part.follows_sync() {
                    self.sync()?;
                }
                self.write_part(part)?;
            }
        }
        assert!(!self.changes_references(), "no reference waits after a write-back");
        Ok(())
    }

    /// Whether there is anything to write of `part`.
    pub(crate) fn has_changed(&self, part: Part) -> bool {
        match part {
            Part::Counts => true,
            Part::CountTable => !self.is_lazy() && self.refcounts.table.is_dirty(),
            Part::L2Tables => self.l2.has_dirty() || self.l1.is_dirty(),
            Part::L1Table => self.l1.is_dirty(),
            Part::Frees => self.free.has_pending(),
        }
    }

    /// Writes `part`. The parts before are durable if it follows a sync.
    ///
    /// # Errors
    /// [`Error::NoSpace`] loses nothing: what could not be written is still dirty, and is written again when
    /// there is room. Any other error poisons.
    pub(crate) fn write_part(&mut self, part: Part) -> Result<()> {
        let written = match part {
            Part::Counts if self.is_lazy() => self.begin_lazy(),
            Part::Counts => self.write_refcount_blocks(),
            Part::CountTable => self.write_refcount_table(),
            Part::L2Tables => self.write_l2_slices(),
            Part::L1Table => self.write_l1_table(),
            Part::Frees => self.write_frees(),
        };
        written.map_err(|error| match error {
            Error::NoSpace { .. } => error,
            _ => self.poison(error),
        })
    }

    fn write_frees(&mut self) -> Result<()> {
        self.apply_frees()?;
        if self.is_lazy() { Ok(()) } else { self.write_refcounts() }
    }

    /// Writes all changes and makes them durable.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.write_back()?;
        self.storage.step(&steps::FLUSH_TO_DISK);
        self.sync()
    }

    /// Makes durable what was written. A failure, whatever its reason, poisons: what it was to make durable
    /// may be lost, and no later sync says so.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.syncs.sync(&*self.storage).map_err(|error| self.poison(error))
    }

    /// Whether a flush has nothing to write.
    pub(crate) fn is_clean(&self) -> bool {
        let counts_wait = !self.is_lazy() && self.changes_counts();
        !self.changes_references() && !counts_wait && self.poison.is_none()
    }

    /// Whether references wait to be written, or to be forgotten.
    pub(crate) fn changes_references(&self) -> bool {
        self.l2.has_dirty() || self.l1.is_dirty() || self.free.has_pending()
    }

    /// Whether refcounts wait to be written.
    pub(crate) fn changes_counts(&self) -> bool {
        self.refcounts.cache.has_dirty() || self.refcounts.table.is_dirty()
    }

    /// Writes all refcounts: blocks first, and after a sync the table that refers to them.
    pub(crate) fn write_refcounts(&mut self) -> Result<()> {
        self.write_refcount_blocks()?;
        if self.refcounts.table.is_dirty() {
            self.sync()?;
            self.write_refcount_table()?;
        }
        assert!(!self.changes_counts(), "all counts have been written");
        Ok(())
    }

    fn write_refcount_blocks(&mut self) -> Result<()> {
        self.extend_storage()?;
        for slice in self.refcounts.cache.dirty_offsets() {
            self.check_cluster(slice, Role::RefcountBlock)?;
            self.storage.step(&steps::REFBLOCK_UPDATE_PART);
            self.refcounts.cache.write_slice(&*self.storage, slice)?;
        }
        Ok(())
    }

    fn write_refcount_table(&mut self) -> Result<()> {
        assert!(!self.refcounts.cache.has_dirty(), "a block is written before the entry that refers to it");
        for sector in self.refcounts.table.dirty_offsets() {
            self.check_cluster(sector, Role::RefcountTable)?;
        }
        self.storage.step(&steps::REFTABLE_UPDATE);
        self.storage.step(&steps::REFBLOCK_ALLOC_HOOKUP);
        self.refcounts.table.write_dirty(&*self.storage)
    }

    fn write_l2_slices(&mut self) -> Result<()> {
        assert!(self.is_lazy() || !self.changes_counts(), "a reference is written after its count");
        for slice in self.l2.dirty_offsets() {
            self.check_cluster(slice, Role::L2Table)?;
            self.storage.step(&steps::L2_UPDATE);
            self.l2.write_slice(&*self.storage, slice)?;
        }
        Ok(())
    }

    /// Writes the sectors of the L1 table that have changed.
    pub(crate) fn write_l1_table(&mut self) -> Result<()> {
        assert!(!self.l2.has_dirty(), "an L1 entry is written after its table");
        for sector in self.l1.dirty_offsets() {
            self.check_cluster(sector, Role::L1Table)?;
        }
        self.storage.step(&steps::L1_UPDATE);
        self.l1.write_dirty(&*self.storage)
    }

    /// Clusters that were allocated and written only in part, or not at all, still belong to the file.
    pub(crate) fn extend_storage(&mut self) -> Result<()> {
        if !self.free.must_extend() {
            return Ok(());
        }
        let end = self.geometry.offset_of(self.free.end()).get();
        if self.storage.len()? < end {
            self.storage.set_len(end)?;
        }
        self.free.mark_extended();
        Ok(())
    }

    /// Fails where something else than `expected` lies at `host_offset`, which is about to be written.
    fn check_cluster(&mut self, host_offset: HostOffset, expected: Role) -> Result<()> {
        let cluster = self.geometry.cluster_of(host_offset);
        let role = self.roles.of(cluster);
        match self.roles.kept(cluster).or(role) {
            Some(role) if role == expected => Ok(()),
            role => {
                let error = overlap_of(expected, host_offset, role);
                Err(self.poison(error))
            }
        }
    }
}
