//! L2 table entries: what a guest cluster is.
//!
//! ```text
//! bit 63  copied: the cluster's refcount is exactly 1, it may be written in place
//! bit 62  compressed: bits 0 to 61 are a compressed cluster's descriptor
//! bit  9 to 55  host offset, a multiple of the cluster size; 0 where there is none
//! bit  0  reads as zeroes (version 3)
//! ```
//!
//! An extended entry has 8 bytes more. Bit 0 above is reserved in it, and all of them are 0 where the cluster
//! is compressed:
//!
//! ```text
//! bit 32 to 63  subcluster 0 to 31 reads as zeroes
//! bit  0 to 31  subcluster 0 to 31 has its data in the host cluster; with neither bit, the backing file has it
//! ```
//!
//! Both words lie in one sector, and are written together.

use blk_core::{Error, Result};

use crate::geometry::{Geometry, HOST_OFFSET_END};
use crate::offset::{GuestOffset, HostExtent, HostOffset};
use crate::ondisk::CompressedDescriptor;

pub(crate) const COPIED: u64 = 1 << 63;
pub(crate) const COMPRESSED: u64 = 1 << 62;
pub(crate) const ZERO: u64 = 1;
pub(crate) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// No entry of the L1 table has these bits, nor has one of an L2 table that is not compressed, save
/// for [`ZERO`].
pub(crate) const RESERVED: u64 = 0x7f00_0000_0000_01ff;

/// What a subcluster is, or a whole cluster where it has no other parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// The backing file's content, or zeroes.
    Unallocated,
    /// The same, with a place for what is written; only beside other subclusters.
    Reserved {
        /// The cluster that the place lies in.
        host: HostOffset,
        /// It belongs to this entry alone.
        copied: bool,
    },
    /// Reads as zeroes; a host cluster may be kept for later writes.
    Zero {
        /// The host cluster that is kept.
        host: Option<HostOffset>,
        /// It belongs to this entry alone.
        copied: bool,
    },
    /// Stored as plain bytes.
    Data {
        /// Where the cluster begins.
        host: HostOffset,
        /// It belongs to this entry alone.
        copied: bool,
    },
    /// Stored compressed.
    Compressed(CompressedDescriptor),
}

impl Cluster {
    /// Whether a write may go straight to the host cluster.
    pub(crate) fn in_place(self) -> Option<HostOffset> {
        match self {
            Self::Data { host, copied: true } => Some(host),
            _ => None,
        }
    }

    /// Whether it shows the backing file.
    pub(crate) const fn is_unallocated(self) -> bool {
        matches!(self, Self::Unallocated | Self::Reserved { .. })
    }

    /// The host cluster that a write may fill, where it holds no data yet.
    pub(crate) fn kept(self) -> Option<HostOffset> {
        match self {
            Self::Zero { host: Some(host), copied: true } | Self::Reserved { host, copied: true } => {
                Some(host)
            }
            _ => None,
        }
    }
}

/// What an entry refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing.
    Nowhere,
    /// A host cluster.
    Plain {
        /// Where it begins.
        host: HostOffset,
        /// It belongs to this entry alone.
        copied: bool,
    },
    /// Compressed data.
    Compressed(CompressedDescriptor),
}

/// What an L2 entry says about a guest cluster. Without extended entries a cluster is one subcluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it refers to.
    pub(crate) place: Place,
    /// The subclusters whose data lies there, a bit each; none of a compressed cluster.
    pub(crate) allocated: u32,
    /// The subclusters that read as zeroes, a bit each.
    pub(crate) zero: u32,
}

/// An L2 entry as it is in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawEntry {
    /// Its first 8 bytes, all of a plain one.
    pub(crate) descriptor: u64,
    /// The last 8 bytes of an extended one.
    pub(crate) bitmap: u64,
}

