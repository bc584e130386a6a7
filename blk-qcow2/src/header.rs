//! The header: read into a validated type once, so that no later arithmetic on it can overflow.
//!
//! Write order: a field that points somewhere is written after what it points to is durable, and all of them
//! lie inside the first sector, so that one write changes them together.

mod fixed;
mod rewrite;

use blk_core::{Error, Extent, Result, Storage, name};
use zerocopy::IntoBytes;

use crate::extension::{self, BitmapDirectory, Extensions, FORMAT_BYTES_MAX};
use crate::geometry::Geometry;
use crate::header::fixed::Fixed;
use crate::offset::{ClusterCount, HostExtent, HostOffset};
use crate::ondisk::{
    AUTOCLEAR_BITMAPS, COMPRESSION_TYPE_OFFSET, CompressionType, EXTENSION_BACKING_FORMAT,
    EXTENSION_DATA_FILE, EXTENSION_ENCRYPTION, EXTENSION_END, EXTENSION_FEATURE_NAMES, HEADER_V2_BYTES,
    HEADER_V3_BYTES_MIN, HeaderV2, HeaderV3, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY, MAGIC,
};

/// Largest L1 table, in bytes: what other implementations accept.
pub(crate) const L1_TABLE_BYTES_MAX: u64 = 32 << 20;
/// Largest refcount table, in bytes: what other implementations accept.
pub(crate) const REFCOUNT_TABLE_BYTES_MAX: u64 = 8 << 20;
/// Most snapshots: what other implementations accept.
pub(crate) const SNAPSHOTS_MAX: u32 = 65536;
pub(crate) const SECTOR_BYTES: usize = 512;
/// Where the incompatible features stand.
const INCOMPATIBLE_OFFSET: usize = 72;
/// Images of smaller clusters have no feature name table, as with other implementations: it would take the
/// room that the name of a backing file needs.
const FEATURE_NAMES_CLUSTER_BYTES_MIN: u64 = 8192;
/// Longest name of a backing file, in bytes.
pub(crate) const BACKING_NAME_BYTES_MAX: u64 = 1023;

/// The backing file, as the image names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackingName {
    pub(crate) name: String,
    pub(crate) format: Option<String>,
}

impl BackingName {
    /// Checked before it is written: an image whose names are too long could not be opened.
    pub(crate) fn new(name: String, format: Option<String>) -> Result<Self> {
        let length = name::to_bytes(&name).len() as u64;
        if length == 0 || length > BACKING_NAME_BYTES_MAX {
            let reason = format!("the name has {length} bytes, allowed are 1 to {BACKING_NAME_BYTES_MAX}");
            return Err(Error::invalid_option("backing_file", reason));
        }
        if let Some(format) = format.as_ref().filter(|format| format.len() as u64 > FORMAT_BYTES_MAX) {
            let reason = format!("'{format}' has {} bytes, allowed are {FORMAT_BYTES_MAX}", format.len());
            return Err(Error::invalid_option("backing_fmt", reason));
        }
        Ok(Self { name, format })
    }
}

/// How guest data is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// In the old way, by a key that is a passphrase.
    Aes,
    /// With a LUKS header, which lies there.
    Luks(HostExtent),
}

impl Encryption {
    /// Its name, as on a command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Aes => "aes",
            Self::Luks(_) => "luks",
        }
    }

    /// Its number in the header.
    const fn method(self) -> u32 {
        match self {
            Self::Aes => 1,
            Self::Luks(_) => 2,
        }
    }

    /// Where its own header lies, in whole clusters of which the last may be used in part.
    pub(crate) const fn header(self) -> Option<HostExtent> {
        match self {
            Self::Aes => None,
            Self::Luks(extent) => Some(extent),
        }
    }
}

/// A validated header: offsets are cluster-aligned and below 2^62, tables bounded, the L1 table large enough
/// for the size.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) geometry: Geometry,
    /// Size of the disk, bytes.
    pub(crate) size: u64,
    pub(crate) backing: Option<BackingName>,
    pub(crate) l1_entries: u32,
    pub(crate) l1_table_offset: HostOffset,
    pub(crate) refcount_table_offset: HostOffset,
    pub(crate) refcount_table_clusters: u32,
    pub(crate) snapshot_count: u32,
    pub(crate) snapshots_offset: HostOffset,
    pub(crate) incompatible: u64,
    pub(crate) compatible: u64,
    pub(crate) autoclear: u64,
    pub(crate) length: u32,
    pub(crate) compression: CompressionType,
    pub(crate) bitmaps: Option<BitmapDirectory>,
    /// The data file, as the image names it.
    pub(crate) data_file: Option<String>,
    /// How guest data is encrypted, if it is.
    pub(crate) encryption: Option<Encryption>,
    /// Where the backing file's name lies, as the header says; there is none at offset 0.
    pub(crate) backing_extent: Extent,
}

