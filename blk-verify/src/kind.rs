//! The kinds of requests, as reports and signatures name them.

use blk_core::OpKind;

/// What is asked of a disk, or done to it, without the operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestKind {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A write that is stored compressed.
    WriteCompressed,
    /// Zeroes are written.
    WriteZeroes,
    /// A discard.
    Discard,
    /// A flush.
    Flush,
    /// A block status.
    Status,
    /// A resize.
    Resize,
    /// The disk is closed and opened again.
    Reopen,
    /// A check of the image.
    Check,
    /// A snapshot inside the image is created, applied, deleted or read.
    Snapshot,
    /// An option of the image is changed.
    Amend,
    /// A dirty bitmap inside the image is added, removed, changed or read.
    Bitmap,
}

impl RequestKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::Read,
        Self::Write,
        Self::WriteCompressed,
        Self::WriteZeroes,
        Self::Discard,
        Self::Flush,
        Self::Status,
        Self::Resize,
        Self::Reopen,
        Self::Check,
        Self::Snapshot,
        Self::Amend,
        Self::Bitmap,
    ];

    /// Its place in [`RequestKind::ALL`], for tables.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name as a request line begins.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteCompressed => "write -c",
            Self::WriteZeroes => "write -z",
            Self::Discard => "discard",
            Self::Flush => "flush",
            Self::Status => "map",
            Self::Resize => "truncate",
            Self::Reopen => "reopen",
            Self::Check => "check",
            Self::Snapshot => "snapshot",
            Self::Amend => "amend",
            Self::Bitmap => "bitmap",
        }
    }

    /// Whether requests of this kind are meant to change what the disk shows.
    pub fn changes_content(self) -> bool {
        matches!(self, Self::Write | Self::WriteCompressed | Self::WriteZeroes | Self::Discard | Self::Resize)
    }

    /// Whether requests of this kind move as many bytes as they are long.
    pub fn moves_data(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::WriteCompressed)
    }
}

/// A request without a form in scenarios of its own, a prefetch, is a read there: it changes nothing.
impl From<OpKind> for RequestKind {
    fn from(kind: OpKind) -> Self {
        match kind {
            OpKind::Read | OpKind::Prefetch => Self::Read,
            OpKind::Write => Self::Write,
            OpKind::WriteCompressed => Self::WriteCompressed,
            OpKind::WriteZeroes => Self::WriteZeroes,
            OpKind::Discard => Self::Discard,
            OpKind::Flush => Self::Flush,
            OpKind::BlockStatus => Self::Status,
            OpKind::Resize => Self::Resize,
            OpKind::Check => Self::Check,
            OpKind::Snapshot | OpKind::ReadSnapshot => Self::Snapshot,
            OpKind::Amend => Self::Amend,
            OpKind::Bitmap | OpKind::ReadBitmap => Self::Bitmap,
        }
    }
}
