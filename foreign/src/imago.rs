//! imago over a storage of the harness.
//!
//! What the harness calls a flush is `flush`, which writes caches back, and then `sync`, as imago's
//! documentation asks for. Zeroes that may unmap are `discard_to_zero`, others `write_zeroes`, discards
//! `discard_to_any`; a disk grows with `PreallocateMode::Zero`, since without it the new range has any
//! content. Methods that take `&mut self` are called with a lock that keeps all other requests away.

mod storage;

use std::io;
use std::sync::Arc;

use blk_core::sync::RwLock;
use blk_core::{
    Access, BlockDriver, BlockStatus, Check, CheckReport, DiscardFlags, Disk, Error, Extent, Limits,
    RepairMode, Resize, Result, Storage, WriteFlags, ZeroFlags, refuse_compressed,
};
use blk_harness::scenario::Config;
use imago::format::PreallocateMode;
use imago::qcow2::Qcow2;
use imago::{
    DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder as _, FormatDriverBuilder as _, ShallowMapping,
};

use crate::drive::drive;
use crate::error::from_io;
use crate::image;

pub use storage::HostStorage;

type Image = FormatAccess<HostStorage>;

/// The clusters of an image, if the configuration does not say.
const CLUSTER_BYTES: u64 = 64 << 10;
const REFCOUNT_BITS: u64 = 16;

/// Writes a fresh image, as imago makes it.
pub fn create(storage: &Arc<dyn Storage>, config: &Config) -> Result<()> {
    let cluster_bytes = config.options.number("cluster_size").unwrap_or(CLUSTER_BYTES);
    let refcount_bits = config.options.number("refcount_bits").unwrap_or(REFCOUNT_BITS);
    let builder = Qcow2::<HostStorage>::create_builder(HostStorage::new(Arc::clone(storage)))
        .size(config.size_bytes)
        .cluster_size(cluster_bytes as usize)
        .refcount_width(refcount_bits as usize);
    drive(builder.create()).map_err(|error| from_io("create", 0, error))
}

/// Opens an image.
pub fn open(storage: Arc<dyn Storage>, config: &Config) -> Result<Disk> {
    let is_version_2 = config.options.is("compat", "0.10");
    let image = RwLock::new(opened(&storage)?);
    Ok(Disk::new(Driver { image, storage, is_version_2 }, Access::ReadWrite))
}

fn opened(storage: &Arc<dyn Storage>) -> Result<Image> {
    let builder = Qcow2::<HostStorage>::builder(HostStorage::new(Arc::clone(storage))).write(true);
    let image = drive(builder.open(DenyImplicitOpenGate::default()));
    Ok(FormatAccess::new(image.map_err(|error| from_io("open", 0, error))?))
}

#[derive(Debug)]
struct Driver {
    image: RwLock<Image>,
    storage: Arc<dyn Storage>,
    is_version_2: bool,
}

impl Driver {
    fn flush_image(image: &Image) -> io::Result<()> {
        drive(async {
            image.flush().await?;
            image.sync().await
        })
    }
}

impl BlockDriver for Driver {
    fn size(&self) -> u64 {
        self.image.read().size()
    }

    /// Images of version 2 have no zero clusters, and imago frees none of their clusters.
    fn limits(&self) -> Limits {
        let can = !self.is_version_2;
        Limits { can_write_zeroes: can, can_discard: can, ..Limits::default() }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let image = self.image.read();
        drive(image.read(buf, offset)).map_err(|error| from_io("read", offset, error))
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        let image = self.image.read();
        drive(image.write(buf, offset)).map_err(|error| from_io("write", offset, error))
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> Result<()> {
        if flags.may_be_refused() {
            return Err(Error::unsupported("zeroes that must not be written as data"));
        }
        let Extent { offset, length } = extent;
        let done = if flags.may_unmap {
            drive(self.image.write().discard_to_zero(offset, length))
        } else {
            drive(self.image.read().write_zeroes(offset, length))
        };
        done.map_err(|error| from_io("write zeroes", offset, error))
    }

    fn discard(&self, extent: Extent, _flags: DiscardFlags) -> Result<()> {
        let Extent { offset, length } = extent;
        let mut image = self.image.write();
        drive(image.discard_to_any(offset, length)).map_err(|error| from_io("discard", offset, error))
    }

    fn flush(&self) -> Result<()> {
        Self::flush_image(&self.image.read()).map_err(|error| from_io("flush", 0, error))
    }

    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let Extent { offset, length } = extent;
        let image = self.image.read();
        let (mapping, length) = drive(image.get_shallow_mapping(offset, length))
            .map_err(|error| from_io("get mapping", offset, error))?;
        let status = |allocated, zero, host_offset| BlockStatus {
            length,
            allocated,
            zero,
            compressed: false,
            host_offset,
        };
        Ok(match mapping {
            ShallowMapping::Raw { offset, .. } => status(true, false, Some(offset)),
            ShallowMapping::Zero { explicit, .. } => status(explicit, true, None),
            ShallowMapping::Special { .. } => BlockStatus { compressed: true, ..status(true, false, None) },
            _ => status(false, false, None),
        })
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn as_check(&self) -> Option<&dyn Check> {
        Some(self)
    }
}

impl Resize for Driver {
    fn resize(&self, size: u64) -> Result<()> {
        let mut image = self.image.write();
        drive(image.resize(size, PreallocateMode::Zero)).map_err(|error| from_io("resize", size, error))
    }
}

impl Check for Driver {
    /// By `blk-qcow2`, over what imago has written back. imago opens the image again if something may have
    /// been repaired.
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        let mut image = self.image.write();
        Self::flush_image(&image).map_err(|error| from_io("flush", 0, error))?;
        let report = image::check(&self.storage, repair)?;
        if repair != RepairMode::None {
            *image = opened(&self.storage)?;
        }
        Ok(report)
    }
}
