//! All metadata of an open image, and the order in which changes of it reach the storage.
//!
//! Everything is behind the driver's one lock. Lookups need `&Metadata` and are shared; changes need `&mut Metadata`.
//!
//! Write order (each arrow is a sync, left out where one of its sides has nothing to write):
//!
//! ```text
//! refcount blocks (counts up), guest data  ->  refcount table  ->  L2 tables  ->  L1 table  ->  counts down, holes punched
//! ```
//!
//! So a reference on disk always has its count, its target is always complete, and a cluster is free for reuse only after
//! nothing on disk refers to it. A crash between two steps leaks clusters, and does nothing worse. With lazy refcounts the
//! counts are left out of it (see `lazy`).

use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{Error, Extent, Result, Storage};

use crate::allocator::{Allocator, Freed, Punches};
use crate::cache::SliceCache;
use crate::control::Control;
use crate::geometry::{Geometry, HOST_OFFSET_END};
use crate::header::Header;
use crate::l2::{self, COPIED, OFFSET_MASK, RESERVED};
use crate::ondisk::CompressedDescriptor;
use crate::overlap::Parts;
use crate::pointer_table::PointerTable;
use crate::refcount::Refcounts;
use crate::roles::{Role, Roles};
use crate::steps;

/// What the options of an open say about metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Behaviour {
    pub(crate) caches: CacheSizes,
    /// Discards, and zeroes that may unmap, give clusters back.
    pub(crate) discard_frees: bool,
    /// Which clusters that are given back are punched out of the host file.
    pub(crate) punches: Punches,
    /// What writes are checked against.
    pub(crate) overlap_check: Parts,
    /// Refcounts on disk are brought up to date at the close only; the dirty bit says so until then.
    pub(crate) lazy_refcounts: bool,
    /// Who makes the driver's free choices.
    pub(crate) control: Control,
}

/// Sizes of the caches; 0 means the driver's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CacheSizes {
    pub(crate) l2_slices: usize,
    pub(crate) l2_slice_bytes: u64,
    pub(crate) refcount_slices: usize,
}

/// Slices are read and written as a whole: small enough for random access, large enough for a sweep.
const SLICE_BYTES_DEFAULT: u64 = 4096;
const L2_CACHE_BYTES_DEFAULT: u64 = 2 << 20;
const REFCOUNT_CACHE_BYTES_DEFAULT: u64 = 512 << 10;

/// A guest cluster as it is when decompressed.
#[derive(Debug)]
pub(crate) struct Decompressed {
    pub(crate) descriptor: CompressedDescriptor,
    pub(crate) content: Vec<u8>,
}

/// The metadata of an open image.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) geometry: Geometry,
    pub(crate) header: Header,
    pub(crate) l1: PointerTable,
    pub(crate) l2: SliceCache,
    pub(crate) refcounts: Refcounts,
    pub(crate) roles: Roles,
    pub(crate) allocator: Allocator,
    /// The compressed cluster that was read last. It is good until a cluster is freed: its bytes may then become others'.
    pub(crate) decompressed: Mutex<Option<Decompressed>>,
    pub(crate) behaviour: Behaviour,
    /// Why nothing may be written any more.
    poison: Option<String>,
}

