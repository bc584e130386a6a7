//! Header extensions: optional structures between the header and the backing file's name.
//!
//! ```text
//! 0 type | 4 length | 8 data, padded to a multiple of 8 bytes;   type 0 ends the list
//! ```
//!
//! The ones we need are parsed; all others are skipped and, since nothing rewrites them, kept.

use blk_core::{Error, Extent, Result, Storage, name};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::geometry::Geometry;
use crate::offset::{HostExtent, HostOffset};
use crate::ondisk::{
    BitmapsExtension, EXTENSION_BACKING_FORMAT, EXTENSION_BITMAPS, EXTENSION_DATA_FILE, EXTENSION_ENCRYPTION,
    EXTENSION_END, EXTENSION_FEATURE_NAMES, EncryptionExtension, ExtensionHeader,
};

/// Longest name of a format, in bytes: what other implementations accept.
pub(crate) const FORMAT_BYTES_MAX: u64 = 15;
const FEATURE_BYTES: usize = 48;
/// Feature bits that can have names: three bitmaps of 64.
const FEATURES_MAX: usize = 3 * 64;

/// Kinds of features in a feature name table.
const INCOMPATIBLE: u8 = 0;
const COMPATIBLE: u8 = 1;
const AUTOCLEAR: u8 = 2;

/// Kind, bit and name of every feature of the specification.
const FEATURE_NAMES: [(u8, u8, &str); 8] = [
    (INCOMPATIBLE, 0, "dirty bit"),
    (INCOMPATIBLE, 1, "corrupt bit"),
    (INCOMPATIBLE, 2, "external data file"),
    (INCOMPATIBLE, 3, "compression type"),
    (INCOMPATIBLE, 4, "extended L2 entries"),
    (COMPATIBLE, 0, "lazy refcounts"),
    (AUTOCLEAR, 0, "bitmaps"),
    (AUTOCLEAR, 1, "raw external data"),
];

/// What the extensions of an image say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extensions {
    pub(crate) backing_format: Option<String>,
    pub(crate) bitmaps: Option<BitmapDirectory>,
    /// The name of the data file.
    pub(crate) data_file: Option<String>,
    /// Where the header of an encrypted image lies.
    pub(crate) encryption: Option<Extent>,
    /// Where the feature name table lies; empty where there is none. It is read when a name is needed.
    features: Extent,
}

/// Where the directory of dirty bitmaps lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BitmapDirectory {
    pub(crate) count: u32,
    pub(crate) extent: Extent,
}

impl BitmapDirectory {
    /// The same extent, for one that lies in the file.
    pub(crate) fn host_extent(self) -> HostExtent {
        HostOffset::new(self.extent.offset).with_length(self.extent.length)
    }
}

#[derive(Debug, Clone)]
struct FeatureName {
    kind: u8,
    bit: u8,
    name: String,
}

impl Extensions {
    /// Reads the extensions inside `area`, which lies in the first cluster.
    pub(crate) fn read(storage: &dyn Storage, area: Extent) -> Result<Self> {
        let mut extensions = Self::default();
        for (kind, data) in list(storage, area)? {
            extensions.take(storage, kind, data)?;
        }
        Ok(extensions)
    }

    fn take(&mut self, storage: &dyn Storage, kind: u32, data: Extent) -> Result<()> {
        match kind {
            EXTENSION_BACKING_FORMAT => self.backing_format = Some(read_string(storage, data)?),
            EXTENSION_FEATURE_NAMES => self.features = data,
            EXTENSION_DATA_FILE => self.data_file = read_name(storage, data)?,
            EXTENSION_ENCRYPTION => self.encryption = Some(read_encryption(storage, data)?),
            EXTENSION_BITMAPS => self.bitmaps = Some(read_bitmaps(storage, data)?),
            _ => {}
        }
        Ok(())
    }

    /// The incompatible features `bits`, of which there are some: first those that the image names, then a
    /// mask of the others.
    pub(crate) fn describe_incompatible(&self, storage: &dyn Storage, bits: u64) -> Result<String> {
        let mut unnamed = bits;
        let mut names = Vec::new();
        let features = read_features(storage, self.features)?;
        for feature in features.iter().filter(|feature| feature.kind == INCOMPATIBLE) {
            let bit = 1u64.checked_shl(feature.bit.into()).unwrap_or(0);
            if unnamed & bit != 0 {
                unnamed &= !bit;
                names.push(feature.name.clone());
            }
        }
        if unnamed != 0 {
            names.push(format!("Unknown incompatible feature: {unnamed:x}"));
        }
        Ok(names.join(", "))
    }
}

/// The data of a feature name table: what the bits that the specification names are called.
pub(crate) fn feature_names() -> Vec<u8> {
    let mut table = Vec::with_capacity(FEATURE_NAMES.len() * FEATURE_BYTES);
    for (kind, bit, name) in FEATURE_NAMES {
        let end = table.len() + FEATURE_BYTES;
        table.extend_from_slice(&[kind, bit]);
        table.extend_from_slice(name.as_bytes());
        table.resize(end, 0);
    }
    table
}

