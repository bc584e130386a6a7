//! Faults that are planted between us and a foreign driver, to prove that the harness would find its own.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};

/// A fault. It counts for each open of an image anew, so that a finding can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// The reply to this read of the disk, from 1, has a byte that is wrong.
    WrongReply(u64),
    /// The reply of the medium to this read of the driver, from 1, has a byte that is wrong.
    WrongMedium(u64),
    /// The medium says that it is durable, from this sync on, and it is not.
    LostSyncs(u64),
    /// The driver answers a flush, from this one on, at once, and makes it before the next request.
    EarlyFlushes(u64),
}

impl Plant {
    /// Reads `wrong-reply=N`, `wrong-medium=N`, `lost-syncs=N` or `early-flushes=N`.
    ///
    /// # Errors
    /// That it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, number) = text.split_once('=').with_context(|| format!("'{text}' is no FAULT=NUMBER"))?;
        let number = number.parse().with_context(|| format!("'{text}': '{number}' is no number"))?;
        Ok(match name {
            "wrong-reply" => Self::WrongReply(number),
            "wrong-medium" => Self::WrongMedium(number),
            "lost-syncs" => Self::LostSyncs(number),
            "early-flushes" => Self::EarlyFlushes(number),
            _ => bail!(
                "'{name}' is no fault that can be planted: wrong-reply, wrong-medium, lost-syncs, early-flushes"
            ),
        })
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongReply(number) => write!(f, "wrong-reply={number}"),
            Self::WrongMedium(number) => write!(f, "wrong-medium={number}"),
            Self::LostSyncs(number) => write!(f, "lost-syncs={number}"),
            Self::EarlyFlushes(number) => write!(f, "early-flushes={number}"),
        }
    }
}

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    plant: Option<Plant>,
    replies: AtomicU64,
    reads: AtomicU64,
    syncs: AtomicU64,
    flushes: AtomicU64,
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

    /// Whether a flush of the disk is answered before it is made.
    pub(crate) fn flushes_late(&self) -> bool {
        matches!(self.plant, Some(Plant::EarlyFlushes(number)) if count(&self.flushes) >= number)
    }

    /// Whether a sync of the medium is left out.
    pub(crate) fn loses_sync(&self) -> bool {
        matches!(self.plant, Some(Plant::LostSyncs(number)) if count(&self.syncs) >= number)
    }
}