impl Metadata {
    /// Reads the tables that are kept whole.
    pub(crate) fn load(storage: Arc<dyn Storage>, header: Header, behaviour: Behaviour) -> Result<Self> {
        let sizes = behaviour.caches;
        let geometry = header.geometry;
        let cluster_bytes = geometry.cluster_bytes();
        let l1 = PointerTable::read(&*storage, header.l1_table_offset, header.l1_entries as usize)?;
        storage.step(&steps::REFTABLE_LOAD);
        let table_entries = u64::from(header.refcount_table_clusters) * cluster_bytes / 8;
        let table = PointerTable::read(&*storage, header.refcount_table_offset, table_entries as usize)?;
        let mut roles = Roles::collect(geometry, l1.entries(), table.entries());
        set_table_spans(&mut roles, geometry, &header);
        roles.guard(behaviour.overlap_check, &*storage, &header);
        let slice_bytes = pick_slice_bytes(sizes.l2_slice_bytes, cluster_bytes);
        let l2 = SliceCache::new(slice_bytes, pick(sizes.l2_slices, L2_CACHE_BYTES_DEFAULT / slice_bytes));
        let block_slice = cluster_bytes.min(SLICE_BYTES_DEFAULT);
        let block_slices = pick(sizes.refcount_slices, REFCOUNT_CACHE_BYTES_DEFAULT / block_slice);
        let refcounts = Refcounts::new(geometry, table, SliceCache::new(block_slice, block_slices));
        let allocator = Allocator::new(geometry.clusters_of(storage.len()?));
        let decompressed = Mutex::new(None);
        Ok(Self {
            storage,
            geometry,
            header,
            l1,
            l2,
            refcounts,
            roles,
            allocator,
            decompressed,
            behaviour,
            poison: None,
        })
    }

