//! qcow2 in memory against raw in memory.

use std::sync::Arc;

use blk_core::{
    Access, Bitmaps, Check, DenyResolver, Disk, Format, Info, MapResolver, MemoryStorage, Options, Overlay,
    PassThrough, Preallocation, Region, Result, Secret, Snapshots, Storage, VmState,
};
use blk_harness::driver::{Driver, ImageMaker, Kept, Promises, on_host};
use blk_harness::scenario::{Backing, Config, Value};
use blk_harness::space::Space;
use blk_luks::Repeatable;
use blk_qcow2::Qcow2Format;
use blk_sim::windows::{self, DATA_BYTES};

use crate::chained::{self, BackingFiles, Pair};
use crate::data_file::{self, DataFile};
use crate::images::{self, Image};
use crate::initial::{self, BACKING_NAME, OTHER_NAME};
use crate::kept;
use crate::opinion::OfQemu;
use crate::plain_text;
use crate::qcow2_space::QCOW2;
use crate::unvouched::Unvouched;
use crate::{shared_host, tall};

/// A qcow2 image in memory under test, a raw disk in memory as the reference.
#[derive(Debug, Clone, Copy, Default)]
pub struct Qcow2Target;

/// How images of one configuration are made: the backing file is made once and shared by all of them.
#[derive(Debug)]
struct Qcow2Images {
    config: Config,
    data_file: DataFile,
    /// The image that disks start from, if others have made it.
    start: Option<&'static Image>,
    /// Where its bitmaps lie.
    bitmap_clusters: Vec<u64>,
    below: Option<Pair>,
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
        let data_file = DataFile::of(&config.options);
        // All of a raw data file stays mapped, and an encrypted one keeps what nobody reads any more.
        let is_encrypted = config.options.get("encrypt.format").is_some();
        let keeps = data_file == DataFile::Raw || (data_file != DataFile::Inside && is_encrypted);
        let has_snapshots = config.options.get("x-image").is_some_and(|name| {
            let name = name.to_string();
            name.starts_with("snapshots") || name == "bitmaps-small" || name == "subclusters"
        });
        let is_tall = config.options.is_on(tall::OPTION);
        Promises {
            discard_gives_back: config.discard && !hides_by_data && !keeps && !is_tall,
            unmap_gives_back: !hides_by_data && !keeps && !is_tall,
            zeroes_keep_place: !has_snapshots,
            reuses: config.control == 0,
            tells_host_offset: !is_encrypted && !is_tall,
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
        let below = initial::below(config)?.zip(initial::other_below(config)?);
        let data_file = DataFile::of(&config.options);
        let mut create_options = data_file.create_options(create_options(config));
        let mut resolver = keys();
        let below =
            below.map(|(first, other)| Pair { format: first.format, disks: [first.disk, other.disk] });
        if let Some(Pair { disks: [first, other], format }) = &below {
            create_options = create_options.with("backing_file", BACKING_NAME).with("backing_fmt", *format);
            resolver.insert(BACKING_NAME, Arc::clone(first));
            resolver.insert(OTHER_NAME, Arc::clone(other));
        }
        let (config, open_options) = (config.clone(), open_options(config));
        let start = start_image(&config);
        let mut bitmap_clusters = Vec::new();
        if let Some(image) = start {
            image.content(config.size_bytes)?;
            bitmap_clusters = kept::bitmap_clusters(&image.duplicate())?;
        }
        Ok(Self { config, data_file, start, bitmap_clusters, below, create_options, open_options, resolver })
    }
}

impl Qcow2Images {
    /// What resolves to the files on the host of the image: the data file, and the backing file where the
    /// configuration puts it there.
    fn resolver_on(
        &self,
        host: &Arc<dyn Storage>,
        written: Option<&Arc<dyn Storage>>,
    ) -> Result<MapResolver> {
        let mut resolver = self.resolver.clone();
        if let Some(base) = written {
            resolver.insert(BACKING_NAME, Arc::new(initial::open_raw(base)?));
        } else if let Some(pair) = &self.below
            && self.config.options.is_on("x-backing-on-host")
        {
            for (name, disk) in [BACKING_NAME, OTHER_NAME].into_iter().zip(&pair.disks) {
                resolver.insert(name, shared_host::on_host(disk, host));
            }
        }
        self.data_file.insert(&mut resolver, host, &self.config);
        Ok(resolver)
    }

