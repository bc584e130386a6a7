//! What `commit` and `rebase` do to an image, as amendments of scenarios: none of them changes what the disk
//! shows, wherever a crash or a fault interrupts them. Nothing else is in flight meanwhile.
//!
//! | amendment | what is done |
//! |---|---|
//! | `x-commit=on` | what the image stores goes to its backing file; then the image gives it up |
//! | `x-rebase=none`, `x-rebase=packed` | the image gets what its backing file shows, as it is or compressed, and names none |
//! | `x-rebase=other` | the image gets what differs from another backing file, and names that one |
//!
//! Programs close the image after each of these, and what has it open goes on here. So a rebase is refused
//! where that would not be safe: a handle without a backing file leaves places unallocated that another one
//! would show through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::{
    Access, Amend, Amendment, BackingFile, Bitmaps, BlockStatus, Check, Commit, Disk, Error, Extent, Info,
    Overlay, PassThrough, Rebase, Result, Snapshots, Storage, VmState,
};

use crate::initial::{self, BACKING_NAME, OTHER_NAME};

/// The option of scenarios: the backing file lies on the image's host, and is written.
pub(crate) const WRITTEN: &str = "x-backing-written";
/// The amendments.
pub(crate) const COMMIT: &str = "x-commit=on";
pub(crate) const FLATTEN: &str = "x-rebase=none";
pub(crate) const FLATTEN_COMPRESSED: &str = "x-rebase=packed";
pub(crate) const REBASE: &str = "x-rebase=other";

/// The two backing files that an image is put over by turns: the one that it was made over, then another one
/// with other data at the same places.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) disks: [Arc<Disk>; 2],
    pub(crate) format: &'static str,
}

/// What the disk of a configuration is over.
#[derive(Debug, Clone)]
pub(crate) enum BackingFiles {
    /// A raw backing file, which each commit opens for writing, as programs do.
    Written(Arc<dyn Storage>),
    /// Backing files that stay as they are.
    Read(Pair),
}

/// A disk over a backing file.
#[derive(Debug)]
struct Chained {
    inner: Arc<Disk>,
    below: BackingFiles,
    /// Where what has its guest data begins on the host, bytes.
    data_at: u64,
    /// The image names no backing file any more, and this handle still has one.
    is_flat: AtomicBool,
}

/// A disk that knows how to commit and to rebase. The file of its guest data is at `data_at` of the host,
/// bytes: so are the host offsets that it tells.
pub(crate) fn over(below: BackingFiles, data_at: u64, inner: Disk) -> Disk {
    let is_flat = AtomicBool::new(false);
    Disk::new(Chained { inner: Arc::new(inner), below, data_at, is_flat }, Access::ReadWrite)
}

impl Chained {
    /// Fails where the change would show: a snapshot shows the backing file where it has no data, and what is
    /// copied is a write to dirty bitmaps.
    fn refuse_what_would_show(&self, name: &'static str) -> Result<()> {
        if self.inner.backing().is_none() {
            return Err(Error::invalid_option(name, "this handle has no backing file"));
        }
        let snapshots = self.inner.as_snapshots().map(Snapshots::snapshots).transpose()?;
        let bitmaps = self.inner.as_bitmaps().map(Bitmaps::bitmaps).transpose()?;
        if snapshots.is_some_and(|all| !all.is_empty()) || bitmaps.is_some_and(|all| !all.is_empty()) {
            return Err(Error::unsupported("another backing file for snapshots and dirty bitmaps"));
        }
        Ok(())
    }

    fn overlay(&self) -> Result<&dyn Overlay> {
        self.inner.as_overlay().ok_or_else(|| Error::unsupported("a backing file"))
    }

    fn commit(&self) -> Result<()> {
        let BackingFiles::Written(base) = &self.below else {
            return Err(Error::unsupported("writing to the backing file"));
        };
        if self.is_flat.load(Ordering::Relaxed) {
            return Err(Error::invalid_option("x-commit", "the image has no backing file"));
        }
        let base = initial::open_raw(base)?;
        let mut commit = Commit::new(&self.inner, 1, &base)?;
        while commit.step()?.is_some() {}
        commit.finish()?;
        self.overlay()?.forget_content()?;
        self.must_be_empty()
    }

    /// Nothing is left in the image, also where it shows the same as the backing file.
    fn must_be_empty(&self) -> Result<()> {
        let size = self.inner.size();
        if size == 0 {
            return Ok(());
        }
        let status = self.inner.block_status(Extent::new(0, size))?;
        if status.allocated || status.length < size {
            let first = if status.allocated { 0 } else { status.length };
            return Err(Error::corrupt(
                "content after a commit",
                first,
                "the image still stores what it gave up",
            ));
        }
        Ok(())
    }

    /// To the other one of the pair, or to none.
    fn rebase(&self, to: &str) -> Result<()> {
        let (new, named) = match &self.below {
            BackingFiles::Read(pair) if to == "other" => {
                let info = self.inner.as_info().map(Info::info).transpose()?;
                let named = info.and_then(|info| info.backing).map(|backing| backing.name);
                let is_moved = named.as_deref() == Some(OTHER_NAME);
                let (index, name) = if is_moved { (0, BACKING_NAME) } else { (1, OTHER_NAME) };
                let format = Some(pair.format.to_owned());
                (Some(&*pair.disks[index]), Some(BackingFile { name: name.to_owned(), format }))
            }
            _ if ["none", "packed"].contains(&to) => (None, None),
            _ => return Err(Error::unsupported(format!("x-rebase={to} here"))),
        };
        let mut rebase = Rebase::new(&self.inner, new, to == "packed");
        while rebase.step()?.is_some() {}
        self.inner.flush()?;
        self.overlay()?.set_backing(named.as_ref())?;
        self.is_flat.store(named.is_none(), Ordering::Relaxed);
        Ok(())
    }
}

impl PassThrough for Chained {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let status = self.inner.block_status(extent)?;
        let host_offset = status.host_offset.map(|offset| offset + self.data_at);
        Ok(BlockStatus { host_offset, ..status })
    }

    fn as_check(&self) -> Option<&dyn Check> {
        self.inner.as_check()
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.inner.as_overlay()
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        self.inner.as_snapshots()
    }

    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        self.inner.as_bitmaps()
    }

    fn as_vm_state(&self) -> Option<&dyn VmState> {
        self.inner.as_vm_state()
    }

    fn as_amend(&self) -> Option<&dyn Amend> {
        Some(self)
    }
}

impl Amend for Chained {
    fn amend(&self, amendment: Amendment<'_>) -> Result<()> {
        let Some(name) =
            ["x-commit", "x-rebase"].into_iter().find(|name| amendment.options.get(name).is_some())
        else {
            return self.inner.amend(amendment);
        };
        self.refuse_what_would_show(name)?;
        let value = amendment.options.get(name).unwrap_or_default();
        if name == "x-commit" { self.commit() } else { self.rebase(value) }
    }
}
