//! qcow2-rs over a storage of the harness.
//!
//! What the harness calls a flush is `flush_meta`, which writes caches back, and then `fsync_range` of the
//! whole disk. The crate takes requests of whole sectors of 512 bytes; it has no zeroes, discards and
//! resizes.
//!
//! A device that is dropped with something to write back panics, or ends the process. What a killed process
//! leaves is made so: the storage is taken away, the device flushed into nothing, and then dropped.
//!
//! Its device can be sent to another thread, but not shared by threads. So requests take turns here, and
//! nothing is in flight together: races are refused ([`NO_RACES`]).

mod storage;

use std::mem::forget;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use blk_core::sync::Mutex;
use blk_core::{
    Access, BlockDriver, BlockStatus, Check, CheckReport, Disk, Error, Extent, Limits, RepairMode, Result,
    Storage, WriteFlags, refuse_compressed,
};
use blk_harness::scenario::Config;
use qcow2_rs::dev::{Qcow2Dev, Qcow2DevParams};
use qcow2_rs::error::Qcow2Error;
use qcow2_rs::meta::{MappingSource, Qcow2Header};
use qcow2_rs::utils::qcow2_alloc_dev;

use crate::drive::drive;
use crate::error::from_io;
use crate::image;

pub use storage::{Connection, HostStorage};

/// Why there are no races.
pub const NO_RACES: &str =
    "races of qcow2-rs: its device is not Sync, so no two requests can be in flight on it";

/// The option that says how many slices of tables are cached, at least 2; 0 for the crate's own choice.
pub const CACHED_SLICES: &str = "x-cached-slices";

const CLUSTER_BYTES: u64 = 64 << 10;
const REFCOUNT_BITS: u64 = 16;
const SECTOR_BITS: u8 = 9;
/// The slices of tables that the crate caches if it is not told otherwise; a smaller cluster is one slice.
const SLICE_BITS: u8 = 12;

fn cluster_bits(config: &Config) -> u8 {
    config.options.number("cluster_size").unwrap_or(CLUSTER_BYTES).ilog2() as u8
}

/// Writes a fresh image, as the crate's own utility makes it.
pub fn create(storage: &Arc<dyn Storage>, config: &Config) -> Result<()> {
    if config.size_bytes == 0 {
        return Err(Error::unsupported("qcow2-rs formats no disk of 0 bytes: it panics"));
    }
    let cluster_bits = usize::from(cluster_bits(config));
    let refcount_bits = config.options.number("refcount_bits").unwrap_or(REFCOUNT_BITS);
    let refcount_order = refcount_bits.ilog2() as u8;
    let sector_bytes = 1 << SECTOR_BITS;
    let ((_, table), (_, blocks), (_, l1)) =
        Qcow2Header::calculate_meta_params(config.size_bytes, cluster_bits, refcount_order, sector_bytes);
    let clusters = (1 + table + blocks + l1) as usize;
    let mut image = vec![0; clusters << cluster_bits];
    Qcow2Header::format_qcow2(&mut image, config.size_bytes, cluster_bits, refcount_order, sector_bytes)
        .map_err(|error| answer("create", 0, error))?;
    storage.write_at(0, &image)?;
    storage.sync()
}

/// Opens an image.
pub fn open(storage: Arc<dyn Storage>, config: &Config) -> Result<Disk> {
    let (dev, config) = (opened(&storage, config)?, config.clone());
    let size = dev.info.virtual_size();
    Ok(Disk::new(Driver { dev: Mutex::new(Some(dev)), storage, config, size }, Access::ReadWrite))
}

/// A device, and what takes its storage away.
#[derive(Debug)]
struct Dev {
    inner: Qcow2Dev<HostStorage>,
    connection: Connection,
}

