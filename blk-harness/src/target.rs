//! What a scenario runs on: somebody who makes a reference disk and a disk under test for a configuration.

use std::fmt::Debug;
use std::sync::Arc;

use blk_core::{Disk, MemoryStorage, Result, Storage};

use crate::scenario::Config;
use crate::space::{PLAIN, Space};
use crate::tap::Tap;

pub use crate::driver_promises::{Kept, Promises};

/// What scenarios have to know of a driver under test: what it can be made with.
pub trait Subject: Debug + Send + Sync {
    /// Where its configurations come from.
    fn space(&self) -> &'static Space {
        &PLAIN
    }

    /// The configuration of the image under test, where there is one already: then scenarios have no choice but of lanes and
    /// atoms.
    fn image_config(&self) -> Option<&Config> {
        None
    }

    /// What the driver promises for images of a legal configuration.
    fn promises(&self, config: &Config) -> Promises {
        let _ = config;
        Promises::default()
    }
}

/// The configuration that a scenario runs with: that of the image under test, or its own, made legal by the driver's space.
///
/// # Errors
/// A text that names an option that the driver does not have, or a value that it does not take.
pub fn legal_config(subject: &dyn Subject, config: &Config) -> std::result::Result<Config, String> {
    if let Some(image) = subject.image_config() {
        return Ok(Config { lanes: config.lanes, atom_bytes: config.atom_bytes, ..image.clone() });
    }
    subject.space().check(config)?;
    Ok(subject.space().legal(config))
}

/// A driver under test, as the engine sees it: makes fresh pairs of disks with equal content.
pub trait Target: Subject {
    /// Its name, such as `verify_qcow2`; it stands in reports and traces.
    fn name(&self) -> &'static str;

    /// Makes a fresh bench for a legal configuration.
    fn build(&self, config: &Config) -> Result<Box<dyn Bench>>;
}

/// One pair of disks. Both show the same content when the bench is made.
pub trait Bench: Debug {
    /// The disk that is trusted.
    fn reference(&self) -> Arc<Disk>;

    /// The disk under test.
    fn test(&self) -> Arc<Disk>;

    /// Closes the disk under test and opens the same image again. The caller has dropped its handles to the old one.
    fn reopen(&mut self) -> Result<()>;

    /// Flushes the disk under test, drops it without a close, as a killed process does, and opens what is left. A bench that
    /// cannot let go of its disk so closes it.
    fn kill(&mut self) -> Result<()> {
        self.reopen()
    }

    /// The storage that the image lies on, where it can be looked at.
    fn storage(&self) -> Option<Arc<Tap>> {
        None
    }

    /// What others keep in the image, as it is now; see [`Prepared::kept`].
    fn kept(&self) -> Result<Vec<Kept>> {
        Ok(Vec::new())
    }

    /// What another program says of the image; see [`Prepared::second_opinion`].
    ///
    /// # Errors
    /// What it says against it.
    fn second_opinion(&self) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// A driver under test, as the oracles of crashes, faults and races see it: they bring the storage that its images lie on.
pub trait ImageTarget: Subject {
    /// Gets ready to make and open images of a legal configuration.
    fn prepare(&self, config: &Config) -> Result<Box<dyn Prepared>>;
}

/// How images of one configuration are made and opened.
pub trait Prepared: Debug + Send + Sync {
    /// Writes a fresh image to an empty storage.
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()>;

    /// A fresh image in memory.
    fn fresh(&self) -> Result<MemoryStorage> {
        let memory = Arc::new(MemoryStorage::new());
        let storage: Arc<dyn Storage> = memory.clone();
        self.create(&storage)?;
        Ok(memory.duplicate())
    }

    /// Opens an image for reading and writing, recovering it first where its format asks for that.
    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk>;

    /// A trusted disk in memory that shows what a fresh image shows.
    fn reference(&self) -> Result<Disk>;

    /// What others keep in an image, which nothing has open: it has to stay as it is, whatever requests do to the disk.
    fn kept(&self, storage: &dyn Storage) -> Result<Vec<Kept>> {
        let _ = storage;
        Ok(Vec::new())
    }

    /// Has another program judge an image that was flushed: whether its metadata is right, and whether it shows what `reference` does.
    /// Where there is no such program, nothing is wrong.
    ///
    /// # Errors
    /// What the program says against it.
    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        let _ = (storage, reference);
        Ok(())
    }
}

/// A pair of disks for whatever prepares images: a fresh image on a storage that outlives the handles, and its reference.
#[derive(Debug)]
pub struct ImageBench {
    images: Box<dyn Prepared>,
    storage: Arc<Tap>,
    reference: Arc<Disk>,
    test: Option<Arc<Disk>>,
}

impl ImageBench {
    /// Writes a fresh image to `storage`, which is empty, and opens it.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn new(images: Box<dyn Prepared>, storage: Arc<dyn Storage>) -> Result<Self> {
        images.create(&storage)?;
        let reference = Arc::new(images.reference()?);
        let storage = Arc::new(Tap::new(storage));
        let mut bench = Self { images, storage, reference, test: None };
        bench.open()?;
        Ok(bench)
    }

    fn open(&mut self) -> Result<()> {
        self.test = Some(Arc::new(self.images.open(self.storage.clone())?));
        Ok(())
    }
}

impl Bench for ImageBench {
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

    fn storage(&self) -> Option<Arc<Tap>> {
        Some(Arc::clone(&self.storage))
    }

    fn kept(&self) -> Result<Vec<Kept>> {
        self.images.kept(&*self.storage)
    }

    fn second_opinion(&self) -> std::result::Result<(), String> {
        self.images.second_opinion(&*self.storage, &self.reference)
    }
}