    /// Fails if an earlier failure left the image's state unknown.
    #[inline]
    pub(crate) fn check_usable(&self) -> Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
        }
    }

    /// Refuses all further changes because of `error`, and passes it on.
    pub(crate) fn poison(&mut self, error: Error) -> Error {
        self.poison.get_or_insert_with(|| error.to_string());
        error
    }

    /// As [`Metadata::poison`], and marks the image as corrupt where its version can say so.
    pub(crate) fn poison_corrupt(&mut self, error: Error) -> Error {
        if self.poison.is_none() && self.header.version >= 3 {
            self.header.set_corrupt(true);
            // The mark is a warning for others; the request fails with the corruption whether or not it can be written.
            let _ = self.header.write_fixed(&*self.storage);
        }
        self.poison(error)
    }

    /// Where the L2 table for `guest_offset` lies and whether it may be changed; `None` where there is none.
    #[inline]
    pub(crate) fn l2_table(&self, guest_offset: u64) -> Result<Option<(u64, bool)>> {
        let index = self.geometry.l1_index(guest_offset);
        let entry = self.l1.get(index);
        if entry == 0 {
            return Ok(None);
        }
        let table = entry & OFFSET_MASK;
        if entry & RESERVED != 0 || !self.geometry.is_cluster_aligned(table) || table == 0 {
            let at = self.l1.host_offset() + index * 8;
            let reason =
                format!("entry {index} is {entry:#018x}: reserved bits are set or the offset is unaligned");
            return Err(Error::corrupt("L1 table", at, reason));
        }
        self.check_structure_inside("L2 table", table)?;
        Ok(Some((table, entry & COPIED != 0)))
    }

    /// Fails if a table that an entry points to lies past the end of the file.
    #[inline]
    pub(crate) fn check_structure_inside(&self, structure: &'static str, host_offset: u64) -> Result<()> {
        if host_offset >> self.geometry.cluster_bits() < self.allocator.file_end_cluster() {
            return Ok(());
        }
        Err(Error::corrupt(structure, host_offset, "it lies past the end of the file"))
    }

    /// The cached slice for `guest_offset` in the L2 table at `table`, and the entry's index in it.
    #[inline]
    pub(crate) fn l2_slice(&self, table: u64, guest_offset: u64) -> (u64, usize) {
        let index = self.geometry.l2_index(guest_offset);
        let per_slice = self.l2.slice_bytes() / 8;
        (table + (index & !(per_slice - 1)) * 8, (index & (per_slice - 1)) as usize)
    }

    /// Makes sure that the slice of L2 entries for `guest_offset` is cached, if there is a table.
    pub(crate) fn load_l2(&mut self, guest_offset: u64) -> Result<()> {
        let Some((table, _)) = self.l2_table(guest_offset)? else { return Ok(()) };
        let (slice, _) = self.l2_slice(table, guest_offset);
        if self.l2.get(slice).is_some() {
            return Ok(());
        }
        self.make_room()?;
        self.storage.step(&steps::L2_LOAD);
        self.l2.load(&*self.storage, slice)
    }

    /// The slice of a table that may be changed and the entry's index in it, making or copying the table as needed.
    pub(crate) fn l2_for_write(&mut self, guest_offset: u64) -> Result<(u64, usize)> {
        let table = match self.l2_table(guest_offset)? {
            Some((table, true)) => table,
            Some((shared, false)) => self.copy_l2_table(guest_offset, shared)?,
            None => self.new_l2_table(guest_offset)?,
        };
        let located = self.l2_slice(table, guest_offset);
        if self.l2.get(located.0).is_none() {
            self.make_room()?;
            self.storage.step(&steps::L2_LOAD);
            self.l2.load(&*self.storage, located.0)?;
        }
        Ok(located)
    }

    /// Writes the L2 entry for `guest_offset`, whose slice [`Metadata::l2_for_write`] has returned.
    pub(crate) fn set_l2_entry(&mut self, located: (u64, usize), entry: u64) {
        self.l2.set_entry(located.0, located.1, entry);
    }

    fn new_l2_table(&mut self, guest_offset: u64) -> Result<u64> {
        self.storage.step(&steps::L2_ALLOC_WRITE);
        let table = self.allocate_metadata(Role::L2Table)?;
        self.enter_l2_table(guest_offset, table);
        Ok(table)
    }

    /// Copies an L2 table that a snapshot shares, so that the active one can be changed.
    fn copy_l2_table(&mut self, guest_offset: u64, shared: u64) -> Result<u64> {
        let cluster_bytes = self.geometry.cluster_bytes();
        self.check_freeable(Extent::new(shared, cluster_bytes), Some(Role::L2Table))?;
        let mut bytes = vec![0; cluster_bytes as usize];
        self.storage.step(&steps::L2_ALLOC_COW_READ);
        self.storage.read_at(shared, &mut bytes)?;
        self.storage.step(&steps::L2_ALLOC_WRITE);
        let table = self.allocate_metadata(Role::L2Table)?;
        if let Err(error) = self.storage.write_at(table, &bytes) {
            return Err(self.poison(error));
        }
        self.enter_l2_table(guest_offset, table);
        self.roles.release(shared >> self.geometry.cluster_bits());
        self.free_later(shared, Freed::Other);
        Ok(table)
    }

    /// Drops what is cached of a table.
    pub(crate) fn forget_cached_table(&mut self, table: u64) {
        let mut slice = table;
        while slice < table + self.geometry.cluster_bytes() {
            self.l2.forget(slice);
            slice += self.l2.slice_bytes();
        }
    }

    fn enter_l2_table(&mut self, guest_offset: u64, table: u64) {
        self.forget_cached_table(table);
        self.l1.set(self.geometry.l1_index(guest_offset) as usize, l2::data_entry(table));
    }

    /// Makes room for one more L2 slice.
    fn make_room(&mut self) -> Result<()> {
        let turn = self.behaviour.control.choose(8);
        self.l2.turn_hand(turn);
        // A choice out of the last quarter writes back although there is room.
        if self.l2.has_room() && turn < 6 { Ok(()) } else { self.write_back() }
    }

    /// Fails if guest data may not be written to `extent` because metadata lies there.
    #[inline]
    pub(crate) fn check_data_target(&self, extent: Extent) -> Result<()> {
        let first = extent.offset >> self.geometry.cluster_bits();
        let last = (extent.end() - 1) >> self.geometry.cluster_bits();
        for cluster in first..=last {
            if let Some(role) = self.roles.guarded(cluster) {
                return Err(overlap("guest data", cluster << self.geometry.cluster_bits(), role));
            }
        }
        Ok(())
    }

    /// Writes all changes in the order that keeps a crash harmless; everything is in the storage's hands afterwards, and
    /// everything but the last step is durable.
    pub(crate) fn write_back(&mut self) -> Result<()> {
        self.check_usable()?;
        self.write_back_steps().map_err(|error| match error {
            // Nothing is lost: what could not be written is still dirty, and is written again when there is room.
            Error::NoSpace { .. } => error,
            _ => self.poison(error),
        })
    }

    fn write_back_steps(&mut self) -> Result<()> {
        let storage = Arc::clone(&self.storage);
        if self.behaviour.lazy_refcounts {
            self.begin_lazy(&*storage)?;
        } else {
            self.write_refcounts(&*storage)?;
        }
        if self.l2.has_dirty() || self.l1.is_dirty() {
            self.sync()?;
            self.write_l2_slices(&*storage)?;
        }
        if self.l1.is_dirty() {
            self.sync()?;
            self.check_cluster(self.l1.host_offset(), Role::L1Table)?;
            storage.step(&steps::L1_UPDATE);
            self.l1.write_dirty(&*storage)?;
        }
        if self.allocator.has_pending() {
            self.sync()?;
            self.apply_frees()?;
            if !self.behaviour.lazy_refcounts {
                self.write_refcounts(&*storage)?;
            }
        }
        Ok(())
    }

    /// Writes all changes and makes them durable.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.write_back()?;
        self.storage.step(&steps::FLUSH_TO_DISK);
        self.sync()
    }

    /// Makes durable what was written. A failure, whatever its reason, poisons: what it was to make durable may be lost, and no
    /// later sync says so.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.storage.sync().map_err(|error| self.poison(error))
    }

    /// Whether [`Metadata::write_back`] has anything to do.
    pub(crate) fn is_clean(&self) -> bool {
        let counts_wait = self.refcounts.cache.has_dirty() || self.refcounts.table.is_dirty();
        !self.changes_references() && (self.behaviour.lazy_refcounts || !counts_wait) && self.poison.is_none()
    }

    /// Whether references wait to be written, or to be forgotten.
    pub(crate) fn changes_references(&self) -> bool {
        self.l2.has_dirty() || self.l1.is_dirty() || self.allocator.has_pending()
    }

    pub(crate) fn write_refcounts(&mut self, storage: &dyn Storage) -> Result<()> {
        self.extend_storage(storage)?;
        for slice in self.refcounts.cache.dirty_offsets() {
            self.check_cluster(slice, Role::RefcountBlock)?;
            storage.step(&steps::REFBLOCK_UPDATE_PART);
            self.refcounts.cache.write_slice(storage, slice)?;
        }
        if self.refcounts.table.is_dirty() {
            self.sync()?;
            self.check_cluster(self.refcounts.table.host_offset(), Role::RefcountTable)?;
            storage.step(&steps::REFTABLE_UPDATE);
            storage.step(&steps::REFBLOCK_ALLOC_HOOKUP);
            self.refcounts.table.write_dirty(storage)?;
        }
        Ok(())
    }

    fn write_l2_slices(&mut self, storage: &dyn Storage) -> Result<()> {
        for slice in self.l2.dirty_offsets() {
            self.check_cluster(slice, Role::L2Table)?;
            storage.step(&steps::L2_UPDATE);
            self.l2.write_slice(storage, slice)?;
        }
        Ok(())
    }

    /// Clusters that were allocated and written only in part, or not at all, still belong to the file.
    pub(crate) fn extend_storage(&mut self, storage: &dyn Storage) -> Result<()> {
        let end = self.allocator.end_cluster() << self.geometry.cluster_bits();
        if self.allocator.has_grown() {
            if storage.len()? < end {
                storage.set_len(end)?;
            }
            self.allocator.settle();
        }
        Ok(())
    }

    fn check_cluster(&mut self, host_offset: u64, expected: Role) -> Result<()> {
        match self.roles.of(host_offset >> self.geometry.cluster_bits()) {
            Some(role) if role == expected => Ok(()),
            role => {
                let error = overlap_of(expected, host_offset, role);
                Err(self.poison_corrupt(error))
            }
        }
    }
}

