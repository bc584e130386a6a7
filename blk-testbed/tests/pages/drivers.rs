//! Drivers with a fault, for findings of every engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_core::storage::PassThrough as StoragePassThrough;
use blk_core::{Disk, PassThrough, Region, Result, Storage, WriteFlags};
use blk_harness::Suite;
use blk_harness::driver::{Driver, ImageMaker, Promises};
use blk_harness::plant::{Plant, PlantedDriver};
use blk_harness::runner::{crashes, faults, races, requests};
use blk_harness::scenario::Config;
use blk_harness::space::Space;
use blk_testbed::{QCOW2, Qcow2Target, qemu_io_script};

static WRONG_REPLY: PlantedDriver = PlantedDriver::new(&Qcow2Target, Plant::WrongReply(2));
static UNORDERED: Careless = Careless(Flaw::OneSync);
static DEAF: Careless = Careless(Flaw::SyncsAgain);
static UNLOCKED: Careless = Careless(Flaw::Unlocked);

const fn of_qcow2(suite: Suite) -> Suite {
    suite.of_space(|| &QCOW2).with_script("sh", qemu_io_script).with_expression("my_tests::SUITE")
}

pub(crate) static SUITES: [Suite; 4] = [
    of_qcow2(Suite::new("page_sequence", |purpose| requests(&WRONG_REPLY, purpose))),
    of_qcow2(Suite::new("page_crash", |purpose| crashes(&UNORDERED, purpose))),
    of_qcow2(Suite::new("page_fault", |purpose| faults(&DEAF, purpose))),
    of_qcow2(Suite::new("page_race", |purpose| races(&UNLOCKED, purpose))),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// All syncs of a flush are one, at its end: what they order is in any order after a crash.
    OneSync,
    /// A sync that fails is made again, and counts then.
    SyncsAgain,
    /// A part of a sector is read, changed and written back without a lock.
    Unlocked,
}

/// Our qcow2 driver with a flaw.
#[derive(Debug)]
struct Careless(Flaw);

impl Driver for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn space(&self) -> &'static Space {
        &QCOW2
    }

    fn promises(&self, config: &Config) -> Promises {
        Qcow2Target.promises(config)
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        Ok(Box::new(Images { inner: Qcow2Target.images(config)?, flaw: self.0 }))
    }
}

#[derive(Debug)]
struct Images {
    inner: Box<dyn ImageMaker>,
    flaw: Flaw,
}

impl ImageMaker for Images {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        self.inner.create(storage)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let below = Arc::new(Below { storage, flaw: self.flaw, is_flushing: AtomicBool::new(false) });
        let disk = self.inner.open(below.clone())?;
        let access = disk.access();
        Ok(Disk::new(Above { disk, below }, access))
    }

    fn reference(&self) -> Result<Disk> {
        self.inner.reference()
    }

    fn layout(&self, storage: &Arc<dyn Storage>) -> Result<Vec<Region>> {
        self.inner.layout(storage)
    }
}

#[derive(Debug)]
struct Below {
    storage: Arc<dyn Storage>,
    flaw: Flaw,
    is_flushing: AtomicBool,
}

impl StoragePassThrough for Below {
    fn inner(&self) -> &dyn Storage {
        &*self.storage
    }

    fn sync(&self) -> Result<()> {
        match self.flaw {
            Flaw::OneSync if self.is_flushing.load(Ordering::Relaxed) => Ok(()),
            Flaw::OneSync | Flaw::Unlocked => self.storage.sync(),
            Flaw::SyncsAgain => self.storage.sync().or_else(|_| self.storage.sync()),
        }
    }
}

#[derive(Debug)]
struct Above {
    disk: Disk,
    below: Arc<Below>,
}

impl PassThrough for Above {
    fn inner(&self) -> &Disk {
        &self.disk
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let end = offset + buf.len() as u64;
        let is_part = !offset.is_multiple_of(512) || !end.is_multiple_of(512);
        if self.below.flaw != Flaw::Unlocked || !is_part {
            return self.disk.write(offset, buf, flags);
        }
        let start = offset - offset % 512;
        let mut whole = vec![0; (end.next_multiple_of(512).min(self.disk.size()) - start) as usize];
        self.disk.read(start, &mut whole)?;
        let at = (offset - start) as usize;
        whole[at..at + buf.len()].copy_from_slice(buf);
        self.disk.write(start, &whole, flags)
    }

    fn flush(&self) -> Result<()> {
        if self.below.flaw != Flaw::OneSync {
            return self.disk.flush();
        }
        self.below.is_flushing.store(true, Ordering::Relaxed);
        let flushed = self.disk.flush();
        self.below.is_flushing.store(false, Ordering::Relaxed);
        flushed?;
        Storage::sync(&*self.below)
    }
}
