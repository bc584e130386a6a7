//! Writing zeroes: whole subclusters get a mark where the version has one, parts of them get data.

use blk_core::{Error, Extent, Result, ZeroFlags};

use crate::free_space::FreeReason;
use crate::geometry::Geometry;
use crate::l2::{Cluster, Entry, Place};
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
    Entry { entry: Entry, free: bool },
    /// Only data will do.
    Write,
}

impl Qcow2 {
    /// Makes `extent` read as zeroes.
    ///
    /// Whole subclusters of version 3 are marked, also without a backing file: a mark says that they were
    /// written. A part of a subcluster makes all of it a marked one if the rest reads as zeroes too.
    pub(crate) fn zero_guest(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let inner = self.whole_units(extent, self.geometry.subcluster_bytes());
        let (head, tail) = if inner.is_empty() {
            (extent, Extent::new(extent.end(), 0))
        } else {
            let inner_end = inner.end().min(extent.end());
            (Extent::between(extent.offset, inner.offset), Extent::between(inner_end, extent.end()))
        };
        if flags.may_be_refused() {
            self.check_marks_suffice(head, inner, tail)?;
        }
        let _recording = self.begin_write(extent)?;
        self.zero_parts(head, flags)?;
        self.zero_clusters(inner, flags)?;
        self.zero_parts(tail, flags)
    }

    /// The whole clusters inside `extent`. The last cluster of the disk counts as whole once all of it that
    /// belongs to the disk is covered.
    pub(crate) fn whole_clusters(&self, extent: Extent) -> Extent {
        self.whole_units(extent, self.geometry.cluster_bytes())
    }

    /// As [`Qcow2::whole_clusters`] in units of `unit_bytes`, a subcluster or a cluster.
    fn whole_units(&self, extent: Extent, unit_bytes: u64) -> Extent {
        let at_end = extent.end() == self.size_bytes();
        let cluster_bytes = self.geometry.cluster_bytes();
        let end = if at_end { extent.end().next_multiple_of(cluster_bytes) } else { extent.end() };
        let inner = Extent::between(extent.offset, end).align_inward(unit_bytes);
        // Subclusters behind the end of the disk alone are none of it.
        if inner.offset < extent.end() { inner } else { Extent::default() }
    }

    /// Fails if some of a request, `inner` of it in whole subclusters, could only be zeroed by writing data.
    fn check_marks_suffice(&self, head: Extent, inner: Extent, tail: Extent) -> Result<()> {
        let mut metadata = self.metadata.write();
        if metadata.header.version < 3 {
            return Err(Error::unsupported("version 2 has no mark for zero clusters"));
        }
        for edge in [inner.offset, inner.end()].map(GuestOffset::new) {
            let is_inside = !inner.is_empty() && !self.geometry.is_cluster_aligned(edge);
            if is_inside && matches!(metadata.entry_of(edge)?.place, Place::Compressed(_)) {
                return Err(Error::unsupported("write zeroes to a part of a compressed cluster"));
            }
        }
        for part in self.parts(head).chain(self.parts(tail)) {
            if !self.rest_is_zero(&mut metadata, part)? {
                return Err(Error::unsupported("write zeroes to a part of a cluster without writing data"));
            }
        }
        Ok(())
    }

    /// `extent` cut at the boundaries of subclusters.
    fn parts(&self, extent: Extent) -> impl Iterator<Item = Extent> + use<> {
        extent.parts(self.geometry.subcluster_bytes())
    }

    /// Whether nothing is stored for the subcluster of `part`, and all around `part` reads as zeroes.
    fn rest_is_zero(&self, metadata: &mut Metadata, part: Extent) -> Result<bool> {
        Ok(match metadata.find(part)?.cluster {
            Cluster::Zero { .. } => true,
            Cluster::Unallocated | Cluster::Reserved { .. } => {
                let at = GuestOffset::new(part.offset);
                let start = self.geometry.subcluster_start(at);
                let end = (start.get() + self.geometry.subcluster_bytes()).min(self.size_bytes());
                self.backing_reads_as_zeroes(start.to(at))
                    && self.backing_reads_as_zeroes(Extent::between(part.end(), end))
            }
            Cluster::Data { .. } | Cluster::Compressed(_) => false,
        })
    }

    fn zero_parts(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.parts(extent).try_for_each(|part| self.zero_part(part, flags))
    }