impl Deref for Dev {
    type Target = Qcow2Dev<HostStorage>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl Dev {
    /// Drops the device as a killed process does. One that panics has lost what it knew: it is not dropped.
    fn kill(self) {
        self.connection.cut();
        let flushed = catch_unwind(AssertUnwindSafe(|| drive(self.inner.flush_meta()).is_ok()));
        if std::thread::panicking() || !flushed.unwrap_or(false) {
            forget(self);
        }
    }
}

fn opened(storage: &Arc<dyn Storage>, config: &Config) -> Result<Dev> {
    let bits = cluster_bits(config).min(SLICE_BITS);
    let cached = match config.options.number(CACHED_SLICES) {
        None | Some(0) if bits == SLICE_BITS => None,
        None | Some(0) => Some((bits, 64 << bits)),
        Some(slices) => Some((bits, (slices.max(2) as usize) << bits)),
    };
    let params = Qcow2DevParams::new(SECTOR_BITS, cached, cached, false, false);
    let connection = Connection::default();
    let host = HostStorage::new(Arc::clone(storage), connection.clone());
    let inner = drive(async {
        let (dev, _) = qcow2_alloc_dev(Path::new("host"), host, &params).await?;
        dev.qcow2_prep_io().await?;
        Ok(dev)
    });
    Ok(Dev { inner: inner.map_err(|error| answer("open", 0, error))?, connection })
}

fn answer(operation: &'static str, offset: u64, error: Qcow2Error) -> Error {
    from_io(operation, offset, error.into_inner())
}

#[derive(Debug)]
struct Driver {
    dev: Mutex<Option<Dev>>,
    storage: Arc<dyn Storage>,
    config: Config,
    size: u64,
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(dev) = self.dev.get_mut().take() {
            dev.kill();
        }
    }
}

/// The device, which is there between two opens.
fn there(dev: Option<&Dev>) -> Result<&Dev> {
    dev.ok_or_else(|| Error::Poisoned { cause: "the image could not be opened again".to_owned() })
}

impl Driver {
    fn flush_dev(&self, dev: &Dev) -> Result<()> {
        drive(async {
            dev.flush_meta().await?;
            dev.fsync_range(0, self.size as usize).await
        })
        .map_err(|error| answer("flush", 0, error))
    }
}

impl BlockDriver for Driver {
    fn size(&self) -> u64 {
        self.size
    }

    fn limits(&self) -> Limits {
        Limits {
            request_alignment: 1 << SECTOR_BITS,
            can_write_zeroes: false,
            can_discard: false,
            ..Limits::default()
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let dev = self.dev.lock();
        let dev = there(dev.as_ref())?;
        let wanted = buf.len();
        let read = drive(dev.read_at(buf, offset)).map_err(|error| answer("read", offset, error))?;
        if read == wanted {
            return Ok(());
        }
        let short = std::io::Error::other(format!("{read} of {wanted} bytes were read"));
        Err(Error::io("read", offset, short))
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        refuse_compressed(flags)?;
        let dev = self.dev.lock();
        let dev = there(dev.as_ref())?;
        drive(dev.write_at(buf, offset)).map_err(|error| answer("write", offset, error))
    }

    fn flush(&self) -> Result<()> {
        self.flush_dev(there(self.dev.lock().as_ref())?)
    }

    /// The crate tells the mapping of one cluster at a time.
    fn block_status(&self, extent: Extent) -> Result<BlockStatus> {
        let dev = self.dev.lock();
        let dev = there(dev.as_ref())?;
        let cluster = dev.info.cluster_size() as u64;
        let within = extent.offset % cluster;
        let length = extent.length.min(cluster - within);
        let mapping = drive(dev.get_mapping(extent.offset));
        let mapping = mapping.map_err(|error| answer("get mapping", extent.offset, error))?;
        let plain =
            BlockStatus { length, allocated: true, zero: false, compressed: false, host_offset: None };
        Ok(match mapping.source {
            MappingSource::DataFile => {
                let host_offset = mapping.cluster_offset.map(|offset| offset + within);
                BlockStatus { host_offset, ..plain }
            }
            MappingSource::Compressed => BlockStatus { compressed: true, ..plain },
            MappingSource::Zero => BlockStatus { zero: true, ..plain },
            MappingSource::Backing | MappingSource::Unallocated => BlockStatus { allocated: false, ..plain },
        })
    }

    fn as_check(&self) -> Option<&dyn Check> {
        Some(self)
    }
}

impl Check for Driver {
    /// By `blk-qcow2`, over what the crate has written back. It opens the image again if something may have
    /// been repaired.
    fn check(&self, repair: RepairMode) -> Result<CheckReport> {
        let mut dev = self.dev.lock();
        self.flush_dev(there(dev.as_ref())?)?;
        let report = image::check(&self.storage, repair)?;
        if repair != RepairMode::None {
            if let Some(old) = dev.take() {
                old.kill();
            }
            *dev = Some(opened(&self.storage, &self.config)?);
        }
        Ok(report)
    }
}
