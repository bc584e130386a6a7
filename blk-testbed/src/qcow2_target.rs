//! qcow2 in memory against raw in memory.

use std::sync::Arc;

use blk_core::{Access, Disk, MapResolver, MemoryStorage, Options, Result, Storage};
use blk_verify::scenario::{Compression, Config};
use blk_verify::target::{Bench, Target};

use crate::initial::{self, BACKING_NAME};

/// A qcow2 image in memory under test, a raw disk in memory as the reference.
#[derive(Debug, Clone, Copy, Default)]
pub struct Qcow2Target;

#[derive(Debug)]
struct Qcow2Bench {
    reference: Arc<Disk>,
    test: Option<Arc<Disk>>,
    storage: Arc<dyn Storage>,
    resolver: MapResolver,
    open_options: Options,
}

impl Target for Qcow2Target {
    fn name(&self) -> &'static str {
        "verify_qcow2"
    }

    fn legalize(&self, config: &Config) -> Config {
        let mut legal = config.clone();
        legal.normalize();
        legal
    }

    fn build(&self, config: &Config) -> Result<Box<dyn Bench>> {
        let below = initial::below(config)?;
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let mut create = create_options(config);
        let mut resolver = MapResolver::default();
        if let Some(below) = &below {
            create = create.with("backing_file", BACKING_NAME).with("backing_fmt", below.format);
            resolver.insert(BACKING_NAME, Arc::clone(&below.disk));
        }
        blk_qcow2::FORMAT.create(&storage, config.size_bytes, create)?;
        let reference = initial::reference_over(config.size_bytes, below.as_ref().map(|below| &*below.disk))?;
        let open_options = open_options(config);
        let mut bench =
            Qcow2Bench { reference: Arc::new(reference), test: None, storage, resolver, open_options };
        bench.open()?;
        Ok(Box::new(bench))
    }
}

fn create_options(config: &Config) -> Options {
    let mut options = Options::new()
        .with("cluster_size", config.cluster_bytes())
        .with("compat", if config.version == 2 { "0.10" } else { "1.1" });
    if config.refcount_order != 4 {
        options = options.with("refcount_bits", 1u64 << config.refcount_order);
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
    options
}

impl Qcow2Bench {
    fn open(&mut self) -> Result<()> {
        let storage = Arc::clone(&self.storage);
        let options = self.open_options.clone();
        let disk = blk_qcow2::FORMAT.open(storage, Access::ReadWrite, options, &self.resolver)?;
        self.test = Some(Arc::new(disk));
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
}
