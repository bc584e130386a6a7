//! Faults that are planted around a driver, to prove that the harness would find its own: a run that finds
//! nothing says something only then. [`PlantedDriver`] is any driver with one of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use blk_core::storage::PassThrough as StoragePassThrough;
use blk_core::{
    DiscardFlags, Disk, Extent, MemoryStorage, PassThrough, Region, Result as CoreResult, Storage,
    WriteFlags, ZeroFlags,
};

use crate::driver::{Driver, ImageMaker, IsAsleep, Kept, Promises};
use crate::report::Finding;
use crate::scenario::{Config, Scenario};
use crate::space::Space;

/// A fault. It counts for each open of an image anew, so that a finding can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// The reply to this read of the disk, from 1, has a byte that is wrong.
    WrongReply(u64),
    /// The reply of the medium to this read of the driver, from 1, has a byte that is wrong.
    WrongMedium(u64),
    /// The medium says that it is durable, from this sync on, and it is not.
    LostSyncs(u64),
    /// The driver answers a flush, from this one on, at once, and makes it before the next request.
    EarlyFlushes(u64),
}

impl Plant {
    /// Reads `wrong-reply=N`, `wrong-medium=N`, `lost-syncs=N` or `early-flushes=N`.
    ///
    /// # Errors
    /// That it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, number) = text.split_once('=').with_context(|| format!("'{text}' is no FAULT=NUMBER"))?;
        let number = number.parse().with_context(|| format!("'{text}': '{number}' is no number"))?;
        Ok(match name {
            "wrong-reply" => Self::WrongReply(number),
            "wrong-medium" => Self::WrongMedium(number),
            "lost-syncs" => Self::LostSyncs(number),
            "early-flushes" => Self::EarlyFlushes(number),
            _ => bail!(
                "'{name}' is no fault that can be planted: wrong-reply, wrong-medium, lost-syncs, early-flushes"
            ),
        })
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongReply(number) => write!(f, "wrong-reply={number}"),
            Self::WrongMedium(number) => write!(f, "wrong-medium={number}"),
            Self::LostSyncs(number) => write!(f, "lost-syncs={number}"),
            Self::EarlyFlushes(number) => write!(f, "early-flushes={number}"),
        }
    }
}

/// What has been counted so far.
#[derive(Debug, Default)]
pub struct Planted {
    plant: Option<Plant>,
    replies: AtomicU64,
    reads: AtomicU64,
    syncs: AtomicU64,
    flushes: AtomicU64,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

fn spoil(buf: &mut [u8]) {
    if let Some(byte) = buf.last_mut() {
        *byte ^= 0x40;
    }
}

impl Planted {
    /// Nothing has been counted yet.
    pub fn new(plant: Option<Plant>) -> Self {
        Self { plant, ..Self::default() }
    }

    /// A reply to a read of the disk.
    pub fn reply(&self, buf: &mut [u8]) {
        if let Some(Plant::WrongReply(number)) = self.plant
            && count(&self.replies) == number
        {
            spoil(buf);
        }
    }

    /// A reply to a read of the medium.
    pub fn medium(&self, buf: &mut [u8]) {
        if let Some(Plant::WrongMedium(number)) = self.plant
            && count(&self.reads) == number
        {
            spoil(buf);
        }
    }

    /// Whether a flush of the disk is answered before it is made.
    pub fn flushes_late(&self) -> bool {
        matches!(self.plant, Some(Plant::EarlyFlushes(number)) if count(&self.flushes) >= number)
    }

    /// Whether a sync of the medium is left out.
    pub fn loses_sync(&self) -> bool {
        matches!(self.plant, Some(Plant::LostSyncs(number)) if count(&self.syncs) >= number)
    }
}

/// A driver with a fault that is planted around it, which each engine that it concerns has to find.
///
/// ```
/// # use blk_core::{Disk, Result, Storage};
/// # use blk_harness::FormatDriver;
/// use blk_harness::plant::{Plant, PlantedDriver};
/// # fn create(storage: &std::sync::Arc<dyn Storage>, size: u64) -> Result<()> { storage.set_len(size) }
/// # fn open(_: std::sync::Arc<dyn Storage>) -> Result<Disk> { blk_harness::MemoryDisk::open(1 << 20) }
/// static DRIVER: FormatDriver = FormatDriver::of_functions("mine", create, open);
/// static BROKEN: PlantedDriver = PlantedDriver::new(&DRIVER, Plant::WrongReply(3));
/// ```
#[derive(Debug)]
pub struct PlantedDriver {
    inner: &'static dyn Driver,
    plant: Plant,
}

impl PlantedDriver {
    /// `inner` with this fault. A driver that is over no storage is refused by all engines: what is planted
    /// lies between it and its storage, or above images that it opens there.
    pub const fn new(inner: &'static dyn Driver, plant: Plant) -> Self {
        Self { inner, plant }
    }
}

impl Driver for PlantedDriver {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn space(&self) -> &'static Space {
        self.inner.space()
    }

