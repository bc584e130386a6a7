//! Lazy refcounts: counts on disk are brought up to date when the image is closed, not with each change.
//!
//! Write order: the dirty bit is durable before the first reference whose count is not; it is cleared after
//! all counts are durable. An image that is opened with the dirty bit set is repaired first, which counts all
//! references again.
//!
//! Everything else keeps its order: data before the reference to it, the dereference before the cluster's
//! reuse.

use blk_core::Result;

use crate::metadata::Metadata;

impl Metadata {
    /// Takes the place of writing refcounts before references change.
    pub(crate) fn begin_lazy(&mut self) -> Result<()> {
        self.extend_storage()?;
        if self.header.is_dirty() || !self.changes_references() {
            return Ok(());
        }
        self.header.set_dirty(true);
        // The sync that comes before the first reference is written makes it durable.
        let written = self.header.write_fixed(&*self.storage);
        self.header.set_dirty(written.is_ok());
        assert!(written.is_err() || self.header.is_dirty(), "the dirty bit says that counts are out of date");
        written
    }

    /// Makes everything durable, refcounts too.
    pub(crate) fn flush_all(&mut self) -> Result<()> {
        if self.is_lazy() {
            self.write_back()?;
            self.write_refcounts().map_err(|error| self.poison(error))?;
        }
        self.flush()
    }

    /// Makes all counts durable and then clears the dirty bit.
    pub(crate) fn end_lazy(&mut self) -> Result<()> {
        self.flush_all()?;
        assert!(!self.changes_counts(), "the dirty bit is cleared when all counts are durable");
        if !self.header.is_dirty() {
            return Ok(());
        }
        self.header.set_dirty(false);
        self.publish_header()
    }
}
