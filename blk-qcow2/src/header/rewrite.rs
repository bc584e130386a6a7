//! Changing the version, or the name of the data file: what follows moves.
//!
//! Write order: the first sector is written last, in one piece, and decides. What lies behind it is durable
//! before, where the old header has nothing: a name that would lie on the old one's bytes goes behind all of
//! them. Extensions may not reach past the first sector and over what the old header has there: the feature
//! name table is left out rather than that, and another name of the data file is refused. A change of the
//! version with other extensions that are as long is the one case in which a crash may leave a mixture.

use blk_core::storage::SyncGroup;
use blk_core::{Error, Extent, Result, Storage, name};

use super::{FEATURE_NAMES_CLUSTER_BYTES_MIN, Header, SECTOR_BYTES};
use crate::extension;
use crate::ondisk::{
    COMPRESSION_TYPE_OFFSET, CompressionType, EXTENSION_BITMAPS, EXTENSION_DATA_FILE, EXTENSION_END,
    EXTENSION_FEATURE_NAMES, HEADER_V2_BYTES, HEADER_V3_BYTES,
};

const SECTOR: u64 = SECTOR_BYTES as u64;

/// What the old header has.
#[derive(Debug, Clone, Copy)]
struct Used {
    /// Where the last byte of its extensions ends.
    extensions_end: u64,
    /// Where the last byte of extensions and name ends.
    end: u64,
}

/// A header that is about to be written.
#[derive(Debug)]
struct Image {
    header: Header,
    /// Fixed part and extensions; the name too, if it follows.
    start: Vec<u8>,
    /// A name that lies further on.
    name: Option<Vec<u8>>,
}

impl Image {
    fn write(self, storage: &dyn Storage, syncs: &SyncGroup) -> Result<Header> {
        let Image { header, mut start, name } = self;
        if let Some(name) = name {
            storage.write_at(header.backing_extent.offset, &name)?;
        }
        let length = start.len();
        // What is left of the old one ends with its sector.
        start.resize(length.next_multiple_of(SECTOR_BYTES), 0);
        let (first, rest) = start.split_at(SECTOR_BYTES);
        if !rest.is_empty() {
            storage.write_at(SECTOR_BYTES as u64, rest)?;
        }
        syncs.sync(storage)?;
        storage.write_at(0, first)?;
        syncs.sync(storage)?;
        Ok(header)
    }
}

impl Header {
    /// Writes the same header in another version, durably. Extensions are kept, but for those that the
    /// version cannot have.
    pub(crate) fn write_version(&self, storage: &dyn Storage, syncs: &SyncGroup, version: u32) -> Result<()> {
        self.image_of(storage, version)?.write(storage, syncs).map(drop)
    }

    /// Writes the same header with another name of the data file, durably, and returns it.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where the first cluster has no room; nothing has changed then.
    pub(crate) fn write_data_file(
        &self,
        storage: &dyn Storage,
        syncs: &SyncGroup,
        name: Option<String>,
    ) -> Result<Self> {
        self.image_with_data_file(storage, name)?.write(storage, syncs)
    }

    /// Fails where the first cluster has no room for that name of the data file.
    pub(crate) fn check_data_file(&self, storage: &dyn Storage, name: Option<String>) -> Result<()> {
        self.image_with_data_file(storage, name).map(drop)
    }

    fn image_with_data_file(&self, storage: &dyn Storage, name: Option<String>) -> Result<Image> {
        let mut header = self.clone();
        let mut extensions = extension::read_raw(storage, self.extension_area())?;
        let place = extensions.iter().position(|(kind, _)| *kind == EXTENSION_DATA_FILE);
        extensions.retain(|(kind, _)| *kind != EXTENSION_DATA_FILE);
        if let Some(name) = &name {
            let data = name::to_bytes(name).to_vec();
            extensions.insert(place.unwrap_or(extensions.len()), (EXTENSION_DATA_FILE, data));
        }
        header.data_file = name;
        let used = self.used(storage)?;
        if used.end > SECTOR && header.encode_with(&extensions).len() > SECTOR_BYTES {
            extensions.retain(|(kind, _)| *kind != EXTENSION_FEATURE_NAMES);
        }
        let mut start = header.encode_with(&extensions);
        // What a later version of the format has behind the part that is known.
        let unknown = HEADER_V3_BYTES.min(self.length) as usize..self.length as usize;
        storage.read_at(unknown.start as u64, &mut start[unknown])?;
        let image = header.place_name(start, used, "data_file")?;
        if used.end > SECTOR && image.start.len() > SECTOR_BYTES {
            let reason = format!(
                "header and extensions would take {} bytes and lie over the old ones: more than the {SECTOR} \
                 that one write changes",
                image.start.len()
            );
            return Err(Error::invalid_option("data_file", reason));
        }
        Ok(image)
    }

