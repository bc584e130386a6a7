//! The conformance suite over every kind of storage, and what is raw's own.

use std::sync::Arc;

use blk_core::storage::{DiskStorage, FaultStorage, TraceStorage};
use blk_core::testing::{Maker, conformance};
use blk_core::{Access, DenyResolver, Disk, Error, FileStorage, MemoryStorage, Options, Result, Storage};
use blk_raw::FORMAT;

type Medium = Arc<dyn Storage>;

/// Makes raw disks on what the function returns.
struct Raw(fn() -> Medium);

impl Maker for Raw {
    type Medium = Medium;

    fn make(&self, size: u64) -> Result<Medium> {
        let storage = self.0();
        FORMAT.create(&storage, size, Options::new())?;
        Ok(storage)
    }

    fn open(&self, medium: &Medium, access: Access) -> Result<Disk> {
        FORMAT.open(Arc::clone(medium), access, Options::new(), &DenyResolver)
    }
}

fn memory() -> Medium {
    Arc::new(MemoryStorage::new())
}

#[test]
fn raw_in_memory_conforms() {
    conformance(&Raw(memory));
}

#[test]
fn raw_in_a_file_conforms() {
    conformance(&Raw(|| Arc::new(FileStorage::from_file(tempfile::tempfile().unwrap()).unwrap())));
}

#[test]
fn raw_on_a_disk_on_layers_conforms() {
    conformance(&Raw(|| {
        let disk = FORMAT.open(memory(), Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        let storage = Arc::new(DiskStorage::new(Arc::new(disk)));
        Arc::new(TraceStorage::new(Arc::new(FaultStorage::new(storage)), 100))
    }));
}

#[test]
fn a_window_shows_its_part_and_nothing_else() {
    let storage: Medium = Arc::new(MemoryStorage::from_bytes(&[9; 3000]));
    let options = Options::new().with("offset", 1000u64).with("size", 500u64);
    let disk = FORMAT.open(Arc::clone(&storage), Access::ReadWrite, options, &DenyResolver).unwrap();
    assert_eq!(disk.size(), 500);
    disk.write(0, &[1; 500], blk_core::WriteFlags::default()).unwrap();
    assert!(matches!(disk.resize(600), Err(Error::Unsupported { .. })));
    let mut all = [0; 3000];
    storage.read_at(0, &mut all).unwrap();
    assert!(all[..1000].iter().chain(&all[1500..]).all(|byte| *byte == 9) && all[1000..1500] == [1; 500]);
}

#[test]
fn a_window_outside_the_file_is_refused_by_name() {
    for (options, word) in [
        (Options::new().with("offset", 3001u64), "3001 lies past the end"),
        (Options::new().with("offset", 2000u64).with("size", 1001u64), "1001 bytes from offset 2000"),
        (Options::new().with("discard", "maybe"), "'maybe'"),
        (Options::new().with("colour", "red"), "colour"),
    ] {
        let storage: Medium = Arc::new(MemoryStorage::from_bytes(&[9; 3000]));
        let error = FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
