//! One group of syncs for the disk and its header: what one of them hears of the host, the other knows.

use std::sync::Arc;

use blk_core::storage::{PassThrough, SyncGroup};
use blk_core::{Result, Storage};

/// A storage whose syncs are shared, and never forget a failure.
#[derive(Debug)]
pub(crate) struct OneSync {
    inner: Arc<dyn Storage>,
    syncs: SyncGroup,
}

impl OneSync {
    pub(crate) fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, syncs: SyncGroup::new() }
    }

    /// Whether all syncs so far have succeeded.
    ///
    /// # Errors
    /// As [`SyncGroup::check`].
    pub(crate) fn check(&self) -> Result<()> {
        self.syncs.check()
    }
}

impl PassThrough for OneSync {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn sync(&self) -> Result<()> {
        self.syncs.sync(&*self.inner)
    }
}
