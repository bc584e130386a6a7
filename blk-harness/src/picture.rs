//! What a disk and its image file look like before and after the requests of a finding: which bytes are for
//! what. They are made again for it, without what was provoked.

use std::sync::Arc;

use blk_core::{Disk, Extent, MemoryStorage, Region, Result, Role, Storage};

use crate::driver::{Driver, ImageMaker, legal_config};
use crate::execute::{Counting, Executor};
use crate::run::caught;
use crate::scenario::{Request, Scenario};

/// Pieces of a disk that are asked for: a map shows no more.
const RUNS_MAX: usize = 1 << 14;

/// What the disk is made of.
const ZERO: Role = Role { name: "zero", letter: '0' };
const COMPRESSED: Role = Role { name: "compressed data", letter: 'C' };
const UNALLOCATED: Role = Role { name: "not allocated", letter: '.' };
/// What was not asked for.
const UNSEEN: Role = Role { name: "not looked at", letter: '-' };

/// A disk and its image file at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// The disk, from its start to its end.
    pub disk: Vec<Region>,
    /// The image file, by role; empty where its format does not tell.
    pub file: Vec<Region>,
}

/// Before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// Before the first request.
    pub before: Look,
    /// After the last one that was made.
    pub after: Look,
    /// How many requests were made in between.
    pub requests: usize,
}

impl Picture {
    /// Makes the first `count` requests of a scenario of a fresh image in memory, in order. `None` where the
    /// driver is over no storage, or its image cannot be made. A driver that panics leaves what is there by
    /// then.
    pub fn of(driver: &dyn Driver, scenario: &Scenario, count: usize) -> Option<Self> {
        let config = legal_config(driver, &scenario.config).ok()?;
        let images = driver.images(&config).ok()?;
        let fill_bytes = driver.space().geometry(&config).fill_bytes();
        let storage = Arc::new(images.fresh().ok()?);
        let before = Look::of(&*images, &storage);
        let requests = &scenario.requests[..count.min(scenario.requests.len())];
        let made = caught(|| make(&*images, &storage, requests, fill_bytes));
        let after = Look::of(&*images, &storage);
        Some(Self { before, after, requests: made.map_or(requests.len(), |made| made.unwrap_or(0)) })
    }
}

/// Makes requests, whatever the disk says of them; returns how many.
fn make(
    images: &dyn ImageMaker,
    storage: &Arc<MemoryStorage>,
    requests: &[Request],
    fill_bytes: u64,
) -> Result<usize> {
    let open = || images.open(Arc::clone(storage) as Arc<dyn Storage>);
    let mut disk = open()?;
    let mut executor = Executor::default();
    for (number, request) in (1..).zip(requests) {
        if let Request::Reopen { kill } = request {
            let _ = if *kill { disk.flush() } else { disk.close() };
            drop(disk);
            disk = open()?;
        } else {
            let _ = executor.execute(&disk, number, *request, fill_bytes, &mut Counting::default());
        }
    }
    let _ = disk.flush();
    Ok(requests.len())
}

impl Look {
    /// What an image, which may be open, looks like. What cannot be told is left out.
    pub fn of(images: &dyn ImageMaker, image: &MemoryStorage) -> Self {
        let copy = || Arc::new(image.duplicate()) as Arc<dyn Storage>;
        let file = caught(|| images.layout(&copy()).unwrap_or_default()).unwrap_or_default();
        let disk = caught(|| images.open(copy()).and_then(|disk| runs(&disk)).unwrap_or_default());
        Self { file, disk: disk.unwrap_or_default() }
    }
}

/// What a disk says of itself, the first pieces one by one.
///
/// # Errors
/// Those of the driver.
pub fn runs(disk: &Disk) -> Result<Vec<Region>> {
    let size = disk.size();
    let mut regions = Vec::new();
    let mut at = 0;
    while at < size {
        if regions.len() >= RUNS_MAX {
            Region::push(&mut regions, size - at, UNSEEN);
            break;
        }
        let status = disk.block_status(Extent::new(at, size - at))?;
        let role = match status {
            _ if status.zero && status.allocated => ZERO,
            _ if !status.allocated => UNALLOCATED,
            _ if status.compressed => COMPRESSED,
            _ => Role::DATA,
        };
        Region::push(&mut regions, status.length, role);
        at += status.length;
    }
    Ok(regions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FormatDriver;
    use crate::memory::MemoryDisk;

    fn create(storage: &Arc<dyn Storage>, size: u64) -> Result<()> {
        storage.set_len(size)
    }

    fn open(_: Arc<dyn Storage>) -> Result<Disk> {
        MemoryDisk::open(64 << 10)
    }

    fn broken(_: Arc<dyn Storage>) -> Result<Disk> {
        panic!("it cannot be opened")
    }

    #[test]
    fn a_driver_without_roles_shows_its_disk_and_one_that_panics_nothing() {
        let scenario = Scenario::from_text("blk-scenario 1\nwrite 0 4k\nreopen\nread 0 4k\n").unwrap();
        let picture = Picture::of(&FormatDriver::of_functions("plain", create, open), &scenario, 9).unwrap();
        assert_eq!(picture.requests, 3);
        assert!(picture.after.file.is_empty() && !picture.before.disk.is_empty(), "{picture:?}");
        let driver = FormatDriver::of_functions("broken", create, broken);
        let picture = Picture::of(&driver, &scenario, 2).unwrap();
        assert!(picture.after.disk.is_empty(), "{picture:?}");
    }
}
