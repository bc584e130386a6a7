//! Images on a host that refuses what is unaligned.

use std::sync::Arc;

use blk_core::storage::{StorageLimits, StrictStorage};
use blk_core::{Disk, MemoryStorage, Region, Result, Storage};

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

    fn fresh(&self) -> Result<MemoryStorage> {
        self.images.fresh()
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        self.images.open(Arc::new(StrictStorage::new(storage, self.limits)))
    }

    fn open_left(&self, storage: Arc<dyn Storage>, origin: u64) -> Result<Disk> {
        self.images.open_left(Arc::new(StrictStorage::new(storage, self.limits)), origin)
    }

    fn reference(&self) -> Result<Disk> {
        self.images.reference()
    }

    fn kept(&self, storage: &dyn Storage) -> Result<Vec<Kept>> {
        self.images.kept(storage)
    }

    fn layout(&self, storage: &Arc<dyn Storage>) -> Result<Vec<Region>> {
        self.images.layout(storage)
    }

    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        self.images.second_opinion(storage, reference)
    }
}

#[cfg(test)]
mod tests {
    use blk_core::Error;

    use super::*;
    use crate::MemoryDisk;

    /// Whose images are of other lengths, as each method says.
    #[derive(Debug)]
    struct Telling;

    impl ImageMaker for Telling {
        fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
            storage.set_len(512)
        }

        fn fresh(&self) -> Result<MemoryStorage> {
            let fresh = MemoryStorage::new();
            fresh.set_len(1024)?;
            Ok(fresh)
        }

        fn open(&self, _: Arc<dyn Storage>) -> Result<Disk> {
            Err(Error::unsupported("an open of what was made"))
        }

        fn open_left(&self, storage: Arc<dyn Storage>, origin: u64) -> Result<Disk> {
            assert!(storage.read_at(1, &mut [0]).is_err(), "the host takes whole sectors");
            MemoryDisk::open(origin)
        }

        fn reference(&self) -> Result<Disk> {
            MemoryDisk::open(0)
        }
    }

    #[test]
    fn all_that_a_maker_has_of_its_own_is_its_own_on_an_aligned_host() {
        let config = Config { host_alignment: 512, ..Config::default() };
        let images = on_host(Box::new(Telling), &config);
        let fresh = images.fresh().unwrap();
        assert_eq!(fresh.len().unwrap(), 1024);
        assert_eq!(images.open_left(Arc::new(fresh), 4096).unwrap().size(), 4096);
    }
}
