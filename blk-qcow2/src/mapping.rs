//! From guest offsets to what lies there: runs of subclusters of one kind.

use blk_core::{Error, Extent, Result};

use crate::l2::{Cluster, Entry, Place};
use crate::metadata::Metadata;
use crate::offset::GuestOffset;

/// `length` guest bytes that have one kind. For stored kinds, `cluster` describes the first byte's
/// subcluster, and those that follow lie next to one another on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) cluster: Cluster,
    pub(crate) length: u64,
}

/// What a shared lookup finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Found(Run),
    /// The L2 slice is not cached: it has to be loaded under the exclusive lock.
    NotCached,
}

impl Metadata {
    /// What lies at the start of `extent`, from cached metadata alone.
    #[inline]
    pub(crate) fn lookup(&self, extent: Extent) -> Result<Lookup> {
        let at = GuestOffset::new(extent.offset);
        let Some((table, _)) = self.l2_table(at)? else {
            return Ok(Lookup::Found(self.untabled_run(extent)));
        };
        let slot = self.l2_slot(table, at);
        let Some(slice) = self.l2.get(slot.slice) else { return Ok(Lookup::NotCached) };
        let geometry = self.geometry;
        let entry = self.entry_in(slice, slot.index, at)?;
        self.check_inside(entry, at)?;
        let first = geometry.subcluster_of(at);
        let cluster = entry.kind(first);
        let mut last = entry.last_alike(first, geometry);
        let mut length = geometry.bytes_to_end_of(at, last);
        let entries = self.entries_per_slice();
        let mut index = slot.index + 1;
        let mut previous = cluster;
        while length < extent.length && index < entries && last + 1 == geometry.subclusters() {
            // A bad entry ends the run: it is an error only for a request that needs it.
            let Ok(entry) = self.entry_in(slice, index, at + length) else { break };
            let next = entry.kind(0);
            if !continues(previous, next, geometry.cluster_bytes())
                || self.check_inside(entry, at + length).is_err()
            {
                break;
            }
            previous = next;
            last = entry.last_alike(0, geometry);
            length += geometry.bytes_to_end_of(GuestOffset::default(), last);
            index += 1;
        }
        debug_assert!(length > 0, "a run has a byte at least");
        Ok(Lookup::Found(Run { cluster, length: length.min(extent.length) }))
    }

    /// As [`Metadata::lookup`], loading what is needed.
    pub(crate) fn find(&mut self, extent: Extent) -> Result<Run> {
        if let Lookup::Found(run) = self.lookup(extent)? {
            return Ok(run);
        }
        self.load_l2(GuestOffset::new(extent.offset))?;
        match self.lookup(extent)? {
            Lookup::Found(run) => Ok(run),
            Lookup::NotCached => unreachable!("the slice was loaded under the exclusive lock"),
        }
    }

    /// As [`Metadata::find`] for `at..end`, but no further than the slice of the L2 table that maps `at`.
    /// What changes entries goes slice by slice: it would look up a longer run again and again.
    pub(crate) fn find_in_slice(&mut self, at: GuestOffset, end: GuestOffset) -> Result<Run> {
        let reach = self.geometry.cluster_bytes() * self.entries_per_slice() as u64;
        let slice_end = GuestOffset::new((at.get() | (reach - 1)).saturating_add(1));
        self.find(at.to(end.min(slice_end)))
    }

    /// The entry of the cluster that `at` lies in, loading what is needed.
    pub(crate) fn entry_of(&mut self, at: GuestOffset) -> Result<Entry> {
        let Some((table, _)) = self.l2_table(at)? else { return Ok(Entry::UNALLOCATED) };
        self.load_l2(at)?;
        let slot = self.l2_slot(table, at);
        let slice = self.l2.get(slot.slice).expect("the slice was loaded under the exclusive lock");
        let entry = self.entry_in(slice, slot.index, at)?;
        self.check_inside(entry, at)?;
        Ok(entry)
    }

    /// A cluster that lies past the end of the file was never written: its entry is wrong, and a write there
    /// would make the file as long as the entry says.
    #[inline]
    pub(crate) fn check_inside(&self, entry: Entry, guest_offset: GuestOffset) -> Result<()> {
        let first = match entry.place {
            Place::Plain { .. } if self.geometry.has_data_file() => return Ok(()),
            Place::Plain { host, .. } => host,
            Place::Compressed(descriptor) => descriptor.host_offset(),
            Place::Nowhere => return Ok(()),
        };
        if self.geometry.cluster_of(first) < self.free.file_end() {
            return Ok(());
        }
        let reason = format!("the cluster of guest offset {guest_offset:#x} lies past the end of the file");
        Err(Error::corrupt("L2 entry", first.get(), reason))
    }

    /// No L2 table: everything up to the next entry of the L1 table is unallocated.
    fn untabled_run(&self, extent: Extent) -> Run {
        let reach = self.geometry.l2_table_reach_bytes();
        let mut end = (extent.offset | (reach - 1)).saturating_add(1);
        while end < extent.end() && self.l1.get(self.geometry.l1_index(GuestOffset::new(end))) == 0 {
            end = end.saturating_add(reach);
        }
        let length = end.min(extent.end()) - extent.offset;
        debug_assert!(length > 0 || extent.is_empty(), "a run has a byte at least");
        Run { cluster: Cluster::Unallocated, length }
    }
}

/// Whether `next` extends a run whose last cluster is `previous`.
fn continues(previous: Cluster, next: Cluster, cluster_bytes: u64) -> bool {
    match (previous, next) {
        (Cluster::Unallocated, Cluster::Unallocated)
        | (Cluster::Zero { host: None, .. }, Cluster::Zero { host: None, .. }) => true,
        (Cluster::Data { host: a, copied: x }, Cluster::Data { host: b, copied: y })
        | (Cluster::Reserved { host: a, copied: x }, Cluster::Reserved { host: b, copied: y })
        | (Cluster::Zero { host: Some(a), copied: x }, Cluster::Zero { host: Some(b), copied: y }) => {
            x == y && a + cluster_bytes == b
        }
        _ => false,
    }
}
