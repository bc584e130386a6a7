//! Changing what an image was made with: `qemu-img amend`.
//!
//! Each option, or a few that belong together, is a [`Change`] in a file of its own, with an entry in
//! [`CHANGES`] and its names in [`OPTIONS`]. All that are asked for are checked before the first is made.
//!
//! Write order: each change leaves an image that is the old one or the new one at any time; most end with one
//! write of the header's first sector. A crash between two of them leaves the first of them made. Data and
//! snapshots stay as they are throughout, and at worst clusters leak.

mod backing;
mod compat;
mod data_file;
mod encryption;
mod lazy_refcounts;
mod options;
mod refcount_bits;
mod size;
mod zero_clusters;

use blk_core::{Amend, Amendment, Resolver, Result, TypedOptions};

use crate::header::Header;
use crate::qcow2::Qcow2;

pub(crate) use options::OPTIONS;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) options: TypedOptions,
    /// Changes that may lose all data are made, too.
    pub(crate) force: bool,
    /// Who opens names, and knows the secrets, that the options name.
    pub(crate) resolver: &'a dyn Resolver,
}

impl Request<'_> {
    /// The version that the image is to have.
    fn version(&self, header: &Header) -> u32 {
        match self.options.choice("compat") {
            Some("0.10") => 2,
            Some(_) => 3,
            None => header.version,
        }
    }

    /// The size that the disk is to have; as with other implementations, 0 says nothing.
    fn size(&self) -> Option<u64> {
        self.options.number("size").filter(|size| *size > 0)
    }

    /// How many bits a refcount is to have.
    fn refcount_bits(&self, header: &Header) -> u32 {
        let given = self.options.number("refcount_bits");
        given.map_or(header.geometry.refcount_bits(), |bits| u32::try_from(bits).unwrap_or(u32::MAX))
    }
}

/// What is told of how much of a change is done.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// A change of one option, or of a few that belong together.
pub(crate) trait Change: Sync {
    /// Its options. It is made if one of them is given.
    fn names(&self) -> &'static [&'static str];

    /// Whether there is anything to do. Nothing changes.
    ///
    /// # Errors
    /// [`blk_core::Error::InvalidOption`] or [`blk_core::Error::Unsupported`] if it cannot be made.
    fn check(&self, image: &Qcow2, request: &Request<'_>) -> Result<bool>;

    /// Makes it, durably. The change has been checked; those before it in the list have been made.
    fn make(&self, image: &Qcow2, request: &Request<'_>, progress: Progress<'_>) -> Result<()>;
}

/// All changes, in the order in which they are made: keys first, which only making shows to be possible; what
/// version 3 alone can have comes after the upgrade and before the downgrade.
static CHANGES: &[&dyn Change] = &[
    &encryption::Encryption,
    &compat::Upgrade,
    &size::Size,
    &refcount_bits::RefcountBits,
    &data_file::DataFile,
    &backing::Backing,
    &lazy_refcounts::LazyRefcounts,
    &compat::Downgrade,
];

/// Progress is told in so many parts of each change.
const PARTS: u64 = 1000;

impl Amend for Qcow2 {
    fn amend(&self, amendment: Amendment<'_>) -> Result<()> {
        self.noting(self.make_changes(amendment))
    }
}

impl Qcow2 {
    fn make_changes(&self, amendment: Amendment<'_>) -> Result<()> {
        let Amendment { options, force, resolver, progress } = amendment;
        let request = Request { options: options.typed("qcow2", OPTIONS)?, force, resolver };
        let mut due = Vec::new();
        for change in CHANGES {
            let is_given = change.names().iter().any(|name| request.options.is_given(name));
            if is_given && change.check(self, &request)? {
                due.push(change);
            }
        }
        let all = due.len() as u64 * PARTS;
        progress(0, all.max(1));
        if !due.is_empty() {
            self.begin_unfollowed()?;
        }
        for (before, change) in (0..).zip(due) {
            let mut part = |done: u64, of: u64| {
                let share = u128::from(done.min(of)) * u128::from(PARTS) / u128::from(of.max(1));
                progress(before * PARTS + share as u64, all);
            };
            change.make(self, &request, &mut part)?;
            part(1, 1);
        }
        progress(all.max(1), all.max(1));
        Ok(())
    }
}
