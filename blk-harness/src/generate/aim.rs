//! Where requests go: few clusters, again and again, and the places where tables and disks end.

use crate::random::Random;

use super::{Limits, Template, aligned};
use crate::scenario::bounds::{FAR_BYTES_MIN, FAR_UNITS_MAX, far_length_max};
use crate::scenario::{Backing, Config, OnBitmap, OnSnapshot, Request, RequestKind};
use crate::space::{Amendment, Geometry};

/// Clusters that are hit often. More would dilute what happens to each.
const HOT_CLUSTERS: usize = 4;

/// So many units outgrow what counts them: clusters of 512 bytes with refcounts of 64 bits fill half of what
/// the smallest table of such counts counts.
pub const MANY_UNITS: u64 = 2048;

/// Snapshots at a time, at most; and as many bitmaps.
const SLOTS: usize = 4;

/// A write of more than this is not joined with what is copied around it.
pub(super) const LONG_BYTES: u64 = 256 << 10;

/// Where offsets stop to fit into 31 and 32 bits, and indices of clusters of 2 MiB into 16, bytes.
const FAR_EDGES: [u64; 4] = [1 << 31, 1 << 32, 1 << 32, 1 << 37];

/// Only disks of so short tables grow until 16 bits do not count these: all disks would find the same, and
/// each takes as long as several others. Bytes.
const FAR_GROWN_REACH_MAX: u64 = 32 << 10;

/// A write that allocates most of a disk, so that tables grow, is at most this long. Bytes.
const FLOOD_BYTES_MAX: u64 = 4 << 20;
/// So many of them a scenario: all of its data has to fit into the bytes form.
const FLOODS_MAX: u32 = 2;
/// Callers who want requests shorter than this want no floods either. Bytes.
const FLOOD_DATA_BYTES_MIN: u64 = 1 << 20;

/// What is known about the disk that requests are aimed at. All units bytes.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    size: u64,
    cluster: u64,
    /// What one table, or a cached part of it, maps.
    reach: u64,
    geometry: Geometry,
    takes_far: bool,
    starts_far: bool,
    disk_bytes_max: u64,
    data_bytes_max: u64,
    hot: [u64; HOT_CLUSTERS],
    /// The latest range that was changed, and whether it is still to be read.
    last: (u64, u64),
    is_unread: bool,
    floods_left: u32,
    /// The templates that disks like this have no use for.
    left_out: &'static [Template],
    /// Sizes of the disks that snapshots hold, by slot.
    slots: [Option<u64>; SLOTS],
    /// Which slots have a bitmap, as far as that is known.
    bitmaps: [bool; SLOTS],
}

impl Aim {
    /// Aims at a fresh disk of this configuration.
    pub(crate) fn new(rng: &mut Random, config: &Config, geometry: &Geometry, limits: &Limits) -> Self {
        let mut aim = Self {
            size: config.size_bytes,
            cluster: geometry.unit_bytes,
            reach: geometry.table_reach_bytes,
            geometry: *geometry,
            takes_far: limits.far && !geometry.is_dense && config.backing == Backing::None,
            starts_far: config.size_bytes > FAR_BYTES_MIN,
            disk_bytes_max: limits.disk_bytes_max,
            data_bytes_max: limits.data_bytes_max,
            hot: [0; HOT_CLUSTERS],
            last: (0, 0),
            is_unread: false,
            floods_left: if limits.data_bytes_max < FLOOD_DATA_BYTES_MIN { 0 } else { FLOODS_MAX },
            left_out: if limits.resizes {
                &[]
            } else {
                &[Template::Growth, Template::FarGrowth, Template::Shrink]
            },
            slots: [None; SLOTS],
            bitmaps: [false; SLOTS],
        };
        for at in 0..HOT_CLUSTERS {
            aim.hot[at] = aim.hot_cluster(rng, at);
        }
        aim
    }

    /// Whether a template is of use.
    pub(super) fn takes(&self, template: Template) -> bool {
        !self.left_out.contains(&template)
    }

    /// Takes notice of a request that is made: resizes move the end, changes are worth reading back.
    pub(crate) fn note(&mut self, request: &Request) {
        match *request {
            Request::Resize { size } => self.size = size,
            Request::Snapshot { act, slot } => self.note_snapshot(act, usize::from(slot)),
            Request::Bitmap { act, slot } => self.note_bitmap(act, usize::from(slot)),
            _ => {}
        }
        self.is_unread = false;
        if request.kind().changes_content()
            && let Some(range) = request.range()
        {
            self.last = range;
            self.is_unread = true;
        }
    }