pub(crate) fn set_table_spans(roles: &mut Roles, geometry: Geometry, header: &Header) {
    let l1_clusters = geometry.clusters_of(u64::from(header.l1_entries) * 8);
    roles.set_l1_table(header.l1_table_offset >> geometry.cluster_bits(), l1_clusters);
    let first = header.refcount_table_offset >> geometry.cluster_bits();
    roles.set_refcount_table(first, u64::from(header.refcount_table_clusters));
}

fn pick(wanted: usize, default: u64) -> usize {
    if wanted == 0 { default as usize } else { wanted }
}

fn pick_slice_bytes(wanted: u64, cluster_bytes: u64) -> u64 {
    if wanted == 0 { cluster_bytes.min(SLICE_BYTES_DEFAULT) } else { wanted.min(cluster_bytes) }
}

/// The error for a write of `what` that would destroy metadata.
pub(crate) fn overlap(what: &str, host_offset: u64, role: Role) -> Error {
    Error::corrupt("image", host_offset, format!("{what} would overwrite {role}"))
}

pub(crate) fn overlap_of(expected: Role, host_offset: u64, role: Option<Role>) -> Error {
    match role {
        Some(role) => overlap(&expected.to_string(), host_offset, role),
        None => Error::corrupt("image", host_offset, format!("{expected} is not where the tables say")),
    }
}

