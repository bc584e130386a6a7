//! Brings raw numbers to where they matter: a 48-bit offset that fuzzing made up would nearly always be past
//! the end.
//!
//! Numbers that are legal already stay as they are, so that a scenario means what it says. All others are
//! reduced by plain arithmetic on their own bits: the top three bits choose a place (a cluster's edge, a
//! sector, the end of the disk...), the low bits choose which. Golden tests pin it: **a change here changes
//! the meaning of every corpus that fuzzing has built.**

use super::RequestKind;
use super::bounds::{DISK_BYTES_MAX, FAR_BYTES_MAX, FAR_BYTES_MIN, far_length_max};
use crate::space::{Amendment, Geometry};

/// Bytes that random requests move at most, unless one cluster is larger.
const DATA_BYTES_TYPICAL: u64 = 1 << 20;

/// Largest disk that random numbers make, bytes. Explicit sizes may reach [`DISK_BYTES_MAX`].
const DISK_BYTES_TYPICAL: u64 = 4 << 20;

/// The disk as it is when a request is made, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) size: u64,
    cluster: u64,
    /// Guest bytes that one table maps.
    table_reach: u64,
    compressed: u64,
    geometry: Geometry,
    /// Whether resizes can be to far disks; version 1 of the form knew none.
    takes_far: bool,
    /// The disk was far when it was made.
    starts_far: bool,
    /// It was far at some time. A driver may have refused to make it smaller again.
    was_far: bool,
}

impl Frame {
    /// Whether requests can be about snapshots.
    pub(super) fn has_snapshots(&self) -> bool {
        self.geometry.snapshots
    }

    /// What images can be amended to.
    pub(super) fn amendments(&self) -> &'static [Amendment] {
        self.geometry.amendments
    }

    /// Whether requests can be about dirty bitmaps.
    pub(super) fn has_bitmaps(&self) -> bool {
        self.geometry.bitmaps
    }

    /// A disk of `size` bytes.
    pub(super) fn of(geometry: &Geometry, size: u64) -> Self {
        let compressed = geometry.fill_bytes();
        let (cluster, table_reach) = (geometry.unit_bytes, geometry.table_reach_bytes);
        Self {
            size,
            cluster,
            table_reach,
            compressed,
            geometry: *geometry,
            takes_far: true,
            starts_far: size > DISK_BYTES_MAX,
            was_far: size > DISK_BYTES_MAX,
        }
    }

    /// The same; no resize is to a far disk.
    pub(super) fn without_far(self) -> Self {
        Self { takes_far: false, ..self }
    }

    /// Brings the range of a request of `kind` to the disk; most results lie in it, a few reach slightly past
    /// its end.
    pub(super) fn range(self, kind: RequestKind, offset: u64, length: u64) -> (u64, u64) {
        if self.is_legal(kind, offset, length) {
            return (offset, length);
        }
        let offset = if offset < self.size { offset } else { self.place(offset) };
        if kind == RequestKind::WriteCompressed {
            return self.whole_clusters(offset, length);
        }
        self.geometry.align((offset, self.extend(kind, offset, length)))
    }

    /// Brings the size that a resize asks for to what the bytes form allows: near the present size, unless it
    /// is meant as it is.
    pub(super) fn resize(self, raw: u64, is_exact: bool) -> u64 {
        if let Some(far) = far_size(raw).filter(|_| is_exact && self.takes_far) {
            return far;
        }
        if raw <= DISK_BYTES_MAX {
            return raw;
        }
        let low = raw & 0xffff_ffff;
        let size = match raw >> 45 & 7 {
            0 | 1 => self.size + low % 4 * self.cluster,
            2 => self.size + low % (2 * self.cluster) / 512 * 512,
            3 => self.size + low % (2 * self.cluster),
            4 => self.size.next_multiple_of(self.cluster),
            5 => self.size.saturating_sub(low % 2 * self.cluster),
            6 => self.size.saturating_sub(low % self.cluster),
            _ => self.size + self.table_reach + low % 3 * self.cluster,
        };
        self.geometry.align_down(size.min(DISK_BYTES_MAX))
    }

    /// A resize has asked for another size.
    pub(super) fn resized(&mut self, size: u64) {
        self.size = size;
        self.was_far |= size > DISK_BYTES_MAX;
    }

    /// Whether a request is longer than what a far disk takes.
    pub(super) fn is_too_long(self, kind: RequestKind, length: u64) -> bool {
        self.was_far && length > far_length_max(kind, self.starts_far, self.cluster)
    }

    fn length_max(self, kind: RequestKind) -> u64 {
        if self.size > DISK_BYTES_MAX && !kind.moves_data() {
            far_length_max(kind, self.starts_far, self.cluster).min(self.size)
        } else if kind.moves_data() {
            self.cluster.max((4 * self.cluster).min(DATA_BYTES_TYPICAL))
        } else {
            self.size
        }
    }

    fn is_legal(self, kind: RequestKind, offset: u64, length: u64) -> bool {
        let fits = offset <= self.size && length <= self.size - offset && length <= self.length_max(kind);
        let whole = offset.is_multiple_of(self.compressed)
            && (length.is_multiple_of(self.compressed) || length == self.size.saturating_sub(offset));
        let is_aligned = self.geometry.align((offset, length)) == (offset, length);
        fits && is_aligned && (whole || kind != RequestKind::WriteCompressed)
    }

    fn place(self, raw: u64) -> u64 {
        let low = raw & 0xffff_ffff;
        let clusters = self.size.div_ceil(self.cluster).max(1);
        let cluster = low % clusters * self.cluster;
        match raw >> 45 & 7 {
            0 | 1 => cluster,
            2 => (cluster + self.cluster).saturating_sub(512),
            3 => low % clusters.min(4) * self.cluster + (low >> 8) % self.cluster / 512 * 512,
            4 => low % self.size.max(1) / 512 * 512,
            5 => low % self.size.max(1),
            6 => self.size.saturating_sub(1 + low % (2 * self.cluster)),
            _ => (self.size + low % 1024).saturating_sub(768),
        }
    }

    fn extend(self, kind: RequestKind, offset: u64, raw: u64) -> u64 {
        let low = raw & 0xffff_ffff;
        let to_edge = self.cluster - offset % self.cluster;
        let length = match raw >> 45 & 7 {
            0 => (1 + low % 4) * self.cluster,
            1 => to_edge,
            2 => to_edge + low % self.cluster / 512 * 512,
            3 => (1 + low % 8) * 512,
            4 => low % self.cluster / 512 * 512 + 512,
            5 => low % 513,
            6 => low % (2 * self.cluster),
            _ => low % (self.size + 1),
        };
        let length = length.min(self.length_max(kind));
        // One in sixteen may stick out of the disk, to be refused.
        let room = self.size.saturating_sub(offset);
        if raw >> 40 & 15 == 15 || room == 0 { length } else { length.min(room) }
    }

    fn whole_clusters(self, offset: u64, raw: u64) -> (u64, u64) {
        let offset = offset / self.compressed * self.compressed;
        let clusters = 1 + raw % (self.length_max(RequestKind::WriteCompressed) / self.compressed).max(1);
        let room = self.size.saturating_sub(offset);
        let length = clusters * self.compressed;
        (offset, if room == 0 { length } else { length.min(room) })
    }
}

