//! The structures as they lie on disk. All numbers are big-endian; field names are the specification's.
//!
//! ```text
//! header   0 magic | 4 version | 8 backing_file_offset | 16 backing_file_size | 20 cluster_bits | 24 size | 32 crypt_method
//!         36 l1_size | 40 l1_table_offset | 48 refcount_table_offset | 56 refcount_table_clusters | 60 nb_snapshots
//!         64 snapshots_offset | (version 3:) 72 incompatible_features | 80 compatible_features | 88 autoclear_features
//!         96 refcount_order | 100 header_length | 104 compression_type | 105 to 111 padding
//! ```
//!
//! Source: QEMU's docs/interop/qcow2.txt. These types are raw: what they hold has not been validated.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::geometry::{Geometry, HOST_OFFSET_END};
use crate::offset::{HostExtent, HostOffset};

/// `QFI\xfb`
pub(crate) const MAGIC: u32 = 0x5146_49fb;

pub(crate) const INCOMPATIBLE_DIRTY: u64 = 1;
pub(crate) const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
pub(crate) const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
pub(crate) const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
pub(crate) const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
pub(crate) const COMPATIBLE_LAZY_REFCOUNTS: u64 = 1;
pub(crate) const AUTOCLEAR_BITMAPS: u64 = 1;
pub(crate) const AUTOCLEAR_DATA_FILE_RAW: u64 = 1 << 1;

pub(crate) const EXTENSION_END: u32 = 0;
pub(crate) const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
pub(crate) const EXTENSION_FEATURE_NAMES: u32 = 0x6803_f857;
pub(crate) const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
pub(crate) const EXTENSION_BITMAPS: u32 = 0x2385_2875;
pub(crate) const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// The part of the header that both versions have.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct HeaderV2 {
    pub(crate) magic: U32,
    pub(crate) version: U32,
    pub(crate) backing_file_offset: U64,
    pub(crate) backing_file_size: U32,
    pub(crate) cluster_bits: U32,
    pub(crate) size: U64,
    pub(crate) crypt_method: U32,
    pub(crate) l1_size: U32,
    pub(crate) l1_table_offset: U64,
    pub(crate) refcount_table_offset: U64,
    pub(crate) refcount_table_clusters: U32,
    pub(crate) nb_snapshots: U32,
    pub(crate) snapshots_offset: U64,
}

/// What version 3 has after [`HeaderV2`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct HeaderV3 {
    pub(crate) incompatible_features: U64,
    pub(crate) compatible_features: U64,
    pub(crate) autoclear_features: U64,
    pub(crate) refcount_order: U32,
    pub(crate) header_length: U32,
}

/// What begins a header extension; its data follows, padded to a multiple of 8 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ExtensionHeader {
    pub(crate) kind: U32,
    pub(crate) length: U32,
}

/// The data of the bitmaps extension.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct BitmapsExtension {
    pub(crate) nb_bitmaps: U32,
    pub(crate) reserved: U32,
    pub(crate) directory_size: U64,
    pub(crate) directory_offset: U64,
}

/// The data of the encryption extension.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct EncryptionExtension {
    pub(crate) offset: U64,
    pub(crate) length: U64,
}

/// What begins a snapshot table entry; extra data, id and name follow, padded to a multiple of 8 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SnapshotEntry {
    pub(crate) l1_table_offset: U64,
    pub(crate) l1_size: U32,
    pub(crate) id_size: U16,
    pub(crate) name_size: U16,
    pub(crate) date_seconds: U32,
    pub(crate) date_nanoseconds: U32,
    pub(crate) vm_clock_nanoseconds: U64,
    pub(crate) vm_state_size: U32,
    pub(crate) extra_data_size: U32,
}

/// What begins a bitmap directory entry; extra data and name follow, padded to a multiple of 8 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct BitmapEntry {
    pub(crate) table_offset: U64,
    pub(crate) table_size: U32,
    pub(crate) flags: U32,
    pub(crate) kind: u8,
    pub(crate) granularity_bits: u8,
    pub(crate) name_size: U16,
    pub(crate) extra_data_size: U32,
}

