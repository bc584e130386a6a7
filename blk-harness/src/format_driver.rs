//! A driver under test that is a [`Format`], or anything that opens a disk over a storage.

use std::fmt;
use std::sync::Arc;

use blk_core::{Access, DenyResolver, Disk, Error, Format, MemoryStorage, Options, Result, Storage};
use blk_verify::scenario::{Backing, Config};
use blk_verify::target::{Bench, ImageTarget, Prepared, Target};

use crate::memory::MemoryDisk;

/// Images of a driver under test, in memory; a [`MemoryDisk`] is their reference.
///
/// Give it a [`Format`] ([`FormatDriver::new`]), or two functions ([`FormatDriver::of_functions`]): one that writes a fresh image to a
/// storage, and one that opens it.
#[derive(Clone, Copy)]
pub struct FormatDriver {
    name: &'static str,
    images: Images,
    create_options: &'static [(&'static str, &'static str)],
    open_options: &'static [(&'static str, &'static str)],
}

/// How images are made and opened.
#[derive(Clone, Copy)]
enum Images {
    Format(&'static dyn Format),
    Functions(CreateFunction, OpenFunction),
}

/// Writes a fresh image of so many bytes to an empty storage.
pub type CreateFunction = fn(&Arc<dyn Storage>, u64) -> Result<()>;
/// Opens an image for reading and writing. After a crash it recovers what has to be recovered.
pub type OpenFunction = fn(Arc<dyn Storage>) -> Result<Disk>;

impl fmt::Debug for FormatDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FormatDriver").field(&self.name).finish()
    }
}

impl FormatDriver {
    /// The driver `name` is a format.
    pub const fn new(name: &'static str, format: &'static dyn Format) -> Self {
        Self { name, images: Images::Format(format), create_options: &[], open_options: &[] }
    }

    /// The driver `name` is two functions.
    pub const fn of_functions(name: &'static str, create: CreateFunction, open: OpenFunction) -> Self {
        Self { name, images: Images::Functions(create, open), create_options: &[], open_options: &[] }
    }

    /// The same with options, names and values, with which every image is made; of a format.
    #[must_use]
    pub const fn create_options(self, options: &'static [(&'static str, &'static str)]) -> Self {
        Self { create_options: options, ..self }
    }

    /// The same with options, names and values, with which every image is opened; of a format.
    #[must_use]
    pub const fn open_options(self, options: &'static [(&'static str, &'static str)]) -> Self {
        Self { open_options: options, ..self }
    }

    /// Writes a fresh image of `size` bytes.
    pub(crate) fn create(&self, storage: &Arc<dyn Storage>, size: u64) -> Result<()> {
        match self.images {
            Images::Format(format) => format.create(storage, size, options(self.create_options)),
            Images::Functions(create, _) => create(storage, size),
        }
    }

    /// Opens an image.
    pub(crate) fn open(&self, storage: Arc<dyn Storage>, access: Access) -> Result<Disk> {
        match self.images {
            Images::Format(format) => format.open(storage, access, options(self.open_options), &DenyResolver),
            Images::Functions(_, open) if access == Access::ReadWrite => open(storage),
            Images::Functions(..) => Err(Error::unsupported("opening read-only")),
        }
    }
}

fn options(given: &[(&str, &str)]) -> Options {
    given.iter().fold(Options::new(), |options, (name, value)| options.with(name, *value))
}

/// A disk under test and its reference.
#[derive(Debug)]
struct Pair {
    driver: FormatDriver,
    storage: Arc<dyn Storage>,
    reference: Arc<Disk>,
    test: Option<Arc<Disk>>,
}

/// Fresh images of one size.
#[derive(Debug)]
struct Fresh {
    driver: FormatDriver,
    size: u64,
}

impl Target for FormatDriver {
    fn name(&self) -> &'static str {
        self.name
    }

    fn legalize(&self, config: &Config) -> Config {
        ImageTarget::legalize(self, config)
    }

    fn build(&self, config: &Config) -> Result<Box<dyn Bench>> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        self.create(&storage, config.size_bytes)?;
        let reference = Arc::new(MemoryDisk::open(config.size_bytes)?);
        let mut pair = Pair { driver: *self, storage, reference, test: None };
        pair.open()?;
        Ok(Box::new(pair))
    }
}

impl ImageTarget for FormatDriver {
    /// There is no backing file: whoever has one brings a target of its own.
    fn legalize(&self, config: &Config) -> Config {
        let mut legal = Config { backing: Backing::None, backing_bytes: 0, ..config.clone() };
        legal.normalize();
        legal
    }

    fn prepare(&self, config: &Config) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(Fresh { driver: *self, size: config.size_bytes }))
    }
}

impl Prepared for Fresh {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        self.driver.create(storage, self.size)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        self.driver.open(storage, Access::ReadWrite)
    }

    fn reference(&self) -> Result<Disk> {
        MemoryDisk::open(self.size)
    }
}

impl Pair {
    fn open(&mut self) -> Result<()> {
        self.test = Some(Arc::new(self.driver.open(Arc::clone(&self.storage), Access::ReadWrite)?));
        Ok(())
    }
}

impl Bench for Pair {
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
