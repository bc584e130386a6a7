//! Images that QEMU's tools have made: `images/make.sh` says how. Each is unpacked once and shared by all its
//! copies.

use std::sync::{Arc, LazyLock};

use blk_core::{Error, Extent, MemoryStorage, Result, Storage};

use crate::qcow2_space::IMAGES;

/// Largest image, and largest disk, bytes.
const UNPACKED_BYTES_MAX: usize = 16 << 20;

/// An image as it is packed, and what it shows.
struct Packed {
    name: &'static str,
    image: &'static [u8],
    content: &'static [u8],
}

macro_rules! packed {
    ($($name:literal),+) => {
        [$(Packed {
            name: $name,
            image: include_bytes!(concat!("../images/", $name, ".qcow2.zst")),
            content: include_bytes!(concat!("../images/", $name, ".raw.zst")),
        }),+]
    };
}

static PACKED: [Packed; 14] = packed![
    "snapshots",
    "snapshots-v2",
    "snapshots-lazy",
    "bitmaps",
    "compressed",
    "compressed-zstd",
    "features",
    "narrow",
    "wide",
    "preallocated",
    "bitmaps-small",
    "bitmaps-stale",
    "subclusters",
    "snapshots-zeroed"
];

/// An image, and what it shows.
#[derive(Debug)]
pub(crate) struct Image {
    name: &'static str,
    bytes: MemoryStorage,
    content: MemoryStorage,
}

static UNPACKED: LazyLock<Vec<Image>> = LazyLock::new(|| {
    let storage = |packed| {
        let bytes = zstd::bulk::decompress(packed, UNPACKED_BYTES_MAX).expect("the packed images are whole");
        MemoryStorage::from_bytes(&bytes)
    };
    let unpacked = |Packed { name, image, content }: &Packed| Image {
        name,
        bytes: storage(image),
        content: storage(content),
    };
    PACKED.iter().map(unpacked).collect()
});

/// The image of that name, for a disk of `size` bytes; none if it shows more than that.
pub(crate) fn image(name: &str, size: u64) -> Option<&'static Image> {
    IMAGES.iter().find(|image| image.name == name && image.size_bytes <= size)?;
    UNPACKED.iter().find(|image| image.name == name)
}

impl Image {
    /// Puts the image on an empty storage.
    pub(crate) fn write_to(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        let length = self.bytes.len()?;
        storage.set_len(length)?;
        let mut at = 0;
        while let Some(run) = self.bytes.run_at(at)? {
            if run.data {
                let mut bytes = vec![0; run.length as usize];
                self.bytes.read_at(at, &mut bytes)?;
                storage.write_at(at, &bytes)?;
            }
            at = Extent::new(at, run.length).end();
        }
        Ok(())
    }

    /// A copy of the image.
    pub(crate) fn duplicate(&self) -> MemoryStorage {
        self.bytes.duplicate()
    }

    /// What it shows, on a disk of `size` bytes.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if it shows more than that.
    pub(crate) fn content(&self, size: u64) -> Result<MemoryStorage> {
        if size < self.content.len()? {
            return Err(Error::invalid_option("x-image", "the disk is smaller than that of the image"));
        }
        let content = self.content.duplicate();
        content.set_len(size)?;
        Ok(content)
    }
}
