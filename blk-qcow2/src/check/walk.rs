//! The state of an inspection, and the structures whose places are fixed by the header.

use blk_core::{CheckReport, Error, Extent, Finding, Result, Severity, Storage};

use crate::bitmap;
use crate::geometry::{Geometry, HOST_OFFSET_END};
use crate::header::Header;
use crate::ondisk::AUTOCLEAR_BITMAPS;
use crate::snapshot::{self, SnapshotTable};

/// Most clusters that an image file may have to be checked: the counters take 9 bytes each.
const CLUSTERS_MAX: u64 = 1 << 27;

/// What a host cluster holds, as bits: one that holds two things is corrupt.
pub(super) const HEADER: u8 = 1;
pub(super) const L1_TABLE: u8 = 1 << 1;
pub(super) const REFCOUNT_TABLE: u8 = 1 << 2;
pub(super) const REFCOUNT_BLOCK: u8 = 1 << 3;
pub(super) const SNAPSHOTS: u8 = 1 << 4;
pub(super) const BITMAPS: u8 = 1 << 5;
pub(super) const L2_TABLE: u8 = 1 << 6;

/// An 8-byte entry that should have another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fix {
    pub(super) host_offset: u64,
    pub(super) entry: u64,
}

/// An L2 table and who refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableUse {
    pub(super) cluster: u64,
    /// Index in the active L1 table; `None` for a snapshot's.
    pub(super) active_index: Option<u64>,
}

/// An inspection while it goes on.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) header: &'a Header,
    pub(super) geometry: Geometry,
    /// Counted references by host cluster; as long as the file.
    pub(super) counts: Vec<u32>,
    /// Those of them that the refcount table and its blocks make.
    pub(super) own_counts: Vec<u32>,
    pub(super) roles: Vec<u8>,
    pub(super) tables: Vec<TableUse>,
    pub(super) report: CheckReport,
    pub(super) fixes: Vec<Fix>,
    /// The refcount table or a block cannot be used: all counts have to be written anew.
    pub(super) refcounts_unusable: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(storage: &'a dyn Storage, header: &'a Header) -> Result<Self> {
        let geometry = header.geometry;
        let clusters = geometry.clusters_of(storage.len()?);
        if clusters > CLUSTERS_MAX {
            let what = format!("checking an image of {clusters} clusters (at most {CLUSTERS_MAX})");
            return Err(Error::unsupported(what));
        }
        let report =
            CheckReport { total_clusters: geometry.clusters_of(header.size), ..CheckReport::default() };
        Ok(Self {
            storage,
            header,
            geometry,
            counts: vec![0; clusters as usize],
            own_counts: vec![0; clusters as usize],
            roles: vec![0; clusters as usize],
            tables: Vec::new(),
            report,
            fixes: Vec::new(),
            refcounts_unusable: false,
        })
    }

    pub(super) fn found(&mut self, severity: Severity, offset: u64, message: String) {
        self.report.add(Finding { severity, offset, message, repaired: false });
    }

    pub(super) fn corruption(&mut self, offset: u64, message: String) {
        self.found(Severity::Corruption, offset, message);
    }

    /// Clusters of the image file.
    pub(super) fn clusters(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Whether a structure at `extent` lies inside the file, but for a part of its last cluster.
    pub(super) fn is_inside(&self, extent: Extent) -> bool {
        extent
            .checked_end()
            .is_some_and(|end| end <= HOST_OFFSET_END && self.geometry.clusters_of(end) <= self.clusters())
    }

    /// Counts `times` references to each cluster that `extent`, which lies inside the file, touches.
    pub(super) fn count(&mut self, extent: Extent, times: u32) {
        if extent.is_empty() {
            return;
        }
        let bits = self.geometry.cluster_bits();
        for cluster in extent.offset >> bits..=(extent.end() - 1) >> bits {
            let count = &mut self.counts[cluster as usize];
            *count = count.saturating_add(times);
        }
    }

    /// Counts the references of the refcount table and its blocks among those counted.
    pub(super) fn count_own(&mut self, extent: Extent) {
        if self.is_inside(extent) {
            let bits = self.geometry.cluster_bits();
            for cluster in extent.offset >> bits..self.geometry.clusters_of(extent.end()) {
                self.own_counts[cluster as usize] += 1;
            }
        }
    }

    /// Counts a metadata structure, unless it lies outside the file or on top of another one.
    pub(super) fn count_structure(&mut self, what: &str, extent: Extent, role: u8) -> bool {
        if extent.is_empty() {
            return true;
        }
        if !self.is_inside(extent) {
            self.corruption(extent.offset, format!("{what} reaches past the end of the file"));
            return false;
        }
        let bits = self.geometry.cluster_bits();
        let range = (extent.offset >> bits) as usize..=((extent.end() - 1) >> bits) as usize;
        let shared = self.roles[range.clone()].iter().any(|held| *held != 0);
        if shared {
            self.corruption(extent.offset, format!("{what} overlaps other metadata"));
        }
        for held in &mut self.roles[range] {
            *held |= role;
        }
        self.count(extent, 1);
        !shared
    }

    /// Counts everything that the header points to, but for the L2 tables.
    pub(super) fn count_fixed_structures(&mut self) -> Result<()> {
        let header = self.header;
        let cluster_bytes = self.geometry.cluster_bytes();
        self.count_structure("the header", Extent::new(0, cluster_bytes), HEADER);
        let l1 = Extent::new(header.l1_table_offset, u64::from(header.l1_entries) * 8);
        if !self.count_structure("the L1 table", l1, L1_TABLE) && !self.is_inside(l1) {
            self.report.check_errors += 1;
        }
        self.count_snapshots()?;
        if header.autoclear & AUTOCLEAR_BITMAPS != 0 {
            self.count_bitmaps()?;
        }
        self.count_refcount_structures()
    }

    fn count_snapshots(&mut self) -> Result<()> {
        let table = match SnapshotTable::read(self.storage, self.header) {
            Ok(table) => table,
            Err(error @ Error::Malformed { .. }) => {
                self.corruption(self.header.snapshots_offset, error.to_string());
                self.report.check_errors += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.count_structure("the snapshot table", table.extent, SNAPSHOTS);
        for snapshot in snapshot::distinct_tables(&table) {
            if !self.count_structure("a snapshot's L1 table", snapshot, SNAPSHOTS) {
                self.report.check_errors += 1;
            }
        }
        Ok(())
    }

    fn count_bitmaps(&mut self) -> Result<()> {
        let Some(directory) = self.header.bitmaps else { return Ok(()) };
        match bitmap::used(self.storage, self.geometry, directory, self.clusters()) {
            Ok(used) => {
                for extent in used {
                    self.count_structure("a dirty bitmap", extent, BITMAPS);
                }
                Ok(())
            }
            Err(error @ Error::Malformed { .. }) => {
                self.corruption(directory.extent.offset, error.to_string());
                self.report.check_errors += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
