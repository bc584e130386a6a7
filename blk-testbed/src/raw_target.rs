//! The raw driver over a real file against raw in memory.

use std::fs::File;
use std::sync::Arc;

use blk_core::storage::FileStorage;
use blk_core::{Access, DenyResolver, Disk, Error, Options, Result, Storage};
use blk_verify::scenario::{Config, OLD_OPTIONS};
use blk_verify::space::{Geometry, PLAIN, Space, no_contradictions, not_tuned};
use blk_verify::target::{Bench, ImageTarget, Prepared, Subject, Target};

use crate::initial;

/// Raw has no options: what there is decides where requests go.
pub static RAW: Space = Space {
    name: "raw",
    knobs: PLAIN.knobs,
    ignored: &OLD_OPTIONS,
    unit: PLAIN.unit,
    has_backing: false,
    legalize: no_contradictions,
    geometry: |config| Geometry { compressed_unit_bytes: None, ..PLAIN.geometry(config) },
    tune: not_tuned,
};

/// A raw disk over a real, unnamed temporary file under test, a raw disk in memory as the reference.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawTarget;

/// Raw images of one configuration, on any storage.
#[derive(Debug)]
struct RawImages {
    config: Config,
}

#[derive(Debug)]
struct RawBench {
    reference: Arc<Disk>,
    test: Option<Arc<Disk>>,
    file: File,
    discard: bool,
}

impl Subject for RawTarget {
    fn space(&self) -> &'static Space {
        &RAW
    }
}

impl Target for RawTarget {
    fn name(&self) -> &'static str {
        "verify_raw"
    }

    fn build(&self, config: &Config) -> Result<Box<dyn Bench>> {
        let file = tempfile::tempfile().map_err(|error| Error::io("create a temporary file", 0, error))?;
        file.set_len(config.size_bytes).map_err(|error| Error::io("set length", config.size_bytes, error))?;
        let reference = Arc::new(initial::reference_over(config.size_bytes, None)?);
        let mut bench = RawBench { reference, test: None, file, discard: config.discard };
        bench.open()?;
        Ok(Box::new(bench))
    }
}

impl ImageTarget for RawTarget {
    fn prepare(&self, config: &Config) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(RawImages { config: config.clone() }))
    }
}

impl Prepared for RawImages {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        blk_raw::FORMAT.create(storage, self.config.size_bytes, Options::new())
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        open(storage, self.config.discard)
    }

    fn reference(&self) -> Result<Disk> {
        initial::reference_over(self.config.size_bytes, None)
    }
}

fn open(storage: Arc<dyn Storage>, discard: bool) -> Result<Disk> {
    let options = Options::new().with("discard", if discard { "unmap" } else { "ignore" });
    blk_raw::FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver)
}

impl RawBench {
    fn open(&mut self) -> Result<()> {
        let file = self.file.try_clone().map_err(|error| Error::io("duplicate a file handle", 0, error))?;
        let storage: Arc<dyn Storage> = Arc::new(FileStorage::from_file(file)?);
        self.test = Some(Arc::new(open(storage, self.discard)?));
        Ok(())
    }
}

impl Bench for RawBench {
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