impl Header {
    /// Reads and validates the header.
    ///
    /// # Errors
    /// [`Error::Malformed`] names the field, its value and what is allowed; [`Error::Unsupported`] the
    /// feature.
    pub(crate) fn read(storage: &dyn Storage) -> Result<Self> {
        Self::read_for(storage, false)
    }

    /// As [`Header::read`]; `for_check`, a missing refcount table is no error: a repair makes one.
    pub(crate) fn read_for(storage: &dyn Storage, for_check: bool) -> Result<Self> {
        let fixed = Fixed::read(storage)?;
        let geometry = fixed.geometry()?;
        fixed.check_length(geometry)?;
        fixed.check_size(geometry)?;
        fixed.check_tables(geometry, u64::from(!for_check))?;
        let backing_extent = fixed.backing_extent(geometry)?;
        let area = fixed.extension_area(geometry);
        let extensions = Extensions::read(storage, area)?;
        fixed.check_features(storage, &extensions)?;
        let encryption = fixed.encryption(geometry, &extensions)?;
        let compression = fixed.compression()?;
        let backing = read_backing(storage, backing_extent, &extensions)?;
        let (v2, v3) = (fixed.v2, fixed.v3);
        Ok(Self {
            version: v2.version.get(),
            geometry,
            size: v2.size.get(),
            backing,
            l1_entries: v2.l1_size.get(),
            l1_table_offset: HostOffset::new(v2.l1_table_offset.get()),
            refcount_table_offset: HostOffset::new(v2.refcount_table_offset.get()),
            refcount_table_clusters: v2.refcount_table_clusters.get(),
            snapshot_count: v2.nb_snapshots.get(),
            snapshots_offset: HostOffset::new(v2.snapshots_offset.get()),
            incompatible: v3.incompatible_features.get(),
            compatible: v3.compatible_features.get(),
            autoclear: v3.autoclear_features.get(),
            length: v3.header_length.get(),
            compression,
            bitmaps: extensions.bitmaps,
            data_file: extensions.data_file,
            encryption,
            backing_extent,
        })
    }

    /// Where the active L1 table lies.
    pub(crate) fn l1_table(&self) -> HostExtent {
        self.l1_table_offset.with_length(u64::from(self.l1_entries) * 8)
    }

    /// Where the refcount table lies.
    pub(crate) fn refcount_table(&self) -> HostExtent {
        let clusters = ClusterCount::new(self.refcount_table_clusters.into());
        self.refcount_table_offset.with_length(self.geometry.bytes_of(clusters))
    }

    /// The directory of bitmaps, if the image vouches for it: without the autoclear bit they are out of date.
    pub(crate) fn vouched_bitmaps(&self) -> Option<BitmapDirectory> {
        self.bitmaps.filter(|_| self.autoclear & AUTOCLEAR_BITMAPS != 0)
    }

    /// Where the header of the encryption lies; empty where there is none.
    pub(crate) fn encryption_header(&self) -> HostExtent {
        self.encryption.and_then(Encryption::header).unwrap_or_default()
    }

    /// Where extensions may lie: up to the backing file's name, or to the end of the first cluster.
    pub(crate) fn extension_area(&self) -> Extent {
        area(self.length, self.backing_extent.offset, self.geometry)
    }

    /// Writes the fixed part, in one piece inside the first sector.
    pub(crate) fn write_fixed(&self, storage: &dyn Storage) -> Result<()> {
        // A whole sector is what the host writes in one piece.
        let mut sector = [0; SECTOR_BYTES];
        storage.read_at(0, &mut sector)?;
        let fixed = self.encode_fixed();
        assert!(fixed.len() <= SECTOR_BYTES, "all pointers change in one write");
        sector[..fixed.len()].copy_from_slice(&fixed);
        storage.write_at(0, &sector)
    }

