//! The two address spaces of an image, as types that cannot be mixed up.
//!
//! ```text
//! guest offset  -- L1 table, L2 table -->  host offset  =  host cluster * cluster size  +  offset in cluster
//! ```
//!
//! Only [`crate::geometry::Geometry`] converts between bytes and clusters. A plain [`Extent`] is one of the
//! guest, as
//! [`blk_core::Disk`] hands it in; one of the host is a [`HostExtent`] until it reaches the storage.
//!
//! **Invariant:** a [`HostOffset`] is at most 2^63 - 1. Numbers from an image become one
//! through [`HostOffset::try_new`], after a check of their own (header fields), or with the mask of an
//! entry's offset bits; so no sum of an offset and a length that fits into a file overflows.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use blk_core::Extent;

/// A byte of the disk that the guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct GuestOffset(u64);

/// A byte of the image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct HostOffset(u64);

/// Index of a cluster of the image file: the one that starts at byte 0 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct HostCluster(u64);

/// A number of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct ClusterCount(u64);

/// Bytes of the image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HostExtent {
    pub(crate) start: HostOffset,
    /// Bytes.
    pub(crate) length: u64,
}

/// What guest and host offsets have in common: they lie in clusters of the same size.
pub(crate) trait Offset: Copy {
    /// The offset `bytes`.
    fn from_bytes(bytes: u64) -> Self;

    /// Bytes from the start of its address space.
    fn bytes(self) -> u64;
}

impl Offset for GuestOffset {
    #[inline]
    fn from_bytes(bytes: u64) -> Self {
        Self::new(bytes)
    }

    #[inline]
    fn bytes(self) -> u64 {
        self.get()
    }
}

impl Offset for HostOffset {
    #[inline]
    fn from_bytes(bytes: u64) -> Self {
        Self::new(bytes)
    }

    #[inline]
    fn bytes(self) -> u64 {
        self.get()
    }
}

impl GuestOffset {
    #[inline]
    pub(crate) const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    #[inline]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The guest bytes from here to `end`.
    #[inline]
    pub(crate) fn to(self, end: Self) -> Extent {
        Extent::between(self.0, end.0)
    }

    /// `length` guest bytes from here on.
    #[inline]
    pub(crate) const fn with_length(self, length: u64) -> Extent {
        Extent::new(self.0, length)
    }
}

impl HostOffset {
    /// The largest: files end there.
    const MAX: u64 = i64::MAX as u64;

    /// Of a number that is known to be an offset in a file.
    #[inline]
    pub(crate) const fn new(bytes: u64) -> Self {
        debug_assert!(bytes <= Self::MAX, "numbers from an image are checked before they are offsets");
        Self(bytes)
    }

    /// Of a number from an image; `None` where no file has such an offset.
    #[inline]
    pub(crate) const fn try_new(bytes: u64) -> Option<Self> {
        if bytes <= Self::MAX { Some(Self(bytes)) } else { None }
    }

    #[inline]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// `length` bytes of the file from here on.
    #[inline]
    pub(crate) const fn with_length(self, length: u64) -> HostExtent {
        HostExtent { start: self, length }
    }
}

impl HostCluster {
    #[inline]
    pub(crate) const fn new(index: u64) -> Self {
        Self(index)
    }

    #[inline]
    pub(crate) const fn index(self) -> u64 {
        self.0
    }

    /// The cluster that follows.
    #[inline]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The clusters from this one on, before `end`.
    #[inline]
    pub(crate) fn until(self, end: Self) -> impl DoubleEndedIterator<Item = Self> + use<> {
        (self.0..end.0).map(Self)
    }

    /// How many clusters lie from `earlier` up to this one.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> ClusterCount {
        ClusterCount(self.0 - earlier.0)
    }
}

impl ClusterCount {
    pub(crate) const ONE: Self = Self(1);

    #[inline]
    pub(crate) const fn new(count: u64) -> Self {
        Self(count)
    }

    #[inline]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

impl HostExtent {
    /// One past the last byte.
    #[inline]
    pub(crate) fn end(self) -> HostOffset {
        self.start + self.length
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.length == 0
    }

    /// As the storage takes it.
    #[inline]
    pub(crate) const fn on_storage(self) -> Extent {
        Extent::new(self.start.0, self.length)
    }
}

impl Add<u64> for GuestOffset {
    type Output = Self;

    #[inline]
    fn add(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl AddAssign<u64> for GuestOffset {
    #[inline]
    fn add_assign(&mut self, bytes: u64) {
        self.0 += bytes;
    }
}

impl Sub<u64> for GuestOffset {
    type Output = Self;

    #[inline]
    fn sub(self, bytes: u64) -> Self {
        Self(self.0 - bytes)
    }
}

impl Add<u64> for HostOffset {
    type Output = Self;

    #[inline]
    fn add(self, bytes: u64) -> Self {
        Self::new(self.0 + bytes)
    }
}

impl Sub<u64> for HostOffset {
    type Output = Self;

    #[inline]
    fn sub(self, bytes: u64) -> Self {
        Self(self.0 - bytes)
    }
}

impl Add<ClusterCount> for HostCluster {
    type Output = Self;

    #[inline]
    fn add(self, count: ClusterCount) -> Self {
        Self(self.0 + count.0)
    }
}

impl Add for ClusterCount {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl fmt::LowerHex for GuestOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::LowerHex for HostOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_ends_past_2_to_the_63() {
        assert_eq!(HostOffset::try_new(0).map(HostOffset::get), Some(0));
        assert_eq!(HostOffset::try_new((1 << 63) - 1).map(HostOffset::get), Some((1 << 63) - 1));
        assert_eq!(HostOffset::try_new(1 << 63), None);
        assert_eq!(HostOffset::try_new(u64::MAX), None);
    }

    #[test]
    fn clusters_are_counted_from_one_to_another() {
        let (first, end) = (HostCluster::new(5), HostCluster::new(8));
        assert_eq!(first.until(end).map(HostCluster::index).collect::<Vec<_>>(), [5, 6, 7]);
        assert_eq!(end.since(first), ClusterCount::new(3));
        assert_eq!(first + ClusterCount::new(3), end);
        assert_eq!(end.until(first).count(), 0);
    }
}
