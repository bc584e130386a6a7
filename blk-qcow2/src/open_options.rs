//! What the options of an open say.

use blk_core::{Error, Options, Result};

use crate::control::Control;
use crate::free_space::DiscardPolicy;
use crate::header::Header;
use crate::ondisk::COMPATIBLE_LAZY_REFCOUNTS;
use crate::options::OPEN_OPTIONS;
use crate::overlap::Parts;
use crate::snapshot::Selection;

/// Sizes of the caches; 0 means the driver's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CacheSizes {
    pub(crate) l2_slices: usize,
    pub(crate) l2_slice_bytes: u64,
    pub(crate) refcount_slices: usize,
}

/// The options of an open image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct OpenOptions {
    pub(crate) caches: CacheSizes,
    /// Discards, and zeroes that may unmap, free clusters.
    pub(crate) discard_frees: bool,
    /// Which clusters that become free are punched out of the host file.
    pub(crate) discard_policy: DiscardPolicy,
    /// What writes are checked against.
    pub(crate) overlap_check: Parts,
    /// Refcounts on disk are brought up to date at the close only; the dirty bit says so until then. Without
    /// a value the image decides.
    lazy_refcounts: Option<bool>,
    /// Makes the driver's free choices.
    pub(crate) control: Control,
    /// The backing file is opened.
    pub(crate) open_backing: bool,
    /// Marks of damage do not matter: a check follows.
    pub(crate) for_check: bool,
    /// The disk is what a snapshot holds.
    pub(crate) of_snapshot: bool,
}

impl OpenOptions {
    /// Also returns the snapshot that is to be opened in place of the active disk.
    pub(crate) fn parse(options: Options) -> Result<(Self, Selection)> {
        let options = options.typed("qcow2", OPEN_OPTIONS)?;
        let selection = Selection::of(&options);
        // What is not given is 0: the cache's own default.
        let number = |name| options.number(name).unwrap_or(0);
        let discard_frees = options.choice("discard") != Some("ignore");
        let passes = |name| options.switch(name).unwrap_or(discard_frees);
        let parsed = Self {
            caches: CacheSizes {
                l2_slices: number("l2-cache-slices") as usize,
                l2_slice_bytes: number("l2-cache-entry-size"),
                refcount_slices: number("refcount-cache-slices") as usize,
            },
            discard_frees,
            discard_policy: DiscardPolicy {
                discard: passes("pass-discard-request"),
                drop: passes("pass-discard-snapshot"),
                replace: passes("pass-discard-other"),
            },
            overlap_check: Parts::of(&options),
            lazy_refcounts: options.switch("lazy-refcounts"),
            control: Control::of(&options),
            open_backing: options.switch("backing") != Some(false),
            for_check: options.switch("check") == Some(true),
            of_snapshot: selection.is_some(),
        };
        Ok((parsed, selection))
    }

    /// The same for an image with this header: what the options leave open is what the image says.
    pub(crate) fn for_image(self, header: &Header) -> Result<Self> {
        if self.lazy_refcounts == Some(true) && header.version < 3 {
            return Err(Error::invalid_option("lazy-refcounts", "version 2 cannot have it"));
        }
        let of_image = header.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0;
        Ok(Self { lazy_refcounts: Some(self.lazy_refcounts.unwrap_or(of_image)), ..self })
    }

    /// Whether refcounts on disk are brought up to date at the close only.
    pub(crate) const fn lazy_refcounts(&self) -> bool {
        matches!(self.lazy_refcounts, Some(true))
    }
}
