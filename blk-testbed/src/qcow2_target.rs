//! qcow2 in memory against raw in memory.

use std::sync::Arc;

use blk_core::{Access, Disk, MapResolver, MemoryStorage, Options, Result, Storage};
use blk_verify::scenario::{Compression, Config};
use blk_verify::target::{Bench, ImageTarget, Prepared, Target};

use crate::initial::{self, BACKING_NAME};

/// A qcow2 image in memory under test, a raw disk in memory as the reference.
#[derive(Debug, Clone, Copy, Default)]
pub struct Qcow2Target;

/// How images of one configuration are made: the backing file is made once and shared by all of them.
#[derive(Debug)]
struct Qcow2Images {
    config: Config,
    below: Option<Arc<Disk>>,
    create_options: Options,
    open_options: Options,
    resolver: MapResolver,
}

#[derive(Debug)]
struct Qcow2Bench {
    images: Qcow2Images,
    storage: Arc<dyn Storage>,
    reference: Arc<Disk>,
    test: Option<Arc<Disk>>,
}

impl Target for Qcow2Target {
    fn name(&self) -> &'static str {
        "verify_qcow2"
    }

    fn legalize(&self, config: &Config) -> Config {
        ImageTarget::legalize(self, config)
    }

    fn build(&self, config: &Config) -> Result<Box<dyn Bench>> {
        let images = Qcow2Images::new(config)?;
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        images.create(&storage)?;
        let reference = Arc::new(images.reference()?);
        let mut bench = Qcow2Bench { images, storage, reference, test: None };
        bench.open()?;
        Ok(Box::new(bench))
    }
}

impl ImageTarget for Qcow2Target {
    fn legalize(&self, config: &Config) -> Config {
        let mut legal = config.clone();
        legal.normalize();
        legal
    }

    fn prepare(&self, config: &Config) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(Qcow2Images::new(config)?))
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
        Ok(Self { config, below: below.map(|below| below.disk), create_options, open_options, resolver })
    }
}

impl Prepared for Qcow2Images {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        blk_qcow2::FORMAT.create(storage, self.config.size_bytes, self.create_options.clone())
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        blk_qcow2::FORMAT.open(storage, Access::ReadWrite, self.open_options.clone(), &self.resolver)
    }

    fn reference(&self) -> Result<Disk> {
        initial::reference_over(self.config.size_bytes, self.below.as_deref())
    }
}

fn create_options(config: &Config) -> Options {
    let mut options = Options::new()
        .with("cluster_size", config.cluster_bytes())
        .with("compat", if config.version == 2 { "0.10" } else { "1.1" });
    if config.refcount_order != 4 {
        options = options.with("refcount_bits", 1u64 << config.refcount_order);
    }
    if config.lazy_refcounts {
        options = options.with("lazy_refcounts", "on");
    }
    if config.compression == Compression::Zstd {
        options = options.with("compression_type", "zstd");
    }
    if config.preallocate {
        options = options.with("preallocation", "metadata");
    }
    options
}

fn open_options(config: &Config) -> Options {
    let mut options = Options::new();
    if config.l2_cache_entries != 0 {
        options = options.with("l2-cache-slices", u64::from(config.l2_cache_entries));
    }
    if config.l2_slice_bytes != 0 {
        options = options.with("l2-cache-entry-size", u64::from(config.l2_slice_bytes));
    }
    if config.refcount_cache_entries != 0 {
        options = options.with("refcount-cache-slices", u64::from(config.refcount_cache_entries));
    }
    if !config.discard {
        options = options.with("discard", "ignore");
    }
    if config.control != 0 {
        options = options.with("x-control", u64::from(config.control));
    }
    options
}

impl Qcow2Bench {
    fn open(&mut self) -> Result<()> {
        self.test = Some(Arc::new(self.images.open(Arc::clone(&self.storage))?));
        Ok(())
    }
}

impl Bench for Qcow2Bench {
    fn reference(&self) -> Arc<Disk> {
        Arc::clone(&self.reference)
    }

    fn test(&self) -> Arc<Disk> {
        Arc::clone(self.test.as_ref().expect("the disk under test is open between reopens"))
    }

    fn reopen(&mut self) -> Result<()> {
        if let Some(old) = self.test.take() {
            old.close()?;
        }
        self.open()
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(old) = self.test.take() {
            old.flush()?;
        }
        self.open()
    }
}
