//! The fixed part of the header and what is checked of it, a step a function.

use blk_core::{Error, Extent, Result, Storage};
use zerocopy::FromBytes;

use super::{
    BACKING_NAME_BYTES_MAX, Encryption, L1_TABLE_BYTES_MAX, REFCOUNT_TABLE_BYTES_MAX, SNAPSHOTS_MAX,
};
use crate::extension::Extensions;
use crate::geometry::Geometry;
use crate::offset::HostOffset;
use crate::ondisk::{
    COMPRESSION_TYPE_OFFSET, CompressionType, HEADER_V2_BYTES, HEADER_V3_BYTES_MIN, HeaderV2, HeaderV3,
    INCOMPATIBLE_COMPRESSION, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DATA_FILE, INCOMPATIBLE_DIRTY,
    INCOMPATIBLE_EXTENDED_L2, MAGIC,
};

/// The fixed part as it was read; version 2 has the defaults of the fields that came with version 3.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fixed {
    pub(super) v2: HeaderV2,
    pub(super) v3: HeaderV3,
    compression_type: u8,
}

const V2_BYTES: usize = HEADER_V2_BYTES as usize;
const V3_BYTES: usize = HEADER_V3_BYTES_MIN as usize;
/// Where a table that the header names may end: far past what a file can have, far from an overflow.
const TABLE_END_MAX: u64 = 1 << 62;

impl Fixed {
    pub(super) fn read(storage: &dyn Storage) -> Result<Self> {
        let mut bytes = [0; COMPRESSION_TYPE_OFFSET + 1];
        storage.read_at(0, &mut bytes)?;
        let v2 = HeaderV2::read_from_bytes(&bytes[..V2_BYTES]).expect("as many bytes as the structure has");
        if v2.magic.get() != MAGIC {
            return Err(bad_field(
                0,
                format!("magic is {:#010x}, a qcow2 image has {MAGIC:#010x}", v2.magic.get()),
            ));
        }
        let mut v3 = HeaderV3::read_from_bytes(&bytes[V2_BYTES..V3_BYTES])
            .expect("as many bytes as the structure has");
        match v2.version.get() {
            2 => {
                v3 = HeaderV3 {
                    incompatible_features: 0.into(),
                    compatible_features: 0.into(),
                    autoclear_features: 0.into(),
                    refcount_order: 4.into(),
                    header_length: HEADER_V2_BYTES.into(),
                }
            }
            3 => {}
            other => return Err(bad_field(4, format!("version is {other}, known are 2 and 3"))),
        }
        let has_compression_type = v3.header_length.get() as usize > COMPRESSION_TYPE_OFFSET;
        let compression_type = if has_compression_type { bytes[COMPRESSION_TYPE_OFFSET] } else { 0 };
        Ok(Self { v2, v3, compression_type })
    }

    /// The sizes of the image's structures.
    pub(super) fn geometry(&self) -> Result<Geometry> {
        let is_extended = self.v3.incompatible_features.get() & INCOMPATIBLE_EXTENDED_L2 != 0;
        let has_data_file = self.v3.incompatible_features.get() & INCOMPATIBLE_DATA_FILE != 0;
        let geometry = Geometry::new(self.v2.cluster_bits.get(), self.v3.refcount_order.get())?;
        Ok(geometry.with_extended_l2(is_extended)?.with_data_file(has_data_file))
    }

    pub(super) fn check_length(&self, geometry: Geometry) -> Result<()> {
        let length = self.v3.header_length.get();
        let too_short = self.v2.version.get() >= 3 && length < HEADER_V3_BYTES_MIN;
        if too_short || u64::from(length) > geometry.cluster_bytes() {
            let allowed = format!("104 to the cluster size, {}", geometry.cluster_bytes());
            return Err(bad_field(100, format!("header_length is {length}, allowed is {allowed}")));
        }
        Ok(())
    }