const _: () = assert!(size_of::<HeaderV2>() == 72 && std::mem::offset_of!(HeaderV2, l1_table_offset) == 40);
const _: () = assert!(std::mem::offset_of!(HeaderV2, snapshots_offset) == 64);
const _: () = assert!(size_of::<HeaderV3>() == 32 && std::mem::offset_of!(HeaderV3, refcount_order) == 24);
const _: () = assert!(size_of::<ExtensionHeader>() == 8 && size_of::<BitmapsExtension>() == 24);
const _: () = assert!(size_of::<EncryptionExtension>() == 16);
const _: () = assert!(size_of::<SnapshotEntry>() == 40 && size_of::<BitmapEntry>() == 24);

/// Bytes of a version 2 header.
pub(crate) const HEADER_V2_BYTES: u32 = 72;
/// Bytes of the shortest version 3 header.
pub(crate) const HEADER_V3_BYTES_MIN: u32 = 104;
/// Bytes of the version 3 headers that we write: the compression type and its padding included.
pub(crate) const HEADER_V3_BYTES: u32 = 112;
/// Offset of the compression type.
pub(crate) const COMPRESSION_TYPE_OFFSET: usize = 104;

/// How compressed clusters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CompressionType {
    /// Raw deflate with a 4 KiB window.
    #[default]
    Zlib,
    /// A zstd frame.
    Zstd,
}

/// Where a compressed cluster's bytes lie: from a byte to the end of a sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompressedDescriptor {
    host_offset: HostOffset,
    additional_sectors: u64,
}

impl CompressedDescriptor {
    const SECTOR_BYTES: u64 = 512;

    /// For `length` bytes, at least 1, at `host_offset`.
    pub(crate) const fn new(host_offset: HostOffset, length: u64) -> Self {
        debug_assert!(length > 0, "a compressed cluster has a byte at least");
        let additional_sectors = (host_offset.get() % Self::SECTOR_BYTES + length - 1) / Self::SECTOR_BYTES;
        Self { host_offset, additional_sectors }
    }

    /// Reads bits 0 to 61 of an L2 entry.
    pub(crate) const fn decode(entry: u64, geometry: Geometry) -> Self {
        let bits = geometry.compressed_offset_bits();
        let descriptor = entry & ((1 << 62) - 1);
        let host_offset = HostOffset::new(descriptor & ((1 << bits) - 1));
        Self { host_offset, additional_sectors: descriptor >> bits }
    }

    /// The L2 entry; `None` where the offset or the number of sectors does not fit.
    pub(crate) fn encode(self, geometry: Geometry) -> Option<u64> {
        let bits = geometry.compressed_offset_bits();
        let offset = self.host_offset.get();
        let fits =
            offset < HOST_OFFSET_END.get().min(1 << bits) && self.additional_sectors < 1 << (62 - bits);
        fits.then_some((1 << 62) | (self.additional_sectors << bits) | offset)
    }

    /// Where the first byte lies.
    pub(crate) const fn host_offset(self) -> HostOffset {
        self.host_offset
    }

    /// From the first byte to the end of the last sector: at most two clusters, and never past 2^63.
    pub(crate) const fn extent(self) -> HostExtent {
        let in_sector = self.host_offset.get() % Self::SECTOR_BYTES;
        self.host_offset.with_length((self.additional_sectors + 1) * Self::SECTOR_BYTES - in_sector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_descriptors_keep_what_fits() {
        let geometry = Geometry::new(16, 4).unwrap();
        let descriptor = CompressedDescriptor::new(HostOffset::new(0x1_2345_6789), 1000);
        let entry = descriptor.encode(geometry).unwrap();
        assert_eq!(CompressedDescriptor::decode(entry, geometry), descriptor);
        assert_eq!(descriptor.extent().end().get(), 0x1_2345_6a00 + 512);
        assert_eq!(descriptor.host_offset(), HostOffset::new(0x1_2345_6789));
        // 8 bits say how many sectors there are besides the first.
        assert!(CompressedDescriptor::new(HostOffset::new(0), 256 * 512).encode(geometry).is_some());
        assert_eq!(CompressedDescriptor::new(HostOffset::new(0), 256 * 512 + 1).encode(geometry), None);
        assert_eq!(CompressedDescriptor::new(HostOffset::new(1 << 54), 10).encode(geometry), None);
        let tiny = Geometry::new(9, 4).unwrap();
        assert_eq!(CompressedDescriptor::new(HostOffset::new(1 << 56), 10).encode(tiny), None);
        assert_eq!(
            CompressedDescriptor::new(HostOffset::new(100), 413).encode(tiny).map(|entry| entry >> 61),
            Some(0b11)
        );
    }
}
