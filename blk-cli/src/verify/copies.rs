//! An image as the oracles of crashes, faults and races take it: copies of it in memory, which they break,
//! and the image itself untouched.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use blk_core::storage::read_data;
use blk_core::{Access, DenyResolver, Disk, Error, MemoryStorage, Options, Resolver, Storage};
use blk_harness::driver::{Driver, ImageMaker};
use blk_harness::scenario::Config;
use blk_harness::session;

use crate::formats::registry;
use crate::spec::Image;

/// What is left after a crash is read whole, thousands of times: larger disks are refused. Bytes.
const DISK_BYTES_MAX: u64 = 8 << 20;
/// Most stored bytes of an image that are copied.
const IMAGE_BYTES_MAX: u64 = 256 << 20;
const PIECE_BYTES: u64 = 1 << 20;

/// Makes copies of one image.
#[derive(Debug, Clone)]
pub(super) struct Copies(Arc<Original>);

#[derive(Debug)]
struct Original {
    format: &'static str,
    config: Config,
    image: MemoryStorage,
    content: Vec<u8>,
    below: Option<Arc<Disk>>,
}

impl Copies {
    /// Reads all of an image that is open read-only.
    pub(super) fn of(image: &Image) -> Result<Self> {
        let (name, size) = (&image.name, image.disk.size());
        if size > DISK_BYTES_MAX {
            bail!(
                "'{name}' has {size} bytes; crashes, faults and races are tried on disks of up to {DISK_BYTES_MAX}"
            );
        }
        let storage = image.layers.first().and_then(|layer| layer.storage.clone());
        let (Some(storage), Ok(format)) = (storage, registry().find(image.format)) else {
            bail!(
                "'{name}' is of format {}, which keeps no image of its own that could be copied",
                image.format
            );
        };
        let copy = MemoryStorage::new();
        copy_storage(&*storage, &copy).with_context(|| format!("cannot copy '{name}'"))?;
        let mut content = vec![0; size as usize];
        image.disk.read(0, &mut content).with_context(|| format!("cannot read '{name}'"))?;
        let config = session::config_of(&[&image.disk]);
        let below = image.disk.backing().cloned();
        Ok(Self(Arc::new(Original { format: format.name(), config, image: copy, content, below })))
    }

    /// What scenarios over the image have in common.
    pub(super) fn config(&self) -> &Config {
        &self.0.config
    }
}

impl Driver for Copies {
    fn name(&self) -> &'static str {
        self.0.format
    }

    fn image_config(&self) -> Option<&Config> {
        Some(&self.0.config)
    }

    fn images(&self, _config: &Config) -> blk_core::Result<Box<dyn ImageMaker>> {
        Ok(Box::new(self.clone()))
    }
}

impl ImageMaker for Copies {
    fn create(&self, storage: &Arc<dyn Storage>) -> blk_core::Result<()> {
        copy_storage(&self.0.image, &**storage)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> blk_core::Result<Disk> {
        let below = Below(self.0.below.clone());
        registry().find(self.0.format)?.open(storage, Access::ReadWrite, Options::new(), &below)
    }

    fn reference(&self) -> blk_core::Result<Disk> {
        let storage = Arc::new(MemoryStorage::from_bytes(&self.0.content));
        blk_raw::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver)
    }
}

/// The backing file of the image, whatever name the copy has for it.
#[derive(Debug)]
struct Below(Option<Arc<Disk>>);

impl Resolver for Below {
    fn open_backing(&self, name: &str, _format: Option<&str>) -> blk_core::Result<Arc<Disk>> {
        self.0.clone().ok_or_else(|| Error::Unresolved {
            name: name.to_owned(),
            reason: "the image was opened without it".to_owned(),
        })
    }

    fn default_backing(&self) -> blk_core::Result<Option<Arc<Disk>>> {
        Ok(self.0.clone())
    }
}

fn copy_storage(from: &dyn Storage, to: &dyn Storage) -> blk_core::Result<()> {
    to.set_len(from.len()?)?;
    read_data(from, PIECE_BYTES, IMAGE_BYTES_MAX, |at, piece| to.write_at(at, piece))
}
