//! A driver under test that is a [`Format`], or anything that opens a disk over a storage.

use std::fmt;
use std::sync::Arc;

use super::{Bench, DiskBench, Driver, ImageBench, ImageMaker, Promises, no_storage, on_host};
use crate::scenario::Config;
use crate::space::{PLAIN, Space};
use blk_core::{
    Access, DenyResolver, Disk, Format, OptionSpec, Options, PassThrough, Region, Result, Storage,
};

use crate::memory::MemoryDisk;

/// Images of a driver under test, in memory; a [`MemoryDisk`] is their reference.
///
/// Give it a [`Format`] ([`FormatDriver::new`]), or two functions ([`FormatDriver::of_functions`]): one that
/// writes a fresh image to a storage, and one that opens it; functions that take options get the whole
/// configuration of a scenario ([`FormatDriver::of_configured_functions`]). A driver that is over
/// no [`Storage`] is a function that makes a disk ([`FormatDriver::of_disk`]): its requests are compared, and
/// that is all.
#[derive(Clone, Copy)]
pub struct FormatDriver {
    name: &'static str,
    space: fn() -> &'static Space,
    images: Images,
    create_options: &'static [(&'static str, &'static str)],
    open_options: &'static [(&'static str, &'static str)],
    promises: Promises,
}

/// How images are made and opened.
#[derive(Clone, Copy)]
enum Images {
    Format(&'static dyn Format),
    Functions(CreateFunction, OpenFunction),
    Configured(CreateConfigured, OpenConfigured),
    Disk(DiskFunction),
}

/// Writes a fresh image of so many bytes to an empty storage.
pub type CreateFunction = fn(&Arc<dyn Storage>, u64) -> Result<()>;
/// Opens an image for reading and writing. After a crash it recovers what has to be recovered.
pub type OpenFunction = fn(Arc<dyn Storage>) -> Result<Disk>;
/// Writes a fresh image of a configuration, whose size and options it follows, to an empty storage.
pub type CreateConfigured = fn(&Arc<dyn Storage>, &Config) -> Result<()>;
/// As [`OpenFunction`], with the configuration that the image was made with.
pub type OpenConfigured = fn(Arc<dyn Storage>, &Config) -> Result<Disk>;
/// Makes a fresh disk of so many bytes, all zero.
pub type DiskFunction = fn(u64) -> Result<Disk>;

impl fmt::Debug for FormatDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FormatDriver").field(&self.name).finish()
    }
}

impl FormatDriver {
    /// The driver `name` is a format.
    pub const fn new(name: &'static str, format: &'static dyn Format) -> Self {
        Self::of(name, Images::Format(format))
    }

    /// The driver `name` is two functions.
    pub const fn of_functions(name: &'static str, create: CreateFunction, open: OpenFunction) -> Self {
        Self::of(name, Images::Functions(create, open))
    }

    /// The driver `name` is two functions that follow the options of a configuration. Which options there
    /// are, its space says ([`FormatDriver::space`]).
    pub const fn of_configured_functions(
        name: &'static str,
        create: CreateConfigured,
        open: OpenConfigured,
    ) -> Self {
        Self::of(name, Images::Configured(create, open))
    }

    /// The driver `name` is a function that makes a disk. A reopen flushes it and goes on with it.
    pub const fn of_disk(name: &'static str, disk: DiskFunction) -> Self {
        Self::of(name, Images::Disk(disk))
    }

    const fn of(name: &'static str, images: Images) -> Self {
        Self {
            name,
            space: || &PLAIN,
            images,
            create_options: &[],
            open_options: &[],
            promises: Promises::NONE,
        }
    }

