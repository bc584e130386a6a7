//! All metadata of an open image, and the order in which changes of it reach the storage.
//!
//! The driver's one lock guards all of it. Lookups need `&Metadata` and are shared; changes need `&mut
//! Metadata`.
//!
//! Write order (each arrow is a sync, left out where one of its sides has nothing to write):
//!
//! ```text
//! refcount blocks (counts up), guest data  ->  refcount table  ->  L2 tables  ->  L1 table  ->  counts down, holes punched
//! ```
//!
//! So a reference on disk always has its count, its target is always complete, and a cluster is free for
//! reuse only after nothing on disk refers to it. A crash between two steps leaks clusters, and does nothing
//! worse. With lazy refcounts the counts are left out of it (see `lazy`).

use std::sync::Arc;

use blk_core::storage::SyncGroup;
use blk_core::sync::Mutex;
use blk_core::{Error, Extent, Result, Storage};

use crate::cache::SliceCache;
use crate::free_space::FreeSpace;
use crate::geometry::{Geometry, HOST_OFFSET_END};
use crate::header::Header;
use crate::l2::OFFSET_MASK;
use crate::offset::{GuestOffset, HostExtent, HostOffset};
use crate::ondisk::CompressedDescriptor;
use crate::open_options::OpenOptions;
use crate::pointer_table::PointerTable;
use crate::refcount::Refcounts;
use crate::roles::{Role, Roles};
use crate::steps;

/// Slices are read and written as a whole: small enough for random access, large enough for a sweep.
const SLICE_BYTES_DEFAULT: u64 = 4096;
const L2_CACHE_BYTES_DEFAULT: u64 = 32 << 20;
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
    /// All syncs that a flush answers for.
    pub(crate) syncs: Arc<SyncGroup>,
    pub(crate) geometry: Geometry,
    pub(crate) header: Header,
    pub(crate) l1: PointerTable,
    pub(crate) l2: SliceCache,
    pub(crate) refcounts: Refcounts,
    pub(crate) roles: Roles,
    pub(crate) free: FreeSpace,
    /// The compressed cluster that was read last, valid until a cluster is freed: its bytes may then be
    /// overwritten.
    pub(crate) decompressed: Mutex<Option<Decompressed>>,
    pub(crate) options: OpenOptions,
    /// How far guest data may go: to the end of the disk; while that grows, to what it will be.
    pub(crate) reach: u64,
    /// Why nothing may be written any more.
    pub(crate) poison: Option<String>,
}

impl Metadata {
    /// Reads the tables that are kept whole.
    pub(crate) fn load(storage: Arc<dyn Storage>, header: Header, options: OpenOptions) -> Result<Self> {
        let sizes = options.caches;
        let geometry = header.geometry;
        let cluster_bytes = geometry.cluster_bytes();
        let l1 = PointerTable::read(&*storage, header.l1_table_offset, header.l1_entries as usize)?;
        storage.step(&steps::REFTABLE_LOAD);
        let table_entries = (header.refcount_table().length / 8) as usize;
        let table = PointerTable::read(&*storage, header.refcount_table_offset, table_entries)?;
        let roles = Roles::of_image(&*storage, &header, &l1, &table, options.overlap_check);
        let slice_bytes = pick_slice_bytes(sizes.l2_slice_bytes, cluster_bytes);
        let l2 = SliceCache::new(slice_bytes, pick(sizes.l2_slices, L2_CACHE_BYTES_DEFAULT / slice_bytes));
        let block_slice = cluster_bytes.min(SLICE_BYTES_DEFAULT);
        let block_slices = pick(sizes.refcount_slices, REFCOUNT_CACHE_BYTES_DEFAULT / block_slice);
        let refcounts = Refcounts::new(geometry, table, SliceCache::new(block_slice, block_slices));
        let free = FreeSpace::new(geometry, geometry.clusters_of(storage.len()?));
        let decompressed = Mutex::new(None);
        Ok(Self {
            storage,
            syncs: Arc::default(),
            geometry,
            reach: header.size,
            header,
            l1,
            l2,
            refcounts,
            roles,
            free,
            decompressed,
            options,
            poison: None,
        })
    }

    /// Reads everything again: the header has changed, and nothing waits to be written.
    pub(crate) fn reload(&mut self) -> Result<()> {
        assert!(!self.changes_references() && !self.changes_counts(), "nothing is lost with the caches");
        self.load_again(Header::read(&*self.storage))
    }

