//! Making a finding smaller ends when its time is over, whatever one try takes, and within a bound of memory:
//! for every engine, for the longest scenarios, over small and large clusters.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blk_core::storage::PassThrough as StoragePassThrough;
use blk_core::{Access, Check, Disk, PassThrough, Result, Storage};
use blk_harness::driver::{Driver, ImageMaker, Promises};
use blk_harness::generate::{Generator, Limits};
use blk_harness::reproduce;
use blk_harness::runner::{self, Purpose, Runner};
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space::Space;
use blk_harness::watch::Watched;
use blk_testbed::Qcow2Target;

/// What the minimiser may hold, bytes.
const MEMORY_MAX: u64 = 512 << 20;
/// Its time here, and how much later it may end on a busy machine. A try takes up to a minute.
const TIME: Duration = Duration::from_secs(3);
const LATE_MAX: Duration = Duration::from_secs(12);

/// When a handle reads wrongly: late is when the file has a 64th of the disk, so that few requests
/// can be left out.
#[derive(Debug, Clone, Copy)]
enum Bug {
    /// It was opened late.
    OpenedLate,
    /// An operation of its storage has failed, late.
    FailedLate,
}

/// qcow2, with one bug.
#[derive(Debug)]
struct Late(Bug);

#[derive(Debug)]
struct Images(Bug, u64, Box<dyn ImageMaker>);

#[derive(Debug)]
struct Noting {
    inner: Arc<dyn Storage>,
    has_failed: AtomicBool,
}

#[derive(Debug)]
struct Handle {
    inner: Disk,
    storage: Arc<Noting>,
    bug: Bug,
    late_bytes: u64,
    was_opened_late: bool,
}

impl Driver for Late {
    fn name(&self) -> &'static str {
        "late"
    }

    fn space(&self) -> &'static Space {
        Qcow2Target.space()
    }

    fn promises(&self, config: &Config) -> Promises {
        Qcow2Target.promises(config)
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        Ok(Box::new(Images(self.0, config.size_bytes / 64, Qcow2Target.images(config)?)))
    }
}

impl ImageMaker for Images {
    fn create(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        self.2.create(storage)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let storage = Arc::new(Noting { inner: storage, has_failed: AtomicBool::new(false) });
        let inner = self.2.open(storage.clone())?;
        let was_opened_late = storage.inner.len()? > self.1;
        let handle = Handle { inner, storage, bug: self.0, late_bytes: self.1, was_opened_late };
        Ok(Disk::new(handle, Access::ReadWrite))
    }

    fn reference(&self) -> Result<Disk> {
        self.2.reference()
    }
}

impl Noting {
    fn note<T>(&self, result: Result<T>) -> Result<T> {
        self.has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }
}

impl StoragePassThrough for Noting {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.note(self.inner.write_at(offset, buf))
    }

    fn sync(&self) -> Result<()> {
        self.note(self.inner.sync())
    }
}

impl Handle {
    fn is_wrong(&self) -> bool {
        match self.bug {
            Bug::OpenedLate => self.was_opened_late,
            Bug::FailedLate => {
                self.storage.has_failed.load(Ordering::Relaxed)
                    && self.storage.inner.len().is_ok_and(|length| length > self.late_bytes)
            }
        }
    }
}

impl PassThrough for Handle {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read(offset, buf)?;
        if let (Some(byte), true) = (buf.last_mut(), self.is_wrong()) {
            *byte ^= 0x40;
        }
        Ok(())
    }

    fn as_check(&self) -> Option<&dyn Check> {
        self.inner.as_check()
    }
}

static OPENED: Late = Late(Bug::OpenedLate);
static FAILED: Late = Late(Bug::FailedLate);

/// So many requests, all over a disk.
fn long(requests: usize, size_bytes: u64, cluster: &str, lanes: u8) -> Scenario {
    let config = Config { size_bytes, lanes, ..Config::default() }.with("cluster_size", cluster);
    let limits = Limits {
        requests_min: requests,
        requests_max: requests,
        disk_bytes_max: size_bytes,
        data_bytes_max: 64 << 20,
        lanes_max: lanes,
        config: Some(config),
        ..Limits::default()
    };
    Generator::new(Qcow2Target.space(), 5, limits).next().expect("a generator does not end")
}

/// The most that this process has held so far, bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Returns how many requests are left; `None` where one try takes longer than there is time.
fn shrunk(name: &str, start: impl Fn(Purpose) -> Box<dyn Runner>, scenario: &Scenario) -> Option<usize> {
    let outcome = start(Purpose::Minimise).run(scenario);
    let finding = outcome.finding().unwrap_or_else(|| panic!("{name} finds nothing: {outcome:?}"));
    let begun = Instant::now();
    let on_hang = Box::new(|_: &_| panic!("it goes on"));
    let runner = start(Purpose::Minimise);
    let mut watched = Watched::until(runner, Duration::from_mins(1), on_hang, Some(begun + TIME));
    let judge = |candidate: &Scenario| watched.run(candidate);
    let space = Qcow2Target.space();
    let smallest = reproduce::shrink(space, judge, scenario, finding, || begun.elapsed() > TIME);
    let (time, peak) = (begun.elapsed(), peak());
    let left = smallest.as_ref().map(|smallest| (smallest.scenario.requests.len(), smallest.tries));
    println!("{name}: {left:?} requests left and tries, {time:?}, {} MiB", peak >> 20);
    assert!(time < TIME + LATE_MAX, "{name}: {time:?}");
    assert!(peak < MEMORY_MAX, "{name}: {} MiB", peak >> 20);
    left.map(|(requests, _)| requests)
}

/// Each engine with long scenarios on large disks, as far as it takes these in a moment.
#[test]
fn the_minimiser_keeps_its_bounds() {
    for cluster in ["4k", "2M"] {
        let name = |engine: &str| format!("{engine}, clusters of {cluster}");
        let requests = |purpose| runner::requests(&OPENED, purpose);
        let left = shrunk(&name("sequence"), requests, &long(3000, 2 << 30, cluster, 0));
        assert!(left.is_some_and(|left| left < 3000), "{left:?}");
        let _ = shrunk(
            &name("crash"),
            |purpose| runner::crashes(&OPENED, purpose),
            &long(3000, 8 << 20, cluster, 0),
        );
        let _ = shrunk(
            &name("fault"),
            |purpose| runner::faults(&FAILED, purpose),
            &long(300, 64 << 20, cluster, 0),
        );
        let _ = shrunk(
            &name("race"),
            |purpose| runner::races(&OPENED, purpose),
            &long(3000, 64 << 20, cluster, 3),
        );
    }
}
