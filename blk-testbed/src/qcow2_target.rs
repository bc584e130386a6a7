//! qcow2 in memory against raw in memory.

use std::sync::Arc;

use blk_core::{
    Access, Bitmaps, Check, DenyResolver, Disk, Info, MapResolver, MemoryStorage, Options, Overlay,
    PassThrough, Preallocation, Result, Snapshots, Storage,
};
use blk_harness::driver::{Driver, ImageMaker, Kept, Promises, on_host};
use blk_harness::scenario::{Backing, Config, Value};
use blk_harness::space::Space;

use crate::images::{self, Image};
use crate::initial::{self, BACKING_NAME};
use crate::kept;
use crate::opinion;
use crate::qcow2_space::QCOW2;
use crate::shared_host;
use crate::unvouched::Unvouched;

/// A qcow2 image in memory under test, a raw disk in memory as the reference.
#[derive(Debug, Clone, Copy, Default)]
pub struct Qcow2Target;

/// How images of one configuration are made: the backing file is made once and shared by all of them.
#[derive(Debug)]
struct Qcow2Images {
    config: Config,
    /// The image that disks start from, if others have made it.
    start: Option<&'static Image>,
    /// Where its bitmaps lie.
    bitmap_clusters: Vec<u64>,
    below: Option<Arc<Disk>>,
    create_options: Options,
    open_options: Options,
    resolver: MapResolver,
}

impl Driver for Qcow2Target {
    fn name(&self) -> &'static str {
        "verify_qcow2"
    }

    fn space(&self) -> &'static Space {
        &QCOW2
    }

    /// Version 2 has nothing but data to hide a backing file with, and what a snapshot has too is not zeroed
    /// where it lies. Choices that are made otherwise also leave free space where it is.
    fn promises(&self, config: &Config) -> Promises {
        let hides_by_data = config.options.is("compat", "0.10") && config.backing != Backing::None;
        let has_snapshots = config.options.get("x-image").is_some_and(|name| {
            let name = name.to_string();
            name.starts_with("snapshots") || name == "bitmaps-small" || name == "subclusters"
        });
        Promises {
            discard_gives_back: config.discard && !hides_by_data,
            unmap_gives_back: !hides_by_data,
            zeroes_keep_place: !has_snapshots,
            reuses: config.control == 0,
            tells_host_offset: true,
            stops_when_poisoned: true,
            leaks_nothing: true,
            rests_after_flush: true,
            works_on_aligned_hosts: true,
        }
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        Ok(on_host(Box::new(Qcow2Images::new(config)?), config))
    }
}

impl Qcow2Images {
    fn new(config: &Config) -> Result<Self> {
        let below = initial::below(config)?;
        let mut create_options = create_options(config);
        let mut resolver = MapResolver::default();
        if let Some(below) = &below {
            create_options =
                create_options.with("backing_file", BACKING_NAME).with("backing_fmt", below.format);
            resolver.insert(BACKING_NAME, Arc::clone(&below.disk));
        }
        let (config, open_options) = (config.clone(), open_options(config));
        let start = start_image(&config);
        let mut bitmap_clusters = Vec::new();
        if let Some(image) = start {
            image.content(config.size_bytes)?;
            bitmap_clusters = kept::bitmap_clusters(&image.duplicate())?;
        }
        Ok(Self {
            config,
            start,
            bitmap_clusters,
            below: below.map(|below| below.disk),
            create_options,
            open_options,
            resolver,
        })
    }
}

impl Qcow2Images {
    /// What resolves to the backing file on the host of the image, where the configuration puts it there.
    fn resolver_on(&self, host: &Arc<dyn Storage>) -> Option<MapResolver> {
        let below = self.below.as_ref().filter(|_| self.config.options.is_on("x-backing-on-host"))?;
        let mut resolver = MapResolver::default();
        resolver.insert(BACKING_NAME, shared_host::on_host(below, host));
        Some(resolver)
    }

    /// A disk that is to be larger than the image's grows.
    fn grow_to_size(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        let disk =
            blk_qcow2::FORMAT.open(Arc::clone(storage), Access::ReadWrite, Options::new(), &DenyResolver)?;
        if disk.size() < self.config.size_bytes {
            disk.resize(self.config.size_bytes)?;
        }
        disk.close()
    }
}