    fn image_config(&self) -> Option<&Config> {
        self.inner.image_config()
    }

    fn promises(&self, config: &Config) -> Promises {
        self.inner.promises(config)
    }

    fn asks_one_in(&self) -> u64 {
        self.inner.asks_one_in()
    }

    fn known(&self, finding: &Finding, scenario: &Scenario) -> Option<&'static str> {
        self.inner.known(finding, scenario)
    }

    fn images(&self, config: &Config) -> CoreResult<Box<dyn ImageMaker>> {
        Ok(Box::new(PlantedImages { inner: self.inner.images(config)?, plant: self.plant }))
    }
}

#[derive(Debug)]
struct PlantedImages {
    inner: Box<dyn ImageMaker>,
    plant: Plant,
}

impl PlantedImages {
    /// What `open` opens, with the fault above and below it.
    fn around(
        &self,
        storage: Arc<dyn Storage>,
        open: impl FnOnce(Arc<dyn Storage>) -> CoreResult<Disk>,
    ) -> CoreResult<Disk> {
        let planted = Arc::new(Planted::new(Some(self.plant)));
        let disk = open(Arc::new(PlantedStorage { inner: storage, planted: Arc::clone(&planted) }))?;
        let access = disk.access();
        Ok(Disk::new(PlantedDisk { inner: disk, planted, owes_flush: AtomicBool::new(false) }, access))
    }
}

impl ImageMaker for PlantedImages {
    fn create(&self, storage: &Arc<dyn Storage>) -> CoreResult<()> {
        self.inner.create(storage)
    }

    fn fresh(&self) -> CoreResult<MemoryStorage> {
        self.inner.fresh()
    }

    fn open(&self, storage: Arc<dyn Storage>) -> CoreResult<Disk> {
        self.around(storage, |storage| self.inner.open(storage))
    }

    fn open_left(&self, storage: Arc<dyn Storage>, origin: u64) -> CoreResult<Disk> {
        self.around(storage, |storage| self.inner.open_left(storage, origin))
    }

    fn elsewhere(&self) -> Option<IsAsleep> {
        self.inner.elsewhere()
    }

    fn reference(&self) -> CoreResult<Disk> {
        self.inner.reference()
    }

    fn kept(&self, storage: &dyn Storage) -> CoreResult<Vec<Kept>> {
        self.inner.kept(storage)
    }

    fn layout(&self, storage: &Arc<dyn Storage>) -> CoreResult<Vec<Region>> {
        self.inner.layout(storage)
    }

    fn second_opinion(&self, storage: &dyn Storage, reference: &Disk) -> std::result::Result<(), String> {
        self.inner.second_opinion(storage, reference)
    }
}

#[derive(Debug)]
struct PlantedStorage {
    inner: Arc<dyn Storage>,
    planted: Arc<Planted>,
}

impl StoragePassThrough for PlantedStorage {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> CoreResult<()> {
        self.inner.read_at(offset, buf)?;
        self.planted.medium(buf);
        Ok(())
    }

    fn sync(&self) -> CoreResult<()> {
        if self.planted.loses_sync() { Ok(()) } else { self.inner.sync() }
    }
}

#[derive(Debug)]
struct PlantedDisk {
    inner: Disk,
    planted: Arc<Planted>,
    /// A flush that was answered and not made.
    owes_flush: AtomicBool,
}

impl PlantedDisk {
    /// The disk, once a flush that it owes is made.
    fn paid(&self) -> CoreResult<&Disk> {
        if self.owes_flush.swap(false, Ordering::Relaxed) {
            self.inner.flush()?;
        }
        Ok(&self.inner)
    }
}

impl PassThrough for PlantedDisk {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> CoreResult<()> {
        self.paid()?.read(offset, buf)?;
        self.planted.reply(buf);
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> CoreResult<()> {
        self.paid()?.write(offset, buf, flags)
    }

    fn write_zeroes(&self, extent: Extent, flags: ZeroFlags) -> CoreResult<()> {
        self.paid()?.write_zeroes(extent, flags)
    }

    fn discard(&self, extent: Extent, flags: DiscardFlags) -> CoreResult<()> {
        self.paid()?.discard(extent, flags)
    }

    fn flush(&self) -> CoreResult<()> {
        if self.planted.flushes_late() {
            self.owes_flush.store(true, Ordering::Relaxed);
            return Ok(());
        }
        self.paid()?.flush()
    }

    fn close(&self) -> CoreResult<()> {
        self.paid()?.close()
    }
}