    fn note_snapshot(&mut self, act: OnSnapshot, slot: usize) {
        let Some(held) = self.slots.get_mut(slot) else { return };
        match act {
            OnSnapshot::Create => *held = held.or(Some(self.size)),
            OnSnapshot::Apply => self.size = held.unwrap_or(self.size),
            OnSnapshot::Delete => *held = None,
            OnSnapshot::Read => {}
        }
    }

    /// Whether requests of snapshots are of use: all that one holds is read, and so it is small.
    pub(crate) fn takes_snapshots(&self) -> bool {
        self.geometry.snapshots && !self.is_far()
    }

    /// A new snapshot, or something with one that is there; rarely with one that is not.
    pub(crate) fn snapshot(&self, rng: &mut Random) -> Request {
        if !self.takes_snapshots() {
            return Request::Flush;
        }
        let taken: Vec<u8> =
            (0..SLOTS as u8).filter(|slot| self.slots[usize::from(*slot)].is_some()).collect();
        let free = (0..SLOTS as u8).find(|slot| !taken.contains(slot));
        match free {
            Some(slot) if taken.is_empty() || rng.chance(2, 5) => {
                Request::Snapshot { act: OnSnapshot::Create, slot }
            }
            _ => {
                let slot = if rng.chance(1, 32) { rng.below(SLOTS as u64) as u8 } else { rng.one_of(&taken) };
                let acts = [OnSnapshot::Apply, OnSnapshot::Apply, OnSnapshot::Delete, OnSnapshot::Read];
                Request::Snapshot { act: rng.one_of(&acts), slot }
            }
        }
    }

    /// Whether images can be amended in good time: all tables of a far disk are read.
    pub(crate) fn takes_amendments(&self) -> bool {
        !self.geometry.amendments.is_empty() && !self.is_far()
    }

    /// An amendment of the image.
    pub(crate) fn amendment(&self, rng: &mut Random) -> Request {
        if !self.takes_amendments() {
            return Request::Flush;
        }
        Request::Amend { option: self.amendment_of(rng).option() }
    }

    /// One of those that the image knows.
    pub(crate) fn amendment_of(&self, rng: &mut Random) -> Amendment {
        rng.one_of(self.geometry.amendments)
    }

    fn note_bitmap(&mut self, act: OnBitmap, slot: usize) {
        let Some(is_there) = self.bitmaps.get_mut(slot) else { return };
        match act {
            OnBitmap::Add => *is_there = true,
            OnBitmap::Remove => *is_there = false,
            _ => {}
        }
    }

    /// Whether requests of dirty bitmaps are of use: the larger the disk, the longer their tables.
    pub(crate) fn takes_bitmaps(&self) -> bool {
        self.geometry.bitmaps && !self.is_far()
    }

    /// A new dirty bitmap, or something with one that is there; rarely with one that is not.
    pub(crate) fn bitmap(&self, rng: &mut Random) -> Request {
        if !self.takes_bitmaps() {
            return Request::Flush;
        }
        let taken: Vec<u8> = (0..SLOTS as u8).filter(|slot| self.bitmaps[usize::from(*slot)]).collect();
        let free = (0..SLOTS as u8).find(|slot| !taken.contains(slot));
        match free {
            Some(slot) if taken.is_empty() || rng.chance(1, 4) => {
                Request::Bitmap { act: OnBitmap::Add, slot }
            }
            _ => {
                let slot = if rng.chance(1, 32) { rng.below(SLOTS as u64) as u8 } else { rng.one_of(&taken) };
                let acts = [
                    OnBitmap::Remove,
                    OnBitmap::Clear,
                    OnBitmap::Enable,
                    OnBitmap::Disable,
                    OnBitmap::Disable,
                    OnBitmap::Merge(rng.one_of(&taken)),
                    OnBitmap::Read,
                    OnBitmap::Read,
                ];
                Request::Bitmap { act: rng.one_of(&acts), slot }
            }
        }
    }

    /// Adds a cluster to those that are hit often, in the place of another one.
    pub(crate) fn heat(&mut self, place: usize, offset: u64) {
        self.hot[place % HOT_CLUSTERS] = offset / self.cluster * self.cluster;
    }

    /// Whether the next request should read what the one before has changed.
    pub(crate) fn wants_reading_back(&self, rng: &mut Random) -> bool {
        self.is_unread && rng.chance(1, 6)
    }

