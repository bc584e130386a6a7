//! Copy on write: the parts of new subclusters that a write does not cover keep what was there.
//!
//! ```text
//! cluster     |      |      |      |      |       a subcluster each; a plain image has one in a cluster
//! write                  |-----------|
//! copied             |...|           |..|         up to the ends of the subclusters that it touches
//! ```
//!
//! Where the cluster is replaced (a snapshot has it too, or it was compressed), what it holds on either side
//! is copied too, from its first subcluster with data to its last.

use std::io::IoSlice;

use blk_core::{Extent, Result};

use crate::crypt::{Crypt, Located, sectors_of};
use crate::geometry::Geometry;
use crate::l2::{Cluster, Entry, Place};
use crate::metadata::Metadata;
use crate::offset::{GuestOffset, HostOffset};
use crate::qcow2::Qcow2;
use crate::steps;

/// Up to this size, data and copied parts are written at once, each from where it lies.
const JOINED_BYTES_MAX: usize = 256 << 10;

/// A write that puts data where host clusters held none for the guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'a> {
    /// The first host cluster; those of the others follow it.
    pub(crate) host: HostOffset,
    /// The host clusters are new, and read as zeroes.
    pub(crate) fresh: bool,
    /// What the guest clusters were, in order.
    pub(crate) old: &'a [Entry],
    /// Where the write begins, in the first guest cluster.
    pub(crate) at: GuestOffset,
    /// Bytes of it.
    pub(crate) length: u64,
}

impl Filling<'_> {
    /// The guest cluster with number `number`.
    fn guest_cluster(self, geometry: Geometry, number: usize) -> GuestOffset {
        geometry.cluster_start(self.at) + geometry.cluster_bytes() * number as u64
    }

    /// The last of the clusters that are written to.
    fn last(self, geometry: Geometry) -> usize {
        let last = geometry.clusters_of(geometry.in_cluster(self.at) + self.length).get() as usize - 1;
        debug_assert!(last < self.old.len(), "what is replaced is known for each cluster");
        last
    }

    /// What is written, with what is copied on either side: the guest bytes that the host clusters hold
    /// afterwards, besides those that they held before.
    pub(crate) fn whole(self, geometry: Geometry) -> Extent {
        let end = self.at + self.length;
        let last = self.last(geometry);
        let first_cluster = self.guest_cluster(geometry, 0);
        let last_cluster = self.guest_cluster(geometry, last);
        let bytes = geometry.subcluster_bytes();
        let (first, end_number) = (geometry.subcluster_of(self.at), geometry.subcluster_of(end - 1) + 1);
        let start = match self.copied_from(geometry, first) {
            Some(number) => first_cluster + u64::from(number) * bytes,
            None => self.at,
        };
        let stop = match self.copied_to(geometry, self.old[last], end_number) {
            Some(number) => last_cluster + u64::from(number) * bytes,
            None => end,
        };
        start.min(self.at).to(stop.max(end))
    }

    /// The subcluster of the first cluster from which on data is copied; `first` is the first that is written
    /// to. `None` where that one stays what it is around the write.
    fn copied_from(self, geometry: Geometry, first: u32) -> Option<u32> {
        let old = self.old[0];
        match old.place {
            Place::Nowhere => Some(first),
            Place::Plain { host, .. } if host == self.host => {
                (!matches!(old.kind(first), Cluster::Data { .. })).then_some(first)
            }
            Place::Plain { .. } if !geometry.has_extended_l2() => Some(0),
            Place::Plain { .. } => Some(first.min(old.allocated.trailing_zeros())),
            Place::Compressed(_) => Some(0),
        }
    }

    /// One past the last subcluster of the last cluster, whose entry was `old`, up to which data is copied;
    /// `end` is one past the last that is written to.
    fn copied_to(self, geometry: Geometry, old: Entry, end: u32) -> Option<u32> {
        match old.place {
            Place::Nowhere => Some(end),
            Place::Plain { host, .. } if host == self.host => {
                (!matches!(old.kind(end - 1), Cluster::Data { .. })).then_some(end)
            }
            Place::Plain { .. } if !geometry.has_extended_l2() => Some(1),
            Place::Plain { .. } => Some(end.max(32 - old.allocated.leading_zeros())),
            Place::Compressed(_) => Some(geometry.subclusters()),
        }
    }

    /// The entry of cluster number `number` once the data is written.
    pub(crate) fn entry_after(self, geometry: Geometry, number: usize) -> Entry {
        let old = self.old[number];
        let host = self.host + geometry.cluster_bytes() * number as u64;
        let filled = geometry.touched_subclusters(self.guest_cluster(geometry, number), self.whole(geometry));
        // What a replaced cluster held has been copied.
        let allocated = old.allocated | filled;
        debug_assert!(
            old.allocated & !filled == 0 || old.place == Place::Plain { host, copied: true },
            "what a replaced cluster held is copied: {old:?}"
        );
        Entry { place: Place::Plain { host, copied: true }, allocated, zero: old.zero & !filled }
    }
}