    /// Sets the corrupt bit of the image on `storage`, of version 3; the caller syncs it. All else stays as
    /// it is there: what is in memory may be ahead of it.
    pub(crate) fn mark_corrupt(storage: &dyn Storage) -> Result<()> {
        let mut sector = [0; SECTOR_BYTES];
        storage.read_at(0, &mut sector)?;
        let field = &mut sector[INCOMPATIBLE_OFFSET..INCOMPATIBLE_OFFSET + 8];
        let bits = field.iter().fold(0, |bits: u64, byte| bits << 8 | u64::from(*byte));
        field.copy_from_slice(&(bits | INCOMPATIBLE_CORRUPT).to_be_bytes());
        storage.write_at(0, &sector)
    }

    /// The whole header area of a new image: fixed part, extensions, name of the backing file.
    pub(crate) fn encode_new(&mut self) -> Vec<u8> {
        let fixed_bytes = self.fixed_bytes();
        let mut rest = vec![0; self.length as usize - fixed_bytes];
        if self.version >= 3 {
            rest[COMPRESSION_TYPE_OFFSET - fixed_bytes] = u8::from(self.compression == CompressionType::Zstd);
        }
        if let Some(format) = self.backing.as_ref().and_then(|backing| backing.format.as_deref()) {
            extension::push(&mut rest, EXTENSION_BACKING_FORMAT, format.as_bytes());
        }
        if let Some(data_file) = &self.data_file {
            extension::push(&mut rest, EXTENSION_DATA_FILE, &name::to_bytes(data_file));
        }
        if let Some(extent) = self.encryption.and_then(Encryption::header) {
            extension::push(&mut rest, EXTENSION_ENCRYPTION, &extension::encode_encryption(extent));
        }
        if self.version >= 3 && self.geometry.cluster_bytes() >= FEATURE_NAMES_CLUSTER_BYTES_MIN {
            extension::push(&mut rest, EXTENSION_FEATURE_NAMES, &extension::feature_names());
        }
        extension::push(&mut rest, EXTENSION_END, &[]);
        if let Some(backing) = &self.backing {
            let name = name::to_bytes(&backing.name);
            self.backing_extent = Extent::new((fixed_bytes + rest.len()) as u64, name.len() as u64);
            rest.extend_from_slice(&name);
        }
        let mut bytes = self.encode_fixed();
        bytes.append(&mut rest);
        bytes
    }

    /// Appends the extensions of the image as they are, but for the one that names the format of `backing`.
    pub(crate) fn append_extensions(
        &self,
        storage: &dyn Storage,
        backing: Option<&BackingName>,
        image: &mut Vec<u8>,
    ) -> Result<()> {
        if let Some(format) = backing.and_then(|backing| backing.format.as_deref()) {
            extension::push(image, EXTENSION_BACKING_FORMAT, format.as_bytes());
        }
        for (kind, data) in extension::read_raw(storage, self.extension_area())? {
            if kind != EXTENSION_BACKING_FORMAT {
                extension::push(image, kind, &data);
            }
        }
        extension::push(image, EXTENSION_END, &[]);
        Ok(())
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.incompatible & INCOMPATIBLE_DIRTY != 0
    }

    pub(crate) fn is_corrupt(&self) -> bool {
        self.incompatible & INCOMPATIBLE_CORRUPT != 0
    }

    /// Sets or clears the dirty bit, which version 2 does not have.
    pub(crate) fn set_dirty(&mut self, dirty: bool) {
        self.set_incompatible(INCOMPATIBLE_DIRTY, dirty);
    }

    /// Sets or clears the corrupt bit, which version 2 does not have.
    pub(crate) fn set_corrupt(&mut self, corrupt: bool) {
        self.set_incompatible(INCOMPATIBLE_CORRUPT, corrupt);
    }

    fn set_incompatible(&mut self, bit: u64, on: bool) {
        if self.version >= 3 {
            self.incompatible = if on { self.incompatible | bit } else { self.incompatible & !bit };
        }
    }

    fn fixed_bytes(&self) -> usize {
        if self.version >= 3 { HEADER_V3_BYTES_MIN as usize } else { HEADER_V2_BYTES as usize }
    }

