//! The format as programs plug it in: probe, open with its options, create.

use std::sync::Arc;

use blk_core::storage::{Step, for_any_alignment};
use blk_core::{
    Access, CheckReport, Disk, Error, Features, Format, Measure, OptionSpec, Options, Probe, RepairMode,
    Resolver, Result, Storage,
};

use crate::check;
use crate::create;
use crate::header::Header;
use crate::measure;
use crate::open_options::OpenOptions;
use crate::options::{CREATE_OPTIONS, OPEN_OPTIONS};
use crate::qcow2::Qcow2;
use crate::snapshot::SnapshotTable;
use crate::steps;

/// The qcow2 format, for a [`blk_core::Registry`].
pub static FORMAT: &dyn Format = &Qcow2Format;

#[derive(Debug)]
struct Qcow2Format;

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
        let (options, selection) = OpenOptions::parse(options)?;
        if selection.is_some() && access == Access::ReadWrite {
            return Err(Error::invalid_option("snapshot", "a snapshot is opened for reading only"));
        }
        let storage = for_any_alignment(storage);
        let mut header = Header::read_for(&*storage, options.for_check)?;
        if access == Access::ReadWrite && !options.for_check {
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
        if selection.is_some() {
            header = selection.header(&*storage, &header)?;
        }
        let driver = Qcow2::new(storage, header, backing, options)?;
        Ok(Disk::new(driver, access))
    }

    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()> {
        create::create(&for_any_alignment(Arc::clone(storage)), size, options)
    }

    fn open_options(&self) -> &'static [OptionSpec] {
        OPEN_OPTIONS
    }

    fn create_options(&self) -> &'static [OptionSpec] {
        CREATE_OPTIONS
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

    fn measure(&self, size: u64, options: Options) -> Result<Measure> {
        measure::measure(size, options)
    }
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