/// A size that is meant as it is, if it is that of a far disk.
pub(super) fn far_size(raw: u64) -> Option<u64> {
    (FAR_BYTES_MIN + 1..=FAR_BYTES_MAX).contains(&raw).then_some(raw)
}

/// The size of a disk, in bytes, from a raw number: mostly 1 to 64 clusters, sometimes several tables of
/// `reach` bytes, some odd tails.
pub(super) fn disk_size(raw: u64, cluster: u64, reach: u64) -> u64 {
    if raw <= DISK_BYTES_MAX {
        return raw;
    }
    let low = raw & 0xffff_ffff;
    let table_clusters = reach / cluster;
    let clusters = match raw >> 44 & 15 {
        0..=5 => 1 + low % 4,
        6..=10 => 1 + low % 16,
        11..=13 => 1 + low % 64,
        _ if table_clusters * cluster < DISK_BYTES_TYPICAL => table_clusters + low % (2 * table_clusters),
        _ => 1 + low % 64,
    };
    let size = clusters.min(DISK_BYTES_TYPICAL.div_ceil(cluster)) * cluster;
    match raw >> 40 & 15 {
        0..=9 => size,
        10..=13 => size - (low >> 8) % cluster / 512 * 512,
        14 => size - (low >> 8) % cluster,
        _ => low % 1025,
    }
}

/// The size of the backing file, in bytes, from a raw number: near that of the disk over it.
pub(super) fn backing_size(raw: u64, size: u64, cluster: u64) -> u64 {
    if raw <= DISK_BYTES_MAX {
        return raw;
    }
    let low = raw & 0xffff_ffff;
    let bytes = match raw >> 45 & 7 {
        0 | 1 => size,
        2 => size / 2,
        3 => size.saturating_sub(low % (2 * cluster)),
        4 => low % (size + 1) / 512 * 512,
        5 => low % (size + 1),
        6 => size + low % (2 * cluster) / 512 * 512,
        _ => size + low % (2 * cluster),
    };
    bytes.min(DISK_BYTES_MAX)
}
