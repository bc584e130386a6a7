//! A driver that makes other operations from one run to the next, as one in another process may: the number
//! of an operation is not enough to say what fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blk_core::{Access, Disk, PassThrough, Result, Storage, WriteFlags};
use blk_harness::driver::{Driver, ImageMaker};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::scenario::Config;
use blk_harness::statistics::Counter;
use blk_harness::{MemoryDisk, Outcome};

use super::plain::{self, Plain};
use super::{IMAGE, SIZE_BYTES, scenario};

/// How often the first sector is read besides.
const MORE: usize = 3;

/// When it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// When a fresh image is opened, every second time.
    Open,
    /// Before the first write, in all runs but the first. It is left out if such a read fails: a bug.
    Write,
}

#[derive(Debug)]
struct Strays {
    when: When,
    runs: Arc<AtomicU64>,
}

impl Driver for Strays {
    fn name(&self) -> &'static str {
        "strays"
    }

    fn image_config(&self) -> Option<&Config> {
        Some(&IMAGE)
    }

    fn images(&self, _config: &Config) -> Result<Box<dyn ImageMaker>> {
        Ok(Box::new(Self { when: self.when, runs: Arc::clone(&self.runs) }))
    }
}

impl ImageMaker for Strays {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        storage.set_len(SIZE_BYTES)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let mut first = [0; 512];
        storage.read_at(0, &mut first)?;
        let run = if first == [0; 512] { self.runs.fetch_add(1, Ordering::Relaxed) } else { 0 };
        if self.when == When::Open && run % 2 == 1 {
            read_more(&*storage)?;
        }
        let disk = Disk::new(Plain::open(Arc::clone(&storage), plain::Bug::None)?, Access::ReadWrite);
        let left = AtomicU64::new(u64::from(self.when == When::Write && run > 0));
        Ok(Disk::new(ReadsMore { disk, storage, left }, Access::ReadWrite))
    }

    fn reference(&self) -> Result<Disk> {
        MemoryDisk::open(SIZE_BYTES)
    }
}

fn read_more(storage: &dyn Storage) -> Result<()> {
    (0..MORE).try_for_each(|_| storage.read_at(0, &mut [0; 512]))
}

/// Reads before the next write, if any are left.
#[derive(Debug)]
struct ReadsMore {
    disk: Disk,
    storage: Arc<dyn Storage>,
    left: AtomicU64,
}

impl PassThrough for ReadsMore {
    fn inner(&self) -> &Disk {
        &self.disk
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        if self.left.swap(0, Ordering::Relaxed) > 0 && read_more(&*self.storage).is_err() {
            return Ok(());
        }
        self.disk.write(offset, buf, flags)
    }
}

fn sweep(when: When, requests: &str) -> (Outcome, FaultEngine) {
    let driver = Strays { when, runs: Arc::default() };
    let mut engine = FaultEngine::new(FaultOptions::default());
    let outcome = engine.run(&driver, &scenario(requests, 0));
    (outcome, engine)
}

#[test]
fn a_fault_that_would_strike_elsewhere_is_skipped_and_counted() {
    // A close that fails is none of what is judged.
    let (outcome, engine) = sweep(When::Open, "write 0 4k\nreopen\nwrite 4k 512\nflush\nread 0 8k");
    assert_eq!(outcome, Outcome::Clean);
    let [faults, skipped] = [Counter::Faults, Counter::SkippedFaults].map(|it| engine.stats().get(it));
    assert!(skipped > faults / 4 && skipped < faults, "{skipped} of {faults}");
}

#[test]
fn what_has_failed_is_told_and_not_what_was_to_fail() {
    let (outcome, _) = sweep(When::Write, "write 0 512\nflush");
    let Outcome::Finding(finding) = outcome else { panic!("a write is left out: {outcome:?}") };
    let report = finding.report();
    assert!(
        report.contains("fails: Read") && report.contains("was another one: Write of 0..512"),
        "{report}"
    );
}