impl RawEntry {
    /// The entry with number `index` of a table or a part of one.
    #[inline]
    pub(crate) fn read(table: &[u8], index: usize, geometry: Geometry) -> Self {
        let word = |at: usize| u64::from_be_bytes(table[at..at + 8].try_into().expect("eight bytes"));
        if geometry.has_extended_l2() {
            Self { descriptor: word(index * 16), bitmap: word(index * 16 + 8) }
        } else {
            Self { descriptor: word(index * 8), bitmap: 0 }
        }
    }

    /// All entries of a table or a part of one.
    pub(crate) fn all(table: &[u8], geometry: Geometry) -> impl Iterator<Item = Self> {
        let count = table.len() / geometry.l2_entry_bytes() as usize;
        (0..count).map(move |index| Self::read(table, index, geometry))
    }

    /// Of a compressed cluster.
    pub(crate) const fn compressed(descriptor: u64) -> Self {
        Self { descriptor, bitmap: 0 }
    }

    /// The subclusters that are allocated, a bit each.
    pub(crate) const fn allocated(self) -> u32 {
        self.bitmap as u32
    }

    /// The subclusters that read as zeroes, a bit each.
    pub(crate) const fn zero(self) -> u32 {
        (self.bitmap >> 32) as u32
    }
}

impl Entry {
    /// Of a cluster that was never written.
    pub(crate) const UNALLOCATED: Self = Self { place: Place::Nowhere, allocated: 0, zero: 0 };

    /// Of a cluster that reads as zeroes and takes no space.
    pub(crate) const fn zeroes(geometry: Geometry) -> Self {
        Self { zero: geometry.all_subclusters(), ..Self::UNALLOCATED }
    }

    /// What subcluster number `number` is.
    #[inline]
    pub(crate) fn kind(self, number: u32) -> Cluster {
        let is_zero = (self.zero >> number) & 1 != 0;
        match self.place {
            Place::Nowhere if is_zero => Cluster::Zero { host: None, copied: false },
            Place::Nowhere => Cluster::Unallocated,
            Place::Plain { host, copied } if is_zero => Cluster::Zero { host: Some(host), copied },
            Place::Plain { host, copied } if (self.allocated >> number) & 1 != 0 => {
                Cluster::Data { host, copied }
            }
            Place::Plain { host, copied } => Cluster::Reserved { host, copied },
            Place::Compressed(descriptor) => Cluster::Compressed(descriptor),
        }
    }

    /// The last of the subclusters from `number` on that are what that one is.
    #[inline]
    pub(crate) fn last_alike(self, number: u32, geometry: Geometry) -> u32 {
        let last = geometry.subclusters() - 1;
        if number == last {
            return last;
        }
        let differing = |bits: u32| {
            let bits = bits >> number;
            if bits & 1 == 0 { bits } else { !bits }
        };
        let alike = (differing(self.allocated) | differing(self.zero)).trailing_zeros();
        last.min(number.saturating_add(alike - 1))
    }

    /// Whether writes may fill its host cluster.
    pub(crate) const fn is_own(self) -> bool {
        matches!(self.place, Place::Plain { copied: true, .. })
    }

    /// The host bytes that it counts a reference to; none in a data file.
    pub(crate) fn host_extent(self, geometry: Geometry) -> Option<HostExtent> {
        match self.place {
            Place::Nowhere => None,
            Place::Plain { .. } if geometry.has_data_file() => None,
            Place::Plain { host, .. } => Some(host.with_length(geometry.cluster_bytes())),
            Place::Compressed(descriptor) => Some(descriptor.extent()),
        }
    }

    /// As it is written into a table.
    pub(crate) fn encode(self, geometry: Geometry) -> RawEntry {
        debug_assert!(self.allocated & self.zero == 0, "a subcluster has one kind: {self:?}");
        let descriptor = match self.place {
            Place::Nowhere => 0,
            Place::Plain { host, copied } => host.get() | if copied { COPIED } else { 0 },
            Place::Compressed(descriptor) => descriptor.encode(geometry).expect("it was in an entry"),
        };
        if geometry.has_extended_l2() {
            return RawEntry { descriptor, bitmap: u64::from(self.zero) << 32 | u64::from(self.allocated) };
        }
        RawEntry { descriptor: descriptor | u64::from(self.zero), bitmap: 0 }
    }
}

