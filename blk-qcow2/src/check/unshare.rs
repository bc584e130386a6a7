//! Clusters that cannot be shared: some of the entries that refer to them get a copy of their own.
//!
//! A snapshot's L1 table cannot share clusters with anything. Other clusters cannot have more references than
//! a refcount can say, which with 1 bit is one. Write order: copies are durable before an entry refers to
//! them; their counts are corrected in the next round.

use blk_core::Result;

use super::entries::Level;
use super::walk::{Fix, Walk, apply};
use crate::header::Encryption;
use crate::l2::{COMPRESSED, RawEntry, ZERO, data_entry};
use crate::offset::{ClusterCount, HostCluster, HostExtent, HostOffset};
use crate::ondisk::CompressedDescriptor;
use crate::pointer_table;

/// Moves snapshots' L1 tables that overlap something else to the end of the file, while at most `copies_max`
/// clusters are needed. `false` if there are none that can be moved.
pub(super) fn relocate_overlapping_l1(walk: &Walk<'_>, copies_max: &mut u64) -> Result<bool> {
    let mut end = walk.file_end();
    let mut fixes = Vec::new();
    for snapshot in &walk.overlapping_l1 {
        let clusters = walk.touched(snapshot.extent).count() as u64;
        if clusters > *copies_max {
            break;
        }
        *copies_max -= clusters;
        assert!(end >= walk.file_end(), "a copy overwrites nothing");
        let at = walk.geometry.offset_of(end);
        end = end + ClusterCount::new(clusters);
        let entries = walk.read_table(snapshot.extent)?;
        walk.storage.write_at(at.get(), &pointer_table::encode(&entries))?;
        fixes.push(Fix { host_offset: snapshot.entry_offset, entry: at.get(), bitmap: None });
    }
    apply_after_sync(walk, &fixes)
}

/// Makes the copies durable, then the entries that refer to them. Whether there are any.
fn apply_after_sync(walk: &Walk<'_>, fixes: &[Fix]) -> Result<bool> {
    if !fixes.is_empty() {
        walk.storage.sync()?;
        apply(walk.storage, fixes)?;
    }
    Ok(!fixes.is_empty())
}

/// Copies of shared clusters while they are made.
struct Unsharing<'a> {
    walk: &'a Walk<'a>,
    /// References too many, by host cluster.
    excess: Vec<u32>,
    /// Where the next copy goes.
    end: HostCluster,
    copies_max: &'a mut u64,
    fixes: Vec<Fix>,
}

/// Gives references that are too many a cluster of their own, at most `copies_max` of them; the others are
/// dropped. `false` if there are none.
pub(super) fn unshare(walk: &Walk<'_>, copies_max: &mut u64) -> Result<bool> {
    let max = u32::try_from(walk.geometry.refcount_max()).unwrap_or(u32::MAX);
    if walk.counts.iter().all(|count| *count <= max) {
        return Ok(false);
    }
    let excess = walk.counts.iter().map(|count| count.saturating_sub(max)).collect();
    let mut unsharing = Unsharing { walk, excess, end: walk.file_end(), copies_max, fixes: Vec::new() };
    unsharing.drop_l1_entries();
    // Without these L1 entries there may be nothing else to do.
    if unsharing.fixes.is_empty() {
        unsharing.visit_tables()?;
    }
    apply_after_sync(walk, &unsharing.fixes)
}

impl Unsharing<'_> {
    /// An L2 table is not copied: everything that it refers to would have to be, too.
    fn drop_l1_entries(&mut self) {
        for table in self.walk.tables.iter().rev() {
            let excess = &mut self.excess[table.cluster as usize];
            if *excess > 0 && table.is_active() {
                *excess -= 1;
                let host_offset = self.walk.header.l1_table_offset + u64::from(table.index) * 8;
                self.fixes.push(Fix { host_offset, entry: 0, bitmap: None });
            }
        }
    }

    /// Visits each table once; where it is used more often, each entry is as many references.
    fn visit_tables(&mut self) -> Result<()> {
        if self.walk.geometry.has_data_file() {
            // Nothing that entries refer to is counted.
            return Ok(());
        }
        let mut bytes = vec![0; self.walk.geometry.cluster_bytes() as usize];
        for uses in self.walk.tables.chunk_by(|a, b| a.cluster == b.cluster) {
            let host_offset = self.walk.geometry.offset_of(uses[0].cluster());
            self.walk.storage.read_at(host_offset.get(), &mut bytes)?;
            self.visit_table(host_offset, &bytes, uses.len() as u32)?;
        }
        Ok(())
    }

    fn visit_table(&mut self, host_offset: HostOffset, bytes: &[u8], uses: u32) -> Result<()> {
        for (index, raw) in RawEntry::all(bytes, self.walk.geometry).enumerate() {
            let sanitised = self.walk.sanitise(Level::L2, raw);
            let Some(extent) = sanitised.refers else { continue };
            let touched = self.walk.touched(extent);
            if self.excess[touched.clone()].iter().all(|excess| *excess == 0) {
                continue;
            }
            for excess in &mut self.excess[touched] {
                *excess = excess.saturating_sub(uses);
            }
            if self.is_bound(sanitised.entry) {
                continue;
            }
            let entry = self.replace(sanitised.entry, extent)?;
            self.fixes.push(self.walk.fix_l2(self.walk.l2_entry_at(host_offset, index), entry));
        }
        Ok(())
    }

    /// Whether what the entry refers to reads otherwise from elsewhere: it is encrypted with its place. It
    /// stays shared, which a check tells, rather than be lost.
    fn is_bound(&self, raw: RawEntry) -> bool {
        let is_data = raw.descriptor & (COMPRESSED | ZERO) == 0;
        is_data && matches!(self.walk.header.encryption, Some(Encryption::Luks(_)))
    }

    /// The entry that reads the same from elsewhere; one that refers to nothing when there is no room left.
    fn replace(&mut self, raw: RawEntry, extent: HostExtent) -> Result<RawEntry> {
        let geometry = self.walk.geometry;
        let is_compressed = raw.descriptor & COMPRESSED != 0;
        let has_data =
            if geometry.has_extended_l2() { raw.allocated() != 0 } else { raw.descriptor & ZERO == 0 };
        // What reads as zeroes still does.
        let zeroes = raw.bitmap & !u64::from(u32::MAX);
        if !is_compressed && !has_data {
            return Ok(RawEntry { descriptor: raw.descriptor & ZERO, bitmap: zeroes });
        }
        let clusters = self.walk.touched(extent).count() as u64;
        let at = geometry.offset_of(self.end) + geometry.in_cluster(extent.start);
        let replaced = if is_compressed {
            CompressedDescriptor::new(at, extent.length).encode(geometry)
        } else {
            Some(data_entry(at))
        };
        let Some(descriptor) = replaced.filter(|_| clusters <= *self.copies_max) else {
            return Ok(RawEntry { descriptor: 0, bitmap: zeroes });
        };
        *self.copies_max -= clusters;
        assert!(self.end >= self.walk.file_end(), "a copy overwrites nothing");
        self.end = self.end + ClusterCount::new(clusters);
        let mut bytes = vec![0; extent.length as usize];
        self.walk.storage.read_at(extent.start.get(), &mut bytes)?;
        self.walk.storage.write_at(at.get(), &bytes)?;
        Ok(RawEntry { descriptor, ..raw })
    }
}
