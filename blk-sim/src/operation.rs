//! What is done to a host: calls, as a driver makes them, and what they changed.

use std::sync::Arc;

use blk_core::storage::{self, Effect, Step};
use blk_core::{Extent, MemoryStorage, Result, Storage};

use crate::SECTOR_BYTES;

/// A call of the storage, as a run without faults made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its kind.
    pub operation: storage::Operation,
    /// The driver's step that it belongs to: the last that was announced before it.
    pub step: &'static Step,
    /// Empty for calls without a range; from 0 to the new length for a change of it.
    pub extent: Extent,
}

/// What an operation did to the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Bytes were written from an offset on.
    Write {
        /// First byte.
        offset: u64,
        /// What was written.
        bytes: Arc<[u8]>,
    },
    /// A range was made zero; it may have extended the image.
    Zero(Extent),
    /// A range was given back: after a crash it holds old bytes or zeroes. Never extends the image.
    Discard(Extent),
    /// The image was cut or extended to so many bytes.
    Truncate(u64),
    /// Everything before became durable.
    Sync,
    /// Everything before that lies in a part of the storage, which is a file of its own there, became
    /// durable.
    SyncPart(Extent),
    /// A sync that failed. What it made durable is said by the effect: nothing, the older half of the
    /// operations, or all. The others it has lost: Linux takes their pages for clean, so no later sync writes
    /// them nor complains. They still show until
    /// [`Change::Evict`].
    LostSync(Effect),
    /// The same of a part.
    LostSyncPart(Extent, Effect),
    /// The image was closed and its pages were dropped: what a failed sync has lost does not show any more.
    Evict,
}

/// One operation of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What it did.
    pub change: Change,
    /// The driver's step that it belongs to.
    pub step: &'static Step,
    /// When it was issued, by the clock of the host: issues and completions alike are its ticks.
    pub issued: u64,
    /// When it completed; `None` while it is in flight.
    pub completed: Option<u64>,
}

impl Change {
    /// Whether it is a sync that has succeeded, of all or of a part.
    pub const fn is_sync(&self) -> bool {
        matches!(self, Self::Sync | Self::SyncPart(_))
    }

    /// Makes the change to `image`. A sync changes nothing.
    ///
    /// # Errors
    /// Those of memory that cannot grow so far.
    pub fn apply(&self, image: &MemoryStorage) -> Result<()> {
        self.edit().map_or(Ok(()), |edit| edit.apply(image))
    }

    fn edit(&self) -> Option<Edit<'_>> {
        match self {
            Self::Write { offset, bytes } => Some(Edit::Write(*offset, bytes)),
            Self::Zero(extent) => Some(Edit::Zero(*extent)),
            Self::Discard(extent) => Some(Edit::Discard(*extent)),
            Self::Truncate(length) => Some(Edit::Truncate(*length)),
            Self::Sync | Self::SyncPart(_) | Self::LostSync(_) | Self::LostSyncPart(..) | Self::Evict => None,
        }
    }
}

/// A change of bytes that is about to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit<'a> {
    Write(u64, &'a [u8]),
    Zero(Extent),
    Discard(Extent),
    Truncate(u64),
}

impl Edit<'_> {
    pub(crate) fn apply(self, image: &MemoryStorage) -> Result<()> {
        match self {
            Self::Write(offset, bytes) => image.write_at(offset, bytes),
            Self::Zero(extent) => image.write_zeroes_at(extent),
            Self::Discard(extent) => image.punch_hole(extent),
            Self::Truncate(length) => image.set_len(length),
        }
    }

    pub(crate) fn change(self) -> Change {
        match self {
            Self::Write(offset, bytes) => Change::Write { offset, bytes: bytes.into() },
            Self::Zero(extent) => Change::Zero(extent),
            Self::Discard(extent) => Change::Discard(extent),
            Self::Truncate(length) => Change::Truncate(length),
        }
    }

    /// As much of it as a host can have done that fails in its middle: whole sectors of the first half.
    /// `None` for nothing.
    pub(crate) fn first_half(self) -> Option<Self> {
        let halved = |extent: Extent| Extent::new(extent.offset, half(extent.offset, extent.length));
        let first = match self {
            Self::Write(offset, bytes) => {
                Self::Write(offset, &bytes[..half(offset, bytes.len() as u64) as usize])
            }
            Self::Zero(extent) => Self::Zero(halved(extent)),
            Self::Discard(extent) => Self::Discard(halved(extent)),
            Self::Truncate(_) => return None,
        };
        Some(first).filter(|first| !first.range(0).is_empty())
    }

    /// The first part of a write that is torn in two: at the sector boundary nearest to its middle.
    pub(crate) fn torn_part(self) -> Option<Self> {
        let Self::Write(offset, bytes) = self else { return None };
        let length = bytes.len() as u64;
        // What reaches past any file is for the memory to refuse.
        let middle = offset.checked_add(length / 2)?.checked_next_multiple_of(SECTOR_BYTES)?;
        let middle = middle.saturating_sub(offset).min(length);
        (middle < length).then(|| Self::Write(offset, &bytes[..middle as usize]))
    }

    /// What it changes of an image of `length` bytes.
    pub(crate) fn range(self, length: u64) -> Extent {
        match self {
            Self::Write(offset, bytes) => Extent::new(offset, bytes.len() as u64),
            Self::Zero(extent) | Self::Discard(extent) => extent,
            Self::Truncate(new) => Extent::between(length.min(new), length.max(new)),
        }
    }
}

/// Bytes from `offset` to the last sector boundary up to the middle of a range.
fn half(offset: u64, length: u64) -> u64 {
    let middle = offset.saturating_add(length / 2) & !(SECTOR_BYTES - 1);
    middle.saturating_sub(offset)
}
