//! The sizes that follow from a header's `cluster_bits` and `refcount_order`.
//!
//! ```text
//! guest offset = | l1_index | l2_index (l2_bits) | offset in cluster (cluster_bits) |
//! host offset  = | refcount table index | refcount block index (block_bits) | offset in cluster |
//! ```
//!
//! Both fields are validated here, once: `cluster_bits` 9 to 21, `refcount_order` 0 to 6. So no shift below
//! overflows, and an L2 table has 64 to 262,144 entries.

use blk_core::{Error, Result};

use crate::offset::{ClusterCount, GuestOffset, HostCluster, HostExtent, HostOffset, Offset};

/// Host offsets in table entries have bits 9 to 55.
pub(crate) const HOST_OFFSET_END: HostOffset = HostOffset::new(1 << 56);

/// Sizes of an image's structures. Cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    cluster_bits: u32,
    refcount_order: u32,
}

impl Geometry {
    /// Smallest `cluster_bits`: 512 bytes.
    pub(crate) const CLUSTER_BITS_MIN: u32 = 9;
    /// Largest `cluster_bits`: 2 MiB, as everywhere else.
    pub(crate) const CLUSTER_BITS_MAX: u32 = 21;
    /// Largest `refcount_order`: 64 bits.
    pub(crate) const REFCOUNT_ORDER_MAX: u32 = 6;

    /// Checks both header fields.
    pub(crate) fn new(cluster_bits: u32, refcount_order: u32) -> Result<Self> {
        if !(Self::CLUSTER_BITS_MIN..=Self::CLUSTER_BITS_MAX).contains(&cluster_bits) {
            return Err(Error::malformed(
                "header",
                20,
                format!("cluster_bits is {cluster_bits}, allowed are 9 to 21"),
            ));
        }
        if refcount_order > Self::REFCOUNT_ORDER_MAX {
            let reason = format!("refcount_order is {refcount_order}, allowed are 0 to 6");
            return Err(Error::malformed("header", 96, reason));
        }
        Ok(Self { cluster_bits, refcount_order })
    }

    pub(crate) const fn cluster_bits(self) -> u32 {
        self.cluster_bits
    }

    pub(crate) const fn refcount_order(self) -> u32 {
        self.refcount_order
    }

