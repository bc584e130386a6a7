//! The lock around the metadata of an open image.
//!
//! Shared for reads and in-place writes, from mapping to the end of the data I/O, so that no cluster is freed
//! while it is used; exclusive for everything that changes metadata. A second lock, of changes, is taken
//! before the exclusive one. A flush keeps that from its first write to its last sync and takes the exclusive
//! one for each write only: reads and in-place writes go on while it waits for the disk, and yet nothing
//! changes between its writes.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use blk_core::storage::SyncGroup;
use blk_core::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use blk_core::{Error, Result};

use crate::metadata::Metadata;
use crate::steps;
use crate::write_back::Part;

/// The metadata and its locks.
#[derive(Debug)]
pub(crate) struct MetadataLock {
    /// Held by whatever changes metadata. Taken before `metadata`.
    changes: Mutex<()>,
    metadata: RwLock<Metadata>,
}

/// The metadata, for changes. Fields are dropped in the order of their declaration.
#[derive(Debug)]
pub(crate) struct ExclusiveMetadata<'a> {
    metadata: RwLockWriteGuard<'a, Metadata>,
    _changes: MutexGuard<'a, ()>,
}

impl MetadataLock {
    pub(crate) fn new(metadata: Metadata) -> Self {
        Self { changes: Mutex::new(()), metadata: RwLock::new(metadata) }
    }

    /// Waits until nothing changes metadata, and shares it.
    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Metadata> {
        self.metadata.read()
    }

    /// Waits until nothing uses metadata and no flush is in progress, and takes it for changes.
    pub(crate) fn write(&self) -> ExclusiveMetadata<'_> {
        let changes = self.changes.lock();
        ExclusiveMetadata { metadata: self.metadata.write(), _changes: changes }
    }

    /// Refuses all further changes because of `error`, also those of a flush in progress.
    pub(crate) fn poison(&self, error: Error) -> Error {
        self.metadata.write().poison(error)
    }

    /// Writes all changes and makes them durable. Metadata does not change meanwhile, but is only locked for
    /// writes.
    pub(crate) fn flush(&self) -> Result<()> {
        let _changes = self.changes.lock();
        let mut metadata = self.metadata.write();
        metadata.check_usable()?;
        for part in Part::ORDER {
            if metadata.has_changed(part) {
                if part.follows_sync() {
                    metadata = self.sync_unlocked(metadata)?;
                }
                metadata.write_part(part)?;
            }
        }
        assert!(!metadata.changes_references(), "no reference waits after a flush");
        metadata.storage.step(&steps::FLUSH_TO_DISK);
        self.sync_unlocked(metadata).map(drop)
    }

    /// The syncs of the image where a flush has nothing to write.
    pub(crate) fn syncs_of_clean(&self) -> Option<Arc<SyncGroup>> {
        let metadata = self.read();
        metadata.is_clean().then(|| Arc::clone(&metadata.syncs))
    }

    /// Makes durable what was written, without the lock. The caller holds the lock of changes.
    fn sync_unlocked<'a>(
        &'a self,
        metadata: RwLockWriteGuard<'a, Metadata>,
    ) -> Result<RwLockWriteGuard<'a, Metadata>> {
        let (storage, syncs) = (Arc::clone(&metadata.storage), Arc::clone(&metadata.syncs));
        drop(metadata);
        let synced = syncs.sync(&*storage);
        let mut metadata = self.metadata.write();
        match synced {
            // Another flush may have failed.
            Ok(()) => metadata.check_usable().map(|()| metadata),
            Err(error) => Err(metadata.poison(error)),
        }
    }
}

impl<'a> ExclusiveMetadata<'a> {
    /// Shares the metadata, which has not changed in between.
    pub(crate) fn downgrade(self) -> RwLockReadGuard<'a, Metadata> {
        RwLockWriteGuard::downgrade(self.metadata)
    }
}

impl Deref for ExclusiveMetadata<'_> {
    type Target = Metadata;

    fn deref(&self) -> &Metadata {
        &self.metadata
    }
}

impl DerefMut for ExclusiveMetadata<'_> {
    fn deref_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}
