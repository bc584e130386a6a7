//! Valid images of every configuration, small enough to be mutated: what hostile images start from.
//!
//! Each holds data, zero clusters (version 3), compressed clusters and holes, so that every structure of the
//! format is there. They are made when they are needed, so nothing is read from a source tree.

use std::sync::{Arc, LazyLock};

use blk_core::{
    Access, DenyResolver, Disk, Error, Extent, MemoryStorage, Options, Result, Storage, WriteFlags, ZeroFlags,
};

use super::others;

/// Largest template, bytes: libFuzzer's `-max_len` has to be at least that.
pub(super) const IMAGE_BYTES_MAX: u64 = 1 << 20;

/// A valid image.
#[derive(Debug, Clone)]
pub struct Template {
    /// What it is, such as `v3 clusters of 512, 1-bit refcounts`.
    pub name: String,
    /// The image file.
    pub image: Vec<u8>,
    /// What the disk reads as.
    pub content: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    compat: &'static str,
    cluster_bits: u32,
    refcount_bits: u64,
    compression: &'static str,
    backing: bool,
    extended: bool,
}

const SHAPES: [Shape; 14] = {
    const fn v3(cluster_bits: u32, refcount_bits: u64) -> Shape {
        let (compression, backing, extended) = ("zlib", false, false);
        Shape { compat: "1.1", cluster_bits, refcount_bits, compression, backing, extended }
    }
    [
        v3(9, 1),
        v3(9, 2),
        v3(9, 16),
        v3(9, 64),
        v3(10, 4),
        v3(12, 8),
        v3(12, 16),
        v3(12, 32),
        v3(16, 16),
        Shape { compression: "zstd", ..v3(12, 16) },
        Shape { compat: "0.10", ..v3(9, 16) },
        Shape { compat: "0.10", ..v3(12, 16) },
        Shape { backing: true, ..v3(10, 16) },
        Shape { extended: true, ..v3(14, 16) },
    ]
};

/// What the name of the template with a snapshot ends with.
pub(crate) const SHARED: &str = ", with a snapshot and a bitmap";
const SHARED_SHAPE: Shape = SHAPES[6];

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let make = |shape: &Shape| shape.make().expect("templates are made from legal options in memory");
    let mut all: Vec<Template> = SHAPES.iter().map(make).collect();
    all.push(shared(make(&SHARED_SHAPE)));
    all
});

/// As `plain`, with a snapshot that shares all of its clusters, and with a bitmap.
fn shared(plain: Template) -> Template {
    let image = others::with_snapshot_and_bitmap(&plain.image);
    Template { name: format!("{}{SHARED}", plain.name), image, content: plain.content }
}

/// All templates, made on the first call.
pub fn templates() -> &'static [Template] {
    &TEMPLATES
}

impl Shape {
    fn name(&self) -> String {
        let Self { compat, refcount_bits, compression, .. } = self;
        let backing = if self.backing { ", with a backing file name" } else { "" };
        let extended = if self.extended { ", with subclusters" } else { "" };
        format!(
            "compat {compat}, clusters of {}, {refcount_bits}-bit refcounts, {compression}{backing}{extended}",
            1 << self.cluster_bits
        )
    }

    /// Enough guest clusters for two L2 tables of the small cluster sizes, and an odd end.
    fn size(&self) -> u64 {
        let cluster_bytes = 1u64 << self.cluster_bits;
        let clusters = if self.cluster_bits == 9 { 70 } else { 10 };
        clusters * cluster_bytes - 3
    }

