//! A driver over another disk whose requests can be replaced, one by one, by functions.

use std::fmt;
use std::sync::Arc;

use blk_core::{
    Access, BlockDriver, BlockStatus, Check, CheckReport, DiscardFlags, Disk, Extent, Limits, RepairMode,
    Resize, Result, WriteFlags, ZeroFlags,
};

type Read = dyn Fn(&Disk, u64, &mut [u8]) -> Result<()> + Send + Sync;
type Write = dyn Fn(&Disk, u64, &[u8], WriteFlags) -> Result<()> + Send + Sync;
type Discard = dyn Fn(&Disk, Extent) -> Result<()> + Send + Sync;
type Status = dyn Fn(&Disk, Extent) -> Result<BlockStatus> + Send + Sync;
type Close = dyn Fn(&Disk) -> Result<()> + Send + Sync;
type Checks = dyn Fn(&Disk, RepairMode) -> Result<CheckReport> + Send + Sync;

/// A disk that answers some requests in a way of its own, and passes on the others.
pub(crate) struct Odd {
    inner: Arc<Disk>,
    below: Option<Arc<Disk>>,
    limits: Limits,
    read: Box<Read>,
    write: Box<Write>,
    discard: Box<Discard>,
    status: Box<Status>,
    close: Box<Close>,
    check: Option<Box<Checks>>,
}

impl fmt::Debug for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Odd").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Odd {
    /// The disk `inner` as it is.
    pub(crate) fn over(inner: Arc<Disk>) -> Self {
        Self {
            limits: *inner.limits(),
            inner,
            below: None,
            read: Box::new(Disk::read),
            write: Box::new(Disk::write),
            discard: Box::new(|disk, extent| disk.discard(extent, DiscardFlags::default())),
            status: Box::new(Disk::block_status),
            close: Box::new(|_| Ok(())),
            check: None,
        }
    }

    pub(crate) fn below(mut self, disk: Arc<Disk>) -> Self {
        self.below = Some(disk);
        self
    }

    pub(crate) fn aligned(mut self, bytes: u64) -> Self {
        self.limits.request_alignment = bytes;
        self
    }

    pub(crate) fn transfers(mut self, bytes_max: u64) -> Self {
        self.limits.transfer_bytes_max = bytes_max;
        self
    }

    pub(crate) fn reads(
        mut self,
        read: impl Fn(&Disk, u64, &mut [u8]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.read = Box::new(read);
        self
    }

    pub(crate) fn writes(
        mut self,
        write: impl Fn(&Disk, u64, &[u8], WriteFlags) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.write = Box::new(write);
        self
    }

    pub(crate) fn discards(
        mut self,
        discard: impl Fn(&Disk, Extent) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.discard = Box::new(discard);
        self
    }

    pub(crate) fn statuses(
        mut self,
        status: impl Fn(&Disk, Extent) -> Result<BlockStatus> + Send + Sync + 'static,
    ) -> Self {
        self.status = Box::new(status);
        self
    }

    pub(crate) fn closes(mut self, close: impl Fn(&Disk) -> Result<()> + Send + Sync + 'static) -> Self {
        self.close = Box::new(close);
        self
    }

    pub(crate) fn checks(
        mut self,
        check: impl Fn(&Disk, RepairMode) -> Result<CheckReport> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    pub(crate) fn open(self) -> Arc<Disk> {
        Arc::new(Disk::new(self, Access::ReadWrite))
    }
}

impl BlockDriver for Odd {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (self.read)(&self.inner, offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        (self.write)(&self.inner, offset, buf, flags)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.inner.write_zeroes(extent, flags)
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        (self.discard)(&self.inner, extent)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        (self.status)(&self.inner, extent)
    }

    fn backing(&self) -> Option<&Arc<Disk>> {
        self.below.as_ref()
    }

    fn close(&self) -> Result<()> {
        (self.close)(&self.inner)
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        self.check.as_ref().map(|_| self as &dyn Check)
    }
}

impl Resize for Odd {
    fn resize(&self, size: u64) -> Result<()> {
        self.inner.resize(size)
    }
}

impl Check for Odd {
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        self.check.as_ref().map_or_else(|| Ok(CheckReport::default()), |check| check(&self.inner, repair))
    }
}
