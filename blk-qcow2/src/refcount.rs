//! Refcounts of host clusters: a table of pointers to blocks, each one cluster of counts.
//!
//! ```text
//! refcount table[cluster / block_entries] -> refcount block[cluster % block_entries], 1 to 64 bits, sub-byte: low bits first
//! ```
//!
//! Write order: a dirty block may be written at any time, because counts rise before the reference is written
//! and fall only after the dereference is durable (see `metadata`). A new block is durable before the table
//! points to it.

use blk_core::{Error, Result, Storage};

use crate::cache::SliceCache;
use crate::geometry::{Geometry, HOST_OFFSET_END};
use crate::offset::{HostCluster, HostOffset};
use crate::pointer_table::PointerTable;
use crate::steps;

/// The refcount table and the cached parts of its blocks.
#[derive(Debug)]
pub(crate) struct Refcounts {
    geometry: Geometry,
    pub(crate) table: PointerTable,
    pub(crate) cache: SliceCache,
}

impl Refcounts {
    pub(crate) fn new(geometry: Geometry, table: PointerTable, cache: SliceCache) -> Self {
        Self { geometry, table, cache }
    }

    /// Where the block lies that counts `cluster`; `None` where there is no block, so that the count is 0.
    pub(crate) fn block_offset(&self, cluster: HostCluster) -> Result<Option<HostOffset>> {
        let index = self.geometry.table_index(cluster);
        let entry = self.table.get(index);
        if entry == 0 {
            return Ok(None);
        }
        match HostOffset::try_new(entry) {
            Some(block) if self.geometry.is_cluster_aligned(block) && block < HOST_OFFSET_END => {
                Ok(Some(block))
            }
            _ => {
                let at = self.table.offset_of_entry(index).get();
                let reason = format!("entry {index} is {entry:#x}: not a cluster below 2^56");
                Err(Error::corrupt("refcount table", at, reason))
            }
        }
    }

    /// How many references host cluster `cluster` has.
    pub(crate) fn get(&mut self, storage: &dyn Storage, cluster: HostCluster) -> Result<u64> {
        let Some(block) = self.block_offset(cluster)? else { return Ok(0) };
        let (slice, index) = self.locate(block, cluster);
        self.ensure_loaded(storage, slice)?;
        let slice = self.cache.get(slice).expect("loaded above");
        Ok(count_at(slice.bytes(), index, self.geometry.refcount_order()))
    }

    /// The count of `cluster` as far as it is in memory, for assertions; `None` where it would have to be
    /// read, or cannot be.
    pub(crate) fn cached(&self, cluster: HostCluster) -> Option<u64> {
        let block = self.block_offset(cluster).ok()??;
        let (slice, index) = self.locate(block, cluster);
        let slice = self.cache.peek(slice)?;
        Some(count_at(slice.bytes(), index, self.geometry.refcount_order()))
    }

    /// Sets the count of a cluster whose block exists.
    pub(crate) fn set(&mut self, storage: &dyn Storage, cluster: HostCluster, count: u64) -> Result<()> {
        assert!(count <= self.geometry.refcount_max(), "callers refuse counts that do not fit");
        let block = self.block_offset(cluster)?.expect("callers make the block first");
        let (slice, index) = self.locate(block, cluster);
        self.ensure_loaded(storage, slice)?;
        set_count_at(self.cache.bytes_mut(slice), index, self.geometry.refcount_order(), count);
        Ok(())
    }

    /// Writes all dirty blocks.
    pub(crate) fn write_dirty_blocks(&mut self, storage: &dyn Storage) -> Result<()> {
        for slice in self.cache.dirty_offsets() {
            storage.step(&steps::REFBLOCK_UPDATE_PART);
            self.cache.write_slice(storage, slice)?;
        }
        Ok(())
    }

    /// Enters a new, empty block, whose cluster holds zeroes, into the table. The part of it that counts the
    /// first cluster of its range is in the cache afterwards: setting that count, as the caller has to,
    /// cannot fail.
    pub(crate) fn add_block(&mut self, storage: &dyn Storage, index: usize, block: HostOffset) -> Result<()> {
        self.forget_block(block);
        self.ensure_loaded(storage, block)?;
        assert_eq!(self.table.get(index as u64), 0, "a refcount block is never replaced by another");
        self.table.set(index, block.get());
        Ok(())
    }

    /// Takes the block number `index` out of the table: it counts nothing but itself.
    pub(crate) fn drop_block(&mut self, index: u64) {
        assert_ne!(self.table.get(index), 0, "there is such a block");
        self.table.set(index as usize, 0);
    }

    /// Drops what the cache knows about the cluster at `block`: it has become a block, or a new one.
    pub(crate) fn forget_block(&mut self, block: HostOffset) {
        self.cache.forget_all(block.with_length(self.geometry.cluster_bytes()));
    }

    fn ensure_loaded(&mut self, storage: &dyn Storage, slice: HostOffset) -> Result<()> {
        if self.cache.get(slice).is_some() {
            return Ok(());
        }
        if !self.cache.has_room() {
            self.write_dirty_blocks(storage)?;
        }
        storage.step(&steps::REFBLOCK_LOAD);
        self.cache.load(storage, slice)
    }

    /// The slice that holds the count of `cluster`, and the count's index in it.
    fn locate(&self, block: HostOffset, cluster: HostCluster) -> (HostOffset, u64) {
        let order = self.geometry.refcount_order();
        let counts_per_slice = (self.cache.slice_bytes() * 8) >> order;
        let index = self.geometry.block_index(cluster);
        (block + index / counts_per_slice * self.cache.slice_bytes(), index % counts_per_slice)
    }
}