    pub(crate) fn encode_fixed(&self) -> Vec<u8> {
        let v2 = HeaderV2 {
            magic: MAGIC.into(),
            version: self.version.into(),
            backing_file_offset: self.backing_extent.offset.into(),
            backing_file_size: (self.backing_extent.length as u32).into(),
            cluster_bits: self.geometry.cluster_bits().into(),
            size: self.size.into(),
            crypt_method: self.encryption.map_or(0, Encryption::method).into(),
            l1_size: self.l1_entries.into(),
            l1_table_offset: self.l1_table_offset.get().into(),
            refcount_table_offset: self.refcount_table_offset.get().into(),
            refcount_table_clusters: self.refcount_table_clusters.into(),
            nb_snapshots: self.snapshot_count.into(),
            snapshots_offset: self.snapshots_offset.get().into(),
        };
        let mut bytes = v2.as_bytes().to_vec();
        if self.version >= 3 {
            let v3 = HeaderV3 {
                incompatible_features: self.incompatible.into(),
                compatible_features: self.compatible.into(),
                autoclear_features: self.autoclear.into(),
                refcount_order: self.geometry.refcount_order().into(),
                header_length: self.length.into(),
            };
            bytes.extend_from_slice(v3.as_bytes());
        }
        debug_assert_eq!(bytes.len(), self.fixed_bytes(), "each version has its length");
        bytes
    }
}

/// From the end of the header to the backing file's name, or to the end of the first cluster where `name_at`
/// is 0; nothing where the header reaches further.
fn area(header_length: u32, name_at: u64, geometry: Geometry) -> Extent {
    let start = u64::from(header_length);
    let end = if name_at == 0 { geometry.cluster_bytes() } else { name_at };
    Extent::between(start, end.max(start))
}

/// The name ends at its first zero byte; an empty one is none.
fn read_backing(
    storage: &dyn Storage,
    extent: Extent,
    extensions: &Extensions,
) -> Result<Option<BackingName>> {
    if extent.offset == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; extent.length as usize];
    storage.read_at(extent.offset, &mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    if end == 0 {
        return Ok(None);
    }
    let name = name::from_bytes(&bytes[..end]);
    Ok(Some(BackingName { name, format: extensions.backing_format.clone() }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::{MemoryStorage, Options};

    use super::*;

    fn header(compat: &str) -> Header {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        crate::FORMAT.create(&storage, 1 << 20, Options::new().with("compat", compat)).unwrap();
        Header::read(&*storage).unwrap()
    }

    #[test]
    fn each_mark_is_set_and_cleared_alone() {
        let mut header = header("1.1");
        let marks = |header: &Header| (header.is_dirty(), header.is_corrupt());
        for _ in 0..2 {
            header.set_dirty(true);
            assert_eq!(marks(&header), (true, false));
        }
        for _ in 0..2 {
            header.set_corrupt(true);
            assert_eq!(marks(&header), (true, true));
        }
        for _ in 0..2 {
            header.set_dirty(false);
            assert_eq!(marks(&header), (false, true));
        }
        header.set_corrupt(false);
        assert_eq!(header.incompatible, 0);
    }

    /// A header is written as it was read, whatever it says: with another value of one field, others mean
    /// something else.
    #[test]
    fn every_header_that_is_read_is_written_as_it_was() {
        let mut accepted = 0;
        for (compat, length) in [("0.10", HEADER_V2_BYTES as usize), ("1.1", HEADER_V3_BYTES_MIN as usize)] {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
            crate::FORMAT.create(&storage, 1 << 20, Options::new().with("compat", compat)).unwrap();
            let mut healthy = vec![0; length];
            storage.read_at(0, &mut healthy).unwrap();
            for (at, value) in
                (0..length).flat_map(|at| [0, 1, 2, 15, 127, 128, 255].map(|value| (at, value)))
            {
                let mut bytes = healthy.clone();
                bytes[at] = value;
                storage.write_at(0, &bytes).unwrap();
                if let Ok(header) = Header::read_for(&*storage, true) {
                    assert!(bytes.starts_with(&header.encode_fixed()), "{compat}: byte {at} is {value}");
                    accepted += 1;
                }
            }
        }
        assert!(accepted > 600, "{accepted}");
    }

    #[test]
    fn version_2_has_no_marks() {
        let mut header = header("0.10");
        header.set_dirty(true);
        header.set_corrupt(true);
        assert_eq!((header.is_dirty(), header.is_corrupt(), header.incompatible), (false, false, 0));
    }
}