/// The offset in an entry of an L1 table, or of an L2 table that is not compressed: all its bits fit into a
/// file.
#[inline]
pub(crate) const fn entry_offset(entry: u64) -> HostOffset {
    HostOffset::new(entry & OFFSET_MASK)
}

/// The entry of plain data at `host` whose refcount is 1.
pub(crate) const fn data_entry(host: HostOffset) -> u64 {
    debug_assert!(
        host.get() & !OFFSET_MASK == 0 && host.get() != 0,
        "an entry has bits 9 to 55 of an offset"
    );
    host.get() | COPIED
}

/// Reads an entry; `guest_offset` and `version` are for judging it.
#[inline]
pub(crate) fn decode(
    raw: RawEntry,
    geometry: Geometry,
    version: u32,
    guest_offset: GuestOffset,
) -> Result<Entry> {
    let entry = raw.descriptor;
    if entry & COMPRESSED != 0 {
        return decode_compressed(raw, geometry, guest_offset);
    }
    if geometry.has_extended_l2() {
        return decode_extended(raw, geometry, guest_offset);
    }
    if entry == 0 {
        return Ok(Entry::UNALLOCATED);
    }
    let place = decode_place(entry, RESERVED & !ZERO, geometry, guest_offset)?;
    if entry & ZERO != 0 {
        if version < 3 {
            return Err(bad_entry(entry, guest_offset, "the zero flag does not exist in version 2"));
        }
        return Ok(Entry { place, allocated: 0, zero: 1 });
    }
    if place == Place::Nowhere {
        return Err(bad_entry(entry, guest_offset, "the copied flag is set without a cluster"));
    }
    Ok(Entry { place, allocated: 1, zero: 0 })
}

/// Reads an entry with its bitmap, where the zero flag has no meaning.
fn decode_extended(raw: RawEntry, geometry: Geometry, guest_offset: GuestOffset) -> Result<Entry> {
    let (entry, allocated, zero) = (raw.descriptor, raw.allocated(), raw.zero());
    let place = decode_place(entry, RESERVED, geometry, guest_offset)?;
    if place == Place::Nowhere && entry != 0 {
        return Err(bad_entry(entry, guest_offset, "the copied flag is set without a cluster"));
    }
    if place == Place::Nowhere && allocated != 0 {
        let why = "subclusters are allocated without a cluster";
        return Err(bad_bitmap(raw, guest_offset, why));
    }
    if allocated & zero != 0 {
        return Err(bad_bitmap(raw, guest_offset, "a subcluster is allocated and reads as zeroes"));
    }
    Ok(Entry { place, allocated, zero })
}

/// Where the offset of an entry that is not compressed, and has none of the `reserved` bits, leads.
#[inline]
fn decode_place(entry: u64, reserved: u64, geometry: Geometry, guest_offset: GuestOffset) -> Result<Place> {
    let host = entry_offset(entry);
    if geometry.has_data_file() && entry & reserved == 0 {
        return decode_place_in_data_file(entry, geometry, guest_offset);
    }
    if entry & reserved != 0 || !geometry.is_cluster_aligned(host) {
        return Err(bad_entry(
            entry,
            guest_offset,
            "reserved bits are set or the offset is not aligned to a cluster",
        ));
    }
    if host == HostOffset::default() {
        return Ok(Place::Nowhere);
    }
    Ok(Place::Plain { host, copied: entry & COPIED != 0 })
}

/// Only the copied flag tells the first cluster of a data file from none. All clusters there belong to one
/// entry, whatever their flags say.
#[inline]
fn decode_place_in_data_file(entry: u64, geometry: Geometry, guest_offset: GuestOffset) -> Result<Place> {
    let host = entry_offset(entry);
    if host == HostOffset::default() && entry & COPIED == 0 {
        return Ok(Place::Nowhere);
    }
    if host.get() != geometry.cluster_start(guest_offset).get() {
        if host == HostOffset::default() && entry & ZERO != 0 {
            return Ok(Place::Nowhere);
        }
        let why = "the offset in the data file is not that of the guest cluster";
        return Err(bad_entry(entry, guest_offset, why));
    }
    Ok(Place::Plain { host, copied: true })
}

