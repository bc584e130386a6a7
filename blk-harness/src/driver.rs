//! A driver under test: what it can be made with, how its images are made and opened, and what it is compared
//! with.
//!
//! [`FormatDriver`] is one for any [`Format`](blk_core::Format), for two functions, or for a function that
//! makes a disk. Who needs more implements [`Driver`] and [`ImageMaker`].

mod aligned;
mod format;
pub(crate) mod promises;

use std::fmt::Debug;
use std::sync::Arc;

use blk_core::{Disk, Error, MemoryStorage, Region, Result, Storage};

use crate::oracle::content;
use crate::report::Finding;
use crate::scenario::{Config, Scenario};
use crate::space::{PLAIN, Space};
use crate::tap::Tap;

pub use aligned::on_host;
pub use format::{
    CreateConfigured, CreateFunction, DiskFunction, FormatDriver, OpenConfigured, OpenFunction,
};
pub use promises::{Kept, Lasts, Promises};

/// How much is best read at a time of a disk in another process, bytes: each read takes its time.
pub const FAR_PIECE_BYTES: usize = 1 << 20;

/// A driver under test. It says how images are made over a storage ([`Driver::images`]), or, if it has none,
/// how a pair of disks is ([`Driver::bench`]): then crashes, faults and races are refused.
pub trait Driver: Debug + Send + Sync {
    /// Its name, such as `mine`; it stands in reports and traces.
    fn name(&self) -> &'static str;

    /// Where its configurations come from.
    fn space(&self) -> &'static Space {
        &PLAIN
    }

    /// The configuration of the image under test, where there is one already: then scenarios have no choice
    /// but of lanes, atoms, the host and its probes.
    fn image_config(&self) -> Option<&Config> {
        None
    }

    /// What the driver promises for images of a legal configuration.
    fn promises(&self, config: &Config) -> Promises {
        let _ = config;
        Promises::default()
    }

    /// One scenario in so many, of those whose answers alone are compared, is judged by another program too
    /// ([`ImageMaker::second_opinion`]).
    fn asks_one_in(&self) -> u64 {
        1000
    }

    /// The name of the deviation of the driver that a finding is, where it is a known one. It is told only if
    /// no other crash, fault or schedule of the same scenario has a finding that is not known.
    fn known(&self, finding: &Finding, scenario: &Scenario) -> Option<&'static str> {
        let _ = (finding, scenario);
        None
    }

    /// How images of a legal configuration are made and opened.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by default: the driver is over no storage that could be simulated.
    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        let _ = config;
        Err(no_storage(self.name()))
    }

    /// A fresh pair of disks of a legal configuration: the one under test lies in memory, unless the driver
    /// says otherwise.
    ///
    /// # Errors
    /// Those of the driver.
    fn bench(&self, config: &Config) -> Result<Box<dyn Bench>> {
        ImageBench::in_memory(self.images(config)?)
    }
}

fn no_storage(name: &str) -> Error {
    Error::unsupported(format!("crashes, faults and races of {name}, which is over no storage"))
}

/// The configuration that a scenario runs with: that of the image under test, or its own, made legal by the
/// driver's space.
///
/// # Errors
/// A text that names an option that the driver does not have, or a value that it does not take.
pub fn legal_config(driver: &dyn Driver, config: &Config) -> std::result::Result<Config, String> {
    let mut legal = if let Some(image) = driver.image_config() {
        let Config { lanes, atom_bytes, host_alignment, probe_flush, .. } = *config;
        Config { atom_bytes, lanes, host_alignment, probe_flush, ..image.clone() }
    } else {
        driver.space().check(config)?;
        driver.space().legal(config)
    };
    if !driver.promises(&legal).works_on_aligned_hosts {
        legal.host_alignment = 1;
    }
    Ok(legal)
}

/// One pair of disks. Both show the same content when the bench is made.
pub trait Bench: Debug {
    /// The disk that is trusted.
    fn reference(&self) -> Arc<Disk>;

    /// The disk under test.
    fn test(&self) -> Arc<Disk>;

    /// Closes the disk under test and opens the same image again. The caller has dropped its handles to the
    /// old one.
    fn reopen(&mut self) -> Result<()>;

    /// Flushes the disk under test, drops it without a close, as a killed process does, and opens what is
    /// left. A bench that cannot let go of its disk so closes it.
    fn kill(&mut self) -> Result<()> {
        self.reopen()
    }

    /// How much is read at a time where everything is compared, bytes: little where it then stays in a cache.
    fn piece_bytes(&self) -> usize {
        content::PIECE_BYTES
    }

