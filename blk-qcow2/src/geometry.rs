//! The sizes that follow from a header's `cluster_bits` and `refcount_order`.
//!
//! ```text
//! guest offset = | l1_index | l2_index (l2_bits) | offset in cluster (cluster_bits) |
//! host offset  = | refcount table index | refcount block index (block_bits) | offset in cluster |
//! ```
//!
//! Both fields are validated here, once: `cluster_bits` 9 to 21, `refcount_order` 0 to 6. So no shift below
//! overflows, and an L2 table has 64 to 262,144 entries.
//!
//! With extended L2 entries a cluster has 32 subclusters, and an entry 16 bytes: a table has half as many.
//! Without them a cluster is one subcluster, so that the same code serves both.

use blk_core::{Error, Extent, Result};

use crate::offset::{ClusterCount, GuestOffset, HostCluster, HostExtent, HostOffset, Offset};

/// Host offsets in table entries have bits 9 to 55.
pub(crate) const HOST_OFFSET_END: HostOffset = HostOffset::new(1 << 56);

/// Sizes of an image's structures. Cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    cluster_bits: u32,
    refcount_order: u32,
    /// Binary logarithm of the number of subclusters: 5 with extended L2 entries, else 0.
    subcluster_order: u32,
    /// Guest data lies in another file, at its guest offsets.
    has_data_file: bool,
}

impl Geometry {
    /// Smallest `cluster_bits` with extended L2 entries: a subcluster has a sector at least.
    pub(crate) const EXTENDED_CLUSTER_BITS_MIN: u32 = 14;
    const EXTENDED_SUBCLUSTER_ORDER: u32 = 5;

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
        Ok(Self { cluster_bits, refcount_order, subcluster_order: 0, has_data_file: false })
    }

    /// The same with extended L2 entries if `is_extended`.
    pub(crate) fn with_extended_l2(self, is_extended: bool) -> Result<Self> {
        if !is_extended {
            return Ok(Self { subcluster_order: 0, ..self });
        }
        if self.cluster_bits < Self::EXTENDED_CLUSTER_BITS_MIN {
            let reason = format!(
                "cluster_bits is {}, with extended L2 entries allowed are 14 to 21",
                self.cluster_bits
            );
            return Err(Error::malformed("header", 20, reason));
        }
        Ok(Self { subcluster_order: Self::EXTENDED_SUBCLUSTER_ORDER, ..self })
    }

    /// The same with guest data in another file if `has_data_file`.
    #[must_use]
    pub(crate) const fn with_data_file(self, has_data_file: bool) -> Self {
        Self { has_data_file, ..self }
    }

    /// Whether guest data lies in another file, at its guest offsets and uncounted.
    #[inline]
    pub(crate) const fn has_data_file(self) -> bool {
        self.has_data_file
    }

    /// Whether L2 entries have a bitmap of subclusters.
    #[inline]
    pub(crate) const fn has_extended_l2(self) -> bool {
        self.subcluster_order != 0
    }

    /// Subclusters of a cluster: 32, or 1.
    #[inline]
    pub(crate) const fn subclusters(self) -> u32 {
        1 << self.subcluster_order
    }

    /// A bit for each subcluster of a cluster.
    #[inline]
    pub(crate) const fn all_subclusters(self) -> u32 {
        u32::MAX >> (32 - self.subclusters())
    }

    #[inline]
    pub(crate) const fn subcluster_bytes(self) -> u64 {
        1 << (self.cluster_bits - self.subcluster_order)
    }

    /// Which subcluster of its cluster `offset` lies in.
    #[inline]
    pub(crate) fn subcluster_of(self, offset: GuestOffset) -> u32 {
        (self.in_cluster(offset) >> (self.cluster_bits - self.subcluster_order)) as u32
    }

    /// Bytes from `offset` to the end of subcluster number `last` of its cluster.
    #[inline]
    pub(crate) fn bytes_to_end_of(self, offset: GuestOffset, last: u32) -> u64 {
        (u64::from(last + 1) << (self.cluster_bits - self.subcluster_order)) - self.in_cluster(offset)
    }

    /// The subclusters of the cluster at `cluster` that `extent` touches, a bit each.
    pub(crate) fn touched_subclusters(self, cluster: GuestOffset, extent: Extent) -> u32 {
        let cluster_end = cluster.get() + self.cluster_bytes();
        let (start, end) = (extent.offset.max(cluster.get()), extent.end().min(cluster_end));
        if start >= end {
            return 0;
        }
        let bits = self.cluster_bits - self.subcluster_order;
        let (first, last) = ((start - cluster.get()) >> bits, (end - 1 - cluster.get()) >> bits);
        (u32::MAX << first) & (u32::MAX >> (31 - last))
    }

    /// Start of the subcluster that `offset` lies in.
    #[inline]
    pub(crate) fn subcluster_start(self, offset: GuestOffset) -> GuestOffset {
        GuestOffset::new(offset.get() & !(self.subcluster_bytes() - 1))
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
        self.cluster_bits - 3 - (self.subcluster_order != 0) as u32
    }

    /// Bytes of an L2 entry: 16 with its bitmap, else 8.
    #[inline]
    pub(crate) const fn l2_entry_bytes(self) -> u64 {
        if self.has_extended_l2() { 16 } else { 8 }
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
    fn extended_entries_halve_the_tables_and_cut_clusters_in_32() {
        let g = Geometry::new(16, 4).unwrap().with_extended_l2(true).unwrap();
        assert_eq!((g.l2_entries(), g.l2_entry_bytes(), g.l2_table_reach_bytes()), (4096, 16, 4096 << 16));
        assert_eq!((g.subclusters(), g.subcluster_bytes(), g.all_subclusters()), (32, 2048, u32::MAX));
        assert_eq!(g.subcluster_of(GuestOffset::new((5 << 16) + 4095)), 1);
        assert_eq!(g.bytes_to_end_of(GuestOffset::new(100), 1), 3996);
        let cluster = GuestOffset::new(5 << 16);
        for (from, to, bits) in
            [(0, 6 << 16, u32::MAX), (2047, 2049, 3), (63488, 65536, 1 << 31), (4096, 4097, 4), (7, 7, 0)]
        {
            let extent = Extent::between((5 << 16) + from, (5 << 16) + to);
            assert_eq!(g.touched_subclusters(cluster, extent), bits, "{from} to {to}");
        }
        assert_eq!(g.touched_subclusters(cluster, Extent::between(0, 5 << 16)), 0);
        let plain = g.with_extended_l2(false).unwrap();
        assert_eq!((plain.subclusters(), plain.subcluster_bytes(), plain.all_subclusters()), (1, 65536, 1));
        assert_eq!(plain, Geometry::new(16, 4).unwrap());
        let error = Geometry::new(13, 4).unwrap().with_extended_l2(true).unwrap_err().to_string();
        assert!(error.contains("cluster_bits is 13"), "{error}");
    }

    #[test]
    fn fields_outside_the_specification_are_named() {
        assert!(Geometry::new(8, 4).unwrap_err().to_string().contains("cluster_bits is 8"));
        assert!(Geometry::new(22, 4).is_err());
        assert!(Geometry::new(16, 7).unwrap_err().to_string().contains("refcount_order is 7"));
    }
}
