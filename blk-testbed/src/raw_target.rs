//! The raw driver over a real file against raw in memory.

use std::sync::Arc;

use blk_core::storage::FileStorage;
use blk_core::{Access, DenyResolver, Disk, Error, Options, Result, Storage};
use blk_harness::driver::{Bench, Driver, ImageBench, ImageMaker, Promises, on_host};
use blk_harness::scenario::{Config, OLD_OPTIONS};
use blk_harness::space::{Geometry, PLAIN, Space, no_contradictions, not_tuned};

use crate::initial;
use crate::old_header::OLD_HEADER;

/// Raw has no options: what there is decides where requests go.
pub static RAW: Space = Space {
    name: "raw",
    knobs: PLAIN.knobs,
    ignored: &OLD_OPTIONS,
    old_header: Some(&OLD_HEADER),
    unit: PLAIN.unit,
    backing_option: None,
    legalize: no_contradictions,
    geometry: |config| Geometry {
        compressed_unit_bytes: None,
        size_is_file_length: true,
        snapshots: false,
        bitmaps: false,
        ..PLAIN.geometry(config)
    },
    described: None,
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

impl Driver for RawTarget {
    fn name(&self) -> &'static str {
        "verify_raw"
    }

    fn bench(&self, config: &Config) -> Result<Box<dyn Bench>> {
        let file = tempfile::tempfile().map_err(|error| Error::io("create a temporary file", 0, error))?;
        let storage = Arc::new(FileStorage::from_file(file)?);
        Ok(Box::new(ImageBench::new(self.images(config)?, storage)?))
    }

    fn space(&self) -> &'static Space {
        &RAW
    }

    /// All of a raw disk has its place in the file for ever.
    fn promises(&self, _config: &Config) -> Promises {
        Promises {
            zeroes_keep_place: true,
            reuses: true,
            tells_host_offset: true,
            rests_after_flush: true,
            works_on_aligned_hosts: true,
            ..Promises::default()
        }
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        Ok(on_host(Box::new(RawImages { config: config.clone() }), config))
    }
}

impl ImageMaker for RawImages {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        blk_raw::FORMAT.create(storage, self.config.size_bytes, Options::new())
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let options = Options::new().with("discard", if self.config.discard { "unmap" } else { "ignore" });
        blk_raw::FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver)
    }

    fn reference(&self) -> Result<Disk> {
        initial::reference_over(self.config.size_bytes, None)
    }
}