    /// Where a backing file lies that commits write to, if this one is such.
    fn base_on(&self, host: &Arc<dyn Storage>) -> Option<Arc<dyn Storage>> {
        let Config { size_bytes, backing_bytes, .. } = self.config;
        let length = windows::data_bytes(size_bytes.max(backing_bytes));
        is_base_written(&self.config).then(|| windows::base(host, length))
    }

    /// The backing file that the image on a host names.
    fn named_backing(&self, host: &dyn Storage) -> Result<Option<Arc<Disk>>> {
        let Some(pair) = &self.below else { return Ok(None) };
        let host: Arc<dyn Storage> = Arc::new(data_file::copy(host)?);
        let (options, resolver) = (Options::new().with("backing", "off"), self.resolver_on(&host, None)?);
        let disk =
            QUICK.open(self.image_on(&host), Access::ReadOnly, with_key(options, &self.config), &resolver)?;
        let info = disk.as_info().map(Info::info).transpose()?;
        let named = info.and_then(|info| info.backing).map(|backing| backing.name);
        Ok(match (named.as_deref(), self.base_on(&host)) {
            (None, _) => None,
            (Some(OTHER_NAME), _) => Some(Arc::clone(&pair.disks[1])),
            (_, Some(base)) => Some(Arc::new(initial::open_raw(&base)?)),
            _ => Some(Arc::clone(&pair.disks[0])),
        })
    }

    /// The image file of a host.
    fn image_on(&self, host: &Arc<dyn Storage>) -> Arc<dyn Storage> {
        if self.image_at() > 0 { windows::image(host) } else { Arc::clone(host) }
    }

    /// Size of the image's own disk, bytes.
    fn disk_bytes(&self) -> u64 {
        let size = self.config.size_bytes;
        if self.is_tall() { tall::disk_bytes(size) } else { size }
    }

    /// Whether the state of a machine is a part of the disk under test.
    fn is_tall(&self) -> bool {
        self.config.options.is_on(tall::OPTION)
    }

    /// What the disk shows is neither in the image nor in its data file. A backing file is not encrypted.
    fn has_no_plain_text(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        if self.image_at() == 0 {
            return plain_text::is_absent(storage, reference);
        }
        let host = data_file::copy(storage).map_err(|error| error.to_string())?;
        let host: Arc<dyn Storage> = Arc::new(host);
        plain_text::is_absent(&*self.image_on(&host), reference)?;
        if self.data_file == DataFile::Inside {
            return Ok(());
        }
        plain_text::is_absent(&*windows::data(&host, windows::data_bytes(self.config.size_bytes)), reference)
    }

