//! What disks hold before a scenario starts: stamps that tell which layer they were put into.

use std::sync::Arc;

use blk_core::{
    Access, DenyResolver, Disk, MapResolver, MemoryStorage, NewSnapshot, Options, PassThrough, Result,
    SnapshotInfo, Snapshots, Storage, WriteFlags,
};
use blk_harness::MemorySnapshots;
use blk_harness::scenario::{Backing, Config};
use blk_verify::stamp;

use crate::QCOW2;

/// The name under which an image finds its backing disk.
pub(crate) const BACKING_NAME: &str = "backing";
/// The name of another backing disk, which it may be put over.
pub(crate) const OTHER_NAME: &str = "other";

/// The backing file of the disk under test, and what it shows.
#[derive(Debug)]
pub(crate) struct Below {
    pub(crate) disk: Arc<Disk>,
    pub(crate) format: &'static str,
}

/// Stamps of the backing file, and of another one that an image may be put over.
const BACKING: u8 = 1;
const OTHER: u8 = 3;
/// Stamps of what the backing file is over.
const BOTTOM: u8 = 2;

/// Makes the backing file for a configuration; `None` where there is none.
pub(crate) fn below(config: &Config) -> Result<Option<Below>> {
    stamped(config, BACKING)
}

/// A backing file with other data at the same places.
pub(crate) fn other_below(config: &Config) -> Result<Option<Below>> {
    stamped(config, OTHER)
}

fn stamped(config: &Config, layer: u8) -> Result<Option<Below>> {
    let size = config.backing_bytes;
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    Ok(match config.backing {
        Backing::None => None,
        Backing::Raw => Some(Below { disk: Arc::new(stamped_raw(&storage, size, layer)?), format: "raw" }),
        Backing::Format => {
            Some(Below { disk: stamped_qcow2(config, &storage, layer, None)?, format: "qcow2" })
        }
        Backing::Chain => {
            let bottom: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
            // The bottom is shorter than the middle, so that reads fall off its end too.
            let bottom = stamped_raw(&bottom, size / 4 * 3, BOTTOM)?;
            let disk = stamped_qcow2(config, &storage, layer, Some(Arc::new(bottom)))?;
            Some(Below { disk, format: "qcow2" })
        }
    })
}

/// Writes what a raw backing file holds to one that has all of its bytes already.
pub(crate) fn fill_raw_below(config: &Config, storage: &Arc<dyn Storage>) -> Result<()> {
    stamped_raw(storage, config.backing_bytes, BACKING).map(drop)
}

/// Opens a raw disk for writing.
pub(crate) fn open_raw(storage: &Arc<dyn Storage>) -> Result<Disk> {
    blk_raw::FORMAT.open(Arc::clone(storage), Access::ReadWrite, Options::new(), &DenyResolver)
}

/// A raw disk full of stamps of `layer`.
fn stamped_raw(storage: &Arc<dyn Storage>, size: u64, layer: u8) -> Result<Disk> {
    if storage.len()? < size {
        storage.set_len(size)?;
    }
    let disk = open_raw(storage)?;
    write_stamps(&disk, 0, size, layer)?;
    Ok(disk)
}

/// A qcow2 disk in which every other cluster holds stamps of `layer`.
fn stamped_qcow2(
    config: &Config,
    storage: &Arc<dyn Storage>,
    layer: u8,
    bottom: Option<Arc<Disk>>,
) -> Result<Arc<Disk>> {
    let size = config.backing_bytes;
    let cluster_bytes = QCOW2.geometry(config).unit_bytes;
    let mut options = Options::new().with("cluster_size", cluster_bytes);
    let mut resolver = MapResolver::default();
    if let Some(bottom) = bottom {
        options = options.with("backing_file", BACKING_NAME).with("backing_fmt", "raw");
        resolver.insert(BACKING_NAME, bottom);
    }
    blk_qcow2::FORMAT.create(storage, size, options)?;
    let disk = blk_qcow2::FORMAT.open(Arc::clone(storage), Access::ReadWrite, Options::new(), &resolver)?;
    let mut offset = 0;
    while offset < size {
        write_stamps(&disk, offset, cluster_bytes.min(size - offset), layer)?;
        offset += 2 * cluster_bytes;
    }
    disk.flush()?;
    Ok(Arc::new(disk))
}

fn write_stamps(disk: &Disk, offset: u64, length: u64, layer: u8) -> Result<()> {
    const CHUNK_BYTES: u64 = 64 << 10;
    let mut buf = vec![0; length.min(CHUNK_BYTES) as usize];
    let mut at = offset;
    while at < offset + length {
        let part = &mut buf[..(offset + length - at).min(CHUNK_BYTES) as usize];
        stamp::fill_initial(part, at, layer);
        disk.write(at, part, WriteFlags::default())?;
        at += part.len() as u64;
    }
    Ok(())
}

/// A raw disk over `storage`, which keeps snapshots as copies beside it.
pub(crate) fn raw_over(storage: MemoryStorage) -> Result<Disk> {
    let storage = Arc::new(storage);
    let below: Arc<dyn Storage> = Arc::clone(&storage) as _;
    let inner = open_raw(&below)?;
    Ok(Disk::new(Copied { inner, copies: MemorySnapshots::over(storage) }, Access::ReadWrite))
}

/// A raw disk in memory whose snapshots are copies.
#[derive(Debug)]
struct Copied {
    inner: Disk,
    copies: MemorySnapshots,
}

impl PassThrough for Copied {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn as_snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }
}

impl Snapshots for Copied {
    fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        self.copies.snapshots()
    }

    fn create_snapshot(&self, new: &NewSnapshot) -> Result<String> {
        self.copies.create_snapshot(new)
    }

    fn apply_snapshot(&self, id: &str) -> Result<()> {
        let listed = self.snapshots()?;
        let found = SnapshotInfo::find(&listed, id)?;
        self.inner.resize(found.disk_bytes.unwrap_or_default())?;
        self.copies.apply_snapshot(id)
    }

    fn delete_snapshot(&self, id: &str) -> Result<()> {
        self.copies.delete_snapshot(id)
    }

    fn read_snapshot(&self, id: &str, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.copies.read_snapshot(id, offset, buf)
    }
}

/// A raw disk of `size` bytes in memory that shows what `below` shows, and zeroes past its end.
pub(crate) fn reference_over(size: u64, below: Option<&Disk>) -> Result<Disk> {
    let storage = MemoryStorage::new();
    storage.set_len(size)?;
    let disk = raw_over(storage)?;
    if let Some(below) = below {
        let shown = below.size().min(size);
        let mut buf = vec![0; shown.min(64 << 10) as usize];
        let mut at = 0;
        while at < shown {
            let part = (shown - at).min(buf.len() as u64) as usize;
            below.read(at, &mut buf[..part])?;
            disk.write(at, &buf[..part], WriteFlags::default())?;
            at += part as u64;
        }
    }
    Ok(disk)
}
