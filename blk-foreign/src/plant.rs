//! Faults that are planted between us and a foreign driver, to prove that the harness would find its own.

use std::sync::atomic::{AtomicU64, Ordering};

/// A fault. It counts for each open of an image anew, so that a finding can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// The reply to this read of the disk, from 1, has a byte that is wrong.
    WrongReply(u64),
    /// The reply of the medium to this read of the driver, from 1, has a byte that is wrong.
    WrongMedium(u64),
    /// The medium says that it is durable, from this sync on, and it is not.
    LostSyncs(u64),
}

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    plant: Option<Plant>,
    replies: AtomicU64,
    reads: AtomicU64,
    syncs: AtomicU64,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

fn spoil(buf: &mut [u8]) {
    if let Some(byte) = buf.last_mut() {
        *byte ^= 0x40;
    }
}

impl Planted {
    pub(crate) fn new(plant: Option<Plant>) -> Self {
        Self { plant, ..Self::default() }
    }

    /// A reply to a read of the disk.
    pub(crate) fn reply(&self, buf: &mut [u8]) {
        if let Some(Plant::WrongReply(number)) = self.plant
            && count(&self.replies) == number
        {
            spoil(buf);
        }
    }

    /// A reply to a read of the medium.
    pub(crate) fn medium(&self, buf: &mut [u8]) {
        if let Some(Plant::WrongMedium(number)) = self.plant
            && count(&self.reads) == number
        {
            spoil(buf);
        }
    }

    /// Whether a sync of the medium is left out.
    pub(crate) fn loses_sync(&self) -> bool {
        matches!(self.plant, Some(Plant::LostSyncs(number)) if count(&self.syncs) >= number)
    }
}
