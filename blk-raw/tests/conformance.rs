//! The conformance suite over every kind of storage.

use std::sync::Arc;

use blk_core::storage::{DiskStorage, FaultStorage, StorageLimits, StrictStorage, TraceStorage};
use blk_core::testing::{Maker, conformance};
use blk_core::{Access, DenyResolver, Disk, FileStorage, MemoryStorage, Options, Result, Storage};
use blk_raw::FORMAT;

type Medium = Arc<dyn Storage>;

/// Makes raw disks on what the function returns.
struct Raw {
    storage: fn() -> Medium,
    discard: &'static str,
}

impl Maker for Raw {
    type Medium = Medium;

    fn make(&self, size: u64) -> Result<Medium> {
        let storage = (self.storage)();
        FORMAT.create(&storage, size, Options::new())?;
        Ok(storage)
    }

    fn open(&self, medium: &Medium, access: Access) -> Result<Disk> {
        let options = Options::new().with("discard", self.discard);
        FORMAT.open(Arc::clone(medium), access, options, &DenyResolver)
    }

    /// More than 2^40, so that no offset is held in too few bits anywhere.
    fn large_bytes(&self) -> u64 {
        (1 << 41) + 513
    }
}

fn conforms(storage: fn() -> Medium) {
    for discard in ["unmap", "ignore"] {
        conformance(&Raw { storage, discard });
    }
}

fn memory() -> Medium {
    Arc::new(MemoryStorage::new())
}

fn disk_in_memory() -> Arc<Disk> {
    Arc::new(FORMAT.open(memory(), Access::ReadWrite, Options::new(), &DenyResolver).unwrap())
}

#[test]
fn raw_in_memory_conforms() {
    conforms(memory);
}

#[test]
fn raw_in_a_file_conforms() {
    conforms(|| Arc::new(FileStorage::from_file(tempfile::tempfile().unwrap()).unwrap()));
}

/// A file system in memory cannot zero a range without a detour.
#[test]
fn raw_in_a_file_in_memory_conforms() {
    if tempfile::tempfile_in("/dev/shm").is_err() {
        eprintln!("SKIPPED: there is no file system at /dev/shm");
        return;
    }
    conforms(|| Arc::new(FileStorage::from_file(tempfile::tempfile_in("/dev/shm").unwrap()).unwrap()));
}

#[test]
fn raw_on_a_disk_conforms() {
    conforms(|| Arc::new(DiskStorage::new(disk_in_memory())));
}

#[test]
fn raw_on_layers_conforms() {
    conforms(|| {
        let disk = DiskStorage::new(disk_in_memory());
        Arc::new(TraceStorage::new(Arc::new(FaultStorage::new(Arc::new(disk))), 100))
    });
}

fn strict<const ALIGNMENT: u64, const MEMORY: u64>() -> Medium {
    let limits = StorageLimits { alignment: ALIGNMENT, memory_alignment: MEMORY };
    Arc::new(StrictStorage::new(memory(), limits))
}

#[test]
fn raw_on_a_host_that_demands_alignment_conforms() {
    let opened = |storage: Medium| {
        let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        disk.limits().multi_conn
    };
    assert!(opened(memory()), "plain writes do not disturb one another");
    assert!(!opened(strict::<512, 1>()), "two handles would undo what the other writes into a unit");
    for storage in [strict::<512, 1>, strict::<512, 4096>, strict::<4096, 512>, strict::<4096, 4096>] {
        conforms(storage);
    }
}

/// A window in the midst of a file, between bytes that must not change.
struct Window;

const MARGIN_BYTES: u64 = 777;

impl Maker for Window {
    type Medium = (Medium, u64);

    fn make(&self, size: u64) -> Result<Self::Medium> {
        let storage = memory();
        for margin in [0, MARGIN_BYTES + size] {
            storage.write_at(margin, &[0xab; MARGIN_BYTES as usize])?;
        }
        Ok((storage, size))
    }

    fn open(&self, (storage, size): &Self::Medium, access: Access) -> Result<Disk> {
        for margin in [0, MARGIN_BYTES + size] {
            let mut bytes = [0; MARGIN_BYTES as usize];
            storage.read_at(margin, &mut bytes)?;
            assert!(bytes == [0xab; MARGIN_BYTES as usize], "bytes outside the window have changed");
        }
        let options = Options::new().with("offset", MARGIN_BYTES).with("size", *size);
        FORMAT.open(Arc::clone(storage), access, options, &DenyResolver)
    }
}

#[test]
fn a_window_conforms_and_changes_nothing_around_it() {
    conformance(&Window);
}
