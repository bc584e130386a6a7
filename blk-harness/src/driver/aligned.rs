//! Images on a host that refuses what is unaligned.

use std::sync::Arc;

use blk_core::storage::{StorageLimits, StrictStorage};
use blk_core::{Disk, Result, Storage};

use super::{ImageMaker, Kept};
use crate::scenario::Config;

/// Images that are opened on the host that a configuration asks for ([`Config::host_alignment`]). A
/// driver that promises to work there calls it in [`Driver::images`](super::Driver::images); a
/// [`FormatDriver`](super::FormatDriver) does.
pub fn on_host(images: Box<dyn ImageMaker>, config: &Config) -> Box<dyn ImageMaker> {
    let alignment = u64::from(config.host_alignment);
    let limits = StorageLimits { alignment, memory_alignment: alignment };
    if limits.is_free() { images } else { Box::new(Aligned { images, limits }) }
}

#[derive(Debug)]
struct Aligned {
    images: Box<dyn ImageMaker>,
    limits: StorageLimits,
}

impl ImageMaker for Aligned {
    /// Where an image comes from need not be where it is used.
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        self.images.create(storage)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        self.images.open(Arc::new(StrictStorage::new(storage, self.limits)))
    }

    fn reference(&self) -> Result<Disk> {
        self.images.reference()
    }

    fn kept(&self, storage: &dyn Storage) -> Result<Vec<Kept>> {
        self.images.kept(storage)
    }

    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        self.images.second_opinion(storage, reference)
    }
}
