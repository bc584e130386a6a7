//! What a block driver is: the contract that every format and protocol implements.

use std::fmt::{self, Debug};
use std::io::{IoSlice, IoSliceMut};
use std::str::FromStr;
use std::sync::Arc;

use crate::{
    Amend, Bitmaps, CheckReport, Compress, Disk, Error, Extent, Info, Overlay, Queue, RepairMode, Result,
    Snapshots, StorageRun, VmState, vectored,
};

/// Modifiers of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct WriteFlags {
    /// The data must be on stable storage before the request succeeds.
    pub fua: bool,
    /// Store the data compressed; whole clusters only, and only where the format can.
    pub compressed: bool,
}

/// Modifiers of a write-zeroes request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a request are independent of one another")]
pub struct ZeroFlags {
    /// The zeroes must be on stable storage before the request succeeds.
    pub fua: bool,
    /// Storage may be given back; without it an allocated range stays allocated.
    pub may_unmap: bool,
    /// Fail with [`Error::Unsupported`] rather than write zeroes as data. A part of the range may be zero
    /// then.
    pub no_fallback: bool,
    /// Fail with [`Error::Unsupported`], having changed nothing, unless the request is faster than a write of
    /// as many bytes: NBD's `NBD_CMD_FLAG_FAST_ZERO`. A caller that is refused writes the zeroes itself, and
    /// has lost no time.
    pub fast_only: bool,
}

impl ZeroFlags {
    /// Whether the request may be refused because zeroes would have to be written as data.
    pub const fn may_be_refused(self) -> bool {
        self.no_fallback || self.fast_only
    }
}

/// Modifiers of a discard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DiscardFlags {
    /// What the discard has changed must be on stable storage before the request succeeds: what reads as zero
    /// then reads so after a crash, too.
    pub fua: bool,
}

/// Which flags a driver honours itself. [`Disk`] emulates the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is about another request")]
pub struct NativeFlags {
    /// [`WriteFlags::fua`]; if not, [`Disk`] flushes after the write.
    pub write_fua: bool,
    /// [`ZeroFlags::fua`]; if not, [`Disk`] flushes after the zeroes.
    pub zero_fua: bool,
    /// [`DiscardFlags::fua`]; if not, [`Disk`] flushes after the discard.
    pub discard_fua: bool,
    /// [`ZeroFlags::fast_only`]; if not, [`Disk`] refuses such requests without asking the driver.
    pub fast_zero: bool,
}

impl NativeFlags {
    /// Everything is honoured.
    pub const ALL: Self = Self { write_fua: true, zero_fua: true, discard_fua: true, fast_zero: true };
    /// Every request can be made durable by itself.
    pub const FUA: Self = Self { fast_zero: false, ..Self::ALL };
}

/// What a driver can take in one request, and what suits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct Limits {
    /// Offset and length of every request must be multiples of this. Bytes, a power of two.
    pub request_alignment: u64,
    /// The first byte of a buffer must lie at a multiple of this in memory; [`Disk`] copies others. Bytes, a
    /// power of two.
    pub memory_alignment: u64,
    /// The largest read or write, in bytes; [`Disk`] splits larger ones. A multiple of the alignment.
    pub transfer_bytes_max: u64,
    /// Requests that start at a multiple of this and are a multiple of this long are the fastest. Bytes, a
    /// power of two; where it is less than the alignment, [`Disk`] says the alignment.
    pub preferred_bytes: u64,
    /// The unit in which zeroes cost no data, in bytes: the cluster size of a format that has clusters.
    pub zero_granularity: u64,
    /// The largest [`BlockDriver::write_zeroes`], in bytes; [`Disk`] splits larger ones. A multiple of the
    /// alignment.
    pub zero_bytes_max: u64,
    /// The unit in which a discard has an effect, in bytes.
    pub discard_granularity: u64,
    /// The largest [`BlockDriver::discard`], in bytes; [`Disk`] splits larger ones. A multiple of the
    /// alignment.
    pub discard_bytes_max: u64,
    /// Whether [`BlockDriver::write_zeroes`] may be called; if not, [`Disk`] writes zeroes as data.
    pub can_write_zeroes: bool,
    /// Whether [`BlockDriver::discard`] may be called; if not, [`Disk`] answers [`Error::Unsupported`].
    pub can_discard: bool,
    /// Which flags the driver honours itself.
    pub native: NativeFlags,
    /// Several handles on the image, in this process or others, show one another's completed writes, and a
    /// flush of one covers what the others have completed.
    pub multi_conn: bool,
    /// Distances between requests cost time.
    pub rotational: bool,
}