/// All extensions inside `area`, which lies in the first cluster, with their data as stored.
pub(crate) fn read_raw(storage: &dyn Storage, area: Extent) -> Result<Vec<(u32, Vec<u8>)>> {
    let read = |(kind, data): (u32, Extent)| {
        let mut bytes = vec![0; data.length as usize];
        storage.read_at(data.offset, &mut bytes)?;
        Ok((kind, bytes))
    };
    list(storage, area)?.into_iter().map(read).collect()
}

/// Types of the extensions inside `area`, and where their data lies.
pub(crate) fn list(storage: &dyn Storage, area: Extent) -> Result<Vec<(u32, Extent)>> {
    let mut found = Vec::new();
    let mut at = area.offset;
    while at + 8 <= area.end() {
        let mut header = ExtensionHeader::new_zeroed();
        storage.read_at(at, header.as_mut_bytes())?;
        let kind = header.kind.get();
        let data = Extent::new(at + 8, u64::from(header.length.get()));
        if data.end() > area.end() {
            let reason = format!(
                "type {kind:#010x} has length {}, but the area for extensions ends at {:#x}",
                data.length,
                area.end()
            );
            return Err(Error::malformed("header extension", at, reason));
        }
        if kind == EXTENSION_END {
            break;
        }
        found.push((kind, data));
        // Padded from where it begins: the first one follows a header of any length.
        at = data.offset + data.length.next_multiple_of(8);
    }
    Ok(found)
}

fn read_string(storage: &dyn Storage, data: Extent) -> Result<String> {
    if data.length > FORMAT_BYTES_MAX {
        let reason =
            format!("the backing file's format has {} bytes, allowed are {FORMAT_BYTES_MAX}", data.length);
        return Err(Error::malformed("header extension", data.offset, reason));
    }
    let mut bytes = vec![0; data.length as usize];
    storage.read_at(data.offset, &mut bytes)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::malformed("header extension", data.offset, "a string that is not UTF-8"))
}

/// A name, which ends at its first zero byte; an empty one is none. It lies in the first cluster.
fn read_name(storage: &dyn Storage, data: Extent) -> Result<Option<String>> {
    let mut bytes = vec![0; data.length as usize];
    storage.read_at(data.offset, &mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok((end > 0).then(|| name::from_bytes(&bytes[..end])))
}

fn read_features(storage: &dyn Storage, data: Extent) -> Result<Vec<FeatureName>> {
    let count = (data.length as usize / FEATURE_BYTES).min(FEATURES_MAX);
    let mut bytes = vec![0; count * FEATURE_BYTES];
    storage.read_at(data.offset, &mut bytes)?;
    let name = |entry: &[u8]| {
        let text = &entry[2..];
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        String::from_utf8_lossy(&text[..end]).into_owned()
    };
    let entries = bytes.chunks_exact(FEATURE_BYTES);
    Ok(entries.map(|entry| FeatureName { kind: entry[0], bit: entry[1], name: name(entry) }).collect())
}

fn read_bitmaps(storage: &dyn Storage, data: Extent) -> Result<BitmapDirectory> {
    let mut bytes = [0; size_of::<BitmapsExtension>()];
    if data.length != bytes.len() as u64 {
        let reason = format!("the bitmaps extension has length {}, and must have 24", data.length);
        return Err(Error::malformed("header extension", data.offset, reason));
    }
    storage.read_at(data.offset, &mut bytes)?;
    let raw = BitmapsExtension::read_from_bytes(&bytes).expect("as many bytes as the structure has");
    let extent = Extent::new(raw.directory_offset.get(), raw.directory_size.get());
    Ok(BitmapDirectory { count: raw.nb_bitmaps.get(), extent })
}

/// Where the header of the encryption lies.
fn read_encryption(storage: &dyn Storage, data: Extent) -> Result<Extent> {
    let mut bytes = [0; size_of::<EncryptionExtension>()];
    if data.length != bytes.len() as u64 {
        let reason = format!("the encryption extension has length {}, and must have 16", data.length);
        return Err(Error::malformed("header extension", data.offset, reason));
    }
    storage.read_at(data.offset, &mut bytes)?;
    let raw = EncryptionExtension::read_from_bytes(&bytes).expect("as many bytes as the structure has");
    Ok(Extent::new(raw.offset.get(), raw.length.get()))
}

/// The data of the extension that names the header of the encryption.
pub(crate) fn encode_encryption(extent: HostExtent) -> Vec<u8> {
    let raw = EncryptionExtension { offset: extent.start.get().into(), length: extent.length.into() };
    raw.as_bytes().to_vec()
}

/// The data of the extension that names this directory.
pub(crate) fn encode_bitmaps(directory: BitmapDirectory) -> Vec<u8> {
    let raw = BitmapsExtension {
        nb_bitmaps: directory.count.into(),
        reserved: 0.into(),
        directory_size: directory.extent.length.into(),
        directory_offset: directory.extent.offset.into(),
    };
    raw.as_bytes().to_vec()
}

/// Appends an extension to a header that is being encoded.
pub(crate) fn push(bytes: &mut Vec<u8>, kind: u32, data: &[u8]) {
    debug_assert!(data.len() < 1 << Geometry::CLUSTER_BITS_MAX, "extensions lie in the first cluster");
    let header = ExtensionHeader { kind: kind.into(), length: (data.len() as u32).into() };
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}
