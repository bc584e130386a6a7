//! The state of an inspection: counted references, and what was found.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rustc_hash::FxHashMap;

use blk_core::{CheckReport, Error, Finding, Result, Severity, Storage};

use crate::geometry::Geometry;
use crate::header::Header;
use crate::l2::RawEntry;
use crate::offset::{ClusterCount, HostCluster, HostExtent, HostOffset};
use crate::pointer_table::PointerTable;
use crate::refcount::count_at;
use crate::snapshot::SnapshotL1;

/// Most clusters that an image file may have to be checked: the counters take 5 bytes each.
const CLUSTERS_MAX: u64 = 1 << 27;

const SECTOR_BYTES: u64 = 512;

/// A cluster of the header, an L1 table or the snapshot table: no entry may refer to it.
pub(super) const FIXED: u8 = 1;
/// A cluster of an L2 table: only L1 entries may refer to it.
pub(super) const L2_TABLE: u8 = 1 << 1;
/// A cluster of guest data.
pub(super) const DATA: u8 = 1 << 2;

/// Two structures share the cluster: nothing in it may be fixed before one of them has been moved or dropped.
pub(super) const CONTESTED: u8 = 1 << 3;

/// Stored refcounts that are remembered because they are wrong; of more the counted references are taken for
/// them.
const DIFFERING_MAX: usize = 1 << 20;

/// How many stored refcounts are looked up past the end of the file.
const READS_PAST_END_MAX: u32 = 1 << 16;

/// Where a finding stands in the order of `qemu-img check`: what refers to the table, index in the L1 table
/// plus one, index in the L2 table plus one.
pub(super) type Place = [u32; 3];
/// The snapshot table.
pub(super) const IN_SNAPSHOT_TABLE: u32 = 0;
/// The active tables.
pub(super) const ACTIVE: u32 = 1;
/// The tables of the first snapshot.
pub(super) const SNAPSHOTS: u32 = 2;
/// All that is reported in the order in which it is found.
pub(super) const LAST: Place = [u32::MAX; 3];

/// An entry that should have another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fix {
    pub(super) host_offset: HostOffset,
    pub(super) entry: u64,
    /// The bitmap that follows, where that should have another value too.
    pub(super) bitmap: Option<u64>,
}

/// An L2 table and what refers to it. Sorted, the uses of one table stand together, the active ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableUse {
    /// Below [`CLUSTERS_MAX`].
    pub(super) cluster: u32,
    /// The L1 table that refers to it: [`ACTIVE`], or [`SNAPSHOTS`] and more.
    pub(super) source: u32,
    /// Index in that L1 table.
    pub(super) index: u32,
}

impl TableUse {
    pub(super) const fn cluster(self) -> HostCluster {
        HostCluster::new(self.cluster as u64)
    }

    pub(super) const fn is_active(self) -> bool {
        self.source == ACTIVE
    }
}

/// A snapshot's L1 table that overlaps something else, and has to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OverlappingL1 {
    pub(super) extent: HostExtent,
    /// Where the table's offset is stored.
    pub(super) entry_offset: HostOffset,
}

/// An inspection in progress.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) header: Header,
    pub(super) geometry: Geometry,
    /// Length of the file, in bytes, up to the end of its last sector.
    pub(super) file_bytes: u64,
    /// Counted references by host cluster; as long as the file, or a cluster longer where something reaches
    /// past its end.
    pub(super) counts: Vec<u32>,
    pub(super) roles: Vec<u8>,
    /// The active L1 table.
    pub(super) l1: Vec<u64>,
    /// It shares no cluster with the header, and lies inside the file.
    pub(super) l1_is_own: bool,
    /// Where the L2 tables lie that have an entry without the copied flag.
    pub(super) unflagged: BTreeSet<HostOffset>,
    pub(super) tables: Vec<TableUse>,
    /// The L2 table that was read last, and its host offset; `None` before the first. The buffer is kept for
    /// the next.
    pub(super) l2_read: (Option<HostOffset>, Vec<u8>),
    pub(super) report: CheckReport,
    /// Findings that have not been brought into their order yet.
    pub(super) unordered: Vec<(Place, Finding)>,
    /// Stored refcounts that are wrong, by host cluster.
    pub(super) differing: FxHashMap<HostCluster, u64>,
    pub(super) reads_past_end: u32,
    /// Two structures share a cluster, or an entry is unusual in another way that only the strict inspection
    /// judges.
    pub(super) is_suspicious: bool,
    pub(super) fixes: Vec<Fix>,
    pub(super) snapshots: Vec<SnapshotL1>,
    /// L1 tables of snapshots that overlap something else.
    pub(super) overlapping_l1: Vec<OverlappingL1>,
    /// The prefix of findings on structures that both inspections judge alike.
    pub(super) prefix: &'static str,
    /// Something could not be walked: counts may be too low, so nothing may be freed.
    pub(super) incomplete: bool,
    /// A bitmap cannot be used: all of them have to be dropped.
    pub(super) bitmaps_unusable: bool,
    /// All counts have to be written again.
    pub(super) refcounts_unusable: bool,
    /// They have to because the refcount table or a block cannot be used, or is missing.
    pub(super) blocks_unusable: bool,
    /// The refcount table's entries.
    pub(super) blocks: Vec<u64>,
    /// The last cluster with a stored or counted reference, plus one.
    pub(super) end_cluster: HostCluster,
}

