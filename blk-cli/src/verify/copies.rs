//! An image as the oracles of crashes, faults and races take it: copies of it in memory, which they break,
//! and the image itself untouched.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use blk_core::storage::read_data;
use blk_core::{
    Access, DenyResolver, Disk, Error, MemoryStorage, Options, Region, Resolver, Secret, Storage,
};
use blk_harness::driver::{Driver, ImageMaker};
use blk_harness::scenario::Config;
use blk_harness::session;
use blk_sim::windows;

use crate::formats::registry;
use crate::spec::{Image, Objects};

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
    /// What the data lies in, if that is another file.
    data: Option<MemoryStorage>,
    /// How the image was opened.
    options: Options,
    /// Where its key comes from.
    objects: Objects,
    content: Vec<u8>,
    below: Option<Arc<Disk>>,
}

impl Copies {
    /// Reads all of an image that is open read-only. Its options refer to `objects`.
    pub(super) fn of(image: &Image, objects: &Objects) -> Result<Self> {
        let (name, size) = (&image.name, image.disk.size());
        if size > DISK_BYTES_MAX {
            bail!(
                "'{name}' has {size} bytes; crashes, faults and races are tried on disks of up to {DISK_BYTES_MAX}"
            );
        }
        let layer = image.layers.first();
        let storage = layer.and_then(|layer| layer.storage.clone());
        let (Some(layer), Some(storage), Ok(format)) = (layer, storage, registry().find(image.format)) else {
            bail!(
                "'{name}' is of format {}, which keeps no image of its own that could be copied",
                image.format
            );
        };
        let copied = copy_of(&*storage).with_context(|| format!("cannot copy '{name}'"))?;
        let data = layer
            .data_file
            .as_ref()
            .map(|file| copy_of(&*file.storage).with_context(|| format!("cannot copy '{}'", file.name)));
        let mut content = vec![0; size as usize];
        image.disk.read(0, &mut content).with_context(|| format!("cannot read '{name}'"))?;
        let config = session::config_of(&[&image.disk]);
        let below = image.disk.backing().cloned();
        Ok(Self(Arc::new(Original {
            format: format.name(),
            config,
            image: copied,
            data: data.transpose()?,
            options: layer.open_options(),
            objects: objects.clone(),
            content,
            below,
        })))
    }

    /// What scenarios over the image have in common.
    pub(super) fn config(&self) -> &Config {
        &self.0.config
    }

    /// The image file of a copy: the host, or a part of it where the data file is another.
    fn image_of(&self, host: &Arc<dyn Storage>) -> Arc<dyn Storage> {
        if self.0.data.is_some() { windows::image(host) } else { Arc::clone(host) }
    }

    fn data_of(&self, host: &Arc<dyn Storage>) -> Option<Arc<dyn Storage>> {
        self.0.data.as_ref()?;
        Some(windows::data(host, windows::data_bytes(self.0.config.size_bytes)))
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
        if let (Some(data), Some(copy)) = (&self.0.data, self.data_of(storage)) {
            copy_data(data, &*copy)?;
        }
        copy_storage(&self.0.image, &*self.image_of(storage))
    }

    fn open(&self, storage: Arc<dyn Storage>) -> blk_core::Result<Disk> {
        let files = Files { copies: self, data: self.data_of(&storage) };
        let format = registry().find(self.0.format)?;
        format.open(self.image_of(&storage), Access::ReadWrite, self.0.options.clone(), &files)
    }

    fn layout(&self, storage: &Arc<dyn Storage>) -> blk_core::Result<Vec<Region>> {
        let format = registry().find(self.0.format)?;
        let mut regions = format.layout(&self.image_of(storage))?.unwrap_or_default();
        if self.0.data.is_some() {
            for region in &mut regions {
                region.extent.offset += windows::DATA_BYTES;
            }
        }
        Ok(regions)
    }

    fn reference(&self) -> blk_core::Result<Disk> {
        let storage = Arc::new(MemoryStorage::from_bytes(&self.0.content));
        blk_raw::FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver)
    }
}

/// What a copy refers to: the backing file and the data file, whatever name it has for them, and its key.
#[derive(Debug)]
struct Files<'a> {
    copies: &'a Copies,
    data: Option<Arc<dyn Storage>>,
}

impl Resolver for Files<'_> {
    fn open_backing(&self, name: &str, _format: Option<&str>) -> blk_core::Result<Arc<Disk>> {
        self.copies.0.below.clone().ok_or_else(|| opened_without(name))
    }

    fn default_backing(&self) -> blk_core::Result<Option<Arc<Disk>>> {
        Ok(self.copies.0.below.clone())
    }

    fn open_storage(&self, name: &str, _access: Access) -> blk_core::Result<Arc<dyn Storage>> {
        self.data.clone().ok_or_else(|| opened_without(name))
    }

    fn secret(&self, id: &str) -> blk_core::Result<Secret> {
        self.copies.0.objects.secret(id)
    }
}

fn opened_without(name: &str) -> Error {
    Error::Unresolved { name: name.to_owned(), reason: "the image was opened without it".to_owned() }
}

fn copy_of(storage: &dyn Storage) -> blk_core::Result<MemoryStorage> {
    let copy = MemoryStorage::new();
    copy_storage(storage, &copy)?;
    Ok(copy)
}

fn copy_storage(from: &dyn Storage, to: &dyn Storage) -> blk_core::Result<()> {
    to.set_len(from.len()?)?;
    copy_data(from, to)
}

/// Copies what is stored of a file to one of its length, or a longer one.
fn copy_data(from: &dyn Storage, to: &dyn Storage) -> blk_core::Result<()> {
    read_data(from, PIECE_BYTES, IMAGE_BYTES_MAX, |at, piece| to.write_at(at, piece))
}
