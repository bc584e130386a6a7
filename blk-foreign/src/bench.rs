//! A foreign driver whose medium is not ours: a file of the host, or nothing that could be seen. Its content
//! is compared, and that is all.

use std::path::PathBuf;
use std::sync::Arc;

use blk_core::{Disk, Result};
use blk_harness::MemoryDisk;
use blk_harness::driver::{Bench, FAR_PIECE_BYTES};
use blk_harness::scenario::Config;
use tempfile::TempDir;

use crate::cache::{folder, work_on};
use crate::description::MediumKind;
use crate::disk::{self, Handle, Holder};
use crate::driver::Shared;
use crate::plant::Planted;
use crate::process::Process;

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
}

impl FileBench {
    pub(crate) fn new(driver: &'static Shared, config: Config) -> Result<Self> {
        let folder = folder()?;
        let reference = Arc::new(MemoryDisk::open(driver.size(&config))?);
        let planted = Arc::new(Planted::new(driver.plant));
        let mut bench = Self { driver, config, folder, planted, reference, test: None };
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
            let process = Process::start(&names.words(&description.process.argv))?;
            (names, Holder::Own(process), export)
        };
        let handle = Handle { description, names, holder, medium: None, _folder: None };
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
            old.flush()?;
        }
        self.open()
    }
}
