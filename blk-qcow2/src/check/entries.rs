//! Judging single L1 and L2 entries: pure questions about the counts so far.

use super::walk::{FIXED, Walk};
use crate::l2::{COMPRESSED, COPIED, RESERVED, RawEntry, ZERO, entry_offset};
use crate::offset::{HostExtent, HostOffset};
use crate::ondisk::CompressedDescriptor;

/// The kind of table that an entry is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    L1,
    L2,
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It refers to these bytes of the file.
    Refers(HostExtent),
    /// It refers to nothing.
    Nothing,
    /// It is wrong; this, with fewer bits, may be right.
    Wrong { why: &'static str, right: RawEntry },
}

/// An entry as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sanitised {
    pub(super) entry: RawEntry,
    /// What it refers to.
    pub(super) refers: Option<HostExtent>,
    /// The first thing that was wrong with it.
    pub(super) why: Option<&'static str>,
}

impl Walk<'_> {
    /// Takes bits away from an entry until it is right. What remains of it counts as a reference.
    #[inline]
    pub(super) fn sanitise(&self, level: Level, entry: RawEntry) -> Sanitised {
        let mut sanitised = Sanitised { entry, refers: None, why: None };
        loop {
            match self.judge(level, sanitised.entry) {
                Verdict::Refers(extent) => return Sanitised { refers: Some(extent), ..sanitised },
                Verdict::Nothing => return sanitised,
                Verdict::Wrong { why, right } => {
                    assert!(has_fewer_bits(right, sanitised.entry), "bits only go away");
                    sanitised.entry = right;
                    sanitised.why.get_or_insert(why);
                }
            }
        }
    }

    #[inline]
    pub(super) fn judge(&self, level: Level, raw: RawEntry) -> Verdict {
        let entry = raw.descriptor;
        if entry == 0 && raw.bitmap == 0 {
            return Verdict::Nothing;
        }
        match level {
            Level::L1 => self.judge_l1(entry),
            Level::L2 if entry & COMPRESSED != 0 => self.judge_compressed(raw),
            Level::L2 if self.geometry.has_extended_l2() => self.judge_extended(raw),
            Level::L2 => self.judge_standard(entry),
        }
    }

    fn judge_l1(&self, entry: u64) -> Verdict {
        if entry & RESERVED != 0 {
            return Verdict::Wrong { why: "reserved bits are set", right: plain(entry & !RESERVED) };
        }
        // Only fixed structures: other L1 entries may refer to the same table.
        self.judge_offset(entry, plain(0), FIXED)
    }

    #[inline]
    fn judge_standard(&self, entry: u64) -> Verdict {
        let reserved = if self.header.version >= 3 { RESERVED & !ZERO } else { RESERVED };
        if entry & reserved != 0 {
            return Verdict::Wrong { why: "reserved bits are set", right: plain(entry & !reserved) };
        }
        // What reads as zeroes still does without a host cluster.
        self.judge_data(entry, plain(entry & ZERO))
    }

    #[inline]
    fn judge_extended(&self, raw: RawEntry) -> Verdict {
        let wrong = |why, descriptor, bitmap| Verdict::Wrong { why, right: RawEntry { descriptor, bitmap } };
        let (entry, both) = (raw.descriptor, u64::from(raw.allocated() & raw.zero()));
        let zeroes = raw.bitmap & !u64::from(u32::MAX);
        if entry & RESERVED != 0 {
            return wrong("reserved bits are set", entry & !RESERVED, raw.bitmap);
        }
        if !self.has_cluster(entry) && raw.allocated() != 0 {
            return wrong("subclusters are allocated without a cluster", entry, zeroes);
        }
        if both != 0 {
            // What may be data is not thrown away.
            return wrong("a subcluster is allocated and reads as zeroes", entry, raw.bitmap & !(both << 32));
        }
        self.judge_data(entry, RawEntry { descriptor: 0, bitmap: zeroes })
    }

    #[inline]
    fn judge_data(&self, entry: u64, without: RawEntry) -> Verdict {
        if self.geometry.has_data_file() {
            return self.judge_place(entry, without);
        }
        self.judge_offset(entry, without, !0)
    }

    /// `without` is the entry without a cluster; no cluster with one of `roles` may be referred to.
    #[inline]
    fn judge_offset(&self, entry: u64, without: RawEntry, roles: u8) -> Verdict {
        let offset = entry_offset(entry);
        let wrong = |why| Verdict::Wrong { why, right: without };
        // The copied flag says nothing about zeroes without a cluster.
        let has_cluster = offset != HostOffset::default();
        if !has_cluster && (entry == without.descriptor || without.descriptor == ZERO) {
            return Verdict::Nothing;
        }
        if !has_cluster {
            return wrong("the copied flag is set without a cluster");
        }
        if !self.geometry.is_cluster_aligned(offset) {
            return wrong("the offset is not that of a cluster");
        }
        let extent = offset.with_length(self.geometry.cluster_bytes());
        match self.roles.get(self.geometry.cluster_of(offset).index() as usize) {
            None => wrong("the cluster lies past the end of the file"),
            Some(role) if role & roles != 0 => wrong("the cluster lies on metadata"),
            Some(_) => Verdict::Refers(extent),
        }
    }

    fn judge_compressed(&self, raw: RawEntry) -> Verdict {
        let entry = raw.descriptor;
        if entry & COPIED != 0 {
            return Verdict::Wrong {
                why: "the copied flag is set on a compressed cluster",
                right: RawEntry { descriptor: entry & !COPIED, ..raw },
            };
        }
        if raw.bitmap != 0 {
            return Verdict::Wrong { why: "a compressed cluster has no subclusters", right: plain(entry) };
        }
        if self.geometry.has_data_file() {
            return Verdict::Wrong { why: "a data file has no compressed clusters", right: plain(0) };
        }
        let descriptor = CompressedDescriptor::decode(entry, self.geometry);
        let extent = descriptor.extent();
        let wrong = |why| Verdict::Wrong { why, right: plain(0) };
        // The last sector may reach past what is stored of it, never a whole cluster past the file.
        if !self.is_inside(extent) {
            return wrong("compressed data lies past the end of the file");
        }
        if self.roles[self.touched(extent)].iter().any(|role| *role != 0) {
            return wrong("compressed data lies on metadata");
        }
        Verdict::Refers(extent)
    }
}

/// An entry without a bitmap.
const fn plain(descriptor: u64) -> RawEntry {
    RawEntry { descriptor, bitmap: 0 }
}

/// Whether `fewer` has some of the bits of `entry`, not all, and no other.
fn has_fewer_bits(fewer: RawEntry, entry: RawEntry) -> bool {
    let is_part = |fewer: u64, of: u64| fewer & !of == 0;
    is_part(fewer.descriptor, entry.descriptor) && is_part(fewer.bitmap, entry.bitmap) && fewer != entry
}
