//! Entries that refer to a data file: nothing there is counted, and each offset is that of its guest cluster.

use super::entries::Verdict;
use super::walk::{TableUse, Walk};
use crate::l2::{COMPRESSED, COPIED, RawEntry, ZERO, entry_offset};
use crate::offset::HostOffset;

impl Walk<'_> {
    /// Whether an L2 entry that is not compressed has a cluster. At the start of a data file only the copied
    /// flag says so, which has no meaning beside that of zeroes.
    #[inline]
    pub(super) fn has_cluster(&self, entry: u64) -> bool {
        entry_offset(entry) != HostOffset::default() || self.is_first_of_data_file(entry)
    }

    #[inline]
    fn is_first_of_data_file(&self, entry: u64) -> bool {
        let marks = if self.geometry.has_extended_l2() { 0 } else { ZERO };
        self.geometry.has_data_file() && entry & COPIED != 0 && entry & marks == 0
    }

    /// Where in the data file the entry has to lead that `table` has at `index`. `None` without a data file.
    pub(super) fn place_in_data_file(&self, table: TableUse, index: usize) -> Option<HostOffset> {
        let guest = u64::from(table.index) * self.geometry.l2_entries() + index as u64;
        let bytes = guest.checked_mul(self.geometry.cluster_bytes())?;
        self.geometry.has_data_file().then(|| HostOffset::try_new(bytes)).flatten()
    }

    /// Whether an entry leads to another place in the data file than `right`, or is compressed.
    pub(super) fn is_misplaced(&self, entry: u64, right: HostOffset) -> bool {
        entry & COMPRESSED != 0 || (self.has_cluster(entry) && entry_offset(entry) != right)
    }

    /// Judges an entry of the data file that is right but for its cluster; `without` is that without one.
    pub(super) fn judge_place(&self, entry: u64, without: RawEntry) -> Verdict {
        let wrong = |why| Verdict::Wrong { why, right: without };
        let offset = entry_offset(entry);
        if !self.has_cluster(entry) {
            let is_right = entry == without.descriptor || entry & !COPIED == ZERO;
            return if is_right { Verdict::Nothing } else { wrong("it says nothing about its cluster") };
        }
        if !self.geometry.is_cluster_aligned(offset) {
            return wrong("the offset is not that of a cluster");
        }
        Verdict::Refers(offset.with_length(self.geometry.cluster_bytes()))
    }
}