    /// Fails if the first cluster has no room for the header in that version.
    pub(crate) fn check_version(&self, storage: &dyn Storage, version: u32) -> Result<()> {
        self.image_of(storage, version).map(drop)
    }

    fn used(&self, storage: &dyn Storage) -> Result<Used> {
        let area = self.extension_area();
        let last = extension::list(storage, area)?.last().map(|(_, data)| data.end().next_multiple_of(8));
        let end = (last.unwrap_or(area.offset) + 8).min(area.end().max(area.offset));
        Ok(Used { extensions_end: end, end: end.max(self.backing_extent.end()) })
    }

    fn image_of(&self, storage: &dyn Storage, version: u32) -> Result<Image> {
        let used = self.used(storage)?;
        let mut header = self.clone();
        header.version = version;
        header.incompatible = 0;
        header.compatible = 0;
        header.autoclear = 0;
        header.compression = CompressionType::Zlib;
        header.length = if version >= 3 { HEADER_V3_BYTES } else { HEADER_V2_BYTES };
        let mut extensions = extension::read_raw(storage, self.extension_area())?;
        // Bitmaps that nobody vouches for are none, and version 2 has no bit to vouch for some.
        extensions.retain(|(kind, _)| ![EXTENSION_FEATURE_NAMES, EXTENSION_BITMAPS].contains(kind));
        let plain = header.encode_with(&extensions);
        let has_room = self.geometry.cluster_bytes() >= FEATURE_NAMES_CLUSTER_BYTES_MIN;
        if version >= 3 && has_room {
            extensions.push((EXTENSION_FEATURE_NAMES, extension::feature_names()));
        }
        let mut start = header.encode_with(&extensions);
        if start.len() > SECTOR_BYTES && used.end > SECTOR {
            start = plain;
        }
        header.place_name(start, used, "compat")
    }

    /// Fixed part and extensions.
    fn encode_with(&self, extensions: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = self.encode_fixed();
        bytes.resize(self.length as usize, 0);
        if self.version >= 3 {
            bytes[COMPRESSION_TYPE_OFFSET] = u8::from(self.compression == CompressionType::Zstd);
        }
        for (kind, data) in extensions {
            extension::push(&mut bytes, *kind, data);
        }
        extension::push(&mut bytes, EXTENSION_END, &[]);
        bytes
    }

    /// For a change of `option`: puts the backing file's name behind `start`. Where it would lie on what the
    /// old header has in another sector than the first, it goes between the old extensions and the old name,
    /// or behind both.
    fn place_name(mut self, mut start: Vec<u8>, used: Used, option: &'static str) -> Result<Image> {
        let name = self.backing.as_ref().map(|backing| name::to_bytes(&backing.name).to_vec());
        let mut apart = None;
        if let Some(name) = name {
            let (at, length) = (start.len() as u64, name.len() as u64);
            let collides = at + length > SECTOR && used.end > SECTOR;
            let between = used.extensions_end.max(at).next_multiple_of(SECTOR);
            let behind = used.end.max(at).next_multiple_of(SECTOR);
            let is_free = between + length <= self.backing_extent.offset;
            let apart_at = if is_free { between } else { behind };
            if collides && apart_at + length <= self.geometry.cluster_bytes() {
                self.backing_extent = Extent::new(apart_at, length);
                apart = Some(name);
            } else {
                self.backing_extent = Extent::new(at, length);
                start.extend_from_slice(&name);
            }
        } else {
            self.backing_extent = Extent::default();
        }
        let room = self.geometry.cluster_bytes();
        if start.len() as u64 > room {
            let reason =
                format!("header and name would take {} bytes, the first cluster has {room}", start.len());
            return Err(Error::invalid_option(option, reason));
        }
        let fixed = self.encode_fixed();
        start[..fixed.len()].copy_from_slice(&fixed);
        Ok(Image { header: self, start, name: apart })
    }
}
