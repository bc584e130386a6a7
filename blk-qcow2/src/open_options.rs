//! What the options of an open say.

use blk_core::{Error, Options, Resolver, Result, Secret, TypedOptions};

use crate::control::Control;
use crate::free_space::DiscardPolicy;
use crate::header::{Encryption, Header};
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
    /// The data file is opened.
    pub(crate) open_data_file: bool,
    /// Marks of damage do not matter: a check follows.
    pub(crate) for_check: bool,
    /// The image is open for writing, and not for a check alone.
    pub(crate) is_writable: bool,
    /// The disk is what a snapshot holds.
    pub(crate) of_snapshot: bool,
}

/// What opens an encrypted image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeyOptions {
    /// How the image has to be encrypted.
    format: Option<&'static str>,
    /// The name of the secret.
    secret: Option<String>,
    /// The image is only described.
    pub(crate) is_locked: bool,
}

impl KeyOptions {
    fn of(options: &TypedOptions) -> Self {
        Self {
            format: options.choice("encrypt.format"),
            secret: options.text("encrypt.key-secret"),
            is_locked: options.switch("locked") == Some(true),
        }
    }

    /// Fails where the options ask for another encryption than the image has.
    pub(crate) fn check_method(&self, found: Option<Encryption>) -> Result<()> {
        match (self.format, found.map(Encryption::name)) {
            (Some(asked), found) if found != Some(asked) => {
                let found = found.map_or("is not encrypted".to_owned(), |found| format!("has '{found}'"));
                let reason = format!("'{asked}' is asked for, and the image {found}");
                Err(Error::invalid_option("encrypt.format", reason))
            }
            _ => Ok(()),
        }
    }

    /// The secret that the options name.
    pub(crate) fn passphrase(&self, resolver: &dyn Resolver) -> Result<Secret> {
        match &self.secret {
            Some(id) => resolver.secret(id),
            None => Err(no_secret()),
        }
    }
}

/// No secret is named where one is needed.
pub(crate) fn no_secret() -> Error {
    let reason = "Parameter 'encrypt.key-secret' is required for cipher";
    Error::invalid_option("encrypt.key-secret", reason)
}

impl OpenOptions {
    /// Also returns the snapshot that is to be opened in place of the active disk, the name of the data file
    /// that takes the place of the image's, and what opens an encrypted image.
    pub(crate) fn parse(options: Options) -> Result<(Self, Selection, Option<String>, KeyOptions)> {
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
            open_data_file: options.switch("open-data-file") != Some(false),
            for_check: options.switch("check") == Some(true),
            is_writable: false,
            of_snapshot: selection.is_some(),
        };
        let data_file = options.text("data-file");
        Ok((parsed, selection, data_file, KeyOptions::of(&options)))
    }

    /// The same for an image with this header: what the options leave open is what the image says.
    pub(crate) fn for_image(self, header: &Header) -> Result<Self> {
        if self.lazy_refcounts == Some(true) && header.version < 3 {
            return Err(Error::invalid_option("lazy-refcounts", "version 2 cannot have it"));
        }
        let of_image = header.compatible & COMPATIBLE_LAZY_REFCOUNTS != 0;
        Ok(Self { lazy_refcounts: Some(self.lazy_refcounts.unwrap_or(of_image)), ..self })
    }

    /// The image has been changed to say so.
    pub(crate) fn set_lazy_refcounts(&mut self, is_lazy: bool) {
        self.lazy_refcounts = Some(is_lazy);
    }

    /// Whether refcounts on disk are brought up to date at the close only.
    pub(crate) const fn lazy_refcounts(&self) -> bool {
        matches!(self.lazy_refcounts, Some(true))
    }
}
