//! The format as programs plug it in: probe, open with its options, create.

use std::sync::Arc;

use blk_core::storage::{Step, for_any_alignment};
use blk_core::{
    Access, CheckReport, DenyResolver, Disk, Error, Features, Format, Measure, OptionSpec, Options, Probe,
    Region, RepairMode, Resolver, Result, Storage,
};

use blk_luks::{Environment, ITERATIONS_MIN, ROUNDS_MAX, STRIPES, System};

use crate::amend;
use crate::check;
use crate::create::{self, KeyMaking, Maker};
use crate::crypt::{Crypt, Means};
use crate::data_file;
use crate::header::Header;
use crate::measure;
use crate::open_options::OpenOptions;
use crate::options::{CREATE_OPTIONS, OPEN_OPTIONS};
use crate::qcow2::Qcow2;
use crate::snapshot::SnapshotTable;
use crate::steps;

/// The qcow2 format, for a [`blk_core::Registry`].
pub static FORMAT: &dyn Format = &Qcow2Format::new(&System);

/// The qcow2 format, with what encryption takes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Qcow2Format {
    means: Means,
    key: KeyMaking,
}

impl Qcow2Format {
    /// Images as QEMU makes them.
    pub const fn new(environment: &'static dyn Environment) -> Self {
        let means = Means { environment, rounds_max: ROUNDS_MAX };
        Self { means, key: KeyMaking { stripes: STRIPES, iterations_min: ITERATIONS_MIN } }
    }

    /// New LUKS headers have keys of so many stripes, as QEMU does not read them, and passphrases are hashed
    /// as little as can be: small images for tests, never for data of anybody.
    #[must_use]
    pub const fn with_weak_keys(self, stripes: u32) -> Self {
        assert!(stripes > 0, "a key has a stripe");
        Self { key: KeyMaking { stripes, iterations_min: 1 }, ..self }
    }

    /// At most so many rounds of a hash are made to open an image: for tests, which are not to wait.
    #[must_use]
    pub const fn with_rounds_max(self, rounds_max: u64) -> Self {
        Self { means: Means { rounds_max, ..self.means }, ..self }
    }
}

impl Format for Qcow2Format {
    fn name(&self) -> &'static str {
        "qcow2"
    }

    /// Of any version, also one that cannot be opened: it is no raw image.
    fn probe(&self, probe: &Probe<'_>) -> u8 {
        if blk_core::format_of_start(probe.start) == Some("qcow2") { 100 } else { 0 }
    }

    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        options: Options,
        resolver: &dyn Resolver,
    ) -> Result<Disk> {
        let (mut options, selection, data_file, key) = OpenOptions::parse(options)?;
        options.is_writable = access == Access::ReadWrite && !options.for_check;
        if selection.is_some() && access == Access::ReadWrite {
            return Err(Error::invalid_option("snapshot", "a snapshot is opened for reading only"));
        }
        let storage = for_any_alignment(storage);
        let mut header = Header::read_for(&*storage, options.for_check)?;
        let crypt = Crypt::open(&storage, &header, &key, access, self.means, resolver)?;
        if options.is_writable {
            header = make_writable(&*storage, header)?;
        }
        let backing = match &header.backing {
            Some(name) if options.open_backing => {
                Some(resolver.open_backing(&name.name, name.format.as_deref())?)
            }
            None if options.open_backing => resolver.default_backing()?,
            _ => None,
        };
        let options = options.for_image(&header)?;
        let wanted = (data_file.as_deref(), options.open_data_file);
        let opened = data_file::open(storage, &header, wanted, access, resolver)?;
        let storage = &opened.storage;
        if selection.is_some() {
            check_has_snapshots(&header)?;
            header = selection.header(&**storage, &header)?;
        }
        let driver = Qcow2::new(opened, header, backing, crypt, options)?;
        Ok(Disk::new(driver, access))
    }

    /// An encrypted image needs a secret, and so [`Format::create_with`].
    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()> {
        self.create_with(storage, size, options, &DenyResolver)
    }

    fn create_with(
        &self,
        storage: &Arc<dyn Storage>,
        size: u64,
        options: Options,
        resolver: &dyn Resolver,
    ) -> Result<()> {
        let maker = Maker { means: self.means, key: self.key, resolver };
        create::create(&for_any_alignment(Arc::clone(storage)), size, options, &maker)
    }

    fn open_options(&self) -> &'static [OptionSpec] {
        OPEN_OPTIONS
    }

    fn create_options(&self) -> &'static [OptionSpec] {
        CREATE_OPTIONS
    }

    fn amend_options(&self) -> &'static [OptionSpec] {
        amend::OPTIONS
    }

    fn steps(&self) -> &'static [&'static Step] {
        &steps::ALL
    }

    fn features(&self) -> Features {
        Features { is_raw: false, backing: true, compression: true, bitmaps: true, has_footer: false }
    }

    /// The image need not be one that can be opened for writing: marks of damage are what a check is there
    /// for.
    fn check(&self, storage: &Arc<dyn Storage>, repair: RepairMode) -> Result<Option<CheckReport>> {
        let storage = for_any_alignment(Arc::clone(storage));
        let header = Header::read_for(&*storage, true)?;
        check::check(&*storage, &header, repair).map(Some)
    }

    fn layout(&self, storage: &Arc<dyn Storage>) -> Result<Option<Vec<Region>>> {
        let storage = for_any_alignment(Arc::clone(storage));
        let header = Header::read_for(&*storage, true)?;
        check::layout(&*storage, &header).map(Some)
    }

    fn measure(&self, size: u64, options: Options) -> Result<Measure> {
        measure::measure(size, options)
    }
}

/// Fails for an image with a data file: what its snapshots hold is not specified.
fn check_has_snapshots(header: &Header) -> Result<()> {
    if !header.has_data_file() {
        return Ok(());
    }
    Err(Error::unsupported("snapshots inside an image with an external data file"))
}

/// What has to be right before an image may be written: not marked corrupt, snapshots that can be read (what
/// cannot be read cannot be kept), and refcounts that can be trusted.
fn make_writable(storage: &dyn Storage, header: Header) -> Result<Header> {
    if header.is_corrupt() {
        return Err(Error::corrupt(
            "header",
            72,
            "the image is marked corrupt; open it read-only, or repair it",
        ));
    }
    SnapshotTable::read(storage, &header)?;
    if header.snapshot_count > 0 {
        check_has_snapshots(&header)?;
    }
    if !header.is_dirty() {
        return Ok(header);
    }
    let report = check::check(storage, &header, RepairMode::All)?;
    if !report.is_repaired() {
        return Err(Error::corrupt(
            "image",
            72,
            format!("it was left dirty and cannot be recovered: {report}"),
        ));
    }
    Header::read(storage)
}