    /// Zeroes a part of a subcluster: all of it becomes a marked one where that shows in `part` alone, else
    /// data is written.
    fn zero_part(&self, part: Extent, flags: ZeroFlags) -> Result<()> {
        let found = self.metadata.read().lookup(part)?;
        if !matches!(found, Lookup::Found(Run { cluster: Cluster::Data { .. }, .. })) {
            let mut metadata = self.metadata.write();
            metadata.check_usable()?;
            metadata.check_reach(part.offset, part.end())?;
            // Nothing may be written to the rest of it between the question and the mark.
            if self.rest_is_zero(&mut metadata, part)? {
                let start = self.geometry.subcluster_start(GuestOffset::new(part.offset));
                let end = start + self.geometry.subcluster_bytes();
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

    /// Zeroes whole subclusters. Other requests get their turn between two parts of it.
    pub(crate) fn zero_clusters(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        for part in extent.parts(LOCKED_BYTES_MAX) {
            let mut metadata = self.metadata.write();
            metadata.check_usable()?;
            metadata.check_clusters_reach(part)?;
            let (mut at, end) = (GuestOffset::new(part.offset), GuestOffset::new(part.end()));
            while at < end {
                let next = self.zero_next(&mut metadata, at, end, flags)?;
                debug_assert!(next > at, "each step zeroes something");
                at = next;
            }
        }
        Ok(())
    }

    /// Zeroes the subclusters at the start of `at..end` that can be done at once. Returns where to go on.
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
        let geometry = metadata.geometry;
        let entry = metadata.entry_of(at)?;
        let cluster_end = geometry.cluster_start(at) + geometry.cluster_bytes();
        let stop = end.min(cluster_end);
        match self.plan(version, entry, at.to(stop), flags) {
            Plan::Keep => {}
            Plan::Entry { entry: zeroed, free } => {
                if free {
                    check_old_freeable(metadata, entry)?;
                    self.punch_data(metadata, at)?;
                }
                let slot = metadata.l2_for_write(at)?;
                metadata.set_l2_entry(slot, zeroed);
                if free {
                    free_old(metadata, entry, FreeReason::Discard);
                }
            }
            Plan::Write => self.overwrite_with_zeroes(metadata, at, stop)?,
        }
        Ok(stop)
    }

    /// For `part` of a cluster that has a host cluster, or is unallocated on version 2 over a backing file.
    fn plan(&self, version: u32, entry: Entry, part: Extent, flags: ZeroFlags) -> Plan {
        let geometry = self.geometry;
        let cluster = geometry.cluster_start(GuestOffset::new(part.offset));
        let zeroed = geometry.touched_subclusters(cluster, part);
        let is_whole = zeroed == geometry.all_subclusters();
        let place = entry.place;
        match place {
            Place::Compressed(_) if !is_whole => Plan::Write,
            _ if entry.zero & zeroed == zeroed && !(is_whole && flags.may_unmap) => Plan::Keep,
            _ if version < 3 && self.backing.is_none() && flags.may_unmap => {
                Plan::Entry { entry: Entry::UNALLOCATED, free: true }
            }
            _ if version < 3 => Plan::Write,
            // A part gives nothing back: its cluster is still there for the others.
            Place::Plain { .. } if !is_whole => Plan::Entry {
                entry: Entry { place, allocated: entry.allocated & !zeroed, zero: entry.zero | zeroed },
                free: false,
            },
            Place::Plain { copied: true, .. } if !flags.may_unmap => {
                Plan::Entry { entry: Entry { place, allocated: 0, zero: zeroed }, free: false }
            }
            _ => Plan::Entry { entry: Entry::zeroes(geometry), free: true },
        }
    }

    fn overwrite_with_zeroes(
        &self,
        metadata: &mut Metadata,
        at: GuestOffset,
        end: GuestOffset,
    ) -> Result<()> {
        let length = at.to(end).length as usize;
        let written = self.write_exclusively(metadata, at, &ZEROES[..length])?;
        debug_assert_eq!(written, length, "a part of a cluster is written in one go");
        Ok(())
    }
}

/// Marks the subclusters of the unallocated run of `length` bytes at `at`, which ends with its slice of the
/// L2 table at the latest. Returns where to go on.
pub(crate) fn mark_run(metadata: &mut Metadata, at: GuestOffset, length: u64) -> Result<GuestOffset> {
    assert!(metadata.header.version >= 3, "version 2 has no mark for zero clusters");
    let geometry = metadata.geometry;
    let mut slot = metadata.l2_for_write(at)?;
    let clusters = geometry.clusters_of(geometry.in_cluster(at) + length);
    let left = metadata.entries_per_slice() - slot.index;
    assert!(
        clusters.get() <= left as u64,
        "a run of {clusters:?} ends where its slice does: {left} are left"
    );
    let end =
        at + geometry.subcluster_start(GuestOffset::new(length + geometry.subcluster_bytes() - 1)).get();
    let mut cluster = geometry.cluster_start(at);
    while cluster < end {
        let marked = geometry.touched_subclusters(cluster, at.to(end));
        // Where some stay what they are, those may have marks.
        let old = if marked == geometry.all_subclusters() { 0 } else { metadata.entry_of(cluster)?.zero };
        metadata.set_l2_entry(slot, Entry { zero: old | marked, ..Entry::UNALLOCATED });
        slot = slot.after(1);
        cluster += geometry.cluster_bytes();
    }
    Ok(end)
}
