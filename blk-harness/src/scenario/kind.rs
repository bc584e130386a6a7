//! What all requests have in common, and how they are told to a disk.

use blk_core::{DiscardFlags, Extent, Op, Preallocation, SnapshotAct, WriteFlags, ZeroFlags};
pub use blk_verify::RequestKind;

use super::{Fill, OnBitmap, OnSnapshot, Request};
use crate::journal::Entry;

impl Request {
    /// The request as a disk gets it, without its data. A reopen is none.
    pub fn op(&self) -> Option<Op> {
        let extent = |offset, length| Extent::new(offset, length);
        Some(match *self {
            Self::Read { offset, length } => Op::Read { extent: extent(offset, length) },
            Self::Write { offset, length, fua, .. } => {
                Op::Write { extent: extent(offset, length), flags: WriteFlags { fua, compressed: false } }
            }
            Self::WriteCompressed { offset, length, .. } => Op::Write {
                extent: extent(offset, length),
                flags: WriteFlags { fua: false, compressed: true },
            },
            Self::WriteZeroes { offset, length, unmap: may_unmap, no_fallback, fua } => Op::WriteZeroes {
                extent: extent(offset, length),
                flags: ZeroFlags { fua, may_unmap, no_fallback, fast_only: false },
            },
            Self::Discard { offset, length } => {
                Op::Discard { extent: extent(offset, length), flags: DiscardFlags::default() }
            }
            Self::Flush => Op::Flush,
            Self::Status { offset, length } => Op::BlockStatus { extent: extent(offset, length) },
            Self::Resize { size } => Op::Resize { size, preallocation: Preallocation::Off },
            Self::Check { repair } => Op::Check { repair: repair.mode() },
            Self::Snapshot { act, slot } => match act.change() {
                Some(act) => Op::Snapshot { act, slot },
                // Its size is known once it is made.
                None => Op::ReadSnapshot { slot, extent: Extent::default() },
            },
            Self::Amend { option } => Op::Amend { option },
            Self::Bitmap { act, slot } => match act.change() {
                Some(act) => Op::Bitmap { act, slot },
                None => Op::ReadBitmap { slot },
            },
            Self::Reopen { .. } => return None,
        })
    }

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
            Self::Snapshot { .. } => RequestKind::Snapshot,
            Self::Amend { .. } => RequestKind::Amend,
            Self::Bitmap { .. } => RequestKind::Bitmap,
        }
    }

    /// Offset and length in bytes, of requests that have them. The range may wrap around: nothing has been
    /// checked.
    pub fn range(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Read { offset, length }
            | Self::Write { offset, length, .. }
            | Self::WriteCompressed { offset, length, .. }
            | Self::WriteZeroes { offset, length, .. }
            | Self::Discard { offset, length }
            | Self::Status { offset, length } => Some((offset, length)),
            Self::Flush
            | Self::Resize { .. }
            | Self::Reopen { .. }
            | Self::Check { .. }
            | Self::Snapshot { .. }
            | Self::Amend { .. }
            | Self::Bitmap { .. } => None,
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
            Self::Flush
            | Self::Resize { .. }
            | Self::Reopen { .. }
            | Self::Check { .. }
            | Self::Snapshot { .. }
            | Self::Amend { .. }
            | Self::Bitmap { .. } => {}
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

impl From<Request> for Entry {
    fn from(request: Request) -> Self {
        match (request.op(), request) {
            (Some(op), _) => Self::Op(op),
            (None, request) => Self::Reopen { kill: request == Request::Reopen { kill: true } },
        }
    }
}

/// As a scenario has it: a write has stamps, and what scenarios have no word for is left out.
impl From<Entry> for Request {
    fn from(entry: Entry) -> Self {
        let op = match entry {
            Entry::Op(op) => op,
            Entry::Reopen { kill } => return Self::Reopen { kill },
        };
        let Extent { offset, length } = op.extent().unwrap_or_default();
        let fill = Fill::Stamp;
        match op {
            Op::Read { .. } | Op::Prefetch { .. } => Self::Read { offset, length },
            Op::Write { flags: WriteFlags { compressed: true, .. }, .. } => {
                Self::WriteCompressed { offset, length, fill }
            }
            Op::Write { flags: WriteFlags { fua, .. }, .. } => Self::Write { offset, length, fill, fua },
            Op::WriteZeroes { flags, .. } => {
                let ZeroFlags { fua, may_unmap: unmap, no_fallback, .. } = flags;
                Self::WriteZeroes { offset, length, unmap, no_fallback, fua }
            }
            Op::Discard { .. } => Self::Discard { offset, length },
            Op::Flush => Self::Flush,
            Op::BlockStatus { .. } => Self::Status { offset, length },
            Op::Resize { size, .. } => Self::Resize { size },
            Op::Check { repair } => Self::Check { repair: repair.into() },
            Op::Snapshot { act, slot } => {
                let act = match act {
                    SnapshotAct::Create => OnSnapshot::Create,
                    SnapshotAct::Apply => OnSnapshot::Apply,
                    SnapshotAct::Delete => OnSnapshot::Delete,
                };
                Self::Snapshot { act, slot }
            }
            Op::ReadSnapshot { slot, .. } => Self::Snapshot { act: OnSnapshot::Read, slot },
            Op::Amend { option } => Self::Amend { option },
            Op::Bitmap { act, slot } => Self::Bitmap { act: act.into(), slot },
            Op::ReadBitmap { slot } => Self::Bitmap { act: OnBitmap::Read, slot },
        }
    }
}

#[cfg(test)]
mod tests {
    use blk_core::ShortText;

    use super::*;
    use crate::scenario::Repair;

    #[test]
    fn requests_and_what_a_disk_gets_are_told_in_the_same_words() {
        let (offset, length, fill) = (512, 65_536, Fill::Stamp);
        let requests = [
            Request::Read { offset, length },
            Request::Write { offset, length, fill, fua: false },
            Request::Write { offset, length, fill, fua: true },
            Request::WriteCompressed { offset, length, fill },
            Request::WriteZeroes { offset, length, unmap: true, no_fallback: false, fua: true },
            Request::WriteZeroes { offset, length, unmap: false, no_fallback: true, fua: false },
            Request::Discard { offset, length },
            Request::Flush,
            Request::Status { offset, length },
            Request::Resize { size: 1 << 20 },
            Request::Reopen { kill: false },
            Request::Reopen { kill: true },
            Request::Check { repair: Repair::None },
            Request::Check { repair: Repair::Leaks },
            Request::Check { repair: Repair::All },
            Request::Snapshot { act: OnSnapshot::Create, slot: 0 },
            Request::Snapshot { act: OnSnapshot::Apply, slot: 1 },
            Request::Snapshot { act: OnSnapshot::Delete, slot: 2 },
            Request::Snapshot { act: OnSnapshot::Read, slot: 63 },
            Request::Amend { option: ShortText::new("compat=0.10").unwrap() },
        ];
        let merges = Request::Bitmap { act: OnBitmap::Merge(3), slot: 1 };
        let bitmaps = OnBitmap::ALL.map(|act| Request::Bitmap { act, slot: 31 });
        for request in requests.into_iter().chain(bitmaps).chain([merges]) {
            let entry = Entry::from(request);
            assert_eq!(entry.to_string(), request.to_string());
            assert_eq!((entry.kind(), Request::from(entry)), (request.kind(), request));
        }
    }
}
