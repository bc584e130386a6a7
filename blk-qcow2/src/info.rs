//! What an image says about itself: format, version, switches, snapshots, bitmaps.

use blk_core::{BackingFile, Detail, Details, ImageInfo, Info, Result};

use crate::bitmap::directory::{self, Entry};
use crate::crypt::{self, Crypt};
use crate::metadata::Metadata;
use crate::ondisk::{COMPATIBLE_LAZY_REFCOUNTS, CompressionType};
use crate::qcow2::Qcow2;
use crate::snapshot;

impl Info for Qcow2 {
    fn info(&self) -> Result<ImageInfo> {
        let metadata = self.metadata.read();
        let header = &metadata.header;
        let backing = header
            .backing
            .as_ref()
            .map(|backing| BackingFile { name: backing.name.clone(), format: backing.format.clone() });
        Ok(ImageInfo {
            format: "qcow2",
            cluster_bytes: Some(self.geometry.cluster_bytes()),
            machine_state_offset: metadata.vm_state_start(),
            backing,
            is_dirty: header.is_dirty(),
            snapshots: snapshot::describe(&*self.storage, header)?,
            details: details(&metadata, self.crypt.as_ref())?,
        })
    }

    fn is_encrypted(&self) -> bool {
        self.crypt.is_some()
    }
}

fn details(metadata: &Metadata, crypt: Option<&Crypt>) -> Result<Details> {
    let header = &metadata.header;
    let text = |text: &str| Detail::Text(text.to_owned());
    let compression = match header.compression {
        CompressionType::Zlib => "zlib",
        CompressionType::Zstd => "zstd",
    };
    let compat = if header.version >= 3 { "1.1" } else { "0.10" };
    let mut details = vec![("compat", text(compat)), ("compression-type", text(compression))];
    let is_v3 = header.version >= 3;
    if is_v3 {
        let lazy = header.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0;
        details.push(("lazy-refcounts", Detail::Switch(lazy)));
    }
    // Without their autoclear bit the bitmaps are out of date, and are not listed.
    if let Some(directory) = header.vouched_bitmaps() {
        let bitmaps = directory::entries(&*metadata.storage, directory)?;
        if !bitmaps.is_empty() {
            details.push(("bitmaps", Detail::List(bitmaps.iter().map(bitmap_detail).collect())));
        }
    }
    details.push(("refcount-bits", Detail::Number(u64::from(metadata.geometry.refcount_bits()))));
    if let Some(crypt) = crypt {
        details.push(("encrypt", Detail::Group(encryption_details(metadata, crypt)?)));
    }
    if header.has_data_file() {
        if let Some(name) = &header.data_file {
            details.push(("data-file", text(name)));
        }
        details.push(("data-file-raw", Detail::Switch(header.has_raw_data_file())));
    }
    if is_v3 {
        details.push(("corrupt", Detail::Switch(header.is_corrupt())));
        details.push(("extended-l2", Detail::Switch(header.geometry.has_extended_l2())));
    }
    Ok(details)
}

/// What the LUKS header says now, in QEMU's order.
fn encryption_details(metadata: &Metadata, crypt: &Crypt) -> Result<Details> {
    let format = ("format", Detail::Text(crypt.method.name().to_owned()));
    let Some(extent) = crypt.method.header() else { return Ok(vec![format]) };
    let slots = crypt::open_slots(&metadata.storage, extent, crypt.means)?;
    let mut details = blk_luks::details(slots.header(), false);
    let place = details.iter().position(|(name, _)| *name == "cipher-mode").unwrap_or(details.len());
    details.insert(place, format);
    Ok(details)
}

fn bitmap_detail(bitmap: &Entry) -> Detail {
    let flags = [("in-use", bitmap.is_in_use()), ("auto", bitmap.is_auto())];
    let set = flags.iter().filter(|(_, set)| *set).map(|(name, _)| Detail::Text((*name).to_owned()));
    Detail::Group(vec![
        ("flags", Detail::List(set.collect())),
        ("name", Detail::Text(bitmap.name())),
        ("granularity", Detail::Number(bitmap.granularity_bytes())),
    ])
}