impl<'a> Walk<'a> {
    pub(super) fn new(storage: &'a dyn Storage, header: &Header) -> Result<Self> {
        let geometry = header.geometry;
        let file_bytes = storage.len()?.next_multiple_of(SECTOR_BYTES);
        let clusters = geometry.clusters_of(file_bytes).get();
        if clusters > CLUSTERS_MAX {
            let what = format!("checking an image of {clusters} clusters (at most {CLUSTERS_MAX})");
            return Err(Error::unsupported(what));
        }
        let report =
            CheckReport { total_clusters: geometry.clusters_of(header.size).get(), ..CheckReport::default() };
        Ok(Self {
            storage,
            header: header.clone(),
            geometry,
            file_bytes,
            counts: vec![0; clusters as usize],
            roles: vec![0; clusters as usize],
            l1: Vec::new(),
            l1_is_own: true,
            tables: Vec::new(),
            unflagged: BTreeSet::new(),
            l2_read: (None, Vec::new()),
            report,
            unordered: Vec::new(),
            differing: FxHashMap::default(),
            reads_past_end: 0,
            is_suspicious: false,
            fixes: Vec::new(),
            snapshots: Vec::new(),
            overlapping_l1: Vec::new(),
            prefix: "",
            incomplete: false,
            bitmaps_unusable: false,
            refcounts_unusable: false,
            blocks_unusable: false,
            blocks: Vec::new(),
            end_cluster: HostCluster::default(),
        })
    }

    /// `message` is made only while findings are kept: a hostile image has millions.
    pub(super) fn found(&mut self, severity: Severity, offset: u64, message: impl FnOnce() -> String) {
        let is_kept = self.report.findings.len() < CheckReport::FINDINGS_MAX;
        let message = if is_kept { message() } else { String::new() };
        self.report.add(Finding { severity, offset, message, repaired: false });
    }

    /// As [`Walk::found`], for what [`Walk::put_in_order`] brings into its place.
    pub(super) fn report_at(&mut self, place: Place, offset: u64, message: impl FnOnce() -> String) {
        if self.is_full() {
            self.report.corruptions += 1;
        } else {
            let finding =
                Finding { severity: Severity::Corruption, offset, message: message(), repaired: false };
            self.unordered.push((place, finding));
        }
    }

