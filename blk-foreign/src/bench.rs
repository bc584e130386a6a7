//! A foreign driver whose medium is not ours: a file of the host, or nothing that could be seen. Its content
//! is compared, and that is all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::{Disk, Error, Result};
use blk_harness::MemoryDisk;
use blk_harness::driver::{Bench, FAR_PIECE_BYTES};
use blk_harness::scenario::Config;
use tempfile::TempDir;

use crate::cache::work_on;
use crate::description::MediumKind;
use crate::disk::{self, Handle, Holder};
use crate::driver::Shared;
use crate::temporary::folder;
use blk_harness::plant::Planted;

/// A disk, and what it is compared with.
#[derive(Debug)]
pub(crate) struct FileBench {
    driver: &'static Shared,
    config: Config,
    folder: TempDir,
    planted: Arc<Planted>,
    reference: Arc<Disk>,
    /// Absent only while it is opened again.
    test: Option<Arc<Disk>>,
    /// Whether the process dies that has it open when nobody holds it any more.
    is_killed: Arc<AtomicBool>,
}

impl FileBench {
    pub(crate) fn new(driver: &'static Shared, config: Config) -> Result<Self> {
        let folder = folder()?;
        let reference = Arc::new(MemoryDisk::open(driver.size(&config))?);
        let planted = Arc::new(Planted::new(driver.plant));
        let mut bench =
            Self { driver, config, folder, planted, reference, test: None, is_killed: Arc::default() };
        if let Some(program) = &driver.description.create {
            work_on(program, &driver.names(&bench.config), &bench.file())?;
        }
        bench.open()?;
        Ok(bench)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Has the driver's own check look at an image that nobody has open: programs lock files, and an image
    /// that is open is not always one that a check would pass.
    fn check(&self) -> Result<()> {
        let Some(program) = &self.driver.description.check else { return Ok(()) };
        work_on(program, &self.driver.names(&self.config), &self.file())
    }

    fn open(&mut self) -> Result<()> {
        let (driver, number) = (self.driver, self.driver.next());
        let description = driver.description;
        let export = self.folder.path().join(format!("export{number}"));
        let names = driver.names(&self.config).with("n", number).with("file", self.file().display());
        let (names, holder, export) = if description.is_shared() {
            let opened = driver.daemon.open(description, &names)?;
            let export = opened.export.clone();
            (names, Holder::Shared(Arc::clone(&driver.daemon), opened), export)
        } else {
            let names = names.with("export", export.display());
            let process = driver.start(&names.words(&description.process.argv))?;
            (names, Holder::Own(process), export)
        };
        self.is_killed = Arc::default();
        let is_killed = Arc::clone(&self.is_killed);
        let handle = Handle { description, names, holder, medium: None, is_killed, _folder: None };
        self.test = Some(Arc::new(disk::open(handle, &export, Arc::clone(&self.planted), None)?));
        Ok(())
    }
}

impl Bench for FileBench {
    fn reference(&self) -> Arc<Disk> {
        Arc::clone(&self.reference)
    }

    fn test(&self) -> Arc<Disk> {
        Arc::clone(self.test.as_ref().expect("the disk under test is open between reopens"))
    }

    fn piece_bytes(&self) -> usize {
        FAR_PIECE_BYTES
    }

    fn reopen(&mut self) -> Result<()> {
        if self.driver.description.medium.kind == MediumKind::None {
            return self.test().flush();
        }
        if let Some(old) = self.test.take() {
            old.close()?;
        }
        self.check()?;
        self.open()
    }

    fn kill(&mut self) -> Result<()> {
        if self.driver.description.medium.kind == MediumKind::None {
            return self.test().flush();
        }
        if let Some(old) = self.test.take() {
            if self.driver.description.is_shared() && !self.driver.daemon.has_one_image() {
                return Err(Error::unsupported("a kill of a process that has other images open"));
            }
            old.flush()?;
            // Dropped with the last handle, the process is killed, and not asked to close the image.
            self.is_killed.store(true, Ordering::Relaxed);
            drop(old);
        }
        self.open()
    }
}
