//! A filter over an image whose requests fail as rules say, and stop at break points.
//!
//! It is made of two disks. The one at the back fails; what lies before it keeps to the limits and tells of
//! the steps of each request. Copy-on-read works on the disk at the back: what it copies is no request that
//! somebody made.

use std::sync::Arc;

use blk_core::storage::Step;
use blk_core::{
    Bitmaps, BlockStatus, DiscardFlags, Disk, Extent, ImageInfo, Info, NativeFlags, Overlay, PassThrough,
    Preallocation, Result, Snapshots, StorageRun, VmState, WriteFlags, ZeroFlags, refuse_compressed,
};

use super::Engine;
use crate::spec::events;
use crate::spec::limits::{Bytes, Limited, Limits};
use crate::spec::rules::IoType;

/// The disk at the back of a node over an image, and the node's engine.
#[derive(Debug, Clone)]
pub(crate) struct DebugNode {
    /// What copy-on-read reads from and writes to.
    pub(crate) disk: Arc<Disk>,
    /// Who hears that something is copied.
    pub(crate) engine: Arc<Engine>,
    /// The most bytes that are copied at a time.
    pub(crate) transfer_bytes_max: u64,
    /// The image, where nothing fails.
    image: Arc<Disk>,
}

impl DebugNode {
    /// Puts the rules of `engine` before `inner`.
    pub(super) fn over(inner: Disk, engine: Arc<Engine>, limits: Limits) -> Self {
        let access = inner.access();
        let image = Arc::new(inner);
        let failing = FailingDisk { inner: Arc::clone(&image), engine: Arc::clone(&engine) };
        let disk = Arc::new(Disk::new(failing, access));
        Self { disk, engine, transfer_bytes_max: limits.transfer(), image }
    }

    /// The disk that takes requests.
    pub(super) fn front(&self, limits: Limits) -> Disk {
        let access = self.disk.access();
        Disk::new(DebugDisk(Limited::new(limits, self.clone())), access)
    }
}

impl Bytes for DebugNode {
    fn size(&self) -> Result<u64> {
        Ok(self.disk.size())
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.disk.write(offset, buf, WriteFlags::default())
    }

    fn step(&self, step: &'static Step) {
        self.engine.step(step);
        if *step == events::PWRITEV_DONE {
            self.engine.wrote();
        }
    }
}

/// A disk whose operations fail as rules say.
#[derive(Debug)]
struct FailingDisk {
    inner: Arc<Disk>,
    engine: Arc<Engine>,
}

impl FailingDisk {
    fn check(&self, operation: &'static str, io_type: IoType, extent: Extent) -> Result<()> {
        self.engine.check(operation, io_type, extent)
    }

    fn check_flush(&self) -> Result<()> {
        self.engine.check_flush(self.engine.written())
    }
}

impl PassThrough for FailingDisk {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check("read", IoType::Read, Extent::new(offset, buf.len() as u64))?;
        self.inner.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.check("write", IoType::Write, Extent::new(offset, buf.len() as u64))?;
        self.inner.write(offset, buf, flags)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        self.check("zero", IoType::WriteZeroes, extent)?;
        self.inner.write_zeroes(extent, flags)
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        self.check("discard", IoType::Discard, extent)?;
        self.inner.discard(extent, flags)
    }

    fn flush(&self) -> Result<()> {
        self.check_flush()?;
        self.inner.flush()
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        self.check("block status", IoType::BlockStatus, extent)?;
        self.inner.block_status(extent)
    }

    /// The bytes that a request gets are those of the image.
    fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        self.inner.host_run(extent)
    }

    /// The image is left clean, whether the flush before that fails or not.
    fn close(&self) -> Result<()> {
        let flushed = self.check_flush();
        self.inner.close()?;
        flushed
    }

    fn as_info(&self) -> Option<&dyn Info> {
        self.inner.as_info()
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.inner.as_overlay()
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        self.inner.as_snapshots()
    }

    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        self.inner.as_bitmaps()
    }

    fn as_vm_state(&self) -> Option<&dyn VmState> {
        self.inner.as_vm_state()
    }
}

/// A disk that keeps to limits and tells of the steps of each request.
#[derive(Debug)]
struct DebugDisk(Limited<DebugNode>);

impl DebugDisk {
    /// A write, and a flush if it is to be durable. The flush counts as a part of the write: if nothing was
    /// written before, none is asked for.
    fn durably(&self, fua: bool, write: impl FnOnce() -> Result<()>) -> Result<()> {
        let DebugNode { engine, image, .. } = self.0.inner();
        let before = engine.written();
        write()?;
        if fua {
            engine.check_flush(before)?;
            image.flush()?;
        }
        Ok(())
    }

    /// A change that is no write, after which there is something to flush.
    fn change(&self, run: impl FnOnce() -> Result<()>) -> Result<()> {
        let done = run();
        self.0.inner().engine.wrote();
        done
    }
}

impl PassThrough for DebugDisk {
    fn inner(&self) -> &Disk {
        &self.0.inner().disk
    }

    /// Zeroes are cut into units, each of which may be refused when others are done.
    fn limits(&self) -> blk_core::Limits {
        let inner = self.inner().limits();
        blk_core::Limits { native: NativeFlags::FUA, memory_alignment: 1, can_write_zeroes: true, ..*inner }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read(offset, buf)
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        self.durably(flags.fua, || self.0.write(offset, buf))
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        if flags.may_be_refused() {
            self.0.check_zero_units(extent)?;
        }
        let passed = ZeroFlags { fua: false, ..flags };
        let zero = || self.0.write_zeroes(extent, &|whole| self.inner().write_zeroes(whole, passed));
        self.durably(flags.fua, zero)
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        let unit = self.inner().limits().discard_granularity;
        let discard =
            || self.0.discard(extent, unit, &|part| self.inner().discard(part, DiscardFlags::default()));
        self.durably(flags.fua, || self.change(discard))
    }

    fn host_run(&self, extent: Extent) -> Result<Option<StorageRun>> {
        self.inner().host_run(extent)
    }

    fn resize(&self, size: u64) -> Result<()> {
        let _alone = self.0.alone();
        self.change(|| self.inner().resize(size))
    }

    fn grow(&self, size: u64, preallocation: Preallocation) -> Result<()> {
        let _alone = self.0.alone();
        self.change(|| self.inner().grow(size, preallocation))
    }

    fn as_info(&self) -> Option<&dyn Info> {
        Some(self)
    }

    fn as_overlay(&self) -> Option<&dyn Overlay> {
        self.inner().as_overlay()
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        self.inner().as_snapshots()
    }

    fn as_bitmaps(&self) -> Option<&dyn Bitmaps> {
        self.inner().as_bitmaps()
    }

    fn as_vm_state(&self) -> Option<&dyn VmState> {
        self.inner().as_vm_state()
    }
}

impl Info for DebugDisk {
    fn info(&self) -> Result<ImageInfo> {
        let Some(info) = self.inner().as_info() else {
            return Ok(ImageInfo { format: "blkdebug", ..ImageInfo::default() });
        };
        let ImageInfo { cluster_bytes, machine_state_offset, .. } = info.info()?;
        Ok(ImageInfo { format: "blkdebug", cluster_bytes, machine_state_offset, ..ImageInfo::default() })
    }
}