/// The largest request that a driver gets if it does not say otherwise, bytes.
const REQUEST_BYTES_MAX: u64 = 1 << 30;

impl Default for Limits {
    /// Byte-aligned requests of up to 1 GiB from buffers anywhere; zeroes and discards are supported, flags
    /// are emulated.
    fn default() -> Self {
        Self {
            request_alignment: 1,
            memory_alignment: 1,
            transfer_bytes_max: REQUEST_BYTES_MAX,
            preferred_bytes: 4096,
            zero_granularity: 1,
            zero_bytes_max: REQUEST_BYTES_MAX,
            discard_granularity: 1,
            discard_bytes_max: REQUEST_BYTES_MAX,
            can_write_zeroes: true,
            can_discard: true,
            native: NativeFlags::default(),
            multi_conn: false,
            rotational: false,
        }
    }
}

impl Limits {
    /// More bytes than a request has: what [`Limits::zero_bytes_max`] and [`Limits::discard_bytes_max`] are
    /// of a driver that takes every request whole. A multiple of every alignment.
    pub const ANY_LENGTH: u64 = 1 << 62;

    /// What contradicts itself, or is out of its bounds.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        let unit = self.request_alignment;
        let units = [unit, self.memory_alignment, self.preferred_bytes];
        let granularities = [self.zero_granularity, self.discard_granularity];
        let maxima = [self.transfer_bytes_max, self.zero_bytes_max, self.discard_bytes_max];
        if !units.iter().chain(&granularities).all(|unit| unit.is_power_of_two()) {
            return Some("alignments, granularities and the preferred size are powers of two");
        }
        if !maxima.iter().all(|max| *max > 0 && max.is_multiple_of(unit)) {
            return Some("the largest requests are multiples of the request alignment, and not 0");
        }
        if self.memory_alignment > MEMORY_ALIGNMENT_MAX {
            return Some("no buffer has to be aligned to more than 1 MiB");
        }
        if self.native.fast_zero && !self.can_write_zeroes {
            return Some("zeroes that are not possible are not fast");
        }
        None
    }
}

/// The coarsest alignment of buffers, bytes.
const MEMORY_ALIGNMENT_MAX: u64 = 1 << 20;

/// What the layer itself knows about the first `length` bytes of the extent that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStatus {
    /// How many bytes, from the start of the extent, the answer holds for; at least 1, at most the extent,
    /// and a multiple of
    /// [`Limits::request_alignment`].
    pub length: u64,
    /// This layer determines the content; if not, the backing file does (or zeroes where there is none).
    pub allocated: bool,
    /// The bytes read as zeroes, and the driver knows without looking at them. Said of unallocated bytes only
    /// where there is no backing file.
    pub zero: bool,
    /// The bytes are stored compressed; they are allocated then, and have no `host_offset`.
    pub compressed: bool,
    /// Where the first byte lies in the layer's own storage, if it lies there as plain bytes; where it would
    /// be written, if it is not allocated, or reads as zeroes, and has a place there.
    pub host_offset: Option<u64>,
}

impl BlockStatus {
    /// Whether reading the bytes reads this layer's storage: it determines the content, and not by a mere
    /// mark.
    pub fn has_data(&self) -> bool {
        self.allocated && !self.zero
    }
}

