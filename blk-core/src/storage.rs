//! What lies under a format: the host side, a plain growing array of bytes.

mod aligning;
mod data;
mod disk;
mod fault;
mod file;
mod gate;
mod layer;
mod memory;
mod step;
mod strict;
mod sync_group;
mod trace;

use std::fmt::Debug;
use std::io::{IoSlice, IoSliceMut};

use crate::{Extent, Result, vectored};

pub use aligning::for_any_alignment;
pub use data::read_data;
pub use disk::DiskStorage;
pub use fault::{Effect, FaultAction, FaultRule, FaultStorage, Operation};
pub use file::FileStorage;
pub use gate::Gate;
pub use layer::PassThrough;
pub use memory::MemoryStorage;
pub use step::Step;
pub use strict::StrictStorage;
pub use sync_group::SyncGroup;
pub use trace::{TraceEntry, TraceStorage};

const ZEROES_BYTES: usize = 256 << 10;
static ZEROES: [u8; ZEROES_BYTES] = [0; ZEROES_BYTES];

/// Writes zeroes as data, so that the host has space for them: in pieces that meet where sectors do.
///
/// # Errors
/// Those of [`Storage::write_at`]; some of the zeroes may be there then.
pub fn write_zeroes_as_data(storage: &dyn Storage, extent: Extent) -> Result<()> {
    let mut at = extent.offset;
    while at < extent.end() {
        let length = (extent.end() - at).min(ZEROES_BYTES as u64 - at % ZEROES_BYTES as u64);
        storage.write_at(at, &ZEROES[..length as usize])?;
        at += length;
    }
    Ok(())
}

/// A run of bytes of a [`Storage`] that is either data or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageRun {
    /// Bytes, at least 1.
    pub length: u64,
    /// Whether bytes are stored; a hole reads as zeroes.
    pub data: bool,
}

/// What a host demands of reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StorageLimits {
    /// Offset and length of what is read, written or zeroed must be multiples of this. Bytes, a power of two.
    /// Lengths of the storage as a whole may be any; [`Storage::run_at`] takes any offset.
    pub alignment: u64,
    /// The first byte of a buffer must lie at a multiple of this in memory. Bytes, a power of two.
    pub memory_alignment: u64,
}

impl Default for StorageLimits {
    /// Nothing is demanded.
    fn default() -> Self {
        Self { alignment: 1, memory_alignment: 1 }
    }
}

impl StorageLimits {
    /// Whether a host of these limits takes requests of any alignment.
    pub fn is_free(self) -> bool {
        self == Self::default()
    }
}

/// A growing array of bytes that holds an image: a file, memory, or a layer over another storage.
///
/// Requests may come from several threads at once; each is atomic only as far as the host makes it so.
///
/// A format that makes requests of any alignment puts [`for_any_alignment`] over the storage that it gets.
#[expect(
    clippy::len_without_is_empty,
    reason = "a storage is no collection; an empty one is nothing special"
)]
pub trait Storage: Debug + Send + Sync {
    /// Length in bytes.
    fn len(&self) -> Result<u64>;

    /// Cuts or extends to `length` bytes. Bytes that are gained read as zeroes.
    fn set_len(&self, length: u64) -> Result<()>;

    /// Fills `buf` with the bytes from `offset` on. Bytes past the end read as zeroes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `buf` at `offset`, extending the storage where needed; a gap reads as zeroes.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// As [`Storage::read_at`] into one buffer, which the pieces of `bufs` make up in order. By default they
    /// are read into one buffer first.
    fn read_vectored_at(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        vectored::read_joined(bufs, |buf| self.read_at(offset, buf))
    }

    /// As [`Storage::write_at`] of one buffer, which the pieces of `bufs` make up in order. By default they
    /// are joined in one buffer first: it stays one write.
    fn write_vectored_at(&self, offset: u64, bufs: &[IoSlice<'_>]) -> Result<()> {
        vectored::write_joined(bufs, |buf| self.write_at(offset, buf))
    }

    /// Makes `extent` read as zeroes, extending the storage where needed.
    fn write_zeroes_at(&self, extent: Extent) -> Result<()>;

    /// Makes the part of `extent` that lies inside the storage read as zeroes and gives its space back where
    /// the host can. Never changes the length.
    fn punch_hole(&self, extent: Extent) -> Result<()>;

    /// Tells that the part of `extent` that lies inside the storage is no longer needed: each byte reads as
    /// it did, or as zero. By default a hole is punched; a storage whose host knows such a request makes
    /// that.
    fn discard_at(&self, extent: Extent) -> Result<()> {
        self.punch_hole(extent)
    }

    /// As [`Storage::punch_hole`] if `unmap`, else as [`Storage::write_zeroes_at`], but never by writing
    /// zeroes as data.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] where the host cannot do that; nothing has changed then. A storage that
    /// has no such host, as memory, does what the two do.
    fn zero_fast(&self, extent: Extent, unmap: bool) -> Result<()> {
        if unmap { self.punch_hole(extent) } else { self.write_zeroes_at(extent) }
    }

    /// Whether the bytes at `offset` are data or a hole, and for how far at least. `None` at and past the
    /// end.
    fn run_at(&self, offset: u64) -> Result<Option<StorageRun>>;

    /// How many bytes the host has set aside for the storage, also where they read as holes; `None` where
    /// nobody knows.
    fn allocated_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// What the host demands of requests. It refuses others with [`crate::Error::Misaligned`].
    fn limits(&self) -> StorageLimits {
        StorageLimits::default()
    }

    /// Tells that `extent` will be read soon. Nothing changes, and nothing need happen.
    fn prefetch_at(&self, extent: Extent) {
        let _ = extent;
    }

    /// Puts everything written so far on stable storage, the length included.
    fn sync(&self) -> Result<()>;

    /// As [`Storage::sync`] for what was written to `extent`; all else may stay as it is. By default
    /// everything is made durable. A simulated host that holds several files in one is asked for one of them
    /// so.
    fn sync_extent(&self, extent: Extent) -> Result<()> {
        let _ = extent;
        self.sync()
    }

    /// The driver is about to take `step`; the operations that follow belong to it. May wait, never fails: a
    /// storage that injects errors does so in the operation. Most storages ignore it.
    #[inline]
    fn step(&self, step: &'static Step) {
        let _ = step;
    }
}
