//! What a cluster of a disk is, as its block status says.

use blk_core::BlockStatus;

/// What a cluster of the disk under test is, as its block status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClusterKind {
    /// The layer below shows.
    Unallocated,
    /// Marked as zeroes, without host space.
    ZeroPlain,
    /// Marked as zeroes, keeping host space.
    ZeroAllocated,
    /// Plain data.
    Data,
    /// Compressed data.
    Compressed,
    /// The layer below shows; a place for what is written is there, beside other parts of a cluster.
    Reserved,
}

impl ClusterKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Unallocated,
        Self::ZeroPlain,
        Self::ZeroAllocated,
        Self::Data,
        Self::Compressed,
        Self::Reserved,
    ];

    /// What a status says.
    pub fn of(status: &BlockStatus) -> Self {
        match (status.allocated, status.zero) {
            (false, _) if status.host_offset.is_some() => Self::Reserved,
            (false, _) => Self::Unallocated,
            (true, true) if status.host_offset.is_some() => Self::ZeroAllocated,
            (true, true) => Self::ZeroPlain,
            (true, false) if status.compressed => Self::Compressed,
            (true, false) => Self::Data,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unallocated => "unallocated",
            Self::ZeroPlain => "zero",
            Self::ZeroAllocated => "zero-allocated",
            Self::Data => "data",
            Self::Compressed => "compressed",
            Self::Reserved => "reserved",
        }
    }
}
