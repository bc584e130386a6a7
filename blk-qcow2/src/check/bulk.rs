//! Many entries at once, where they are what most are: preallocated and sequential images have little else.
//! What is found here to be right needs no look at each entry; everything else is looked at entry by entry.

use std::ops::Range;

use super::walk::{DATA, Walk};
use crate::l2::{COPIED, entry_offset};
use crate::offset::{ClusterCount, HostOffset};

/// How many entries are looked at together.
pub(super) const GROUP_ENTRIES: usize = 64;

impl Walk<'_> {
    /// Counts what a group of L2 entries refers to, if that is nothing, or clusters in a row that nothing
    /// else refers to. `false` where it is not, and nothing is counted. `times` is how often the table is
    /// used, and `active` by the active L1 table.
    pub(super) fn count_group(
        &mut self,
        group: &[[u8; 8]],
        (times, active): (u32, u64),
        next_contiguous: &mut Option<HostOffset>,
    ) -> bool {
        let first = group.first().map_or(0, |raw| u64::from_be_bytes(*raw));
        if first == 0 {
            return group.iter().fold(0, |seen, raw| seen | u64::from_ne_bytes(*raw)) == 0;
        }
        let offset = entry_offset(first);
        if self.geometry.has_data_file()
            || first != offset.get() | COPIED
            || offset == HostOffset::default()
            || !self.geometry.is_cluster_aligned(offset)
        {
            return false;
        }
        let expected = (first..).step_by(self.geometry.cluster_bytes() as usize);
        let differences = group
            .iter()
            .zip(expected)
            .fold(0, |seen, (raw, expected)| seen | (u64::from_be_bytes(*raw) ^ expected));
        let start = self.geometry.cluster_of(offset).index() as usize;
        let clusters = start..start + group.len();
        let is_unused = |roles: &[u8]| roles.iter().fold(0, |seen, role| seen | role) == 0;
        if differences != 0
            || u64::from(times) > self.geometry.refcount_max()
            || !self.roles.get(clusters.clone()).is_some_and(is_unused)
        {
            return false;
        }
        self.roles[clusters.clone()].fill(DATA);
        self.counts[clusters].fill(times);
        if active > 0 {
            let is_fragmented = next_contiguous.is_some_and(|next| next != offset);
            self.report.allocated_clusters += group.len() as u64 * active;
            self.report.fragmented_clusters += if is_fragmented { active } else { 0 };
            let clusters = ClusterCount::new(group.len() as u64);
            *next_contiguous = Some(offset + self.geometry.bytes_of(clusters));
        }
        true
    }

    /// Whether the copied flags of the L2 table at `table` are known to be right: nothing at all was found,
    /// no cluster has several references, and no entry lacks the flag.
    pub(super) fn has_right_flags(&self, table: HostOffset, shares_clusters: bool) -> bool {
        let report = &self.report;
        let is_clean = (report.corruptions, report.leaks, report.check_errors) == (0, 0, 0);
        is_clean && !shares_clusters && !self.unflagged.contains(&table)
    }

    /// Whether a refcount block stores just what was counted for `clusters`. `false` may mean that this is
    /// not known: only counts of 16 bits, as nearly all images have, are looked at.
    pub(super) fn stores_what_is_counted(&self, clusters: Range<usize>, block: &[u8]) -> bool {
        if self.geometry.refcount_order() != 4 {
            return false;
        }
        let counts = &self.counts[clusters];
        let stored = block.as_chunks::<2>().0.iter().map(|raw| u32::from(u16::from_be_bytes(*raw)));
        counts.iter().zip(stored).fold(0, |seen, (counted, stored)| seen | (counted ^ stored)) == 0
    }

    /// Whether some cluster has more than one reference.
    pub(super) fn shares_clusters(&self) -> bool {
        self.counts.chunks(4096).any(|counts| counts.iter().fold(0, |most, count| (*count).max(most)) > 1)
    }
}
