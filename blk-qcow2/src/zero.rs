//! Writing zeroes: whole clusters get a mark where the version has one, parts of clusters get data.

use blk_core::{Error, Extent, Result, ZeroFlags};

use crate::free_space::FreeReason;
use crate::geometry::Geometry;
use crate::l2::{Cluster, ZERO, data_entry};
use crate::mapping::{Lookup, Run};
use crate::metadata::Metadata;
use crate::offset::GuestOffset;
use crate::qcow2::Qcow2;
use crate::write::{check_old_freeable, free_old};

/// As many as the largest cluster has: none is filled from the backing file first, only to be overwritten by
/// a second piece.
static ZEROES: [u8; 1 << Geometry::CLUSTER_BITS_MAX] = [0; 1 << Geometry::CLUSTER_BITS_MAX];

/// For how much of a request, bytes, the metadata are locked in one go; a multiple of every cluster.
pub(crate) const LOCKED_BYTES_MAX: u64 = 1 << 30;

/// What becomes of a whole cluster that is to read as zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// It does already.
    Keep,
    /// The entry becomes this; the old host clusters go if `free`.
    Entry { entry: u64, free: bool },
    /// Only data will do.
    Write,
}

impl Qcow2 {
    /// Makes `extent` read as zeroes.
    ///
    /// Whole clusters of version 3 are marked, also without a backing file: a mark says that they were
    /// written. A part of a cluster makes all of it a marked one if the rest reads as zeroes too.
    pub(crate) fn zero_guest(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let inner = self.whole_clusters(extent);
        let (head, tail) = if inner.is_empty() {
            (extent, Extent::new(extent.end(), 0))
        } else {
            let inner_end = inner.end().min(extent.end());
            (Extent::between(extent.offset, inner.offset), Extent::between(inner_end, extent.end()))
        };
        if flags.may_be_refused() {
            self.check_marks_suffice(head, tail)?;
        }
        let _recording = self.begin_write(extent)?;
        self.zero_parts(head, flags)?;
        self.zero_clusters(inner, flags)?;
        self.zero_parts(tail, flags)
    }

    /// The whole clusters inside `extent`. The last cluster of the disk counts as whole once all of it that
    /// belongs to the disk is covered.
    pub(crate) fn whole_clusters(&self, extent: Extent) -> Extent {
        let cluster_bytes = self.geometry.cluster_bytes();
        let at_end = extent.end() == self.size_bytes();
        let end = if at_end { extent.end().next_multiple_of(cluster_bytes) } else { extent.end() };
        Extent::between(extent.offset, end).align_inward(cluster_bytes)
    }

    /// Fails if some of a request could only be zeroed by writing data.
    fn check_marks_suffice(&self, head: Extent, tail: Extent) -> Result<()> {
        let mut metadata = self.metadata.write();
        if metadata.header.version < 3 {
            return Err(Error::unsupported("version 2 has no mark for zero clusters"));
        }
        for part in self.parts(head).chain(self.parts(tail)) {
            if !self.rest_is_zero(&mut metadata, part)? {
                return Err(Error::unsupported("write zeroes to a part of a cluster without writing data"));
            }
        }
        Ok(())
    }

    /// `extent` cut at the boundaries of clusters.
    fn parts(&self, extent: Extent) -> impl Iterator<Item = Extent> + use<> {
        extent.parts(self.geometry.cluster_bytes())
    }

    /// Whether nothing is stored for the cluster of `part`, and all around `part` reads as zeroes.
    fn rest_is_zero(&self, metadata: &mut Metadata, part: Extent) -> Result<bool> {
        Ok(match metadata.find(part)?.cluster {
            Cluster::Zero { .. } => true,
            Cluster::Unallocated => {
                let at = GuestOffset::new(part.offset);
                let start = self.geometry.cluster_start(at);
                let end = (start.get() + self.geometry.cluster_bytes()).min(self.size_bytes());
                self.backing_reads_as_zeroes(start.to(at))
                    && self.backing_reads_as_zeroes(Extent::between(part.end(), end))
            }
            Cluster::Data { .. } | Cluster::Compressed(_) => false,
        })
    }

    fn zero_parts(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.parts(extent).try_for_each(|part| self.zero_part(part, flags))
    }