    fn make(&self) -> Result<Template> {
        let size = self.size();
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let mut options = Options::new()
            .with("compat", self.compat)
            .with("cluster_size", 1u64 << self.cluster_bits)
            .with("refcount_bits", self.refcount_bits)
            .with("compression_type", self.compression);
        if self.extended {
            options = options.with("extended_l2", "on");
        }
        if self.backing {
            options = options.with("backing_file", "below.img").with("backing_fmt", "raw");
        }
        blk_qcow2::FORMAT.create(&storage, size, options)?;
        let disk = open(Arc::clone(&storage), Access::ReadWrite)?;
        let content = self.fill(&disk)?;
        disk.close()?;
        let mut image = vec![0; image_length(&*storage)?];
        storage.read_at(0, &mut image)?;
        Ok(Template { name: self.name(), image, content })
    }

    /// A cluster of each kind at the start, at the end, and where the second L2 table begins.
    fn fill(&self, disk: &Disk) -> Result<Vec<u8>> {
        let cluster_bytes = 1usize << self.cluster_bits;
        let mut content = vec![0; self.size() as usize];
        let compressible = vec![0x5a; cluster_bytes];
        for index in [0, 1, 5] {
            let part = &mut content[index * cluster_bytes..(index + 1) * cluster_bytes];
            for (at, byte) in part.iter_mut().enumerate() {
                *byte = (at * 7 + index) as u8 | 1;
            }
            disk.write((index * cluster_bytes) as u64, part, WriteFlags::default())?;
        }
        for index in [2, 3] {
            let flags = WriteFlags { compressed: true, fua: false };
            disk.write((index * cluster_bytes) as u64, &compressible, flags)?;
            content[index * cluster_bytes..(index + 1) * cluster_bytes].copy_from_slice(&compressible);
        }
        let zeroed = Extent::new(5 * cluster_bytes as u64, 2 * cluster_bytes as u64);
        disk.write_zeroes(zeroed, ZeroFlags::default())?;
        content[5 * cluster_bytes..7 * cluster_bytes].fill(0);
        if self.extended {
            // Subclusters of each kind in one cluster.
            let subcluster = cluster_bytes / 32;
            let start = 7 * cluster_bytes;
            content[start + subcluster..start + 3 * subcluster].fill(0xd7);
            disk.write((start + subcluster) as u64, &vec![0xd7; 2 * subcluster], WriteFlags::default())?;
            let zeroed = Extent::new((start + 2 * subcluster) as u64, 2 * subcluster as u64);
            disk.write_zeroes(zeroed, ZeroFlags::default())?;
            content[start + 2 * subcluster..start + 4 * subcluster].fill(0);
        }
        let last = content.len() - 100;
        content[last..].fill(0xe1);
        disk.write(last as u64, &content[last..], WriteFlags::default())?;
        Ok(content)
    }
}

fn image_length(storage: &dyn Storage) -> Result<usize> {
    let length = storage.len()?;
    if length > IMAGE_BYTES_MAX {
        return Err(Error::NoSpace { what: format!("a template of {length} bytes").into() });
    }
    Ok(length as usize)
}

/// Opens an image as the judge does: no name inside it is followed.
pub(super) fn open(storage: Arc<dyn Storage>, access: Access) -> Result<Disk> {
    open_with(storage, access, "cached")
}

/// As [`open`], with so much checked before each write.
pub(super) fn open_with(storage: Arc<dyn Storage>, access: Access, overlap_check: &str) -> Result<Disk> {
    let options = Options::new().with("backing", "off").with("overlap-check", overlap_check);
    blk_qcow2::FORMAT.open(storage, access, options, &DenyResolver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_core::RepairMode;

    #[test]
    fn every_template_opens_has_its_size_and_reads_as_expected() {
        for template in templates() {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&template.image));
            let disk = open(storage, Access::ReadWrite).unwrap();
            assert_eq!(disk.size(), template.content.len() as u64, "{}", template.name);
            let mut read = vec![1; template.content.len()];
            disk.read(0, &mut read).unwrap();
            assert!(read == template.content, "{}", template.name);
            let checked = disk.check(RepairMode::None).unwrap();
            assert!(checked.is_clean(), "{}: {checked}", template.name);
            assert_eq!(checked.compressed_clusters, 2, "{}", template.name);
        }
    }
}