impl Qcow2 {
    /// Fills host clusters: with `buf`, the write, and around it with what has to be copied.
    pub(crate) fn write_with_copied_parts(
        &self,
        metadata: &Metadata,
        filling: Filling<'_>,
        buf: &[u8],
    ) -> Result<()> {
        let geometry = metadata.geometry;
        let Filling { host, fresh, old, at, .. } = filling;
        debug_assert_eq!(filling.length, buf.len() as u64, "all of it is written");
        let whole = filling.whole(geometry);
        let end = at + filling.length;
        let last = filling.last(geometry);
        if let Some(crypt) = &self.crypt {
            return self.write_encrypted(crypt, metadata, filling, buf);
        }
        let head = (at.get() - whole.offset) as usize;
        let tail = (whole.end() - end.get()) as usize;
        let head = if fresh && self.copies_zeroes(old[0], at - head as u64, head) { 0 } else { head };
        let tail = if fresh && self.copies_zeroes(old[last], end, tail) { 0 } else { tail };
        let start = host + (geometry.in_cluster(at) - head as u64);
        if head == 0 && tail == 0 {
            self.data_step(&steps::WRITE_AIO);
            return self.data.write_at(start.get(), buf);
        }
        let total = head + buf.len() + tail;
        if total <= JOINED_BYTES_MAX {
            let mut copied = vec![0; head + tail];
            let (before, after) = copied.split_at_mut(head);
            self.read_for_copy(metadata, old[0], at - head as u64, before)?;
            self.read_for_copy(metadata, old[last], end, after)?;
            self.data_step(&steps::WRITE_AIO);
            let parts = [before, buf, after].map(IoSlice::new);
            return self.data.write_vectored_at(start.get(), &parts);
        }
        self.data_step(&steps::WRITE_AIO);
        self.data.write_at((start + head as u64).get(), buf)?;
        self.copy_part(metadata, start, old[0], at - head as u64, head)?;
        self.copy_part(metadata, start + (head + buf.len()) as u64, old[last], end, tail)
    }

    /// As [`Qcow2::write_with_copied_parts`], in whole sectors: around the write all is read, also zeroes,
    /// which are none on the host.
    fn write_encrypted(
        &self,
        crypt: &Crypt,
        metadata: &Metadata,
        filling: Filling<'_>,
        buf: &[u8],
    ) -> Result<()> {
        let geometry = metadata.geometry;
        let Filling { at, old, .. } = filling;
        let sectors = sectors_of(filling.whole(geometry));
        let last = old[filling.last(geometry)];
        let data = at.with_length(filling.length);
        let first_cluster = geometry.cluster_start(at);
        let guest = GuestOffset::new(sectors.offset);
        let host = filling.host + first_cluster.to(guest).length;
        self.data_step(&steps::WRITE_AIO);
        crypt.write_sectors(&*self.data, Located { host, guest }, sectors.length, |piece, content| {
            let before_end = data.offset.clamp(piece.offset, piece.end());
            self.append_copied(metadata, old[0], Extent::between(piece.offset, before_end), content)?;
            let inside = piece.intersection(data);
            if !inside.is_empty() {
                let from = (inside.offset - data.offset) as usize;
                content.extend_from_slice(&buf[from..from + inside.length as usize]);
            }
            let after_start = data.end().clamp(piece.offset, piece.end());
            self.append_copied(metadata, last, Extent::between(after_start, piece.end()), content)
        })
    }

    fn append_copied(
        &self,
        metadata: &Metadata,
        old: Entry,
        part: Extent,
        content: &mut Vec<u8>,
    ) -> Result<()> {
        let start = content.len();
        content.resize(start + part.length as usize, 0);
        self.read_for_copy(metadata, old, GuestOffset::new(part.offset), &mut content[start..])
    }

    fn copy_part(
        &self,
        metadata: &Metadata,
        host: HostOffset,
        old: Entry,
        guest: GuestOffset,
        length: usize,
    ) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        let mut part = vec![0; length];
        self.read_for_copy(metadata, old, guest, &mut part)?;
        self.data_step(&steps::COW_WRITE);
        self.data.write_at(host.get(), &part)
    }

    /// Whether the `length` bytes, inside one cluster, that would be copied from guest offset `from` on are
    /// known to be zeroes.
    fn copies_zeroes(&self, old: Entry, from: GuestOffset, length: usize) -> bool {
        if length == 0 {
            return true;
        }
        let geometry = self.geometry;
        let (first, last) =
            (geometry.subcluster_of(from), geometry.subcluster_of(from + (length as u64 - 1)));
        (first..=last).all(|number| match old.kind(number) {
            Cluster::Zero { .. } => true,
            Cluster::Unallocated | Cluster::Reserved { .. } => self.backing_ends_before(from),
            Cluster::Data { .. } | Cluster::Compressed(_) => false,
        })
    }
}