    /// The disk's size and the L1 table fit together.
    pub(super) fn check_size(&self, geometry: Geometry) -> Result<()> {
        let size = self.v2.size.get();
        let entries = u64::from(self.v2.l1_size.get());
        if size > i64::MAX as u64 {
            return Err(bad_field(24, format!("size is {size}, the largest is {}", i64::MAX)));
        }
        if entries * 8 > L1_TABLE_BYTES_MAX {
            return Err(bad_field(
                36,
                format!("l1_size is {entries}, the largest is {}", L1_TABLE_BYTES_MAX / 8),
            ));
        }
        let needed = geometry.l1_entries(size);
        if entries < needed {
            return Err(bad_field(
                36,
                format!("l1_size is {entries}, a disk of {size} bytes needs {needed}"),
            ));
        }
        Ok(())
    }

    /// The refcount table has `clusters_min` clusters at least.
    pub(super) fn check_tables(&self, geometry: Geometry, clusters_min: u64) -> Result<()> {
        let l1_bytes = u64::from(self.v2.l1_size.get()) * 8;
        check_table("l1_table_offset", 40, self.v2.l1_table_offset.get(), l1_bytes, geometry)?;
        let clusters = u64::from(self.v2.refcount_table_clusters.get());
        let table_bytes = clusters.saturating_mul(geometry.cluster_bytes());
        if clusters < clusters_min || table_bytes > REFCOUNT_TABLE_BYTES_MAX {
            let allowed = REFCOUNT_TABLE_BYTES_MAX / geometry.cluster_bytes();
            return Err(bad_field(
                56,
                format!("refcount_table_clusters is {clusters}, allowed are 1 to {allowed}"),
            ));
        }
        let table_offset = self.v2.refcount_table_offset.get();
        check_table("refcount_table_offset", 48, table_offset, table_bytes, geometry)?;
        let snapshots = self.v2.nb_snapshots.get();
        if snapshots > SNAPSHOTS_MAX {
            return Err(bad_field(
                60,
                format!("nb_snapshots is {snapshots}, allowed are up to {SNAPSHOTS_MAX}"),
            ));
        }
        // Each entry has at least 40 bytes.
        check_table(
            "snapshots_offset",
            64,
            self.v2.snapshots_offset.get(),
            u64::from(snapshots) * 40,
            geometry,
        )
    }

    /// Where the backing file's name lies; there is none at offset 0. It may overlap the header: any bytes
    /// can be a name. An empty one keeps its offset, which ends the area for extensions.
    pub(super) fn backing_extent(&self, geometry: Geometry) -> Result<Extent> {
        let offset = self.v2.backing_file_offset.get();
        let length = u64::from(self.v2.backing_file_size.get());
        let cluster_bytes = geometry.cluster_bytes();
        if offset > cluster_bytes {
            let allowed = format!("the name must lie in the first cluster, of {cluster_bytes} bytes");
            return Err(bad_field(8, format!("backing_file_offset is {offset}, {allowed}")));
        }
        if offset == 0 {
            return Ok(Extent::new(0, length));
        }
        let room = cluster_bytes - offset;
        if length > room.min(BACKING_NAME_BYTES_MAX) {
            let allowed =
                format!("at offset {offset} allowed are up to {}", room.min(BACKING_NAME_BYTES_MAX));
            return Err(bad_field(16, format!("backing_file_size is {length}, {allowed}")));
        }
        Ok(Extent::new(offset, length))
    }

    /// Where extensions may lie: up to the backing file's name, or to the end of the first cluster.
    pub(super) fn extension_area(&self, geometry: Geometry) -> Extent {
        super::area(self.v3.header_length.get(), self.v2.backing_file_offset.get(), geometry)
    }

