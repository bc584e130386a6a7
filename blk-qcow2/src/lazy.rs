//! Lazy refcounts: counts on disk are brought up to date when the image is closed, not with each change.
//!
//! Write order: the dirty bit is durable before the first reference whose count is not; it goes after all counts are durable.
//! An image that is opened with the dirty bit set is repaired first, which counts all references anew.
//!
//! Everything else keeps its order: data before the reference to it, the dereference before the cluster's reuse.

use std::sync::Arc;

use blk_core::{Result, Storage};

use crate::metadata::Metadata;

impl Metadata {
    /// Takes the place of writing refcounts before references change.
    pub(crate) fn begin_lazy(&mut self, storage: &dyn Storage) -> Result<()> {
        self.extend_storage(storage)?;
        if self.header.is_dirty() || !self.changes_references() {
            return Ok(());
        }
        self.header.set_dirty(true);
        // The sync that comes before the first reference is written makes it durable.
        let written = self.header.write_fixed(storage);
        self.header.set_dirty(written.is_ok());
        written
    }

    /// Makes everything durable, refcounts too.
    pub(crate) fn settle(&mut self) -> Result<()> {
        if self.behaviour.lazy_refcounts {
            self.write_back()?;
            let storage = Arc::clone(&self.storage);
            self.write_refcounts(&*storage).map_err(|error| self.poison(error))?;
        }
        self.flush()
    }

    /// All counts are made durable; then the dirty bit goes.
    pub(crate) fn end_lazy(&mut self) -> Result<()> {
        self.settle()?;
        if !self.header.is_dirty() {
            return Ok(());
        }
        self.header.set_dirty(false);
        self.publish_header()
    }
}