    /// Where the image lies on its host: behind its other files.
    fn image_at(&self) -> u64 {
        let is_alone = self.data_file == DataFile::Inside && !is_base_written(&self.config);
        if is_alone { 0 } else { DATA_BYTES }
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

/// Whether the backing file lies on the host of the image, and is written.
fn is_base_written(config: &Config) -> bool {
    config.options.is_on(chained::WRITTEN)
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

    fn as_vm_state(&self) -> Option<&dyn VmState> {
        self.inner.as_vm_state()
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
        if let Some(base) = self.base_on(storage) {
            initial::fill_raw_below(&self.config, &base)?;
        }
        let (image, options) = (self.image_on(storage), self.create_options.clone());
        QUICK.create_with(&image, self.disk_bytes(), options, &self.resolver_on(storage, None)?)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let options = self.open_options.clone();
        let base = self.base_on(&storage);
        let resolver = self.resolver_on(&storage, base.as_ref())?;
        let image = self.image_on(&storage);
        let mut disk = QUICK.open(image, Access::ReadWrite, options, &resolver)?;
        if self.is_tall() {
            disk = tall::over(disk, self.config.size_bytes);
        }
        let below = base.map(BackingFiles::Written).or_else(|| self.below.clone().map(BackingFiles::Read));
        if let Some(below) = below {
            let data_at = if self.data_file == DataFile::Inside { self.image_at() } else { 0 };
            disk = chained::over(below, data_at, disk);
        }
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
        let first = self.below.as_ref().map(|pair| &*pair.disks[0]);
        initial::reference_over(self.config.size_bytes, first)
    }

    /// An image that we have made has nothing of others, but a raw data file is for them.
    fn kept(&self, storage: &dyn Storage) -> Result<Vec<Kept>> {
        if self.start.is_some() { kept::kept(storage) } else { self.data_file.kept(storage, &self.config) }
    }

    /// Where the image has a window of the host, its regions lie there.
    fn layout(&self, storage: &Arc<dyn Storage>) -> Result<Vec<Region>> {
        let mut regions = QUICK.layout(&self.image_on(storage))?.unwrap_or_default();
        for region in &mut regions {
            region.extent.offset += self.image_at();
        }
        Ok(regions)
    }

    /// `qemu-img check` finds nothing, and `qemu-img compare` no difference. What is encrypted does not lie
    /// on the host as it is.
    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        let encryption = self.config.options.get("encrypt.format").map(ToString::to_string);
        if encryption.is_some() {
            self.has_no_plain_text(storage, reference)?;
        }
        // QEMU takes it for a disk without sectors, whose dirty bitmaps have no table.
        if reference.size() < 512 {
            return Ok(());
        }
        let failed = |error| format!("the backing file cannot be read: {error}");
        let below = self.named_backing(storage).map_err(failed)?;
        let image = OfQemu {
            below: below.as_deref(),
            disk_bytes: Some(tall::disk_bytes(reference.size())).filter(|_| self.is_tall()),
            has_leaks: !self.bitmap_clusters.is_empty(),
            passphrase: encryption.as_ref().map(|_| PASSPHRASE),
            image_at: self.image_at(),
            has_data_file: self.data_file != DataFile::Inside,
        };
        // QEMU reads no key of few stripes.
        if encryption.as_deref() == Some("luks") { Ok(()) } else { image.opinion(storage, reference) }
    }
}

/// The passphrase of encrypted images.
const PASSPHRASE: &str = "passphrase";

/// The format with keys of two stripes, and passphrases that are hashed once: an image is made, and opened,
/// in no time.
pub(crate) static QUICK: Qcow2Format = Qcow2Format::new(&Repeatable::new(2)).with_weak_keys(2);

/// Knows the passphrase.
pub(crate) fn keys() -> MapResolver {
    let mut resolver = MapResolver::default();
    resolver.insert_secret("key", Secret::from(PASSPHRASE.as_bytes().to_vec()));
    resolver
}

/// Adds the key to the options of an image that is encrypted.
fn with_key(options: Options, config: &Config) -> Options {
    if config.options.get("encrypt.format").is_none() {
        return options;
    }
    options.with("encrypt.key-secret", "key")
}

/// The options that an image is opened with; all others it is created with.
const OPEN_OPTIONS: [&str; 3] = ["l2-cache-slices", "l2-cache-entry-size", "refcount-cache-slices"];

/// The options of the configuration, as they are.
fn given(config: &Config, is_wanted: impl Fn(&str) -> bool) -> Options {
    let given = config.options.iter().filter(|(name, _)| is_wanted(name));
    given.fold(Options::new(), |options, (name, value)| options.with(name, value.to_string()))
}

fn create_options(config: &Config) -> Options {
    with_key(given(config, |name| !OPEN_OPTIONS.contains(&name) && !name.starts_with("x-")), config)
}

fn open_options(config: &Config) -> Options {
    let mut options = with_key(given(config, |name| OPEN_OPTIONS.contains(&name)), config);
    if !config.discard {
        options = options.with("discard", "ignore");
    }
    if config.control != 0 {
        options = options.with("x-control", u64::from(config.control));
    }
    options
}
