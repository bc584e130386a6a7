//! Copy on write: the parts of a new cluster that a write does not cover keep what was there.

use std::io::IoSlice;

use blk_core::Result;

use crate::l2::Cluster;
use crate::metadata::Metadata;
use crate::offset::{GuestOffset, HostOffset};
use crate::qcow2::Qcow2;
use crate::steps;

/// Up to this size, data and copied parts are written at once, each from where it lies.
const JOINED_BYTES_MAX: usize = 256 << 10;

impl Qcow2 {
    /// Fills host clusters from `host` on: `buf` for guest offset `at`, and around it, up to the cluster
    /// boundaries, what `old` (a cluster each, in guest order) held. `fresh` host clusters read as zeroes
    /// already.
    pub(crate) fn write_with_copied_parts(
        &self,
        metadata: &Metadata,
        host: HostOffset,
        fresh: bool,
        old: &[Cluster],
        at: GuestOffset,
        buf: &[u8],
    ) -> Result<()> {
        let geometry = metadata.geometry;
        let head = geometry.in_cluster(at) as usize;
        let end = at + buf.len() as u64;
        let tail = (geometry.round_up(end).get() - end.get()) as usize;
        let clusters = geometry.clusters_of((head + buf.len()) as u64);
        let last = clusters.get() as usize - 1;
        debug_assert!(last < old.len(), "what is replaced is known for each cluster");
        let head = if fresh && self.copies_zeroes(old[0], at - head as u64) { 0 } else { head };
        let tail = if fresh && self.copies_zeroes(old[last], end) { 0 } else { tail };
        let start = host + (geometry.in_cluster(at) - head as u64);
        if head == 0 && tail == 0 {
            self.storage.step(&steps::WRITE_AIO);
            return self.storage.write_at(start.get(), buf);
        }
        let total = head + buf.len() + tail;
        if total <= JOINED_BYTES_MAX {
            let mut copied = vec![0; head + tail];
            let (before, after) = copied.split_at_mut(head);
            self.read_for_copy(metadata, old[0], at - head as u64, before)?;
            self.read_for_copy(metadata, old[last], end, after)?;
            self.storage.step(&steps::WRITE_AIO);
            let parts = [before, buf, after].map(IoSlice::new);
            return self.storage.write_vectored_at(start.get(), &parts);
        }
        self.storage.step(&steps::WRITE_AIO);
        self.storage.write_at((start + head as u64).get(), buf)?;
        self.copy_part(metadata, start, old[0], at - head as u64, head)?;
        self.copy_part(metadata, start + (head + buf.len()) as u64, old[last], end, tail)
    }

    fn copy_part(
        &self,
        metadata: &Metadata,
        host: HostOffset,
        old: Cluster,
        guest: GuestOffset,
        length: usize,
    ) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        let mut part = vec![0; length];
        self.read_for_copy(metadata, old, guest, &mut part)?;
        self.storage.step(&steps::COW_WRITE);
        self.storage.write_at(host.get(), &part)
    }

    /// Whether what would be copied from guest offset `from` on is known to be zeroes.
    fn copies_zeroes(&self, old: Cluster, from: GuestOffset) -> bool {
        match old {
            Cluster::Zero { .. } => true,
            Cluster::Unallocated => self.backing_ends_before(from),
            Cluster::Data { .. } | Cluster::Compressed(_) => false,
        }
    }
}
