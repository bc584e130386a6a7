//! Header extensions: optional structures between the header and the backing file's name.
//!
//! ```text
//! 0 type | 4 length | 8 data, padded to a multiple of 8 bytes;   type 0 ends the list
//! ```
//!
//! The ones we need are parsed; all others are skipped and, since nothing rewrites them, kept.

use blk_core::{Error, Extent, Result, Storage};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::ondisk::{
    BitmapsExtension, EXTENSION_BACKING_FORMAT, EXTENSION_BITMAPS, EXTENSION_END, EXTENSION_FEATURE_NAMES,
    ExtensionHeader,
};

/// Longest string extension that is read, in bytes.
const STRING_BYTES_MAX: u64 = 1023;
const FEATURE_BYTES: usize = 48;
/// Feature bits that can have names: three bitmaps of 64.
const FEATURES_MAX: usize = 3 * 64;

/// What the extensions of an image say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extensions {
    pub(crate) backing_format: Option<String>,
    pub(crate) bitmaps: Option<BitmapDirectory>,
    features: Vec<FeatureName>,
}

/// Where the directory of dirty bitmaps lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BitmapDirectory {
    pub(crate) count: u32,
    pub(crate) extent: Extent,
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
            EXTENSION_FEATURE_NAMES => self.features = read_features(storage, data)?,
            EXTENSION_BITMAPS => self.bitmaps = Some(read_bitmaps(storage, data)?),
            _ => {}
        }
        Ok(())
    }

    /// The name of incompatible feature `bit`, where the image tells one.
    pub(crate) fn incompatible_name(&self, bit: u32) -> Option<&str> {
        let found = self.features.iter().find(|feature| feature.kind == 0 && u32::from(feature.bit) == bit);
        found.map(|feature| feature.name.as_str())
    }
}

/// All extensions inside `area`, which lies in the first cluster, with their data as it stands.
pub(crate) fn read_raw(storage: &dyn Storage, area: Extent) -> Result<Vec<(u32, Vec<u8>)>> {
    let read = |(kind, data): (u32, Extent)| {
        let mut bytes = vec![0; data.length as usize];
        storage.read_at(data.offset, &mut bytes)?;
        Ok((kind, bytes))
    };
    list(storage, area)?.into_iter().map(read).collect()
}

/// Types of the extensions inside `area`, and where their data lies.
fn list(storage: &dyn Storage, area: Extent) -> Result<Vec<(u32, Extent)>> {
    let mut found = Vec::new();
    let mut at = area.offset;
    while at + 8 <= area.end() {
        let mut header = ExtensionHeader::new_zeroed();
        storage.read_at(at, header.as_mut_bytes())?;
        let kind = header.kind.get();
        if kind == EXTENSION_END {
            break;
        }
        let data = Extent::new(at + 8, u64::from(header.length.get()));
        if data.end() > area.end() {
            let reason = format!(
                "type {kind:#010x} has length {}, but the area for extensions ends at {:#x}",
                data.length,
                area.end()
            );
            return Err(Error::malformed("header extension", at, reason));
        }
        found.push((kind, data));
        at = data.end().next_multiple_of(8);
    }
    Ok(found)
}

fn read_string(storage: &dyn Storage, data: Extent) -> Result<String> {
    if data.length > STRING_BYTES_MAX {
        let reason = format!("a string of {} bytes, allowed are {STRING_BYTES_MAX}", data.length);
        return Err(Error::malformed("header extension", data.offset, reason));
    }
    let mut bytes = vec![0; data.length as usize];
    storage.read_at(data.offset, &mut bytes)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::malformed("header extension", data.offset, "a string that is not UTF-8"))
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

/// Appends an extension to a header that is being encoded.
pub(crate) fn push(bytes: &mut Vec<u8>, kind: u32, data: &[u8]) {
    let header = ExtensionHeader { kind: kind.into(), length: (data.len() as u32).into() };
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}