    /// The storage that the image lies on, where it can be looked at.
    fn storage(&self) -> Option<Arc<Tap>> {
        None
    }

    /// What others keep in the image, as it is now; see [`ImageMaker::kept`].
    fn kept(&self) -> Result<Vec<Kept>> {
        Ok(Vec::new())
    }

    /// What another program says of the image; see [`ImageMaker::second_opinion`]. The disk under test may be
    /// closed for it: it is there again after a [`Bench::reopen`].
    ///
    /// # Errors
    /// What it says against it.
    fn second_opinion(&mut self) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// Tells whether the threads of a driver sleep, and those that make requests of it, as far as can be known.
/// The latter are given, by the numbers that the kernel has for them.
pub type IsAsleep = Box<dyn Fn(&[u32]) -> bool + Send + Sync>;

/// How images of one configuration are made and opened.
pub trait ImageMaker: Debug + Send + Sync {
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

    /// As [`ImageMaker::open`] of an image that a crash or a fault has left; `origin` is a number that is the
    /// same for the same image in each run. A maker that has several drivers of one format lets it decide
    /// which of them opens the image.
    fn open_left(&self, storage: Arc<dyn Storage>, origin: u64) -> Result<Disk> {
        let _ = origin;
        self.open(storage)
    }

    /// Where the driver's threads are not ours, because it is in another process: what tells whether they
    /// sleep. Lanes of requests are threads then, which take turns by what arrives at the storage.
    fn elsewhere(&self) -> Option<IsAsleep> {
        None
    }

    /// A trusted disk in memory that shows what a fresh image shows.
    fn reference(&self) -> Result<Disk>;

    /// What others keep in an image, which nothing has open: it has to stay as it is, whatever requests do to
    /// the disk.
    fn kept(&self, storage: &dyn Storage) -> Result<Vec<Kept>> {
        let _ = storage;
        Ok(Vec::new())
    }

    /// What the bytes of an image are for, which nothing has open: regions in order, as far as its format
    /// tells.
    ///
    /// # Errors
    /// That the image says too little to begin with.
    fn layout(&self, storage: &Arc<dyn Storage>) -> Result<Vec<Region>> {
        let _ = storage;
        Ok(Vec::new())
    }

    /// Has another program judge an image that was flushed: whether its metadata is right, and whether it
    /// shows what `reference` does. Where there is no such program, nothing is wrong.
    ///
    /// # Errors
    /// What the program says against it.
    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        let _ = (storage, reference);
        Ok(())
    }
}

/// A pair of disks for whatever prepares images: a fresh image on a storage that outlives the handles, and
/// its reference.
#[derive(Debug)]
pub struct ImageBench {
    images: Box<dyn ImageMaker>,
    storage: Arc<Tap>,
    reference: Arc<Disk>,
    test: Option<Arc<Disk>>,
}

impl ImageBench {
    /// Writes a fresh image to memory, and opens it.
    pub(crate) fn in_memory(images: Box<dyn ImageMaker>) -> Result<Box<dyn Bench>> {
        Ok(Box::new(Self::new(images, Arc::new(MemoryStorage::new()))?))
    }

    /// Writes a fresh image to `storage`, which is empty, and opens it.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn new(images: Box<dyn ImageMaker>, storage: Arc<dyn Storage>) -> Result<Self> {
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

/// A pair of disks of which nothing is known below: a reopen flushes the one under test, and goes on with it.
#[derive(Debug)]
pub(crate) struct DiskBench {
    pub(crate) reference: Arc<Disk>,
    pub(crate) test: Arc<Disk>,
}

impl Bench for DiskBench {
    fn reference(&self) -> Arc<Disk> {
        Arc::clone(&self.reference)
    }

    fn test(&self) -> Arc<Disk> {
        Arc::clone(&self.test)
    }

    fn reopen(&mut self) -> Result<()> {
        self.test.flush()
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

    fn piece_bytes(&self) -> usize {
        if self.images.elsewhere().is_some() { FAR_PIECE_BYTES } else { content::PIECE_BYTES }
    }

    fn storage(&self) -> Option<Arc<Tap>> {
        Some(Arc::clone(&self.storage))
    }

    fn kept(&self) -> Result<Vec<Kept>> {
        self.images.kept(&*self.storage)
    }

    /// Asked while nobody has the image open: some formats say in it that somebody has.
    fn second_opinion(&mut self) -> std::result::Result<(), String> {
        if let Some(old) = self.test.take() {
            old.close().map_err(|error| format!("closing the image: {error}"))?;
        }
        self.images.second_opinion(&*self.storage, &self.reference)
    }
}