    pub(crate) const fn cluster_bytes(self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of `offset` past the start of its cluster.
    #[inline]
    pub(crate) fn in_cluster(self, offset: impl Offset) -> u64 {
        offset.bytes() & (self.cluster_bytes() - 1)
    }

    /// Start of the cluster that `offset` lies in.
    #[inline]
    pub(crate) fn cluster_start<O: Offset>(self, offset: O) -> O {
        O::from_bytes(offset.bytes() & !(self.cluster_bytes() - 1))
    }

    /// `offset`, or the next one that is the start of a cluster.
    #[inline]
    pub(crate) fn round_up<O: Offset>(self, offset: O) -> O {
        O::from_bytes(offset.bytes().next_multiple_of(self.cluster_bytes()))
    }

    #[inline]
    pub(crate) fn is_cluster_aligned(self, offset: impl Offset) -> bool {
        self.in_cluster(offset) == 0
    }

    /// Whether a number from an image, which may be no offset, is a multiple of the cluster size.
    #[inline]
    pub(crate) const fn is_aligned_number(self, number: u64) -> bool {
        number & (self.cluster_bytes() - 1) == 0
    }

    /// The host cluster that `offset` lies in.
    #[inline]
    pub(crate) const fn cluster_of(self, offset: HostOffset) -> HostCluster {
        HostCluster::new(offset.get() >> self.cluster_bits)
    }

    /// Where a host cluster starts.
    #[inline]
    pub(crate) const fn offset_of(self, cluster: HostCluster) -> HostOffset {
        HostOffset::new(cluster.index() << self.cluster_bits)
    }

    /// The host bytes of `count` clusters from `first` on.
    #[inline]
    pub(crate) const fn extent_of(self, first: HostCluster, count: ClusterCount) -> HostExtent {
        self.offset_of(first).with_length(self.bytes_of(count))
    }

    /// The host clusters that `extent`, which is not empty, touches.
    #[inline]
    pub(crate) fn touched(self, extent: HostExtent) -> impl DoubleEndedIterator<Item = HostCluster> + use<> {
        debug_assert!(!extent.is_empty(), "an empty extent touches nothing");
        self.cluster_of(extent.start).until(self.cluster_of(extent.end() - 1).next())
    }

    /// Bytes of `count` clusters.
    #[inline]
    pub(crate) const fn bytes_of(self, count: ClusterCount) -> u64 {
        count.get() << self.cluster_bits
    }

    /// Clusters that `bytes` bytes take, the last one perhaps in part.
    #[inline]
    pub(crate) const fn clusters_of(self, bytes: u64) -> ClusterCount {
        ClusterCount::new(bytes.div_ceil(self.cluster_bytes()))
    }

    pub(crate) const fn l2_bits(self) -> u32 {
        self.cluster_bits - 3
    }

    /// Entries of an L2 table.
    pub(crate) const fn l2_entries(self) -> u64 {
        1 << self.l2_bits()
    }

    pub(crate) const fn l1_index(self, guest_offset: GuestOffset) -> u64 {
        guest_offset.get() >> (self.cluster_bits + self.l2_bits())
    }

    pub(crate) const fn l2_index(self, guest_offset: GuestOffset) -> u64 {
        (guest_offset.get() >> self.cluster_bits) & (self.l2_entries() - 1)
    }

    /// Guest bytes that one L2 table maps.
    pub(crate) const fn l2_table_reach_bytes(self) -> u64 {
        1 << (self.cluster_bits + self.l2_bits())
    }

    /// L1 entries that a disk of `size_bytes` needs.
    pub(crate) const fn l1_entries(self, size_bytes: u64) -> u64 {
        size_bytes.div_ceil(self.l2_table_reach_bytes())
    }

    /// Bits of one refcount.
    pub(crate) const fn refcount_bits(self) -> u32 {
        1 << self.refcount_order
    }

    /// The largest value of a refcount.
    pub(crate) const fn refcount_max(self) -> u64 {
        u64::MAX >> (64 - self.refcount_bits())
    }

    const fn block_bits(self) -> u32 {
        self.cluster_bits + 3 - self.refcount_order
    }

    /// Refcounts in one refcount block.
    pub(crate) const fn block_entries(self) -> u64 {
        1 << self.block_bits()
    }

    /// Index in the refcount table for host cluster `cluster`.
    pub(crate) const fn table_index(self, cluster: HostCluster) -> u64 {
        cluster.index() >> self.block_bits()
    }

    /// Index in the refcount block for host cluster `cluster`.
    pub(crate) const fn block_index(self, cluster: HostCluster) -> u64 {
        cluster.index() & (self.block_entries() - 1)
    }

    /// The first of the host clusters that refcount block number `table_index` counts.
    pub(crate) const fn block_start(self, table_index: u64) -> HostCluster {
        HostCluster::new(table_index << self.block_bits())
    }

    /// Position of the sector count in a compressed cluster's descriptor: its host offset takes the bits
    /// below.
    pub(crate) const fn compressed_offset_bits(self) -> u32 {
        62 - (self.cluster_bits - 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_the_header() {
        let g = Geometry::new(16, 4).unwrap();
        assert_eq!((g.cluster_bytes(), g.l2_entries(), g.block_entries()), (65536, 8192, 32768));
        assert_eq!((g.refcount_max(), g.compressed_offset_bits()), (65535, 54));
        let g = Geometry::new(9, 0).unwrap();
        assert_eq!((g.l2_entries(), g.block_entries(), g.refcount_max()), (64, 4096, 1));
        assert_eq!(Geometry::new(21, 6).unwrap().refcount_max(), u64::MAX);
    }

    #[test]
    fn fields_outside_the_specification_are_named() {
        assert!(Geometry::new(8, 4).unwrap_err().to_string().contains("cluster_bits is 8"));
        assert!(Geometry::new(22, 4).is_err());
        assert!(Geometry::new(16, 7).unwrap_err().to_string().contains("refcount_order is 7"));
    }
}
