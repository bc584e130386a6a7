//! Which host clusters hold metadata: asked before every write, so that a wrong table entry never destroys
//! another table.

use std::fmt;

use rustc_hash::FxHashMap;

use blk_core::Storage;

use crate::bitmap::directory::DIRECTORY_BYTES_MAX;
use crate::geometry::Geometry;
use crate::header::{Encryption, Header};
use crate::l2::entry_offset;
use crate::offset::{ClusterCount, HostCluster, HostExtent, HostOffset};
use crate::overlap::Parts;
use crate::pointer_table::PointerTable;
use crate::snapshot::SnapshotTable;

/// What a host cluster holds besides guest data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Header,
    L1Table,
    RefcountTable,
    L2Table,
    RefcountBlock,
    SnapshotTable,
    /// Of a snapshot.
    InactiveL1Table,
    /// Of a snapshot.
    InactiveL2Table,
    BitmapDirectory,
    /// Of the encryption: without it, all data is lost.
    EncryptionHeader,
    /// Two structures claim it: nothing may be written to it.
    Contested,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the header",
            Self::L1Table => "the L1 table",
            Self::RefcountTable => "the refcount table",
            Self::L2Table => "an L2 table",
            Self::RefcountBlock => "a refcount block",
            Self::SnapshotTable => "the snapshot table",
            Self::InactiveL1Table => "a snapshot's L1 table",
            Self::InactiveL2Table => "a snapshot's L2 table",
            Self::BitmapDirectory => "the directory of bitmaps",
            Self::EncryptionHeader => "the header of the encryption",
            Self::Contested => "two metadata structures",
        })
    }
}

/// A contiguous table, in clusters.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    first: HostCluster,
    count: ClusterCount,
}

impl Span {
    fn contains(self, cluster: HostCluster) -> bool {
        cluster.index().wrapping_sub(self.first.index()) < self.count.get()
    }
}

/// The metadata clusters of an open image.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    l1_table: Span,
    refcount_table: Span,
    /// L2 tables and refcount blocks, by host cluster.
    clusters: FxHashMap<HostCluster, Role>,
    /// What is never written here, by host cluster: structures that other programs maintain.
    kept: FxHashMap<HostCluster, Role>,
    /// What writes are checked against.
    checked: Parts,
}

/// Clusters of structures that are never written: an image that claims more has the others unguarded.
const KEPT_MAX: usize = 1 << 18;

/// The longest header of an encryption: eight slots of as many stripes as any key has take less.
const ENCRYPTION_BYTES_MAX: u64 = 64 << 20;

/// Bytes of L1 tables of snapshots that are walked although others lie on them.
const OVERLAPPING_BYTES_MAX: u64 = 16 << 20;

impl Roles {
    /// The roles of an image with this header and these tables. Writes are checked against `parts`.
    pub(crate) fn of_image(
        storage: &dyn Storage,
        header: &Header,
        l1: &PointerTable,
        refcount_table: &PointerTable,
        parts: Parts,
    ) -> Self {
        let mut roles = Self::collect(header.geometry, l1.entries(), refcount_table.entries());
        roles.set_tables(header);
        roles.guard(parts, storage, header);
        roles
    }

    /// Collects the roles from the tables of an image that is being opened. Entries that are not valid are
    /// left out: using them fails on its own.
    pub(crate) fn collect(geometry: Geometry, l1: &[u64], refcount_table: &[u64]) -> Self {
        let mut roles = Self::default();
        for entry in l1.iter().filter(|entry| **entry != 0) {
            roles.claim(geometry.cluster_of(entry_offset(*entry)), Role::L2Table);
        }
        for entry in refcount_table.iter().filter(|entry| **entry != 0) {
            if let Some(block) = HostOffset::try_new(*entry) {
                roles.claim(geometry.cluster_of(block), Role::RefcountBlock);
            }
        }
        roles
    }

    /// From now on, writes are checked against `parts`. Of snapshots and bitmaps, what cannot be read is left
    /// out: it is a check's business.
    pub(crate) fn guard(&mut self, parts: Parts, storage: &dyn Storage, header: &Header) {
        self.checked = parts;
        let geometry = header.geometry;
        if let Some(Encryption::Luks(extent)) = header.encryption {
            // One that is longer is none; it must not use up what there is to keep.
            let longest = ENCRYPTION_BYTES_MAX.min(storage.len().unwrap_or(0));
            self.keep(extent.start, extent.length.min(longest), geometry, Role::EncryptionHeader);
        }
        // One that nobody vouches for is out of date: its clusters are leaks, which a repair gives back.
        if let Some(directory) = header.vouched_bitmaps() {
            // One that lies in no file is left to a check.
            if let Some(start) = HostOffset::try_new(directory.extent.offset) {
                // One that is longer is none; it must not use up what there is to keep.
                let longest = DIRECTORY_BYTES_MAX.min(storage.len().unwrap_or(0));
                let length = directory.extent.length.min(longest);
                self.keep(start, length, geometry, Role::BitmapDirectory);
            }
        }
        if header.snapshot_count == 0 {
            return;
        }
        let Ok(snapshots) = SnapshotTable::read(storage, header) else {
            // Where it begins is known at least.
            return self.keep(header.snapshots_offset, 1, geometry, Role::SnapshotTable);
        };
        self.keep(snapshots.extent.start, snapshots.extent.length, geometry, Role::SnapshotTable);
        let tables = snapshots.l1_tables.iter().filter_map(|table| table.extent(geometry));
        let file_bytes = storage.len().unwrap_or(0);
        // Tables that do not overlap fit into the file; many more are not worth the time.
        let mut bytes_left = file_bytes.saturating_add(OVERLAPPING_BYTES_MAX);
        for table in tables {
            // Past the end of the file there are no entries.
            let length = table.length.min(file_bytes.saturating_sub(table.start.get()));
            self.keep(table.start, length, geometry, Role::InactiveL1Table);
            let Some(left) = bytes_left.checked_sub(length) else { break };
            bytes_left = left;
            if parts.has(Role::InactiveL2Table)
                && let Ok(l1) = PointerTable::read(storage, table.start, (length / 8) as usize)
            {
                for entry in l1.entries().iter().filter(|entry| **entry != 0) {
                    self.keep(entry_offset(*entry), 1, geometry, Role::InactiveL2Table);
                }
            }
        }
    }