    /// As [`Metadata::reload`], with the header that was read. What syncs are in flight, and how far a resize
    /// in flight lets requests reach, does not change.
    pub(crate) fn load_again(&mut self, header: Result<Header>) -> Result<()> {
        let loaded = header.and_then(|header| Self::load(Arc::clone(&self.storage), header, self.options));
        let (syncs, reach) = (Arc::clone(&self.syncs), self.reach);
        *self = Self { syncs, reach, ..loaded.map_err(|error| self.poison(error))? };
        Ok(())
    }

    /// Whether refcounts on disk are brought up to date at the close only.
    pub(crate) const fn is_lazy(&self) -> bool {
        self.options.lazy_refcounts()
    }

    /// Fails if an earlier failure left the image's state unknown.
    #[inline]
    pub(crate) fn check_usable(&self) -> Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
        }
    }

    /// Fails if guest data from `offset` to `end` would lie behind the end of the disk: that may have become
    /// smaller since the request was checked.
    #[inline]
    pub(crate) fn check_reach(&self, offset: u64, end: u64) -> Result<()> {
        if end <= self.reach {
            return Ok(());
        }
        Err(Error::OutOfRange { offset, length: end - offset, size: self.reach })
    }

    /// As [`Metadata::check_reach`] for whole clusters, of which the disk's last one may go on behind it.
    pub(crate) fn check_clusters_reach(&self, extent: Extent) -> Result<()> {
        let end = self.geometry.round_up(GuestOffset::new(self.reach));
        self.check_reach(extent.offset, if extent.end() <= end.get() { extent.offset } else { extent.end() })
    }

    /// Refuses all further changes because of `error`, and passes it on. Where that is that metadata is
    /// corrupt, the image is marked.
    pub(crate) fn poison(&mut self, error: Error) -> Error {
        if self.poison.is_none() {
            self.mark_if_corrupt(&error);
            self.poison = Some(error.to_string());
        }
        error
    }

    /// Fails if a table that an entry points to lies past the end of the file.
    #[inline]
    pub(crate) fn check_structure_inside(
        &self,
        structure: &'static str,
        host_offset: HostOffset,
    ) -> Result<()> {
        if self.geometry.cluster_of(host_offset) < self.free.file_end() {
            return Ok(());
        }
        Err(Error::corrupt(structure, host_offset.get(), "it lies past the end of the file"))
    }

    /// Fails if guest data may not be written to `extent` because metadata lies there.
    #[inline]
    pub(crate) fn check_data_target(&self, extent: HostExtent) -> Result<()> {
        if self.geometry.has_data_file() {
            return Ok(());
        }
        for cluster in self.geometry.touched(extent) {
            if let Some(role) = self.roles.guarded(cluster) {
                return Err(overlap("guest data", self.geometry.offset_of(cluster), role));
            }
        }
        Ok(())
    }
}

fn pick(wanted: usize, default: u64) -> usize {
    if wanted == 0 { default as usize } else { wanted }
}

fn pick_slice_bytes(wanted: u64, cluster_bytes: u64) -> u64 {
    if wanted == 0 { cluster_bytes.min(SLICE_BYTES_DEFAULT) } else { wanted.min(cluster_bytes) }
}

/// The error for a write of `what` that would destroy metadata.
pub(crate) fn overlap(what: &str, host_offset: HostOffset, role: Role) -> Error {
    Error::corrupt("image", host_offset.get(), format!("{what} would overwrite {role}"))
}

pub(crate) fn overlap_of(expected: Role, host_offset: HostOffset, role: Option<Role>) -> Error {
    match role {
        Some(role) => overlap(&expected.to_string(), host_offset, role),
        None => Error::corrupt("image", host_offset.get(), format!("{expected} is not where the tables say")),
    }
}

const _: () = assert!(HOST_OFFSET_END.get() == OFFSET_MASK + 512, "entry offsets and the offset limit agree");

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
        Metadata::load(storage, header, OpenOptions::default()).unwrap()
    }

    #[test]
    fn caches_take_up_to_32_mib_for_l2_tables_and_512_kib_for_refcounts() {
        for (cluster_bits, slice_bytes) in [(9, 512), (12, 4096), (16, 4096), (21, 4096)] {
            let metadata = loaded(cluster_bits, 4);
            for (cache, bytes) in [(&metadata.l2, 32 << 20), (&metadata.refcounts.cache, 512 << 10)] {
                assert_eq!(cache.slice_bytes(), slice_bytes, "{cluster_bits}");
                assert_eq!(cache.capacity() as u64, bytes / slice_bytes, "{cluster_bits}");
            }
        }
        assert_eq!(pick_slice_bytes(8192, 4096), 4096);
        assert_eq!(pick_slice_bytes(512, 4096), 512);
        assert_eq!(pick(3, 100), 3);
    }
}
