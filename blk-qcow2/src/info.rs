//! What an image says about itself: format, version, switches, snapshots, bitmaps.

use blk_core::{BackingFile, Detail, Details, ImageInfo, Info, Result};

use crate::bitmap::directory::{self, Entry};
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
            // In L2 tables of its own.
            machine_state_offset: {
                let reach = self.geometry.l2_table_reach_bytes();
                header.size.checked_next_multiple_of(reach).unwrap_or(u64::MAX)
            },
            backing,
            is_dirty: header.is_dirty(),
            snapshots: snapshot::describe(&*self.storage, header)?,
            details: details(&metadata)?,
        })
    }
}

fn details(metadata: &Metadata) -> Result<Details> {
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
    if is_v3 {
        details.push(("corrupt", Detail::Switch(header.is_corrupt())));
        details.push(("extended-l2", Detail::Switch(header.geometry.has_extended_l2())));
    }
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
