//! The kinds of requests, and what all requests have in common.

use super::Request;

/// What a [`Request`] does, without its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestKind {
    /// [`Request::Read`]
    Read,
    /// [`Request::Write`]
    Write,
    /// [`Request::WriteCompressed`]
    WriteCompressed,
    /// [`Request::WriteZeroes`]
    WriteZeroes,
    /// [`Request::Discard`]
    Discard,
    /// [`Request::Flush`]
    Flush,
    /// [`Request::Status`]
    Status,
    /// [`Request::Resize`]
    Resize,
    /// [`Request::Reopen`]
    Reopen,
    /// [`Request::Check`]
    Check,
}

impl RequestKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 10] = [
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

impl Request {
    /// What it does.
    pub fn kind(&self) -> RequestKind {
        match self {
            Self::Read { .. } => RequestKind::Read,
            Self::Write { .. } => RequestKind::Write,
            Self::WriteCompressed { .. } => RequestKind::WriteCompressed,
            Self::WriteZeroes { .. } => RequestKind::WriteZeroes,
            Self::Discard { .. } => RequestKind::Discard,
            Self::Flush => RequestKind::Flush,
            Self::Status { .. } => RequestKind::Status,
            Self::Resize { .. } => RequestKind::Resize,
            Self::Reopen { .. } => RequestKind::Reopen,
            Self::Check { .. } => RequestKind::Check,
        }
    }

    /// Offset and length in bytes, of requests that have them. The range may wrap around: nothing has been checked.
    pub fn range(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Read { offset, length }
            | Self::Write { offset, length, .. }
            | Self::WriteCompressed { offset, length, .. }
            | Self::WriteZeroes { offset, length, .. }
            | Self::Discard { offset, length }
            | Self::Status { offset, length } => Some((offset, length)),
            Self::Flush | Self::Resize { .. } | Self::Reopen { .. } | Self::Check { .. } => None,
        }
    }

    /// The same request of another range; a request without a range stays as it is. Bytes.
    #[must_use]
    pub fn with_range(mut self, new_offset: u64, new_length: u64) -> Self {
        match &mut self {
            Self::Read { offset, length }
            | Self::Write { offset, length, .. }
            | Self::WriteCompressed { offset, length, .. }
            | Self::WriteZeroes { offset, length, .. }
            | Self::Discard { offset, length }
            | Self::Status { offset, length } => (*offset, *length) = (new_offset, new_length),
            Self::Flush | Self::Resize { .. } | Self::Reopen { .. } | Self::Check { .. } => {}
        }
        self
    }

    /// Bytes that it moves: the length of a read or write, else 0.
    pub fn data_bytes(&self) -> u64 {
        match self.range() {
            Some((_, length)) if self.kind().moves_data() => length,
            _ => 0,
        }
    }
}
