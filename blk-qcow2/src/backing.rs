//! What is known, without reading it, about the backing file.

use blk_core::{Disk, Extent};

use crate::offset::GuestOffset;
use crate::qcow2::Qcow2;

impl Qcow2 {
    /// Whether all bytes of the backing file from `offset` on are zeroes because it ends before.
    pub(crate) fn backing_ends_before(&self, offset: GuestOffset) -> bool {
        self.backing.as_deref().is_none_or(|backing| offset.get() >= backing.size())
    }

    /// Whether the bytes of `extent` read as zeroes if they are unallocated here, asking the backing files
    /// for their marks and holes. A status that fails counts as data.
    pub(crate) fn backing_reads_as_zeroes(&self, extent: Extent) -> bool {
        self.backing.as_deref().is_none_or(|backing| reads_as_zeroes(backing, extent))
    }
}

fn reads_as_zeroes(disk: &Disk, extent: Extent) -> bool {
    let end = extent.end().min(disk.size());
    let mut at = extent.offset;
    while at < end {
        let rest = Extent::between(at, end);
        let Ok(status) = disk.block_status(rest) else { return false };
        let run = Extent::new(at, status.length);
        let backing = || disk.backing().is_none_or(|backing| reads_as_zeroes(backing, run));
        if !(status.zero || (!status.allocated && backing())) {
            return false;
        }
        at = run.end();
    }
    true
}