    /// Zeroes a part of a cluster: all of the cluster becomes a marked one where that shows in `part` alone,
    /// else data is written.
    fn zero_part(&self, part: Extent, flags: ZeroFlags) -> Result<()> {
        let found = self.metadata.read().lookup(part)?;
        if !matches!(found, Lookup::Found(Run { cluster: Cluster::Data { .. }, .. })) {
            let mut metadata = self.metadata.write();
            metadata.check_usable()?;
            // Nothing may be written to the rest of the cluster between the question and the mark.
            if self.rest_is_zero(&mut metadata, part)? {
                let start = self.geometry.cluster_start(GuestOffset::new(part.offset));
                let end = start + self.geometry.cluster_bytes();
                return self.zero_next(&mut metadata, start, end, flags).map(|_| ());
            }
        }
        self.write_zero_data(part)
    }

    /// Writes zeroes as data to a part of one cluster, or to all of it.
    pub(crate) fn write_zero_data(&self, part: Extent) -> Result<()> {
        debug_assert!(part.length <= self.geometry.cluster_bytes(), "{part:?} is more than a cluster");
        self.write_guest(GuestOffset::new(part.offset), &ZEROES[..part.length as usize])
    }

    /// Zeroes whole clusters. Other requests get their turn between two parts of it.
    pub(crate) fn zero_clusters(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        for part in extent.parts(LOCKED_BYTES_MAX) {
            let mut metadata = self.metadata.write();
            metadata.check_usable()?;
            let (mut at, end) = (GuestOffset::new(part.offset), GuestOffset::new(part.end()));
            while at < end {
                let next = self.zero_next(&mut metadata, at, end, flags)?;
                debug_assert!(next > at, "each step zeroes something");
                at = next;
            }
        }
        Ok(())
    }

    /// Zeroes the clusters at the start of `at..end` that can be done at once. Returns where to go on.
    pub(crate) fn zero_next(
        &self,
        metadata: &mut Metadata,
        at: GuestOffset,
        end: GuestOffset,
        flags: ZeroFlags,
    ) -> Result<GuestOffset> {
        let run = metadata.find_in_slice(at, end)?;
        let version = metadata.header.version;
        match run.cluster {
            Cluster::Zero { host: None, .. } => return Ok(at + run.length),
            Cluster::Unallocated if version >= 3 => return mark_run(metadata, at, run.length),
            Cluster::Unallocated if self.backing.is_none() => return Ok(at + run.length),
            _ => {}
        }
        match self.plan(version, run.cluster, flags) {
            Plan::Keep => {}
            Plan::Entry { entry, free } => {
                if free {
                    check_old_freeable(metadata, run.cluster)?;
                }
                let slot = metadata.l2_for_write(at)?;
                metadata.set_l2_entry(slot, entry);
                if free {
                    free_old(metadata, run.cluster, FreeReason::Discard);
                }
            }
            Plan::Write => self.overwrite_with_zeroes(metadata, at)?,
        }
        Ok(at + metadata.geometry.cluster_bytes())
    }

    /// For a cluster that has a host cluster, or is unallocated on version 2 over a backing file.
    fn plan(&self, version: u32, cluster: Cluster, flags: ZeroFlags) -> Plan {
        match cluster {
            Cluster::Zero { .. } if !flags.may_unmap => Plan::Keep,
            _ if version < 3 && self.backing.is_none() && flags.may_unmap => {
                Plan::Entry { entry: 0, free: true }
            }
            _ if version < 3 => Plan::Write,
            Cluster::Data { host, copied: true } if !flags.may_unmap => {
                Plan::Entry { entry: data_entry(host) | ZERO, free: false }
            }
            _ => Plan::Entry { entry: ZERO, free: true },
        }
    }

    fn overwrite_with_zeroes(&self, metadata: &mut Metadata, at: GuestOffset) -> Result<()> {
        let cluster_bytes = metadata.geometry.cluster_bytes() as usize;
        let written = self.write_exclusively(metadata, at, &ZEROES[..cluster_bytes])?;
        debug_assert_eq!(written, cluster_bytes, "a cluster is written in one go");
        Ok(())
    }
}

/// Marks the clusters of the unallocated run of `length` bytes at `at`, which ends with its slice of the L2
/// table at the latest. Returns where to go on.
pub(crate) fn mark_run(metadata: &mut Metadata, at: GuestOffset, length: u64) -> Result<GuestOffset> {
    assert!(metadata.header.version >= 3, "version 2 has no mark for zero clusters");
    let slot = metadata.l2_for_write(at)?;
    let clusters = metadata.geometry.clusters_of(length);
    let left = metadata.l2.entries_per_slice() - slot.index;
    assert!(
        clusters.get() <= left as u64,
        "a run of {clusters:?} ends where its slice does: {left} are left"
    );
    for number in 0..clusters.get() as usize {
        metadata.set_l2_entry(slot.after(number), ZERO);
    }
    Ok(at + metadata.geometry.bytes_of(clusters))
}