    /// No more findings are kept; they are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.unordered.len() + self.report.findings.len() >= CheckReport::FINDINGS_MAX
    }

    /// Moves what was found so far into the report, in order.
    pub(super) fn put_in_order(&mut self) {
        self.unordered.sort_by_key(|(place, _)| *place);
        for (_, finding) in self.unordered.drain(..) {
            self.report.add(finding);
        }
    }

    /// Something that was done, or that cannot be.
    pub(super) fn step(&mut self, offset: u64, message: impl FnOnce() -> String) {
        self.found(Severity::Step, offset, message);
    }

    /// The refcount that is stored for a cluster, after what has been repaired.
    pub(super) fn stored(&mut self, cluster: HostCluster) -> Result<u64> {
        if let Some(stored) = self.differing.get(&cluster) {
            return Ok(*stored);
        }
        match self.counts.get(cluster.index() as usize) {
            Some(count) => Ok(u64::from(*count)),
            None => self.stored_past_end(cluster),
        }
    }

    /// As [`Walk::stored`] for a cluster past the end of the file, which an entry refers to nonetheless.
    #[cold]
    fn stored_past_end(&mut self, cluster: HostCluster) -> Result<u64> {
        let index = self.geometry.table_index(cluster);
        let block =
            usize::try_from(index).ok().and_then(|index| self.blocks.get(index)).copied().unwrap_or(0);
        let is_block = block != 0 && block < self.file_bytes && self.geometry.is_aligned_number(block);
        // Each costs a read: after so many they are not worth the time.
        if !is_block || self.reads_past_end >= READS_PAST_END_MAX {
            return Ok(0);
        }
        self.reads_past_end += 1;
        let order = self.geometry.refcount_order();
        let index = self.geometry.block_index(cluster);
        // Counts start again with each 8 bytes, whatever their width.
        let per_word = 64 >> order;
        let mut word = [0; 8];
        self.storage.read_at(block + index / per_word * 8, &mut word)?;
        Ok(count_at(&word, index % per_word, order))
    }

    /// Remembers that another refcount is stored than was counted.
    pub(super) fn differs(&mut self, cluster: HostCluster, stored: u64) {
        if self.differing.len() < DIFFERING_MAX {
            self.differing.insert(cluster, stored);
        }
    }

    pub(super) fn corruption(&mut self, offset: u64, message: impl FnOnce() -> String) {
        self.found(Severity::Corruption, offset, message);
    }

    /// Something could not be walked, which may hide other findings.
    pub(super) fn cannot_walk(&mut self) {
        self.incomplete = true;
        self.report.check_errors += 1;
    }

    /// Clusters of the image file.
    pub(super) fn clusters(&self) -> ClusterCount {
        debug_assert_eq!(self.counts.len(), self.roles.len(), "each cluster has a count and a role");
        ClusterCount::new(self.counts.len() as u64)
    }

    /// One past the last cluster of the image file.
    pub(super) fn file_end(&self) -> HostCluster {
        HostCluster::default() + self.clusters()
    }

    /// Whether a structure at `extent` lies inside the file, but for a part of its last cluster.
    pub(super) fn is_inside(&self, extent: HostExtent) -> bool {
        self.geometry.clusters_of(extent.end().get()) <= self.clusters()
    }

    /// The clusters that `extent`, which lies inside the file and is not empty, touches.
    pub(super) fn touched(&self, extent: HostExtent) -> RangeInclusive<usize> {
        debug_assert!(!extent.is_empty(), "an empty extent touches nothing");
        let index = |offset| self.geometry.cluster_of(offset).index() as usize;
        index(extent.start)..=index(extent.end() - 1)
    }

    /// Two structures share the cluster at `host_offset`, or it lies outside the file: nothing there may be
    /// fixed.
    pub(super) fn is_contested(&self, host_offset: HostOffset) -> bool {
        let cluster = self.geometry.cluster_of(host_offset).index() as usize;
        self.roles.get(cluster).is_none_or(|role| role & CONTESTED != 0)
    }

    /// Counts `times` references to each cluster that `extent`, which lies inside the file and is not empty,
    /// touches.
    pub(super) fn count(&mut self, extent: HostExtent, times: u32) {
        let range = self.touched(extent);
        for count in &mut self.counts[range] {
            *count = count.saturating_add(times);
        }
    }

    /// Counts a structure that needs its clusters for itself. `false`, and a finding, if they lie outside the
    /// file or are in use already.
    pub(super) fn claim(&mut self, what: &str, extent: HostExtent, role: u8) -> bool {
        if extent.is_empty() {
            return true;
        }
        let prefix = self.prefix;
        if !self.is_inside(extent) {
            self.corruption(extent.start.get(), || {
                format!("{prefix}{what} reaches past the end of the file")
            });
            return false;
        }
        let range = self.touched(extent);
        let is_used = self.counts[range.clone()].iter().any(|count| *count > 0);
        if is_used {
            self.corruption(extent.start.get(), || {
                format!("{prefix}{what} lies on clusters that are in use")
            });
        }
        for held in &mut self.roles[range] {
            *held |= role;
        }
        self.count(extent, 1);
        debug_assert!(
            self.counts[self.touched(extent)].iter().all(|count| *count > 0),
            "all of it is counted"
        );
        !is_used
    }

    /// The entries of a table; what lies past the end of the file is 0.
    pub(super) fn read_table(&self, extent: HostExtent) -> Result<Vec<u64>> {
        let count = (extent.length / 8) as usize;
        Ok(PointerTable::read(self.storage, extent.start, count)?.into_entries())
    }

    /// Where entry number `index` of the L2 table at `table` lies.
    pub(super) fn l2_entry_at(&self, table: HostOffset, index: usize) -> HostOffset {
        table + index as u64 * self.geometry.l2_entry_bytes()
    }

    /// What makes the L2 entry at `host_offset` be `entry`.
    pub(super) fn fix_l2(&self, host_offset: HostOffset, entry: RawEntry) -> Fix {
        let bitmap = self.geometry.has_extended_l2().then_some(entry.bitmap);
        Fix { host_offset, entry: entry.descriptor, bitmap }
    }

    /// Claims the header, that of the encryption, and the active L1 table.
    pub(super) fn count_header(&mut self) {
        self.claim("the header", self.header_extent(), FIXED);
        self.claim("the header of the encryption", self.header.encryption_header(), FIXED);
        self.l1_is_own = self.claim("the L1 table", self.header.l1_table(), FIXED);
    }

    /// The cluster of the header.
    pub(super) fn header_extent(&self) -> HostExtent {
        self.geometry.extent_of(HostCluster::default(), ClusterCount::ONE)
    }
}

/// Writes entries as they should be, durably.
pub(super) fn apply(storage: &dyn Storage, fixes: &[Fix]) -> Result<()> {
    for fix in fixes {
        assert!(fix.host_offset.get().is_multiple_of(8), "an entry is written in one piece");
        let at = fix.host_offset.get();
        let entry = fix.entry.to_be_bytes();
        match fix.bitmap {
            None => storage.write_at(at, &entry)?,
            // Both in one sector, so that no other mixture of them is left.
            Some(bitmap) => storage.write_at(at, &[entry, bitmap.to_be_bytes()].concat())?,
        }
    }
    if fixes.is_empty() { Ok(()) } else { storage.sync() }
}