    /// Offset and length for a request of this kind. It mostly lies in the disk, and rarely sticks out, to be
    /// refused.
    pub(crate) fn range(&mut self, rng: &mut Random, kind: RequestKind) -> (u64, u64) {
        let range = self.any_range(rng, kind);
        aligned(rng, &self.geometry, self.size, range)
    }

    fn any_range(&mut self, rng: &mut Random, kind: RequestKind) -> (u64, u64) {
        match kind {
            RequestKind::Flush
            | RequestKind::Resize
            | RequestKind::Reopen
            | RequestKind::Check
            | RequestKind::Snapshot
            | RequestKind::Amend
            | RequestKind::Bitmap => (0, 0),
            RequestKind::WriteCompressed => self.whole_clusters(rng),
            RequestKind::Read if self.is_unread && rng.chance(3, 4) => self.around_last(rng),
            RequestKind::Write if self.floods_left > 0 && self.has_many_clusters() && rng.chance(1, 3) => {
                self.floods_left -= 1;
                (0, self.size.min(FLOOD_BYTES_MAX))
            }
            RequestKind::WriteZeroes if self.is_far() && self.starts_far && rng.chance(1, 16) => {
                let range = (self.anchor(rng), (1 << 32) + rng.below(4) * self.cluster);
                self.bound(rng, kind, range)
            }
            _ if rng.chance(1, 64) => (0, self.size.min(self.length_max(kind))),
            _ => self.partial(rng, kind),
        }
    }