/// A disk-image driver.
///
/// What a driver may rely on: it sees only requests that [`crate::Disk`] has checked. They are inside the
/// disk, aligned to [`Limits::request_alignment`], not empty, no longer than [`Limits`] allows, and they do
/// not write when the disk is read-only. Any number of threads make requests at the same time.
///
/// What it owes:
/// - It answers each request with its result. It never panics because of a request, or because of bytes in an
///   image.
/// - A write, zeroes or a discard that has succeeded is seen by every request that begins afterwards. Of
///   requests that overlap and are in flight together, each byte is old or one of the new ones.
/// - After [`BlockDriver::flush`] has succeeded, everything that had completed before survives a crash. Until
///   then a crash may keep or lose each sector (of 512 bytes, or 4096) that was written to its storage by
///   itself, in any combination; only [`Storage::sync`](crate::Storage::sync) ends that.
/// - A request that fails leaves old or new bytes, in what it asked for alone. A driver that no longer knows
///   what its image holds, because its storage has failed, answers [`Error::Poisoned`] from then on, until
///   the image is opened again. A failed sync is never forgotten: the next one may succeed without having
///   written anything.
pub trait BlockDriver: Debug + Send + Sync {
    /// Size of the disk in bytes. Changes only through [`Resize`].
    fn size(&self) -> u64;

    /// What one request may be.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Fills `buf` with the bytes from `offset` on.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `buf` at `offset`. On failure each of its bytes is old or new; all others are untouched.
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()>;

    /// As [`BlockDriver::read`] into one buffer, which the pieces of `bufs` make up in order. They have at
    /// least a byte together; a single one may be empty, and of any length. By default they are read into one
    /// buffer first.
    fn read_vectored(&self, offset: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<()> {
        vectored::read_joined(bufs, |buf| self.read(offset, buf))
    }

    /// As [`BlockDriver::write`] of one buffer, which the pieces of `bufs` make up in order, as for
    /// [`BlockDriver::read_vectored`]. By default they are joined in one buffer first: it stays one write.
    fn write_vectored(&self, offset: u64, bufs: &[IoSlice<'_>], flags: WriteFlags) -> Result<()> {
        vectored::write_joined(bufs, |buf| self.write(offset, buf, flags))
    }

    /// Makes `extent` read as zeroes. On failure as for a write. A driver without it, as this default, has
    /// zeroes written to it as data.
    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let _ = (extent, flags);
        Err(Error::unsupported("write zeroes without writing data"))
    }

    /// Tells that the bytes are no longer needed: each reads as it did, or as zero, and stays so until it is
    /// written.
    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        let _ = (extent, flags);
        Err(Error::unsupported("discard"))
    }

    /// Puts everything that earlier completed requests wrote on stable storage.
    fn flush(&self) -> Result<()>;

    /// What this layer, without the layers below, knows about the start of `extent`.
    fn block_status(&self, extent: Extent) -> Result<BlockStatus>;

    /// What this layer knows about the first runs of `extent`: at least one and at most `runs_max` (not 0),
    /// each as
    /// [`BlockDriver::block_status`] tells it of what the one before leaves. They may end before the extent
    /// does.
    ///
    /// The runs come back as a list and not to a callback, so that no driver calls others while it holds a
    /// lock; `runs_max` bounds the list.
    fn block_status_runs(&self, extent: Extent, runs_max: usize) -> Result<Vec<BlockStatus>> {
        status_runs(extent, runs_max, |rest| self.block_status(rest))
    }

    /// Tells that `extent` will be read soon. Nothing changes; a driver that keeps nothing at hand, as this
    /// default, does nothing.
    fn prefetch(&self, extent: Extent) -> Result<()> {
        let _ = extent;
        Ok(())
    }

