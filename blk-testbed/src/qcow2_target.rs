//! qcow2 in memory against raw in memory.

use std::sync::Arc;

use blk_core::{Access, Disk, MapResolver, MemoryStorage, Options, Result, Storage};
use blk_harness::scenario::Config;
use blk_harness::space::Space;
use blk_harness::target::{Bench, ImageBench, ImageTarget, Prepared, Subject, Target};

use crate::initial::{self, BACKING_NAME};
use crate::qcow2_space::QCOW2;

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

impl Subject for Qcow2Target {
    fn space(&self) -> &'static Space {
        &QCOW2
    }
}

impl Target for Qcow2Target {
    fn name(&self) -> &'static str {
        "verify_qcow2"
    }

    fn build(&self, config: &Config) -> Result<Box<dyn Bench>> {
        Ok(Box::new(ImageBench::new(self.prepare(config)?, Arc::new(MemoryStorage::new()))?))
    }
}

impl ImageTarget for Qcow2Target {
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

/// The options that an image is opened with; all others it is created with.
const OPEN_OPTIONS: [&str; 3] = ["l2-cache-slices", "l2-cache-entry-size", "refcount-cache-slices"];

/// The options of the configuration, as they are.
fn given(config: &Config, is_wanted: impl Fn(&str) -> bool) -> Options {
    let given = config.options.iter().filter(|(name, _)| is_wanted(name));
    given.fold(Options::new(), |options, (name, value)| options.with(name, value.to_string()))
}

fn create_options(config: &Config) -> Options {
    given(config, |name| !OPEN_OPTIONS.contains(&name))
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