    /// The same with a space that scenarios choose options of the format from, such as one that is made of
    /// the format's own list ([`Space::of_format`]); it says what a unit of
    /// allocation is, and where tables end. Of the space of functions that get the size alone only the
    /// geometry counts.
    #[must_use]
    pub const fn space(self, space: fn() -> &'static Space) -> Self {
        Self { space, ..self }
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

    /// The same; it promises this.
    #[must_use]
    pub const fn promises(self, promises: Promises) -> Self {
        Self { promises, ..self }
    }

    /// Writes a fresh image.
    pub(crate) fn create(&self, storage: &Arc<dyn Storage>, config: &Config) -> Result<()> {
        match self.images {
            Images::Format(format) => {
                let options = chosen(self.create_options, config, |name| !opens_with(format, name));
                format.create(storage, config.size_bytes, options)
            }
            Images::Functions(create, _) => create(storage, config.size_bytes),
            Images::Configured(create, _) => create(storage, config),
            Images::Disk(_) => Err(no_storage(self.name)),
        }
    }

    /// Opens an image.
    pub(crate) fn open(&self, storage: Arc<dyn Storage>, access: Access, config: &Config) -> Result<Disk> {
        match self.images {
            Images::Format(format) => {
                let options = chosen(self.open_options, config, |name| opens_with(format, name));
                format.open(storage, access, options, &DenyResolver)
            }
            Images::Functions(_, open) => Ok(behind_door(open(storage)?, access)),
            Images::Configured(_, open) => Ok(behind_door(open(storage, config)?, access)),
            Images::Disk(_) => Err(no_storage(self.name)),
        }
    }
}

/// A disk as a function opens it, for writing, with this access.
fn behind_door(disk: Disk, access: Access) -> Disk {
    if access == Access::ReadWrite { disk } else { Disk::new(Inside(disk), access) }
}

/// A disk that is opened for writing, as the only function does it, behind a door that is for reading.
#[derive(Debug)]
struct Inside(Disk);

impl PassThrough for Inside {
    fn inner(&self) -> &Disk {
        &self.0
    }
}

/// Whether an option is one that images are opened with, and not one that they are created with.
fn opens_with(format: &dyn Format, name: &str) -> bool {
    let has = |all: &[OptionSpec]| all.iter().any(|option| option.name == name);
    has(format.open_options()) && !has(format.create_options())
}

/// The options that are always given, and those that a scenario has chosen in their place.
fn chosen(always: &[(&str, &str)], config: &Config, is_wanted: impl Fn(&str) -> bool) -> Options {
    let mut options = Options::new();
    for (name, value) in always {
        options.set(name, *value);
    }
    for (name, value) in config.options.iter().filter(|(name, _)| is_wanted(name)) {
        options.set(name, value.to_string());
    }
    options
}

/// Fresh images of one configuration.
#[derive(Debug)]
struct Fresh {
    driver: FormatDriver,
    config: Config,
}

impl Driver for FormatDriver {
    fn name(&self) -> &'static str {
        self.name
    }

    fn bench(&self, config: &Config) -> Result<Box<dyn Bench>> {
        if let Images::Disk(disk) = self.images {
            let reference = Arc::new(MemoryDisk::open(config.size_bytes)?);
            return Ok(Box::new(DiskBench { reference, test: Arc::new(disk(config.size_bytes)?) }));
        }
        ImageBench::in_memory(self.images(config)?)
    }

    fn space(&self) -> &'static Space {
        (self.space)()
    }

    fn promises(&self, _config: &Config) -> Promises {
        self.promises
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        match self.images {
            Images::Disk(_) => Err(no_storage(self.name)),
            _ => Ok(on_host(Box::new(Fresh { driver: *self, config: config.clone() }), config)),
        }
    }
}

impl ImageMaker for Fresh {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        self.driver.create(storage, &self.config)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        self.driver.open(storage, Access::ReadWrite, &self.config)
    }

    fn reference(&self) -> Result<Disk> {
        MemoryDisk::open(self.config.size_bytes)
    }

    fn layout(&self, storage: &Arc<dyn Storage>) -> Result<Vec<Region>> {
        match self.driver.images {
            Images::Format(format) => Ok(format.layout(storage)?.unwrap_or_default()),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Value;

    /// An image is its options, as text.
    fn create(storage: &Arc<dyn Storage>, config: &Config) -> Result<()> {
        storage.write_at(0, format!("{:?}", config.options).as_bytes())
    }

    fn open(storage: Arc<dyn Storage>, config: &Config) -> Result<Disk> {
        let options = format!("{:?}", config.options);
        let mut found = vec![0; options.len()];
        storage.read_at(0, &mut found)?;
        assert_eq!(found, options.as_bytes());
        drop(storage);
        MemoryDisk::open(config.size_bytes)
    }

    #[test]
    fn functions_follow_the_options_of_a_configuration() {
        let driver = FormatDriver::of_configured_functions("configured", create, open);
        let mut config = Config { size_bytes: 8192, ..Config::default() };
        config.options.set("width", Some(Value::Number(3)));
        let storage: Arc<dyn Storage> = Arc::new(blk_core::MemoryStorage::new());
        driver.create(&storage, &config).unwrap();
        for access in [Access::ReadWrite, Access::ReadOnly] {
            let disk = driver.open(Arc::clone(&storage), access, &config).unwrap();
            assert_eq!((disk.size(), disk.access()), (8192, access));
        }
    }
}
