//! L2 table entries: what a guest cluster is.
//!
//! ```text
//! bit 63  copied: the cluster's refcount is exactly 1, it may be written in place
//! bit 62  compressed: bits 0 to 61 are a compressed cluster's descriptor
//! bit  9 to 55  host offset, a multiple of the cluster size; 0 where there is none
//! bit  0  reads as zeroes (version 3)
//! ```

use blk_core::{Error, Result};

use crate::geometry::{Geometry, HOST_OFFSET_END};
use crate::offset::{GuestOffset, HostOffset};
use crate::ondisk::CompressedDescriptor;

pub(crate) const COPIED: u64 = 1 << 63;
pub(crate) const COMPRESSED: u64 = 1 << 62;
pub(crate) const ZERO: u64 = 1;
pub(crate) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// No entry of the L1 table has these bits, nor has one of an L2 table that is not compressed, save
/// for [`ZERO`].
pub(crate) const RESERVED: u64 = 0x7f00_0000_0000_01ff;

/// What an L2 entry says about a guest cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// The backing file's content, or zeroes.
    Unallocated,
    /// Reads as zeroes; a host cluster may be kept for later writes.
    Zero {
        /// The host cluster that is kept.
        host: Option<HostOffset>,
        /// It belongs to this entry alone.
        copied: bool,
    },
    /// Stored as plain bytes.
    Data {
        /// Where.
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
    entry: u64,
    geometry: Geometry,
    version: u32,
    guest_offset: GuestOffset,
) -> Result<Cluster> {
    if entry == 0 {
        return Ok(Cluster::Unallocated);
    }
    if entry & COMPRESSED != 0 {
        return decode_compressed(entry, geometry, guest_offset);
    }
    let host = entry_offset(entry);
    if entry & !ZERO & RESERVED != 0 || !geometry.is_cluster_aligned(host) {
        return Err(bad_entry(
            entry,
            guest_offset,
            "reserved bits are set or the offset is not aligned to a cluster",
        ));
    }
    let copied = entry & COPIED != 0;
    if entry & ZERO != 0 {
        if version < 3 {
            return Err(bad_entry(entry, guest_offset, "the zero flag does not exist in version 2"));
        }
        return Ok(Cluster::Zero { host: (host != HostOffset::default()).then_some(host), copied });
    }
    if host == HostOffset::default() {
        return Err(bad_entry(entry, guest_offset, "the copied flag is set without a cluster"));
    }
    Ok(Cluster::Data { host, copied })
}

fn decode_compressed(entry: u64, geometry: Geometry, guest_offset: GuestOffset) -> Result<Cluster> {
    if entry & COPIED != 0 {
        return Err(bad_entry(entry, guest_offset, "the copied flag is set on a compressed cluster"));
    }
    let descriptor = CompressedDescriptor::decode(entry, geometry);
    if descriptor.host_offset() >= HOST_OFFSET_END {
        return Err(bad_entry(entry, guest_offset, "compressed data lies past 2^56"));
    }
    Ok(Cluster::Compressed(descriptor))
}

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
        for (entry, expected) in [
            (0, Cluster::Unallocated),
            (ZERO, Cluster::Zero { host: None, copied: false }),
            (0x5000, data(0x5000, false)),
            (0x5000 | COPIED, data(0x5000, true)),
            (0x00ff_ffff_ffff_f000, data(0x00ff_ffff_ffff_f000, false)),
            (0x5001, Cluster::Zero { host: Some(HostOffset::new(0x5000)), copied: false }),
            (0x5001 | COPIED, Cluster::Zero { host: Some(HostOffset::new(0x5000)), copied: true }),
            (COPIED | ZERO, Cluster::Zero { host: None, copied: true }),
        ] {
            assert_eq!(decode(entry, geometry, 3, GuestOffset::default()).unwrap(), expected, "{entry:#x}");
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
            let error = decode(entry, geometry, version, GuestOffset::new(0x7000)).unwrap_err().to_string();
            assert!(error.contains(why), "{entry:#x}: {error}");
            assert!(error.contains("0x7000") && error.contains(&format!("{entry:#018x}")), "{error}");
        }
        for bit in (1..9).chain(56..62) {
            let error =
                decode(0x5000 | 1 << bit, geometry, 3, GuestOffset::default()).unwrap_err().to_string();
            assert!(error.contains(reserved), "bit {bit}: {error}");
        }
        let last = (1 << 56) - 512;
        assert!(matches!(
            decode(COMPRESSED | last, geometry, 2, GuestOffset::default()).unwrap(),
            Cluster::Compressed(_)
        ));
    }
}
