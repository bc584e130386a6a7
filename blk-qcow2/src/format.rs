//! The format as programs plug it in: probe, open with its options, create.

use std::sync::Arc;

use blk_core::{Access, Disk, Error, Format, OptionHelp, Options, RepairMode, Resolver, Result, Storage};

use crate::allocator::Punches;
use crate::check;
use crate::control::Control;
use crate::create;
use crate::header::Header;
use crate::metadata::{Behaviour, CacheSizes};
use crate::ondisk::COMPATIBLE_LAZY_REFCOUNTS;
use crate::overlap::Parts;
use crate::qcow2::Qcow2;

/// The qcow2 format, for a [`blk_core::Registry`].
pub static FORMAT: &dyn Format = &Qcow2Format;

#[derive(Debug)]
struct Qcow2Format;

static OPEN_OPTIONS: &[OptionHelp] = &[
    OptionHelp { name: "l2-cache-slices", values: "number", help: "L2 slices kept in memory" },
    OptionHelp {
        name: "l2-cache-entry-size",
        values: "size",
        help: "bytes of an L2 slice, 512 to the cluster size",
    },
    OptionHelp {
        name: "refcount-cache-slices",
        values: "number",
        help: "refcount block slices kept in memory",
    },
    OptionHelp {
        name: "discard",
        values: "unmap|ignore",
        help: "unmap: a discard gives space back to the host; ignore: it does nothing",
    },
    OptionHelp {
        name: "lazy-refcounts",
        values: "on|off",
        help: "postpone refcount updates until the close; the default is the image's flag",
    },
    OptionHelp {
        name: "pass-discard-request",
        values: "on|off",
        help: "punch holes into the file for guest discards; the default is that of discard",
    },
    OptionHelp {
        name: "pass-discard-snapshot",
        values: "on|off",
        help: "punch holes for clusters freed together with the whole content, as by commit",
    },
    OptionHelp {
        name: "pass-discard-other",
        values: "on|off",
        help: "punch holes for clusters that were replaced, such as moved tables",
    },
    OptionHelp {
        name: "overlap-check",
        values: "none|constant|cached|all",
        help: "metadata that no write may overlap; overlap-check.PART=on|off for each part",
    },
    OptionHelp { name: "backing", values: "on|off", help: "open the image's backing file" },
    OptionHelp {
        name: "check",
        values: "on|off",
        help: "open for a check only: damage is no reason to refuse",
    },
];

/// The largest cache that can be asked for, in slices.
const CACHE_SLICES_MAX: u64 = 1 << 20;

impl Format for Qcow2Format {
    fn name(&self) -> &'static str {
        "qcow2"
    }

    /// Of any version, also one that cannot be opened: it is no raw image.
    fn probe(&self, start: &[u8]) -> u8 {
        if blk_core::format_of_start(start) == Some("qcow2") { 100 } else { 0 }
    }

    fn open(
        &self,
        storage: Arc<dyn Storage>,
        access: Access,
        options: Options,
        resolver: &dyn Resolver,
    ) -> Result<Disk> {
        let settings = Settings::parse(options)?;
        let mut header = Header::read_for(&*storage, settings.for_check)?;
        if access == Access::ReadWrite && !settings.for_check {
            header = make_writable(&*storage, header)?;
        }
        let backing = match &header.backing {
            Some(name) if settings.open_backing => {
                Some(resolver.open_backing(&name.name, name.format.as_deref())?)
            }
            None if settings.open_backing => resolver.default_backing()?,
            _ => None,
        };
        let behaviour = settings.behaviour(&header)?;
        let driver = Qcow2::new(storage, header, backing, behaviour)?;
        Ok(Disk::new(driver, access))
    }

    fn create(&self, storage: &Arc<dyn Storage>, size: u64, options: Options) -> Result<()> {
        create::create(storage, size, options)
    }

    fn open_options(&self) -> &'static [OptionHelp] {
        OPEN_OPTIONS
    }

    fn create_options(&self) -> &'static [OptionHelp] {
        create::CREATE_OPTIONS
    }
}

/// What the open options say.
#[derive(Debug)]
struct Settings {
    caches: CacheSizes,
    discard_frees: bool,
    punches: Punches,
    overlap_check: Parts,
    lazy_refcounts: Option<bool>,
    control: Control,
    open_backing: bool,
    /// Marks of damage do not matter: a check follows.
    for_check: bool,
}

impl Settings {
    fn parse(mut options: Options) -> Result<Self> {
        let caches = CacheSizes {
            l2_slices: take_count(&mut options, "l2-cache-slices")?,
            l2_slice_bytes: take_slice_bytes(&mut options)?,
            refcount_slices: take_count(&mut options, "refcount-cache-slices")?,
        };
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
        let mut passes = |name| options.take_switch(name).map(|given| given.unwrap_or(discard_frees));
        let punches = Punches {
            request: passes("pass-discard-request")?,
            content: passes("pass-discard-snapshot")?,
            other: passes("pass-discard-other")?,
        };
        let overlap_check = Parts::take(&mut options)?;
        let lazy_refcounts = options.take_switch("lazy-refcounts")?;
        let control = Control::take(&mut options)?;
        let open_backing = options.take_switch("backing")?.unwrap_or(true);
        let for_check = options.take_switch("check")?.unwrap_or(false);
        options.finish("qcow2")?;
        Ok(Self {
            caches,
            discard_frees,
            punches,
            overlap_check,
            lazy_refcounts,
            control,
            open_backing,
            for_check,
        })
    }

    /// How an image of this header behaves.
    fn behaviour(&self, header: &Header) -> Result<Behaviour> {
        if self.lazy_refcounts == Some(true) && header.version < 3 {
            return Err(Error::invalid_option("lazy-refcounts", "version 2 cannot have it"));
        }
        let of_image = header.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0;
        let lazy_refcounts = self.lazy_refcounts.unwrap_or(of_image);
        let Self { caches, discard_frees, punches, overlap_check, control, .. } = *self;
        Ok(Behaviour { caches, discard_frees, punches, overlap_check, lazy_refcounts, control })
    }
}

fn take_count(options: &mut Options, name: &'static str) -> Result<usize> {
    let Some(text) = options.take(name) else { return Ok(0) };
    match text.parse::<u64>() {
        Ok(count @ 0..=CACHE_SLICES_MAX) => Ok(count as usize),
        _ => {
            Err(Error::invalid_option(name, format!("'{text}' is not a number from 0 to {CACHE_SLICES_MAX}")))
        }
    }
}

fn take_slice_bytes(options: &mut Options) -> Result<u64> {
    let name = "l2-cache-entry-size";
    match options.take_size(name)? {
        None | Some(0) => Ok(0),
        Some(bytes) if bytes.is_power_of_two() && (512..=2 << 20).contains(&bytes) => Ok(bytes),
        Some(bytes) => {
            Err(Error::invalid_option(name, format!("{bytes} is not a power of two from 512 to 2 MiB")))
        }
    }
}

/// What has to be right before an image may be written: not marked corrupt, and refcounts that can be trusted.
fn make_writable(storage: &dyn Storage, header: Header) -> Result<Header> {
    if header.is_corrupt() {
        return Err(Error::corrupt(
            "header",
            72,
            "the image is marked corrupt; open it read-only, or repair it",
        ));
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
