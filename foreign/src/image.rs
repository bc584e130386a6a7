//! Images of the drivers under test: who makes them, and who judges what is left of them.

use std::fmt;
use std::sync::Arc;

use blk_core::{Access, CheckReport, DenyResolver, Disk, Options, RepairMode, Result, Storage};
use blk_harness::Finding;
use blk_harness::driver::{Driver, ImageMaker, Kept, Promises};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space::Space;
use blk_testbed::Qcow2Target;

use crate::known::Deviation;

/// The option that says who makes the images: `blk-qcow2`, or the driver under test.
pub const MAKER: &str = "x-maker";

/// A driver of others, as the harness sees it.
#[derive(Clone, Copy)]
pub struct Foreign {
    /// Its name, such as `imago`.
    pub name: &'static str,
    /// What its images can be made with.
    pub space: &'static Space,
    /// Writes a fresh image to an empty storage.
    pub create: fn(&Arc<dyn Storage>, &Config) -> Result<()>,
    /// Opens an image for reading and writing.
    pub open: fn(Arc<dyn Storage>, &Config) -> Result<Disk>,
    /// What it promises.
    pub promises: Promises,
    /// What is known to be wrong with it.
    pub known: &'static [Deviation],
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Foreign").field(&self.name).finish()
    }
}

impl Driver for Foreign {
    fn name(&self) -> &'static str {
        self.name
    }

    fn space(&self) -> &'static Space {
        self.space
    }

    fn promises(&self, _config: &Config) -> Promises {
        self.promises
    }

    fn known(&self, finding: &Finding, scenario: &Scenario) -> Option<&'static str> {
        self.known.iter().find(|known| (known.is)(finding, scenario)).map(|known| known.name)
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        let ours = Qcow2Target.images(config)?;
        Ok(Box::new(Images { driver: *self, config: config.clone(), ours }))
    }
}

/// Images of one configuration.
#[derive(Debug)]
struct Images {
    driver: Foreign,
    config: Config,
    /// As `blk-qcow2` makes, judges and opens them; some are images of QEMU's tools.
    ours: Box<dyn ImageMaker>,
}

impl ImageMaker for Images {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        if self.config.options.is(MAKER, "own") {
            return (self.driver.create)(storage, &self.config);
        }
        self.ours.create(storage)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        (self.driver.open)(storage, &self.config)
    }

    fn reference(&self) -> Result<Disk> {
        self.ours.reference()
    }

    /// Snapshots, and what only its owner keeps up to date.
    fn kept(&self, storage: &dyn Storage) -> Result<Vec<Kept>> {
        self.ours.kept(storage)
    }

    /// That of `qemu-img check` and `qemu-img compare`.
    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        self.ours.second_opinion(storage, reference)
    }
}

/// Has `blk-qcow2` check, and repair, the image on `storage`, which nobody else uses meanwhile.
///
/// # Errors
/// Those of its open and its check.
pub fn check(storage: &Arc<dyn Storage>, repair: RepairMode) -> Result<CheckReport> {
    let access = if repair == RepairMode::None { Access::ReadOnly } else { Access::ReadWrite };
    let disk = blk_qcow2::FORMAT.open(Arc::clone(storage), access, Options::new(), &DenyResolver)?;
    let report = disk.check(repair)?;
    disk.close()?;
    Ok(report)
}