const _: () = assert!(HOST_OFFSET_END == OFFSET_MASK + 512, "entry offsets and the offset limit agree");

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use blk_core::{MemoryStorage, Options};

    /// The metadata of a new image.
    pub(crate) fn loaded(cluster_bits: u32, refcount_order: u32) -> Metadata {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let options = Options::new()
            .with("cluster_size", 1u64 << cluster_bits)
            .with("refcount_bits", 1u64 << refcount_order);
        crate::FORMAT.create(&storage, 1 << 20, options).unwrap();
        let header = Header::read(&*storage).unwrap();
        Metadata::load(storage, header, Behaviour::default()).unwrap()
    }

    #[test]
    fn caches_take_2_mib_for_l2_tables_and_512_kib_for_refcounts() {
        for (cluster_bits, slice_bytes) in [(9, 512), (12, 4096), (16, 4096), (21, 4096)] {
            let metadata = loaded(cluster_bits, 4);
            for (cache, bytes) in [(&metadata.l2, 2 << 20), (&metadata.refcounts.cache, 512 << 10)] {
                assert_eq!(cache.slice_bytes(), slice_bytes, "{cluster_bits}");
                assert_eq!(cache.capacity() as u64, bytes / slice_bytes, "{cluster_bits}");
            }
        }
        assert_eq!(pick_slice_bytes(8192, 4096), 4096);
        assert_eq!(pick_slice_bytes(512, 4096), 512);
        assert_eq!(pick(3, 100), 3);
    }

    #[test]
    fn all_that_is_cached_of_a_table_is_forgotten() {
        let mut metadata = loaded(16, 4);
        let storage = Arc::clone(&metadata.storage);
        let table = 5 << 16;
        let (before, behind) = (table - 4096, table + (1 << 16));
        for slice in (0..16).map(|slice| table + slice * 4096).chain([before, behind]) {
            metadata.l2.load(&*storage, slice).unwrap();
        }
        metadata.forget_cached_table(table);
        assert!((0..16).all(|slice| metadata.l2.get(table + slice * 4096).is_none()));
        assert!(metadata.l2.get(before).is_some() && metadata.l2.get(behind).is_some());
    }

    /// In slices of 512 entries.
    #[test]
    fn entries_lie_in_their_slices() {
        let metadata = loaded(16, 4);
        for (guest_cluster, located) in
            [(0, (0, 0)), (511, (0, 511)), (512, (4096, 0)), (8191, (15 * 4096, 511)), (8192, (0, 0))]
        {
            let (slice, index) = metadata.l2_slice(7 << 16, (guest_cluster << 16) + 77);
            assert_eq!((slice - (7 << 16), index), located, "{guest_cluster}");
        }
    }
}
