//! The format as programs plug it in.

use std::sync::Arc;

use blk_core::{
    Access, Disk, Error, Extent, Format, OptionHelp, Options, Preallocation, Resolver, Result, Storage,
};

use crate::allocate::allocate;
use crate::disk::{RawDisk, Window};

/// The raw format, for a [`blk_core::Registry`].
pub static FORMAT: &dyn Format = &RawFormat;

#[derive(Debug)]
struct RawFormat;

static OPEN_OPTIONS: &[OptionHelp] = &[
    OptionHelp { name: "offset", values: "size", help: "where the disk starts in the file" },
    OptionHelp { name: "size", values: "size", help: "size of the disk, from offset on" },
    OptionHelp {
        name: "discard",
        values: "unmap|ignore",
        help: "unmap: a discard, or zeroes that may unmap, give space back to the host; ignore: they do not",
    },
];

static CREATE_OPTIONS: &[OptionHelp] =
    &[OptionHelp { name: "preallocation", values: "off|falloc|full", help: "what is allocated at creation" }];

impl Format for RawFormat {
    fn name(&self) -> &'static str {
        "raw"
    }

    /// Anything can be a raw image, so every other format is surer.
    fn probe(&self, _start: &[u8]) -> u8 {
        1
    }

    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        mut options: Options,
        _resolver: &dyn Resolver,
    ) -> Result<Disk> {
        let window = take_window(&mut options, storage.len()?)?;
        let discard_frees = match options.take("discard").as_deref() {
            None | Some("unmap" | "on") => true,
            Some("ignore" | "off") => false,
            Some(other) => {
                return Err(Error::invalid_option(
                    "discard",
                    format!("'{other}' is neither unmap nor ignore"),
                ));
            }
        };
        options.finish("raw")?;
        Ok(Disk::new(RawDisk::new(storage, window, discard_frees), access))
    }

    /// On storage of fixed length, as a block device, the disk is as long as the storage, and its first `size` bytes are
    /// zeroed.
    fn create(&self, storage: &Arc<dyn Storage>, size: u64, mut options: Options) -> Result<()> {
        let preallocation = take_preallocation(&mut options)?;
        options.finish("raw")?;
        replace(&**storage, size)?;
        allocate(&**storage, Extent::new(0, size), preallocation)
    }

    fn open_options(&self) -> &'static [OptionHelp] {
        OPEN_OPTIONS
    }

    fn create_options(&self) -> &'static [OptionHelp] {
        CREATE_OPTIONS
    }
}

fn take_window(options: &mut Options, length: u64) -> Result<Window> {
    let offset = options.take_size("offset")?;
    let size = options.take_size("size")?;
    let start = offset.unwrap_or(0);
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

fn take_preallocation(options: &mut Options) -> Result<Preallocation> {
    let name = "preallocation";
    let Some(text) = options.take(name) else { return Ok(Preallocation::Off) };
    match text.parse() {
        Ok(Preallocation::Metadata) | Err(_) => {
            Err(Error::invalid_option(name, format!("'{text}' is none of off, falloc, full")))
        }
        Ok(preallocation) => Ok(preallocation),
    }
}

/// Makes the storage `size` zero bytes long. A size that the storage cannot have is refused before anything is lost.
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
