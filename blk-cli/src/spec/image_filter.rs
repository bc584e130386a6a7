//! The filters over an image: `compress`, `copy-on-read`, `throttle`.

use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{
    Access, Bitmaps, DiscardFlags, Disk, Error, Extent, ImageInfo, Info, Limits, NativeFlags, Overlay,
    PassThrough, Result, Snapshots, VmState, WriteFlags, ZeroFlags,
};

use super::node::{FilterDriver, Node};
use super::open::{Inherited, OpenedDisk, Opener};
use crate::formats::features;
use crate::io::copy_on_read::CopyOnRead;

impl Opener {
    /// Opens an image with a filter over it. Its layer keeps the image's name: the filter stores nothing.
    pub(super) fn filtered(
        &self,
        driver: &FilterDriver,
        file: &Node,
        access: Access,
        inherited: Inherited,
    ) -> Result<OpenedDisk> {
        if *driver == FilterDriver::CopyOnRead && access == Access::ReadOnly {
            return Err(Error::invalid_option(
                "driver",
                "copy-on-read writes, and the image is opened read-only",
            ));
        }
        let mut opened = self.disk(file, access, inherited)?;
        opened.disk = match driver {
            FilterDriver::CopyOnRead => {
                Disk::new(CopyOnRead::new(Arc::new(opened.disk), opened.debug.as_ref()), access)
            }
            FilterDriver::Compress => {
                Disk::new(Compressing::over(opened.disk, opened.format, access)?, access)
            }
            FilterDriver::Throttle { group } => {
                if self.memory.is_none() {
                    eprintln!("blk: limits of the throttle group '{group}' are ignored");
                }
                opened.disk
            }
        };
        opened.debug = None;
        opened.format = driver.name();
        opened.disk = Disk::new(Named { inner: opened.disk, format: opened.format }, access);
        Ok(opened)
    }
}

/// A disk that calls itself by the filter's name. A check would be one of the image below, which is not what
/// was named.
#[derive(Debug)]
struct Named {
    inner: Disk,
    format: &'static str,
}

impl PassThrough for Named {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn as_info(&self) -> Option<&dyn Info> {
        Some(self)
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

impl Info for Named {
    fn info(&self) -> Result<ImageInfo> {
        let Some(info) = self.inner.as_info() else {
            return Ok(ImageInfo { format: self.format, ..ImageInfo::default() });
        };
        let ImageInfo { cluster_bytes, machine_state_offset, .. } = info.info()?;
        Ok(ImageInfo { format: self.format, cluster_bytes, machine_state_offset, ..ImageInfo::default() })
    }
}

/// Stores all that is written compressed, in whole clusters: what a write leaves of one is read first.
#[derive(Debug)]
struct Compressing {
    inner: Disk,
    cluster: u64,
    /// Held from the read of a cluster to its write.
    turn: Mutex<()>,
}

impl Compressing {
    fn over(inner: Disk, format: &'static str, access: Access) -> Result<Self> {
        // The other two filters pass compressed writes on, whatever they lie over.
        let passes_on = matches!(format, "copy-on-read" | "throttle");
        if !passes_on && !features(format).compression {
            let reason = format!("compress needs an image that can be compressed; {format} cannot");
            return Err(Error::invalid_option("file.driver", reason));
        }
        let cluster = match inner.as_info() {
            Some(info) => info.info()?.cluster_bytes.unwrap_or(1),
            None => 1,
        };
        let size = inner.size();
        if access == Access::ReadWrite && !size.is_multiple_of(cluster) {
            let reason =
                format!("the size of the image, {size}, is no multiple of its cluster size, {cluster}");
            return Err(Error::invalid_option("file", reason));
        }
        Ok(Self { inner, cluster, turn: Mutex::new(()) })
    }

    /// The whole clusters around `extent`.
    fn around(&self, extent: Extent) -> Result<Extent> {
        let start = extent.offset / self.cluster * self.cluster;
        let end = extent.end().checked_next_multiple_of(self.cluster);
        match end {
            Some(end) if end <= self.inner.size() => Ok(Extent::between(start, end)),
            _ => Err(Error::Misaligned {
                offset: extent.offset,
                length: extent.length,
                alignment: self.cluster,
            }),
        }
    }

    fn write_alone(&self, offset: u64, buf: &[u8], fua: bool) -> Result<()> {
        let flags = WriteFlags { compressed: true, fua };
        let whole = self.around(Extent::new(offset, buf.len() as u64))?;
        if whole.length == buf.len() as u64 {
            return self.inner.write(offset, buf, flags);
        }
        let mut data = vec![0; whole.length as usize];
        let skipped = (offset - whole.offset) as usize;
        let (head, tail) = (skipped, skipped + buf.len());
        let cluster = self.cluster as usize;
        self.inner.read(whole.offset, &mut data[..cluster])?;
        if data.len() > cluster {
            let last = data.len() - cluster;
            self.inner.read(whole.end() - self.cluster, &mut data[last..])?;
        }
        data[head..tail].copy_from_slice(buf);
        self.inner.write(whole.offset, &data, flags)
    }
}

impl PassThrough for Compressing {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        if flags.compressed {
            return Err(Error::unsupported("a compressed write through the filter compress"));
        }
        let _alone = self.turn.lock();
        self.write_alone(offset, buf, flags.fua)
    }

    /// Parts of clusters are written as data.
    fn limits(&self) -> Limits {
        let inner = self.inner().limits();
        Limits { native: NativeFlags::FUA, memory_alignment: 1, can_write_zeroes: true, ..*inner }
    }

    /// Whole clusters are zeroed by the image; the rest is written.
    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        let _alone = self.turn.lock();
        let whole = self.around(extent)?;
        let body_start = extent.offset.next_multiple_of(self.cluster);
        let body_end = extent.end() / self.cluster * self.cluster;
        if whole != extent && flags.no_fallback {
            return Err(Error::unsupported("zeroing a part of a cluster without writing"));
        }
        let written = |part: Extent| {
            if part.is_empty() {
                return Ok(());
            }
            self.write_alone(part.offset, &vec![0; part.length as usize], flags.fua)
        };
        if body_start > body_end {
            return written(extent);
        }
        written(Extent::between(extent.offset, body_start))?;
        self.inner.write_zeroes(Extent::between(body_start, body_end), flags)?;
        written(Extent::between(body_end, extent.end()))
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> Result<()> {
        let _alone = self.turn.lock();
        self.inner.discard(extent, flags)
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
