//! Corruption that is met while an image is in use.
//!
//! An entry that means nothing, a table or a cluster outside the file, a count of 0 where something is in
//! use, a write that would destroy metadata: whichever request meets one, a read as well as a write, has the
//! corrupt bit set, durably, and fails with what it has met. From then on nothing is written, and other
//! programs do not write to the image either until it has been repaired. What can be read still can.
//!
//! Compressed data that cannot be decompressed is lost data: no table is wrong.

use blk_core::{Error, Result};

use crate::header::Header;
use crate::metadata::Metadata;
use crate::qcow2::Qcow2;
use crate::read::COMPRESSED_CLUSTER;

impl Qcow2 {
    /// Passes on what a request has answered, and marks the image where that is that its metadata is corrupt.
    /// The metadata is not locked.
    #[inline]
    pub(crate) fn noting<T>(&self, answer: Result<T>) -> Result<T> {
        answer.map_err(|error| if is_of_metadata(&error) { self.mark_corrupt(error) } else { error })
    }

    /// An image that is open for reading is never written, and a check says itself what is wrong.
    #[cold]
    fn mark_corrupt(&self, error: Error) -> Error {
        if self.options.is_writable { self.metadata.write().poison(error) } else { error }
    }
}

impl Metadata {
    /// Sets the corrupt bit where the version has one. It is a warning for other programs: the request fails
    /// with the corruption whether or not it can be written.
    pub(crate) fn mark_if_corrupt(&mut self, error: &Error) {
        if is_of_metadata(error) && self.header.version >= 3 {
            self.header.set_corrupt(true);
            // A sync that fails here is one that the next flush has to hear of.
            let _ = Header::mark_corrupt(&*self.storage).and_then(|()| self.syncs.sync(&*self.storage));
        }
    }
}

fn is_of_metadata(error: &Error) -> bool {
    matches!(error, Error::Corrupt { structure, .. } if *structure != COMPRESSED_CLUSTER)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blk_core::storage::{FaultRule, FaultStorage, Operation};

    use super::*;
    use crate::metadata::tests::loaded;

    /// A flush in progress would not hear of what it has lost.
    #[test]
    fn a_mark_that_could_not_be_synced_ends_all_syncs() {
        for fails in [false, true] {
            let mut metadata = loaded(12, 4);
            let fault = Arc::new(FaultStorage::new(Arc::clone(&metadata.storage)));
            metadata.storage = Arc::clone(&fault) as _;
            if fails {
                fault.add_rule(FaultRule::fail(5).on(Operation::Sync));
            }
            metadata.poison(Error::corrupt("L2 entry", 0, "a test"));
            assert_eq!(fault.count_of(Operation::Sync), 1);
            assert_eq!(metadata.syncs.check().is_err(), fails);
            assert_eq!(metadata.syncs.sync(&*metadata.storage).is_err(), fails);
            assert!(Header::read_for(&*metadata.storage, true).unwrap().is_corrupt());
        }
    }
}