/// Reads count number `index` of `1 << order` bits.
pub(crate) fn count_at(bytes: &[u8], index: u64, order: u32) -> u64 {
    let index = index as usize;
    match order {
        0..=2 => {
            let bits = 1usize << order;
            let per_byte = 8 / bits;
            let shift = index % per_byte * bits;
            u64::from(bytes[index / per_byte] >> shift) & ((1 << bits) - 1)
        }
        3 => u64::from(bytes[index]),
        4 => u64::from(u16::from_be_bytes(array(bytes, index))),
        5 => u64::from(u32::from_be_bytes(array(bytes, index))),
        _ => u64::from_be_bytes(array(bytes, index)),
    }
}

/// Writes count number `index` of `1 << order` bits; `count` fits.
pub(crate) fn set_count_at(bytes: &mut [u8], index: u64, order: u32, count: u64) {
    debug_assert!(count <= u64::MAX >> (64 - (1u32 << order)), "{count} does not fit into 2^{order} bits");
    let index = index as usize;
    if order < 3 {
        let bits = 1usize << order;
        let per_byte = 8 / bits;
        let shift = index % per_byte * bits;
        let mask = ((1u8 << bits) - 1) << shift;
        let byte = &mut bytes[index / per_byte];
        *byte &= !mask;
        *byte |= (count as u8) << shift;
    } else {
        let width = 1usize << (order - 3);
        bytes[index * width..(index + 1) * width].copy_from_slice(&count.to_be_bytes()[8 - width..]);
    }
}

fn array<const N: usize>(bytes: &[u8], index: usize) -> [u8; N] {
    bytes[index * N..(index + 1) * N].try_into().expect("the slice has that length")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metadata::tests::loaded;

    #[test]
    fn counts_of_every_width_keep_their_neighbours() {
        for order in 0..=6 {
            let max = u64::MAX >> (64 - (1u32 << order));
            let mut bytes = vec![0xff; 64];
            for index in [0u64, 3, 5, 7] {
                set_count_at(&mut bytes, index, order, 0);
            }
            set_count_at(&mut bytes, 3, order, max & 0x5555_5555_5555_5555);
            let seen: Vec<u64> = (0..8).map(|index| count_at(&bytes, index, order)).collect();
            assert_eq!(seen, [0, max, max, max & 0x5555_5555_5555_5555, max, 0, max, 0], "order {order}");
        }
    }

    /// A block of 64 KiB is cached in slices of 4 KiB.
    #[test]
    fn counts_lie_in_their_slices() {
        for order in 0..=6 {
            let mut metadata = loaded(16, order);
            let storage = Arc::clone(&metadata.storage);
            let refcounts = &mut metadata.refcounts;
            let block = refcounts.block_offset(HostCluster::default()).unwrap().unwrap();
            let entries = 1 << (19 - order);
            let clusters = [5, 4095, 4096, entries / 2 + 3, entries - 1];
            for cluster in clusters.map(HostCluster::new) {
                refcounts.set(&*storage, cluster, 1).unwrap();
            }
            assert!(refcounts.cache.has_dirty());
            refcounts.write_dirty_blocks(&*storage).unwrap();
            assert!(!refcounts.cache.has_dirty());
            let mut bytes = vec![0; 1 << 16];
            storage.read_at(block.get(), &mut bytes).unwrap();
            for cluster in clusters {
                assert_eq!(count_at(&bytes, cluster, order), 1, "{order}: {cluster}");
                assert_eq!(
                    refcounts.get(&*storage, HostCluster::new(cluster)).unwrap(),
                    1,
                    "{order}: {cluster}"
                );
                assert_eq!(refcounts.cached(HostCluster::new(cluster)), Some(1), "{order}: {cluster}");
            }
            let neighbours = [6, 4094, 4097, entries / 2 + 2, entries - 2];
            for cluster in neighbours {
                assert_eq!(count_at(&bytes, cluster, order), 0, "{order}: {cluster}");
            }
            refcounts.forget_block(block);
            assert!((0..16).all(|slice| refcounts.cache.get(block + slice * 4096).is_none()), "{order}");
        }
    }

    #[test]
    fn a_new_block_has_nothing_of_what_was_cached_there() {
        let mut metadata = loaded(16, 4);
        let storage = Arc::clone(&metadata.storage);
        let (block, next) = (HostOffset::new(9 << 16), HostOffset::new(10 << 16));
        storage.write_at(block.get(), &vec![0xff; 2 << 16]).unwrap();
        for slice in [block, block + 4096, block + (15 << 12), next] {
            metadata.refcounts.cache.load(&*storage, slice).unwrap();
        }
        storage.write_zeroes_at(block.with_length(1 << 16).on_storage()).unwrap();
        metadata.refcounts.add_block(&*storage, 1, block).unwrap();
        for cluster in [0, 2048, 32_767] {
            assert_eq!(
                metadata.refcounts.get(&*storage, HostCluster::new(32_768 + cluster)).unwrap(),
                0,
                "{cluster}"
            );
        }
        assert!(metadata.refcounts.cache.get(next).is_some(), "the next cluster is no part of it");
    }

    #[test]
    fn sub_byte_counts_start_at_the_low_bits() {
        assert_eq!(count_at(&[0b0000_0001], 0, 0), 1);
        assert_eq!(count_at(&[0b0001_0010], 1, 2), 1);
        assert_eq!(count_at(&[0x12, 0x34], 0, 4), 0x1234);
    }
}
