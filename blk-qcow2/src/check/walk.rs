//! The state of an inspection: counted references, and what was found.

use blk_core::{CheckReport, Error, Extent, Finding, Result, Severity, Storage};

use crate::geometry::Geometry;
use crate::header::Header;
use crate::pointer_table::PointerTable;
use crate::snapshot::SnapshotL1;

/// Most clusters that an image file may have to be checked: the counters take 5 bytes each.
const CLUSTERS_MAX: u64 = 1 << 27;

/// A cluster of the header, an L1 table or the snapshot table: no entry may refer to it.
pub(super) const FIXED: u8 = 1;
/// A cluster of an L2 table: only L1 entries may refer to it.
pub(super) const L2_TABLE: u8 = 1 << 1;

/// An 8-byte entry that should have another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fix {
    pub(super) host_offset: u64,
    pub(super) entry: u64,
}

/// An L2 table and who refers to it. Sorted, the uses of one table stand together, the active ones last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableUse {
    /// Below [`CLUSTERS_MAX`].
    pub(super) cluster: u32,
    /// Index in the active L1 table; `None` for a snapshot's.
    pub(super) active_index: Option<u32>,
}

/// An inspection while it goes on.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) header: Header,
    pub(super) geometry: Geometry,
    /// Counted references by host cluster; as long as the file.
    pub(super) counts: Vec<u32>,
    pub(super) roles: Vec<u8>,
    /// The active L1 table.
    pub(super) l1: Vec<u64>,
    pub(super) tables: Vec<TableUse>,
    /// The L2 table that was read last, and its host offset; empty at 0, where no table can be, before the first.
    pub(super) l2_read: (u64, Vec<u8>),
    pub(super) report: CheckReport,
    pub(super) fixes: Vec<Fix>,
    pub(super) snapshots: Vec<SnapshotL1>,
    /// L1 tables of snapshots that lie on something else.
    pub(super) homeless: Vec<SnapshotL1>,
    /// Something could not be walked: counts may be too low, so nothing may be given back.
    pub(super) incomplete: bool,
    /// A bitmap cannot be used: they all have to be given up.
    pub(super) bitmaps_unusable: bool,
    /// The refcount table or a block cannot be used: all counts have to be written anew.
    pub(super) refcounts_unusable: bool,
    /// The refcount table's entries.
    pub(super) blocks: Vec<u64>,
    /// The last cluster with a stored or counted reference, plus one.
    pub(super) end_cluster: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(storage: &'a dyn Storage, header: &Header) -> Result<Self> {
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
            header: header.clone(),
            geometry,
            counts: vec![0; clusters as usize],
            roles: vec![0; clusters as usize],
            l1: Vec::new(),
            tables: Vec::new(),
            l2_read: (0, Vec::new()),
            report,
            fixes: Vec::new(),
            snapshots: Vec::new(),
            homeless: Vec::new(),
            incomplete: false,
            bitmaps_unusable: false,
            refcounts_unusable: false,
            blocks: Vec::new(),
            end_cluster: 0,
        })
    }

    /// `message` is made only while findings are kept: a hostile image has millions.
    pub(super) fn found(&mut self, severity: Severity, offset: u64, message: impl FnOnce() -> String) {
        let is_kept = self.report.findings.len() < CheckReport::FINDINGS_MAX;
        let message = if is_kept { message() } else { String::new() };
        self.report.add(Finding { severity, offset, message, repaired: false });
    }

    pub(super) fn corruption(&mut self, offset: u64, message: impl FnOnce() -> String) {
        self.found(Severity::Corruption, offset, message);
    }

    /// Something that other findings may hide behind could not be walked.
    pub(super) fn cannot_walk(&mut self) {
        self.incomplete = true;
        self.report.check_errors += 1;
    }

    /// Clusters of the image file.
    pub(super) fn clusters(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Whether a structure at `extent` lies inside the file, but for a part of its last cluster.
    pub(super) fn is_inside(&self, extent: Extent) -> bool {
        extent.checked_end().is_some_and(|end| self.geometry.clusters_of(end) <= self.clusters())
    }

    /// The clusters that `extent`, which lies inside the file and is not empty, touches.
    pub(super) fn touched(&self, extent: Extent) -> std::ops::RangeInclusive<usize> {
        let bits = self.geometry.cluster_bits();
        (extent.offset >> bits) as usize..=((extent.end() - 1) >> bits) as usize
    }

    /// Counts `times` references to each cluster that `extent`, which lies inside the file and is not empty, touches.
    pub(super) fn count(&mut self, extent: Extent, times: u32) {
        let range = self.touched(extent);
        for count in &mut self.counts[range] {
            *count = count.saturating_add(times);
        }
    }

    /// Counts a structure that needs its clusters for itself. `false`, and a finding, if they lie outside the file or are in
    /// use already.
    pub(super) fn claim(&mut self, what: &str, extent: Extent, role: u8) -> bool {
        if extent.is_empty() {
            return true;
        }
        if !self.is_inside(extent) {
            self.corruption(extent.offset, || format!("{what} reaches past the end of the file"));
            return false;
        }
        let range = self.touched(extent);
        let is_used = self.counts[range.clone()].iter().any(|count| *count > 0);
        if is_used {
            self.corruption(extent.offset, || format!("{what} lies on clusters that are in use"));
        }
        for held in &mut self.roles[range] {
            *held |= role;
        }
        self.count(extent, 1);
        !is_used
    }

    /// The entries of a table that lies inside the file.
    pub(super) fn read_table(&self, extent: Extent) -> Result<Vec<u64>> {
        let count = (extent.length / 8) as usize;
        Ok(PointerTable::read(self.storage, extent.offset, count)?.into_entries())
    }

    /// Where the active L1 table lies.
    pub(super) fn l1_extent(&self) -> Extent {
        Extent::new(self.header.l1_table_offset, u64::from(self.header.l1_entries) * 8)
    }

    /// Claims the header and the active L1 table.
    pub(super) fn count_header(&mut self) {
        self.claim("the header", Extent::new(0, self.geometry.cluster_bytes()), FIXED);
        self.claim("the L1 table", self.l1_extent(), FIXED);
    }
}
