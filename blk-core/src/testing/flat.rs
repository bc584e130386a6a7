//! A driver over a vector that writes down its calls, for tests of what stands before drivers.

use crate::buffer::is_aligned;
use crate::sync::Mutex;
use crate::{
    Access, BlockDriver, BlockStatus, DiscardFlags, Disk, Error, Extent, Limits, Op, Result, WriteFlags,
    ZeroFlags,
};
use std::sync::Arc;

/// Bytes, and the calls that were made.
#[derive(Debug)]
pub(crate) struct Flat {
    pub(crate) bytes: Mutex<Vec<u8>>,
    pub(crate) calls: Mutex<Vec<Op>>,
    limits: Limits,
    /// Zeroes that may be refused are, from this offset on.
    pub(crate) refuses_from: u64,
}

impl Flat {
    pub(crate) fn new(bytes: Vec<u8>, limits: Limits) -> Self {
        Self { bytes: Mutex::new(bytes), calls: Mutex::default(), limits, refuses_from: u64::MAX }
    }

    fn call(&self, op: Op) {
        let unit = self.limits.request_alignment;
        if let Some(extent) = op.extent() {
            assert!((extent.offset | extent.length).is_multiple_of(unit) && !extent.is_empty(), "{op}");
        }
        self.calls.lock().push(op);
    }

    fn check_buf(&self, buf: &[u8]) {
        assert!(is_aligned(buf, self.limits.memory_alignment), "the front door copies");
        assert!(buf.len() as u64 <= self.limits.transfer_bytes_max, "the front door splits");
    }

    /// The calls since the last time.
    pub(crate) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock()).iter().map(Op::to_string).collect()
    }
}

impl BlockDriver for Arc<Flat> {
    fn size(&self) -> u64 {
        self.bytes.lock().len() as u64
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check_buf(buf);
        self.call(Op::Read { extent: Extent::new(offset, buf.len() as u64) });
        buf.copy_from_slice(&self.bytes.lock()[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.check_buf(buf);
        assert!(!flags.fua || self.limits.native.write_fua, "the front door flushes");
        self.call(Op::Write { extent: Extent::new(offset, buf.len() as u64), flags });
        self.bytes.lock()[offset as usize..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        assert!(extent.length <= self.limits.zero_bytes_max, "the front door splits");
        assert!(!flags.fua || self.limits.native.zero_fua, "the front door flushes");
        self.call(Op::WriteZeroes { extent, flags });
        if flags.may_be_refused() && extent.end() > self.refuses_from {
            return Err(Error::unsupported("zeroes without data"));
        }
        self.bytes.lock()[extent.offset as usize..extent.end() as usize].fill(0);
        Ok(())
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        assert!(extent.length <= self.limits.discard_bytes_max, "the front door splits");
        assert!(!flags.fua || self.limits.native.discard_fua, "the front door flushes");
        self.call(Op::Discard { extent, flags });
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.call(Op::Flush);
        Ok(())
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let length = extent.length.min(self.limits.request_alignment.max(1000));
        Ok(BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None })
    }
}

/// A disk that holds `bytes`.
pub(crate) fn flat(bytes: Vec<u8>, limits: Limits) -> Disk {
    Disk::new(Arc::new(Flat::new(bytes, limits)), Access::ReadWrite)
}