    /// The directory of bitmaps lies there now, or nowhere.
    pub(crate) fn set_bitmap_directory(&mut self, extent: Option<HostExtent>, geometry: Geometry) {
        self.kept.retain(|_, role| *role != Role::BitmapDirectory);
        if let Some(extent) = extent {
            self.keep(extent.start, extent.length, geometry, Role::BitmapDirectory);
        }
    }

    /// `length` bytes from `start` on are never written here. An image may say any length: more than a file
    /// has is ignored.
    fn keep(&mut self, start: HostOffset, length: u64, geometry: Geometry, role: Role) {
        let is_in_a_file = start.get().checked_add(length).and_then(HostOffset::try_new).is_some();
        if length == 0 || !is_in_a_file {
            return;
        }
        for cluster in geometry.touched(start.with_length(length)) {
            if self.kept.len() >= KEPT_MAX {
                break;
            }
            let differs = |held: &mut Role| *held = if *held == role { role } else { Role::Contested };
            self.kept.entry(cluster).and_modify(differs).or_insert(role);
        }
    }

    /// What a write to `cluster` would destroy, as far as that is checked.
    #[inline]
    pub(crate) fn guarded(&self, cluster: HostCluster) -> Option<Role> {
        let checked = |role: &Role| self.checked.has(*role);
        self.of(cluster).filter(checked).or_else(|| self.kept(cluster))
    }

    /// What of other programs `cluster` holds, as far as that is checked.
    #[inline]
    pub(crate) fn kept(&self, cluster: HostCluster) -> Option<Role> {
        let held = || self.kept.get(&cluster).copied();
        if self.kept.is_empty() { None } else { held().filter(|role| self.checked.has(*role)) }
    }

    /// What else than `expected` would be lost with `cluster`. A table that a snapshot shares is only one
    /// reference less.
    pub(crate) fn lost_with(&self, cluster: HostCluster, expected: Option<Role>) -> Option<Role> {
        let is_shared = |kept: Role| {
            Some(kept) == expected || (kept == Role::InactiveL2Table && expected == Some(Role::L2Table))
        };
        let kept = || self.kept(cluster).filter(|kept| !is_shared(*kept));
        self.of(cluster).filter(|role| Some(*role) != expected).or_else(kept)
    }

    /// The header points to these tables now.
    pub(crate) fn set_tables(&mut self, header: &Header) {
        let geometry = header.geometry;
        let span = |table: HostExtent| Span {
            first: geometry.cluster_of(table.start),
            count: geometry.clusters_of(table.length),
        };
        self.l1_table = span(header.l1_table());
        self.refcount_table = span(header.refcount_table());
    }

    /// What `cluster` holds, if it is metadata that is written here. The header is the header, whatever else
    /// claims it.
    #[inline]
    pub(crate) fn of(&self, cluster: HostCluster) -> Option<Role> {
        if cluster == HostCluster::default() {
            return Some(Role::Header);
        }
        let mut found = self.clusters.get(&cluster).copied();
        for (table, role) in [(self.l1_table, Role::L1Table), (self.refcount_table, Role::RefcountTable)] {
            if table.contains(cluster) {
                found = Some(found.map_or(role, |_| Role::Contested));
            }
        }
        found
    }

    /// `cluster` becomes an L2 table or a refcount block. The same L2 table reached twice is contested too.
    pub(crate) fn claim(&mut self, cluster: HostCluster, role: Role) {
        self.clusters.entry(cluster).and_modify(|held| *held = Role::Contested).or_insert(role);
    }

    /// Nothing durable refers to `cluster` any more: if it was an L2 table, it is none. Until then a crash
    /// would leave it in use, so it is guarded.
    pub(crate) fn release_l2_table(&mut self, cluster: HostCluster) {
        if self.clusters.get(&cluster) == Some(&Role::L2Table) {
            self.clusters.remove(&cluster);
        }
    }

    /// As [`Roles::release_l2_table`], for a block of refcounts.
    pub(crate) fn release_refcount_block(&mut self, cluster: HostCluster) {
        if self.clusters.get(&cluster) == Some(&Role::RefcountBlock) {
            self.clusters.remove(&cluster);
        }
    }

    /// Whether writes are checked against everything that says which clusters are free, so that what is in
    /// memory of it can be trusted: with options that leave a check out, an image whose tables are wrong can
    /// change it.
    pub(crate) fn protects_refcounts(&self) -> bool {
        [Role::Header, Role::RefcountTable, Role::RefcountBlock]
            .into_iter()
            .all(|role| self.checked.has(role))
    }
}
