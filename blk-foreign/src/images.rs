//! Images over a storage of ours, opened by a driver in another process.

use std::sync::Arc;

use blk_core::{
    Access, CheckReport, DenyResolver, Disk, Error, Format, MemoryStorage, Options, Region, RepairMode,
    Result, Storage,
};
use blk_harness::MemoryDisk;
use blk_harness::driver::{ImageMaker, IsAsleep};
use blk_harness::scenario::Config;

use crate::cache::{copy, work_on};
use crate::description::MediumKind;
use crate::disk::{self, Handle, Holder, Inspect};
use crate::driver::Shared;
use crate::medium::Medium;
use crate::temporary::folder;
use blk_harness::plant::Planted;

/// Of images that a crash leaves, the foreign driver opens one in so many where our driver can open them too.
const FOREIGN_ONE_IN: u64 = 8;

/// Images of one configuration.
#[derive(Debug)]
pub(crate) struct ForeignImages {
    driver: &'static Shared,
    config: Config,
}

impl ForeignImages {
    pub(crate) fn new(driver: &'static Shared, config: Config) -> Self {
        Self { driver, config }
    }

    fn open_foreign(&self, storage: Arc<dyn Storage>, inspect: Option<Inspect>) -> Result<Disk> {
        let driver = self.driver;
        let description = driver.description;
        let folder = folder()?;
        let planted = Arc::new(Planted::new(driver.plant));
        let medium = if description.medium.kind == MediumKind::Fuse {
            Medium::mount(storage, folder.path(), Arc::clone(&planted))?
        } else {
            let (threads, has_lanes) = (driver.workers.name(), self.config.lanes > 1);
            Medium::serve(storage, folder.path(), Arc::clone(&planted), threads, has_lanes)?
        };
        let own = folder.path().join("export");
        let names = driver
            .names(&self.config)
            .with("n", driver.next())
            .with("medium", medium.path(folder.path()).display());
        let (holder, export) = if description.is_shared() {
            let opened = driver.daemon.open(description, &names)?;
            let export = opened.export.clone();
            (Holder::Shared(Arc::clone(&driver.daemon), opened), export)
        } else {
            let names = names.clone().with("export", own.display());
            (Holder::Own(driver.start(&names.words(&description.process.argv))?), own)
        };
        let is_killed = Arc::default();
        let handle =
            Handle { description, names, holder, medium: Some(medium), is_killed, _folder: Some(folder) };
        disk::open(handle, &export, planted, inspect)
    }

    /// Has our driver of the same format check what lies in a storage.
    fn inspect(&self, storage: &Arc<dyn Storage>) -> Option<Inspect> {
        let (format, storage) = (self.driver.judge?, Arc::clone(storage));
        Some(Box::new(move || check(format, &*storage)))
    }
}

/// What our check says of a copy of an image. The copy is opened for writing: an image that says that it has
/// to be repaired first, as one with lazy refcounts does while it is open, is repaired then: no finding.
fn check(format: &'static dyn Format, storage: &dyn Storage) -> Result<CheckReport> {
    recovered(format, storage)?.1.check(RepairMode::None)
}

/// A copy of an image that our driver has opened, and its disk.
fn recovered(format: &'static dyn Format, storage: &dyn Storage) -> Result<(Arc<dyn Storage>, Disk)> {
    let storage_copy: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    copy(storage, &*storage_copy)?;
    let disk = format.open(Arc::clone(&storage_copy), Access::ReadWrite, Options::new(), &DenyResolver)?;
    Ok((storage_copy, disk))
}

impl ImageMaker for ForeignImages {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        let (description, names) = (self.driver.description, self.driver.names(&self.config));
        let length = match &description.create {
            Some(program) => {
                let image = self.driver.cache.image(program, description.resize.as_ref(), &names)?;
                copy(&*image, &**storage)?;
                image.len()? + description.medium.room
            }
            None => self.driver.size(&self.config) + description.medium.room,
        };
        // In whole sectors, for servers that know no others.
        storage.set_len(length.next_multiple_of(512))
    }

    fn fresh(&self) -> Result<MemoryStorage> {
        let memory = Arc::new(MemoryStorage::new());
        let storage: Arc<dyn Storage> = memory.clone();
        self.create(&storage)?;
        Ok(memory.duplicate())
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let inspect = self.inspect(&storage);
        self.open_foreign(storage, inspect)
    }

    /// By the foreign driver nothing is checked or repaired: another process has the image open.
    fn open_left(&self, storage: Arc<dyn Storage>, origin: u64) -> Result<Disk> {
        match self.driver.judge {
            Some(format) if !origin.is_multiple_of(FOREIGN_ONE_IN) => {
                format.open(storage, Access::ReadWrite, Options::new(), &DenyResolver)
            }
            _ => self.open_foreign(storage, None),
        }
    }

    fn elsewhere(&self) -> Option<IsAsleep> {
        let driver = self.driver;
        Some(Box::new(move |lanes| match driver.daemon.process() {
            _ if !driver.description.is_shared() => driver.workers.are_asleep(None, lanes),
            // It is being started, or asked something.
            None => false,
            process => driver.workers.are_asleep(process, lanes),
        }))
    }

    fn reference(&self) -> Result<Disk> {
        MemoryDisk::open(self.driver.size(&self.config))
    }

    /// As our driver of the same format sees it, if there is one.
    fn layout(&self, storage: &Arc<dyn Storage>) -> Result<Vec<Region>> {
        let layout = self.driver.judge.map(|format| format.layout(storage)).transpose()?;
        Ok(layout.flatten().unwrap_or_default())
    }

    /// The driver's own check of the bytes, recovered by our driver of the same format if there is one.
    fn second_opinion(&self, storage: &dyn Storage, _reference: &Disk) -> std::result::Result<(), String> {
        let Some(program) = &self.driver.description.check else { return Ok(()) };
        let checked = || {
            let folder = folder()?;
            let path = folder.path().join("image");
            let file = std::fs::File::create_new(&path).map_err(|error| Error::io("create", 0, error))?;
            let file = blk_core::storage::FileStorage::from_file(file)?;
            match self.driver.judge {
                Some(format) => {
                    let (recovered, disk) = recovered(format, storage)?;
                    disk.close()?;
                    copy(&*recovered, &file)?;
                }
                None => copy(storage, &file)?,
            }
            work_on(program, &self.driver.names(&self.config), &path)
        };
        checked().map_err(|error| error.to_string())
    }
}