    /// Only features that we understand may be set.
    pub(super) fn check_features(&self, storage: &dyn Storage, extensions: &Extensions) -> Result<()> {
        let known = INCOMPATIBLE_DIRTY
            | INCOMPATIBLE_CORRUPT
            | INCOMPATIBLE_DATA_FILE
            | INCOMPATIBLE_COMPRESSION
            | INCOMPATIBLE_EXTENDED_L2;
        let unknown = self.v3.incompatible_features.get() & !known;
        if unknown == 0 {
            return Ok(());
        }
        let features = extensions.describe_incompatible(storage, unknown)?;
        Err(Error::unsupported(format!("Unsupported qcow2 feature(s): {features}")))
    }

    /// How guest data is encrypted: only LUKS has a header of its own.
    pub(super) fn encryption(
        &self,
        geometry: Geometry,
        extensions: &Extensions,
    ) -> Result<Option<Encryption>> {
        match (self.v2.crypt_method.get(), extensions.encryption) {
            (0, None) => Ok(None),
            (1, None) => Ok(Some(Encryption::Aes)),
            (2, Some(extent)) => check_encryption_header(extent, geometry).map(Some),
            (2, None) => {
                Err(bad_field(32, "crypt_method is 2 (LUKS), but there is no encryption header".to_owned()))
            }
            (method @ (0 | 1), Some(_)) => {
                Err(bad_field(32, format!("crypt_method is {method}, but there is an encryption header")))
            }
            (other, _) => Err(bad_field(32, format!("crypt_method is {other}, known are 0 to 2"))),
        }
    }

    pub(super) fn compression(&self) -> Result<CompressionType> {
        let bit = self.v3.incompatible_features.get() & INCOMPATIBLE_COMPRESSION != 0;
        match (bit, self.compression_type) {
            (false, 0) => Ok(CompressionType::Zlib),
            (true, 1) => Ok(CompressionType::Zstd),
            (bit, kind) => {
                let reason = format!(
                    "compression_type is {kind} with its feature bit {}",
                    if bit { "set" } else { "clear" }
                );
                Err(bad_field(
                    COMPRESSION_TYPE_OFFSET as u64,
                    format!("{reason}; known are 0 without and 1 (zstd) with it"),
                ))
            }
        }
    }
}

/// A table of `bytes` bytes at `offset` lies at a cluster boundary, and no arithmetic on it overflows. It may
/// lie past the end of the file, where it reads as zeroes: the head of an image can be looked at.
fn check_table(field: &str, field_offset: u64, offset: u64, bytes: u64, geometry: Geometry) -> Result<()> {
    // Where there is nothing, any offset will do that a file could have.
    let most = if bytes == 0 { i64::MAX as u64 } else { TABLE_END_MAX };
    let ends_inside = offset.checked_add(bytes).is_some_and(|end| end <= most);
    if !geometry.is_aligned_number(offset) || !ends_inside {
        let allowed = format!("a multiple of the cluster size, {}, below 2^62", geometry.cluster_bytes());
        return Err(bad_field(field_offset, format!("{field} is {offset:#x}, allowed is {allowed}")));
    }
    Ok(())
}

/// The header of the encryption begins with a cluster, and no arithmetic on it overflows.
fn check_encryption_header(extent: Extent, geometry: Geometry) -> Result<Encryption> {
    let ends_inside = extent.checked_end().is_some_and(|end| end <= TABLE_END_MAX);
    if !geometry.is_aligned_number(extent.offset) || extent.offset == 0 || !ends_inside {
        let Extent { offset, length } = extent;
        let cluster_bytes = geometry.cluster_bytes();
        let reason = format!(
            "the encryption header lies at {offset:#x} and has {length} bytes, allowed is a multiple of the \
             cluster size, {cluster_bytes}, that ends below 2^62"
        );
        return Err(Error::malformed("header extension", offset, reason));
    }
    Ok(Encryption::Luks(HostOffset::new(extent.offset).with_length(extent.length)))
}

fn bad_field(offset: u64, reason: String) -> Error {
    Error::malformed("header", offset, reason)
}