/// The image that disks of this configuration start from, if others have made it. A disk that is smaller than
/// the image's, as mutation makes it, starts from a new image.
fn start_image(config: &Config) -> Option<&'static Image> {
    match config.options.get("x-image") {
        Some(Value::Name(name)) => images::image(name, config.size_bytes),
        _ => None,
    }
}

/// What a resize allocates.
fn growth(config: &Config) -> Preallocation {
    let known = [
        ("metadata", Preallocation::Metadata),
        ("falloc", Preallocation::Falloc),
        ("full", Preallocation::Full),
    ];
    let of_name = |(name, _): &&(&str, _)| config.options.is("x-growth", name);
    known.iter().find(of_name).map_or(Preallocation::Off, |(_, preallocation)| *preallocation)
}

/// A resize that adds more than this adds it without allocating it, bytes.
const ALLOCATED_BYTES_MAX: u64 = 16 << 20;

/// A disk that allocates what a resize adds.
#[derive(Debug)]
struct Growing {
    inner: Disk,
    preallocation: Preallocation,
}

impl PassThrough for Growing {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn resize(&self, size: u64) -> Result<()> {
        match size.checked_sub(self.inner.size()) {
            Some(1..=ALLOCATED_BYTES_MAX) => self.inner.grow(size, self.preallocation),
            _ => self.inner.resize(size),
        }
    }

    fn as_check(&self) -> Option<&dyn Check> {
        self.inner.as_check()
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.inner.as_overlay()
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        self.inner.as_snapshots()
    }

    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        self.inner.as_bitmaps()
    }
}

impl ImageMaker for Qcow2Images {
    fn fresh(&self) -> Result<MemoryStorage> {
        let memory = Arc::new(self.start.map_or_else(MemoryStorage::new, Image::duplicate));
        let storage: Arc<dyn Storage> = memory.clone();
        if self.start.is_some() {
            self.grow_to_size(&storage)?;
        } else {
            self.create(&storage)?;
        }
        Ok(memory.duplicate())
    }

    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        if let Some(image) = self.start {
            image.write_to(storage)?;
            return self.grow_to_size(storage);
        }
        blk_qcow2::FORMAT.create(storage, self.config.size_bytes, self.create_options.clone())
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let options = self.open_options.clone();
        let resolver = self.resolver_on(&storage);
        let resolver = resolver.as_ref().unwrap_or(&self.resolver);
        let mut disk = blk_qcow2::FORMAT.open(storage, Access::ReadWrite, options, resolver)?;
        if !self.bitmap_clusters.is_empty() {
            disk = Disk::new(Unvouched::new(disk, self.bitmap_clusters.clone()), Access::ReadWrite);
        }
        Ok(match growth(&self.config) {
            Preallocation::Off => disk,
            preallocation => Disk::new(Growing { inner: disk, preallocation }, Access::ReadWrite),
        })
    }

    fn reference(&self) -> Result<Disk> {
        if let Some(image) = self.start {
            return initial::raw_over(image.content(self.config.size_bytes)?);
        }
        initial::reference_over(self.config.size_bytes, self.below.as_deref())
    }

    /// An image that we have made has nothing of others.
    fn kept(&self, storage: &dyn Storage) -> Result<Vec<Kept>> {
        if self.start.is_some() { kept::kept(storage) } else { Ok(Vec::new()) }
    }

    /// `qemu-img check` finds nothing, and `qemu-img compare` no difference.
    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        let has_leaks = !self.bitmap_clusters.is_empty();
        opinion::of_qemu(storage, reference, self.below.as_deref(), has_leaks)
    }
}

/// The options that an image is opened with; all others it is created with.
const OPEN_OPTIONS: [&str; 3] = ["l2-cache-slices", "l2-cache-entry-size", "refcount-cache-slices"];

/// The options of the configuration, as they are.
fn given(config: &Config, is_wanted: impl Fn(&str) -> bool) -> Options {
    let given = config.options.iter().filter(|(name, _)| is_wanted(name));
    given.fold(Options::new(), |options, (name, value)| options.with(name, value.to_string()))
}

fn create_options(config: &Config) -> Options {
    given(config, |name| !OPEN_OPTIONS.contains(&name) && !name.starts_with("x-"))
}

fn open_options(config: &Config) -> Options {
    let mut options = given(config, |name| OPEN_OPTIONS.contains(&name));
    if !config.discard {
        options = options.with("discard", "ignore");
    }
    if config.control != 0 {
        options = options.with("x-control", u64::from(config.control));
    }
    options
}