    /// The size of the disk as it is.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn unit(&self) -> u64 {
        self.cluster
    }

    pub(crate) fn reach(&self) -> u64 {
        self.reach
    }

    pub(crate) fn data_bytes_max(&self) -> u64 {
        self.data_bytes_max
    }

    /// Whether zeroes over more than 4 GiB are possible, and cheap.
    pub(crate) fn can_zero_far(&self) -> bool {
        let length = (1 << 32) + 4 * self.cluster;
        self.starts_far && self.size > length && length <= FAR_UNITS_MAX.saturating_mul(self.cluster)
    }

    /// A unit or two near the beginning, and those that lie above them by as much as an offset loses that is
    /// cut to 32 bits, rarely to 31; the last of the disk where there are none.
    pub(super) fn far_pair(&self, rng: &mut Random) -> ((u64, u64), (u64, u64)) {
        let edge = if rng.chance(3, 4) { FAR_EDGES[1] } else { FAR_EDGES[0] };
        let units = (self.size.saturating_sub(edge) / self.cluster).clamp(1, 16);
        let (low, length) = (rng.below(units) * self.cluster, (1 + rng.below(2)) * self.cluster);
        let high = (low + edge).min((self.clusters() - 1) * self.cluster);
        // Nothing is moved there: all of it.
        let all = self.geometry.align((high, length.min(self.size - high)));
        (self.inside((low, length)), all)
    }

    /// Whether the disk is one of those that grow so far that 16 bits do not count its tables.
    pub(crate) fn can_grow_far(&self) -> bool {
        self.takes_far
            && self.takes(Template::FarGrowth)
            && !self.is_far()
            && self.reach <= FAR_GROWN_REACH_MAX
    }

    /// A size at which 16 bits do not count the tables any more, or one or two bits more.
    pub(super) fn far_grown(&self, rng: &mut Random) -> u64 {
        let tables = (1 << 16) << rng.one_of(&[0, 1, 2, 2]);
        let size = self.reach.min(FAR_GROWN_REACH_MAX) * tables;
        self.geometry.align_down(size + rng.below(4) * self.cluster)
    }

    /// Whether the disk is as large as a long write needs, and not much larger.
    pub(crate) fn is_for_long_writes(&self) -> bool {
        (LONG_BYTES..2 * LONG_BYTES).contains(&self.size) && self.data_bytes_max > LONG_BYTES
    }

    /// Whether the driver stores compressed units.
    pub(crate) fn compresses(&self) -> bool {
        self.geometry.compressed_unit_bytes.is_some()
    }

    /// How many tables the disk needs.
    pub(crate) fn tables(&self) -> u64 {
        self.size.div_ceil(self.reach).max(1)
    }

    /// One to three units at one that is hit often; as much as may be moved.
    pub(crate) fn hot_range(&self, rng: &mut Random) -> (u64, u64) {
        let hot = self.hot[rng.below(HOT_CLUSTERS as u64) as usize];
        self.inside((hot, self.cluster * (1 + rng.below(4).saturating_sub(1))))
    }

    /// The part of a range that lies in the disk and may be moved, aligned.
    pub(crate) fn inside(&self, (offset, length): (u64, u64)) -> (u64, u64) {
        let offset = offset.min(self.size.saturating_sub(1));
        let length = length.min(self.data_bytes_max).min(self.size - offset.min(self.size));
        let (offset, length) = self.geometry.align((offset, length));
        (offset, length.min(self.geometry.align_down(self.size).saturating_sub(offset)))
    }

    /// A size to resize to, aligned: no larger than scenarios may be, or than the disk is.
    pub(crate) fn resized(&self, size: u64) -> u64 {
        self.geometry.align_down(size.min(self.disk_bytes_max.max(self.size)))
    }

    /// What to resize to: mostly a bit more.
    pub(crate) fn new_size(&self, rng: &mut Random) -> u64 {
        let (size, cluster) = (self.size, self.cluster);
        let new = match rng.below(16) {
            0..=3 => size + rng.below(4) * cluster,
            4..=6 => size + rng.below((2 * cluster).div_ceil(512)) * 512,
            7 => size + rng.below(2 * cluster),
            8 => size.next_multiple_of(cluster),
            9 => size.next_multiple_of(self.reach) + cluster,
            // Past what a unit full of pointers to tables maps, where that is near.
            10 => size + (cluster / 8).max(1).saturating_mul(self.reach),
            11 => size.saturating_sub(rng.below(2) * cluster),
            12 => size.saturating_sub(rng.below(cluster)),
            13 => rng.below(size + 1),
            _ => size + cluster,
        };
        let new = match self.takes_far {
            true if self.is_far() => new,
            true if rng.chance(1, 64) => FAR_EDGES[0].min(self.reach << 16) + rng.below(4) * cluster,
            _ => new.min(self.disk_bytes_max.max(size)),
        };
        if rng.chance(23, 24) { self.geometry.align_down(new) } else { new }
    }

    /// Enough to outgrow a refcount table, if only they are allocated.
    fn has_many_clusters(&self) -> bool {
        self.clusters() >= MANY_UNITS
    }

    fn clusters(&self) -> u64 {
        self.size.div_ceil(self.cluster).max(1)
    }

    fn is_far(&self) -> bool {
        self.size > FAR_BYTES_MIN
    }

    fn length_max(&self, kind: RequestKind) -> u64 {
        match kind {
            _ if kind.moves_data() => self.data_bytes_max,
            _ if !self.is_far() => u64::MAX,
            _ => far_length_max(kind, self.starts_far, self.cluster),
        }
    }

    /// The first two hot clusters lie anywhere, so that they often belong to different tables, the second one
    /// at an edge of a table's reach where there is one; the others beside the first, at such an edge, or at
    /// the end.
    fn hot_cluster(&self, rng: &mut Random, at: usize) -> u64 {
        if self.is_far() && at < 3 {
            return self.far_hot_cluster(rng, at);
        }
        let anywhere = rng.below(self.clusters()) * self.cluster;
        let dice = rng.below(8);
        match (at, dice) {
            // Where the second table begins, or a later one; or the unit before.
            (1, 0..=3) if self.size > self.reach => {
                let edge = (1 + rng.below((self.size - 1) / self.reach)) * self.reach;
                if dice < 2 { edge } else { edge.saturating_sub(self.cluster) }
            }
            (2.., 0..=3) => {
                self.hot[0].saturating_add(self.cluster).min((self.clusters() - 1) * self.cluster)
            }
            (2.., 4) => (self.clusters() - 1) * self.cluster,
            (2.., 5 | 6) => anywhere / self.reach * self.reach,
            _ => anywhere,
        }
    }

    /// Near the beginning; where an offset or index that has lost its high bits would take that for; and
    /// where those begin, or the unit before.
    fn far_hot_cluster(&self, rng: &mut Random, at: usize) -> u64 {
        // The highest that the disk reaches, half of the time.
        let highest = FAR_EDGES.into_iter().rev().find(|edge| *edge < self.size);
        let edge = if rng.chance(1, 2) { highest } else { Some(rng.one_of(&FAR_EDGES)) };
        let edge = edge.filter(|edge| *edge < self.size);
        let edge = edge.unwrap_or(self.size / 2 / self.cluster * self.cluster);
        match at {
            0 => rng.below(16.min(self.clusters())) * self.cluster,
            1 => (self.hot[0] + edge).min((self.clusters() - 1) * self.cluster),
            _ => edge.saturating_sub(rng.below(2) * self.cluster),
        }
    }

    /// The beginning of a cluster that a request is to be at, in or around.
    fn anchor(&self, rng: &mut Random) -> u64 {
        let hot = self.hot[rng.below(HOT_CLUSTERS as u64) as usize];
        match rng.below(32) {
            0..=15 => hot,
            16..=17 => hot.saturating_add(self.cluster),
            18..=19 => hot.saturating_sub(self.cluster),
            20..=25 => self.last.0 / self.cluster * self.cluster,
            26..=27 => (self.clusters() - 1) * self.cluster,
            28 => rng.below(self.clusters()) * self.cluster / self.reach * self.reach,
            // The last cluster before such an edge, to cross it from.
            29 => {
                let edge = (rng.below(self.clusters()) * self.cluster).next_multiple_of(self.reach);
                edge.saturating_sub(self.cluster)
            }
            _ => rng.below(self.clusters()) * self.cluster,
        }
    }

    /// A part of a cluster, a whole one, or several, with every kind of beginning and end.
    fn partial(&self, rng: &mut Random, kind: RequestKind) -> (u64, u64) {
        let (anchor, cluster) = (self.anchor(rng), self.cluster);
        let sectors = cluster.div_ceil(512);
        let sector = rng.below(sectors) * 512;
        let (offset, length) = match rng.below(24) {
            // Large clusters are compared byte by byte as well: whole ones are rarer.
            0..=5 if cluster < 1 << 15 || rng.chance(1, 3) => (anchor, cluster),
            6..=7 => (anchor, (1 + rng.below(4)) * cluster),
            8..=9 => (anchor, sector.max(512)),
            10..=11 => (anchor + sector, cluster.saturating_sub(sector)),
            12..=13 => (anchor + sector, 512 * (1 + rng.below(8))),
            14..=15 => (anchor + sector, cluster.saturating_sub(sector) + 512 * (1 + rng.below(sectors))),
            16 => (anchor + sector, (1 + rng.below(3)) * cluster),
            17 => ((anchor + cluster).saturating_sub(1 + rng.below(2)), 1 + rng.below(3)),
            18 => (anchor + 1, cluster.saturating_sub(1 + rng.below(2))),
            19 => (anchor, (rng.below(2) + 1) * cluster - 1 + 2 * rng.below(2)),
            20 => (anchor + rng.below(cluster), rng.below(2 * cluster)),
            21 => (anchor + sector, rng.below(3)),
            22 => (self.size.saturating_sub(rng.below(2 * cluster)), rng.below(2 * cluster)),
            _ => (anchor + sector, 512),
        };
        self.bound(rng, kind, (offset, length))
    }

    /// What was changed last, or a little more of it.
    fn around_last(&self, rng: &mut Random) -> (u64, u64) {
        let (offset, length) = self.last;
        let before = match rng.below(4) {
            0 => 512,
            1 => offset % self.cluster,
            _ => 0,
        };
        let after = [0, 0, 512, self.cluster][rng.below(4) as usize];
        let start = offset.saturating_sub(before);
        let length = length.saturating_add(offset - start).saturating_add(after);
        self.bound(rng, RequestKind::Read, (start, length))
    }

    fn whole_clusters(&self, rng: &mut Random) -> (u64, u64) {
        let unit = self.geometry.fill_bytes();
        let anchor = self.anchor(rng).min((self.clusters() - 1) * self.cluster) / unit * unit;
        let units = if rng.chance(1, 8) { 1 + rng.below(3) } else { 1 };
        let length = (units * unit).min(self.data_bytes_max.max(unit));
        (anchor, length.min(self.size.saturating_sub(anchor)))
    }

    /// Cuts a range to the disk and to what may be moved; one in twelve keeps sticking out.
    fn bound(&self, rng: &mut Random, kind: RequestKind, (offset, length): (u64, u64)) -> (u64, u64) {
        let length = length.min(self.length_max(kind));
        if offset.checked_add(length).is_some_and(|end| end <= self.size) || rng.chance(1, 24) {
            return (offset, length);
        }
        if offset < self.size {
            return (offset, length.min(self.size - offset));
        }
        let offset = offset % self.size.max(1);
        (offset, length.min(self.size - offset.min(self.size)))
    }
}
