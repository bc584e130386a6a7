//! Images that QEMU's tools have made: `images/make.sh` says how. Each is unpacked once and shared by all its
//! copies.

use std::sync::{Arc, LazyLock};

use blk_core::{Error, Extent, MemoryStorage, Result, Storage};

use crate::qcow2_space::IMAGES;

/// Largest image, and largest disk, bytes.
const UNPACKED_BYTES_MAX: usize = 16 << 20;

/// An image as it is packed, and what it shows.
struct Packed {
    image: &'static [u8],
    content: &'static [u8],
}

macro_rules! packed {
    ($($name:literal),+) => {
        [$(Packed {
            image: include_bytes!(concat!("../images/", $name, ".qcow2.zst")),
            content: include_bytes!(concat!("../images/", $name, ".raw.zst")),
        }),+]
    };
}

/// In the order of [`IMAGES`].
static PACKED: [Packed; 10] = packed![
    "snapshots",
    "snapshots-v2",
    "snapshots-lazy",
    "bitmaps",
    "compressed",
    "compressed-zstd",
    "features",
    "narrow",
    "wide",
    "preallocated"
];

/// An image, and what it shows.
#[derive(Debug)]
pub(crate) struct Image {
    image: MemoryStorage,
    content: MemoryStorage,
}

static UNPACKED: LazyLock<Vec<Image>> = LazyLock::new(|| {
    let storage = |packed| {
        let bytes = zstd::bulk::decompress(packed, UNPACKED_BYTES_MAX).expect("the packed images are whole");
        MemoryStorage::from_bytes(&bytes)
    };
    let image = |packed: &Packed| Image { image: storage(packed.image), content: storage(packed.content) };
    PACKED.iter().map(image).collect()
});

/// The image of that name, for a disk of `size` bytes; none if it shows more than that.
pub(crate) fn image(name: &str, size: u64) -> Option<&'static Image> {
    let at = IMAGES.iter().position(|image| image.name == name && image.size_bytes <= size)?;
    Some(&UNPACKED[at])
}

impl Image {
    /// Puts the image on an empty storage.
    pub(crate) fn write_to(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        let length = self.image.len()?;
        storage.set_len(length)?;
        let mut at = 0;
        while let Some(run) = self.image.run_at(at)? {
            if run.data {
                let mut bytes = vec![0; run.length as usize];
                self.image.read_at(at, &mut bytes)?;
                storage.write_at(at, &bytes)?;
            }
            at = Extent::new(at, run.length).end();
        }
        Ok(())
    }

    /// A copy of the image.
    pub(crate) fn duplicate(&self) -> MemoryStorage {
        self.image.duplicate()
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
