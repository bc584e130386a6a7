//! The format as programs plug it in.

use std::sync::Arc;

use blk_core::storage::{Step, for_any_alignment};
use blk_core::{
    Access, Disk, Error, Extent, Features, Format, Measure, OptionKind, OptionSpec, Options, Preallocation,
    Probe, Range, Resolver, Result, Storage, TypedOptions,
};

use crate::allocate::allocate;
use crate::disk::{RawDisk, Window};
use crate::steps;

/// The raw format, for a [`blk_core::Registry`].
pub static FORMAT: &dyn Format = &RawFormat;

#[derive(Debug)]
struct RawFormat;

static OPEN_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("offset", OptionKind::Size(Range::ANY), "where the disk starts in the file")
        .that_selects_content(),
    OptionSpec::new("size", OptionKind::Size(Range::ANY), "size of the disk, from offset on")
        .that_selects_content(),
    OptionSpec::new(
        "discard",
        OptionKind::Choice(&["unmap", "ignore"]),
        "unmap: a discard, or zeroes that may unmap, give space back to the host; ignore: they do not",
    )
    .with_aliases(&[("on", "unmap"), ("off", "ignore")])
    .with_default("unmap"),
];

/// Those of QEMU's raw format and of the file under it.
static CREATE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::disk_size(Range::ANY),
    OptionSpec::not_built(
        "nocow",
        OptionKind::Switch,
        "Switch copy-on-write off, where the file system has it",
    ),
    OptionSpec::new(
        "preallocation",
        OptionKind::Choice(&["off", "falloc", "full"]),
        "What is allocated at creation",
    )
    .with_default("off"),
    OptionSpec::not_built(
        "extent_size_hint",
        OptionKind::Size(Range::ANY),
        "Extent size that the file system should use",
    ),
];

impl Format for RawFormat {
    fn name(&self) -> &'static str {
        "raw"
    }

    /// Anything can be a raw image, so every other format is surer.
    fn probe(&self, _probe: &Probe<'_>) -> u8 {
        1
    }

    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        options: Options,
        _resolver: &dyn Resolver,
    ) -> Result<Disk> {
        let options = options.typed(self.name(), OPEN_OPTIONS)?;
        let is_shareable = storage.limits().is_free();
        let storage = for_any_alignment(storage);
        let window = window(&options, storage.len()?)?;
        let discard_frees = options.choice("discard") != Some("ignore");
        let disk = RawDisk::new(storage, window, discard_frees);
        Ok(Disk::new(if is_shareable { disk } else { disk.unshareable() }, access))
    }

    /// On storage of fixed length, as a block device, the disk is as long as the storage, and its first
    /// `size` bytes are zeroed.
    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()> {
        let options = options.typed(self.name(), CREATE_OPTIONS)?;
        let preallocation = options.choice("preallocation").map_or(Ok(Preallocation::Off), str::parse)?;
        let storage = for_any_alignment(Arc::clone(storage));
        replace(&*storage, size)?;
        allocate(&*storage, Extent::new(0, size), preallocation)
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
        Features { is_raw: true, ..Features::default() }
    }

    fn measure(&self, size: u64, options: Options) -> Result<Measure> {
        options.typed_of_others(self.name(), CREATE_OPTIONS)?;
        Ok(Measure { fully_allocated: size, unit_bytes: 1, allocates_all: true, bitmaps: false })
    }
}

fn window(options: &TypedOptions, length: u64) -> Result<Window> {
    let size = options.number("size");
    let start = options.number("offset").unwrap_or(0);
    if start > length {
        return Err(Error::invalid_option(
            "offset",
            format!("{start} lies past the end of the file, {length} bytes"),
        ));
    }
    let rest = length - start;
    match size {
        Some(size) if size > rest => {
            let reason =
                format!("{size} bytes from offset {start} reach past the end of the file, {length} bytes");
            Err(Error::invalid_option("size", reason))
        }
        Some(size) => Ok(Window { start, size, fixed: true }),
        None => Ok(Window { start, size: rest, fixed: false }),
    }
}

/// Makes the storage `size` zero bytes long. A size that the storage cannot have is refused before anything
/// is lost.
fn replace(storage: &dyn Storage, size: u64) -> Result<()> {
    let old = storage.len()?;
    match storage.set_len(size) {
        Ok(()) if old == 0 => Ok(()),
        Ok(()) if storage.set_len(0).is_ok() => storage.set_len(size),
        // The length is fixed, and may by chance be right.
        Ok(()) | Err(Error::Unsupported { .. }) => zero_fixed(storage, old, size),
        Err(error) => Err(error),
    }
}

fn zero_fixed(storage: &dyn Storage, length: u64, size: u64) -> Result<()> {
    if size > length {
        let what = format!("{size} bytes are asked for, the storage has {length} and cannot grow");
        return Err(Error::NoSpace { what: what.into() });
    }
    storage.punch_hole(Extent::new(0, size))
}