fn decode_compressed(raw: RawEntry, geometry: Geometry, guest_offset: GuestOffset) -> Result<Entry> {
    let entry = raw.descriptor;
    if entry & COPIED != 0 {
        return Err(bad_entry(entry, guest_offset, "the copied flag is set on a compressed cluster"));
    }
    if geometry.has_data_file() {
        return Err(bad_entry(entry, guest_offset, "a data file has no compressed clusters"));
    }
    if raw.bitmap != 0 {
        return Err(bad_bitmap(raw, guest_offset, "a compressed cluster has no subclusters"));
    }
    let descriptor = CompressedDescriptor::decode(entry, geometry);
    if descriptor.host_offset() >= HOST_OFFSET_END {
        return Err(bad_entry(entry, guest_offset, "compressed data lies past 2^56"));
    }
    Ok(Entry { place: Place::Compressed(descriptor), ..Entry::UNALLOCATED })
}

#[cold]
fn bad_bitmap(raw: RawEntry, guest_offset: GuestOffset, why: &str) -> Error {
    bad_entry(raw.descriptor, guest_offset, &format!("with bitmap {:#018x}, {why}", raw.bitmap))
}

#[cold]
fn bad_entry(entry: u64, guest_offset: GuestOffset, why: &str) -> Error {
    Error::Corrupt {
        structure: "L2 entry",
        offset: guest_offset.get(),
        reason: format!("entry {entry:#018x} for guest offset {guest_offset:#x}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_what_the_specification_says() {
        let geometry = Geometry::new(12, 4).unwrap();
        let data = |host, copied| Cluster::Data { host: HostOffset::new(host), copied };
        let decoded = |descriptor, version| {
            decode(RawEntry { descriptor, bitmap: 0 }, geometry, version, GuestOffset::default())
        };
        for (entry, expected) in [
            (0, Cluster::Unallocated),
            (ZERO, Cluster::Zero { host: None, copied: false }),
            (0x5000, data(0x5000, false)),
            (0x5000 | COPIED, data(0x5000, true)),
            (0x00ff_ffff_ffff_f000, data(0x00ff_ffff_ffff_f000, false)),
            (0x5001, Cluster::Zero { host: Some(HostOffset::new(0x5000)), copied: false }),
            (0x5001 | COPIED, Cluster::Zero { host: Some(HostOffset::new(0x5000)), copied: true }),
            (COPIED | ZERO, Cluster::Zero { host: None, copied: false }),
        ] {
            let decoded = decoded(entry, 3).unwrap();
            assert_eq!(decoded.kind(0), expected, "{entry:#x}");
            let again = if entry == COPIED | ZERO { ZERO } else { entry };
            assert_eq!(decoded.encode(geometry), RawEntry { descriptor: again, bitmap: 0 });
        }
        assert_eq!(data_entry(HostOffset::new(0x5000)), 0x5000 | COPIED);
    }

    #[test]
    fn entries_that_mean_nothing_are_named() {
        let geometry = Geometry::new(12, 4).unwrap();
        let reserved = "reserved bits are set or the offset is not aligned to a cluster";
        let cases = [
            (0x5002, 3, reserved),
            (0x5000 | 1 << 61, 3, reserved),
            (0x5000 | 1 << 56, 3, reserved),
            (0x5200, 3, reserved),
            (0x5200 | COPIED | ZERO, 3, reserved),
            (0x5001, 2, "the zero flag does not exist in version 2"),
            (ZERO, 2, "the zero flag does not exist in version 2"),
            (COPIED, 3, "the copied flag is set without a cluster"),
            (COPIED | COMPRESSED | 0x5000, 3, "the copied flag is set on a compressed cluster"),
            (COMPRESSED | 1 << 56, 3, "compressed data lies past 2^56"),
        ];
        for (entry, version, why) in cases {
            let raw = RawEntry { descriptor: entry, bitmap: 0 };
            let error = decode(raw, geometry, version, GuestOffset::new(0x7000)).unwrap_err().to_string();
            assert!(error.contains(why), "{entry:#x}: {error}");
            assert!(error.contains("0x7000") && error.contains(&format!("{entry:#018x}")), "{error}");
        }
        for bit in (1..9).chain(56..62) {
            let raw = RawEntry { descriptor: 0x5000 | 1 << bit, bitmap: 0 };
            let error = decode(raw, geometry, 3, GuestOffset::default()).unwrap_err().to_string();
            assert!(error.contains(reserved), "bit {bit}: {error}");
        }
        let last = (1 << 56) - 512;
        let compressed = RawEntry::compressed(COMPRESSED | last);
        let decoded = decode(compressed, geometry, 2, GuestOffset::default()).unwrap();
        assert!(matches!(decoded.kind(0), Cluster::Compressed(_)));
        assert_eq!(decoded.encode(geometry), compressed);
    }

    fn extended() -> Geometry {
        Geometry::new(16, 4).unwrap().with_extended_l2(true).unwrap()
    }

    #[test]
    fn subclusters_are_what_their_bits_say() {
        let geometry = extended();
        let raw = RawEntry { descriptor: 0x50000 | COPIED, bitmap: 0x8000_00f0_0000_000f };
        let entry = decode(raw, geometry, 3, GuestOffset::default()).unwrap();
        let host = HostOffset::new(0x50000);
        let (data, zero, reserved) = (
            Cluster::Data { host, copied: true },
            Cluster::Zero { host: Some(host), copied: true },
            Cluster::Reserved { host, copied: true },
        );
        for (numbers, kind) in [(0..4, data), (4..8, zero), (8..31, reserved), (31..32, zero)] {
            for number in numbers.clone() {
                assert_eq!(entry.kind(number), kind, "{number}");
                assert_eq!(entry.last_alike(number, geometry), numbers.end - 1, "{number}");
            }
        }
        assert_eq!(entry.encode(geometry), raw);
        let nowhere = RawEntry { descriptor: 0, bitmap: 1 << 32 };
        let entry = decode(nowhere, geometry, 3, GuestOffset::default()).unwrap();
        assert_eq!(entry.kind(0), Cluster::Zero { host: None, copied: false });
        assert_eq!((entry.kind(1), entry.last_alike(1, geometry)), (Cluster::Unallocated, 31));
        assert_eq!((entry.host_extent(geometry), entry.encode(geometry)), (None, nowhere));
        assert_eq!(Entry::zeroes(geometry).encode(geometry).bitmap, 0xffff_ffff_0000_0000);
        assert_eq!(Entry::UNALLOCATED.last_alike(0, geometry), 31);
    }

    #[test]
    fn bitmaps_that_mean_nothing_are_named() {
        for (descriptor, bitmap, why) in [
            (0x50000, 0x1_0000_0001, "a subcluster is allocated and reads as zeroes"),
            (0x50000 | COPIED, 0x8000_0000_8000_0000, "a subcluster is allocated and reads as zeroes"),
            (0, 1, "subclusters are allocated without a cluster"),
            (0, 1 << 31, "subclusters are allocated without a cluster"),
            (COMPRESSED | 0x50000, 1, "a compressed cluster has no subclusters"),
            (COMPRESSED | 0x50000, 1 << 63, "a compressed cluster has no subclusters"),
            (0x50001, 0, "reserved bits are set"),
            (ZERO, 0, "reserved bits are set"),
            (COPIED, 1 << 32, "the copied flag is set without a cluster"),
        ] {
            let raw = RawEntry { descriptor, bitmap };
            let error = decode(raw, extended(), 3, GuestOffset::new(0x70000)).unwrap_err().to_string();
            assert!(error.contains(why), "{raw:?}: {error}");
        }
    }
}
