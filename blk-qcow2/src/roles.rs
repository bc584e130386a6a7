//! Which host clusters hold metadata: asked before every write, so that a wrong table entry never destroys another table.

use std::fmt;

use rustc_hash::FxHashMap;

use blk_core::{Extent, Storage};

use crate::geometry::Geometry;
use crate::header::Header;
use crate::l2::OFFSET_MASK;
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
            Self::Contested => "two metadata structures",
        })
    }
}

/// A contiguous table, in clusters.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    first: u64,
    count: u64,
}

impl Span {
    fn contains(self, cluster: u64) -> bool {
        cluster.wrapping_sub(self.first) < self.count
    }
}

/// The metadata clusters of an open image.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    l1_table: Span,
    refcount_table: Span,
    /// L2 tables and refcount blocks, by host cluster.
    clusters: FxHashMap<u64, Role>,
    /// What is never written here, by host cluster: it is kept for others.
    kept: FxHashMap<u64, Role>,
    /// What writes are checked against.
    checked: Parts,
}

/// Clusters of structures that are never written: an image that claims more has the others unguarded.
const KEPT_MAX: usize = 1 << 18;

impl Roles {
    /// Collects the roles from the tables of an image that is being opened. Entries that are not valid are left out: using
    /// them fails on its own.
    pub(crate) fn collect(geometry: Geometry, l1: &[u64], refcount_table: &[u64]) -> Self {
        let mut roles = Self::default();
        for entry in l1.iter().filter(|entry| **entry != 0) {
            roles.claim((entry & OFFSET_MASK) >> geometry.cluster_bits(), Role::L2Table);
        }
        for entry in refcount_table.iter().filter(|entry| **entry != 0) {
            roles.claim(entry >> geometry.cluster_bits(), Role::RefcountBlock);
        }
        roles
    }

    /// From now on, writes are checked against `parts`. Of snapshots and bitmaps, what cannot be read is left out: it is a check's
    /// business.
    pub(crate) fn guard(&mut self, parts: Parts, storage: &dyn Storage, header: &Header) {
        self.checked = parts;
        let bits = header.geometry.cluster_bits();
        if let Some(directory) = header.bitmaps {
            self.keep(directory.extent, bits, Role::BitmapDirectory);
        }
        if header.snapshot_count == 0 {
            return;
        }
        let Ok(snapshots) = SnapshotTable::read(storage, header) else {
            // Where it begins is known at least.
            return self.keep(Extent::new(header.snapshots_offset, 1), bits, Role::SnapshotTable);
        };
        self.keep(snapshots.extent, bits, Role::SnapshotTable);
        let tables = snapshots.l1_tables.iter().filter_map(|table| table.extent(header.geometry));
        // Tables that do not overlap fit into the file; more are not worth the time.
        let mut bytes_left = storage.len().unwrap_or(0);
        for table in tables {
            self.keep(table, bits, Role::InactiveL1Table);
            let Some(left) = bytes_left.checked_sub(table.length) else { break };
            bytes_left = left;
            if parts.has(Role::InactiveL2Table)
                && let Ok(l1) = PointerTable::read(storage, table.offset, (table.length / 8) as usize)
            {
                for entry in l1.entries().iter().filter(|entry| **entry != 0) {
                    let l2 = Extent::new(entry & OFFSET_MASK, 1);
                    self.keep(l2, bits, Role::InactiveL2Table);
                }
            }
        }
    }

    fn keep(&mut self, extent: Extent, cluster_bits: u32, role: Role) {
        let Some(end) = extent.checked_end().filter(|_| !extent.is_empty()) else { return };
        for cluster in extent.offset >> cluster_bits..=(end - 1) >> cluster_bits {
            if self.kept.len() >= KEPT_MAX {
                break;
            }
            self.kept.entry(cluster).or_insert(role);
        }
    }

    /// What a write to `cluster` would destroy, as far as that is checked.
    #[inline]
    pub(crate) fn guarded(&self, cluster: u64) -> Option<Role> {
        let kept = || if self.kept.is_empty() { None } else { self.kept.get(&cluster).copied() };
        let checked = |role: &Role| self.checked.has(*role);
        self.of(cluster).filter(checked).or_else(|| kept().filter(checked))
    }

    pub(crate) fn set_l1_table(&mut self, first: u64, count: u64) {
        self.l1_table = Span { first, count };
    }

    pub(crate) fn set_refcount_table(&mut self, first: u64, count: u64) {
        self.refcount_table = Span { first, count };
    }

    /// What `cluster` holds, if it is metadata.
    #[inline]
    pub(crate) fn of(&self, cluster: u64) -> Option<Role> {
        if cluster == 0 {
            Some(Role::Header)
        } else if self.l1_table.contains(cluster) {
            Some(Role::L1Table)
        } else if self.refcount_table.contains(cluster) {
            Some(Role::RefcountTable)
        } else {
            self.clusters.get(&cluster).copied()
        }
    }

    /// `cluster` becomes an L2 table or a refcount block. The same L2 table reached twice is contested too.
    pub(crate) fn claim(&mut self, cluster: u64, role: Role) {
        self.clusters.entry(cluster).and_modify(|held| *held = Role::Contested).or_insert(role);
    }

    /// `cluster` is no longer metadata.
    pub(crate) fn release(&mut self, cluster: u64) {
        self.clusters.remove(&cluster);
    }
}