    /// What the host has for the start of `extent`, which [`BlockDriver::block_status`] calls stored as plain
    /// bytes: a hole there reads as zeroes although the format says data. `None` where it need not be asked,
    /// as nothing is likely to be a hole.
    fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        let _ = extent;
        Ok(None)
    }

    /// The disk that shows where this layer has nothing.
    fn backing(&self) -> Option<&Arc<Disk>> {
        None
    }

    /// Writes all back and leaves the image as a clean one; called once, before the driver is dropped. A
    /// driver that is dropped without it leaves what a killed process leaves.
    fn close(&self) -> Result<()> {
        self.flush()
    }

    /// The ability to change the size, if the driver has it.
    fn as_resize(&self) -> Option<&dyn Resize> {
        None
    }

    /// The ability to check its own metadata, if the driver has it.
    fn as_check(&self) -> Option<&dyn Check> {
        None
    }

    /// The ability to compress apart from writing, if the driver has it.
    fn as_compress(&self) -> Option<&dyn Compress> {
        None
    }

    /// The ability to tell what the image is, if the driver has it.
    fn as_info(&self) -> Option<&dyn Info> {
        None
    }

    /// The ability to change what the image was made with, if the driver has it.
    fn as_amend(&self) -> Option<&dyn Amend> {
        None
    }

    /// The abilities of a disk that can lie over another one, if the driver has them.
    fn as_overlay(&self) -> Option<&dyn Overlay> {
        None
    }

    /// The ability to keep snapshots inside the image, if the driver has it.
    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// The ability to keep dirty bitmaps, if the driver has it.
    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        None
    }

    /// The ability to keep the state of a virtual machine behind the disk, if the driver has it.
    fn as_vm_state(&self) -> Option<&dyn VmState> {
        None
    }

    /// The ability to take requests and answer them later, if the driver has it.
    fn as_queue(&self) -> Option<&dyn Queue> {
        None
    }
}

/// Asks `status` about one run after another from the start of `extent`.
pub(crate) fn status_runs(
    extent: Extent,
    runs_max: usize,
    status: impl Fn(Extent) -> Result<BlockStatus>,
) -> Result<Vec<BlockStatus>> {
    let mut runs = Vec::new();
    let mut rest = extent;
    while !rest.is_empty() && runs.len() < runs_max {
        let run = match status(rest) {
            Ok(run) => run,
            Err(error) if runs.is_empty() => return Err(error),
            // Whoever goes on from here meets the error.
            Err(_) => break,
        };
        runs.push(run);
        // What reaches too far is for the front door to judge.
        let length = run.length.min(rest.length);
        if length == 0 {
            break;
        }
        rest = Extent::between(rest.offset + length, rest.end());
    }
    Ok(runs)
}

/// What a disk that grows allocates for the bytes that it gains. They read as zeroes in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Preallocation {
    /// Nothing: space is found when the bytes are written.
    #[default]
    Off,
    /// The format's tables say where the bytes will be; the host need not have the space.
    Metadata,
    /// The host has the space too, without zeroes having been written where it can do that.
    Falloc,
    /// Zeroes have been written.
    Full,
}

impl Preallocation {
    /// The name that QEMU's tools have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Metadata => "metadata",
            Self::Falloc => "falloc",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Preallocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Preallocation {
    type Err = Error;

    /// Reads the name that QEMU's tools have for it.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "off" => Ok(Self::Off),
            "metadata" => Ok(Self::Metadata),
            "falloc" => Ok(Self::Falloc),
            "full" => Ok(Self::Full),
            _ => {
                let reason = format!("'{name}' is none of off, metadata, falloc, full");
                Err(Error::invalid_option("preallocation", reason))
            }
        }
    }
}

/// Changing the size of a disk.
pub trait Resize {
    /// Makes the disk `size` bytes long. Bytes that are gained read as zeroes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the driver cannot have that size; nothing has changed then. After any
    /// other error the disk has its old size or the new one, and says which.
    fn resize(&self, size: u64) -> Result<()>;

    /// Makes the disk `size` bytes long, which is not less than it has, and allocates what it gains.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the driver cannot allocate in that way; nothing has changed then. After
    /// any other error the disk has its old size, or the new one if the host does not let it go back.
    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        match preallocation {
            Preallocation::Off => self.resize(size),
            _ => Err(Error::unsupported("preallocation when the disk grows")),
        }
    }
}

/// Checking the metadata of an image.
pub trait Check {
    /// Walks all metadata and reports what is wrong, repairing what `repair` allows.
    fn check(&self, repair: RepairMode) -> Result<CheckReport>;
}

/// Helper for drivers without compressed writes.
pub fn refuse_compressed(flags: WriteFlags) -> Result<()> {
    if flags.compressed { Err(Error::unsupported("compressed write")) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
