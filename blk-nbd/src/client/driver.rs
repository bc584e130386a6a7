//! An export of a server, as a block driver.

use blk_core::{
    BlockDriver, BlockStatus, DiscardFlags, Error, Extent, Limits, NativeFlags, Result, WriteFlags,
    ZeroFlags, refuse_compressed,
};

use super::connection::Transfer;
use super::handshake::{Agreed, ExportInfo};
use super::link::Link;
use crate::wire::{PAYLOAD_BYTES_MAX, allocation, command, export};

/// The smallest request where a server does not say it, bytes.
const SECTOR_BYTES: u64 = 512;
/// The longest request without data with extended headers, bytes.
const LONG_BYTES_MAX: u64 = 1 << 62;

/// An export.
#[derive(Debug)]
pub(super) struct Nbd {
    link: Link,
    info: ExportInfo,
    limits: Limits,
    /// A block status is told, and whether it is that of a dirty bitmap.
    context: Option<bool>,
}

impl Nbd {
    pub(super) fn new(link: Link, agreed: Agreed) -> Result<Self> {
        let context = agreed.dirty_bitmap();
        let Agreed { info, .. } = agreed;
        let usual = if info.size.is_multiple_of(SECTOR_BYTES) { SECTOR_BYTES } else { 1 };
        let [least, best, most] =
            info.block_sizes.map_or([usual, 4096, PAYLOAD_BYTES_MAX.into()], |sizes| sizes.map(u64::from));
        if !info.size.is_multiple_of(least) {
            let reason = format!("its size is {} bytes, and no multiple of {least}", info.size);
            return Err(Error::Unresolved { name: info.name, reason });
        }
        let long = if info.long_requests { LONG_BYTES_MAX } else { u32::MAX.into() };
        let long = long / least * least;
        let preferred_bytes = best.min(PAYLOAD_BYTES_MAX.into()).next_power_of_two().max(least);
        let limits = Limits {
            request_alignment: least,
            transfer_bytes_max: most.min(PAYLOAD_BYTES_MAX.into()) / least * least,
            preferred_bytes,
            zero_granularity: preferred_bytes,
            zero_bytes_max: long,
            discard_granularity: preferred_bytes,
            discard_bytes_max: long,
            can_write_zeroes: info.has(export::SEND_WRITE_ZEROES),
            can_discard: info.has(export::SEND_TRIM),
            native: NativeFlags {
                write_fua: info.has(export::SEND_FUA),
                zero_fua: info.has(export::SEND_FUA),
                discard_fua: info.has(export::SEND_FUA),
                fast_zero: info.has(export::SEND_WRITE_ZEROES) && info.has(export::SEND_FAST_ZERO),
            },
            multi_conn: info.has(export::CAN_MULTI_CONN),
            rotational: info.has(export::ROTATIONAL),
            ..Limits::default()
        };
        Ok(Self { link, info, limits, context })
    }

    /// What a run of the context says.
    fn status(&self, length: u64, flags: u64) -> BlockStatus {
        let zero = if self.context == Some(true) { flags & 1 == 0 } else { flags & allocation::ZERO != 0 };
        BlockStatus { length, allocated: true, zero, compressed: false, host_offset: None }
    }
}

/// Flags of a command, those that are set.
fn flags(pairs: &[(bool, u16)]) -> u16 {
    pairs.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag)
}

impl BlockDriver for Nbd {
    fn size(&self) -> u64 {
        self.info.size
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::new(offset, buf.len() as u64);
        self.link.transact(command::READ, extent, 0, Transfer::Read(buf)).map(drop)
    }

    fn write(&self, offset: u64, buf: &[u8], write: WriteFlags) -> Result<()> {
        refuse_compressed(write)?;
        let extent = Extent::new(offset, buf.len() as u64);
        let flags = flags(&[(write.fua, command::FLAG_FUA)]);
        self.link.transact(command::WRITE, extent, flags, Transfer::Write(buf)).map(drop)
    }

    fn write_zeroes(&self, extent: Extent, zero: ZeroFlags) -> Result<()> {
        // Only a request for fast zeroes is refused where the server would write them as data.
        if zero.no_fallback && !self.limits.native.fast_zero {
            return Err(Error::unsupported("zeroes that are surely not written as data"));
        }
        let flags = flags(&[
            (zero.fua, command::FLAG_FUA),
            (!zero.may_unmap, command::FLAG_NO_HOLE),
            (zero.may_be_refused(), command::FLAG_FAST_ZERO),
        ]);
        self.link.transact(command::WRITE_ZEROES, extent, flags, Transfer::None).map(drop)
    }

    fn discard(&self, extent: Extent, discard: DiscardFlags) -> Result<()> {
        let flags = flags(&[(discard.fua, command::FLAG_FUA)]);
        self.link.transact(command::TRIM, extent, flags, Transfer::None).map(drop)
    }

    fn flush(&self) -> Result<()> {
        if !self.info.has(export::SEND_FLUSH) {
            return self.link.tell_loss();
        }
        self.link.transact(command::FLUSH, Extent::new(0, 0), 0, Transfer::None).map(drop)
    }

    fn prefetch(&self, extent: Extent) -> Result<()> {
        if !self.info.has(export::SEND_CACHE) {
            return Ok(());
        }
        let length = extent.length.min(self.limits.transfer_bytes_max);
        self.link.transact(command::CACHE, Extent::new(extent.offset, length), 0, Transfer::None).map(drop)
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        Ok(self.block_status_runs(extent, 1)?.remove(0))
    }

    fn block_status_runs(&self, extent: Extent, runs_max: usize) -> Result<Vec<BlockStatus>> {
        if self.context.is_none() {
            let status = BlockStatus { zero: false, ..self.status(extent.length, 0) };
            return Ok(vec![status]);
        }
        let asked = Extent::new(extent.offset, extent.length.min(self.limits.zero_bytes_max));
        let flags = flags(&[(runs_max == 1, command::FLAG_REQ_ONE)]);
        let told = self.link.transact(command::BLOCK_STATUS, asked, flags, Transfer::None)?;
        let unit = self.limits.request_alignment;
        let (mut runs, mut left) = (Vec::new(), asked.length);
        for (length, flags) in told {
            // The last run may reach further than was asked.
            let whole = length.min(left);
            let length = whole / unit * unit;
            if length > 0 {
                runs.push(self.status(length, flags));
                left -= length;
            }
            // What follows a run that ends inside a unit begins there, too.
            if length < whole || left == 0 || runs.len() == runs_max {
                break;
            }
        }
        if runs.is_empty() {
            // A run that ends inside a unit: some of it may be data.
            runs.push(BlockStatus { zero: false, ..self.status(unit, 0) });
        }
        Ok(runs)
    }

    fn close(&self) -> Result<()> {
        let flushed = self.flush();
        self.link.leave();
        flushed
    }
}
