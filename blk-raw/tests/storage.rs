//! What the driver asks of its storage, and what it makes of a storage that fails.

use std::sync::Arc;

use blk_core::storage::{Effect, FaultRule, FaultStorage, Operation, TraceStorage};
use blk_core::{
    Access, DenyResolver, Disk, Error, MemoryStorage, OptionSpec, Options, Preallocation, Storage, Support,
};
use blk_raw::FORMAT;

const START: u64 = 1000;

fn open(storage: Arc<dyn Storage>, options: Options) -> Disk {
    FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver).unwrap()
}

/// A disk of 2000 bytes that begins inside its file, and storage that can fail.
fn failing() -> (Arc<FaultStorage>, Disk) {
    let fault = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::from_bytes(&[9; 3000]))));
    let disk = open(Arc::clone(&fault) as _, Options::new().with("offset", START));
    (fault, disk)
}

#[test]
fn a_failed_flush_is_never_followed_by_one_that_succeeds() {
    let (fault, disk) = failing();
    disk.flush().unwrap();
    fault.add_rule(FaultRule::fail(5).on(Operation::Sync));
    assert!(matches!(disk.flush(), Err(Error::Io { .. })));
    fault.clear_rules();
    assert!(matches!(disk.flush(), Err(Error::Poisoned { .. })));
}

#[test]
fn space_that_cannot_be_had_leaves_the_disk_as_it_was() {
    for (preallocation, operation) in
        [(Preallocation::Falloc, Operation::WriteZeroes), (Preallocation::Full, Operation::Write)]
    {
        let (fault, disk) = failing();
        let resize = disk.as_resize().unwrap();
        fault.add_rule(FaultRule::fail(28).on(operation));
        resize.grow(5000, preallocation).unwrap_err();
        assert_eq!((disk.size(), fault.len().unwrap()), (2000, 3000));
        fault.clear_rules();
        resize.grow(5000, preallocation).unwrap();
        assert_eq!((disk.size(), fault.len().unwrap()), (5000, 6000));
    }
    let (_, disk) = failing();
    let refused = disk.as_resize().unwrap().grow(5000, Preallocation::Metadata);
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
    assert_eq!(disk.size(), 2000);
}

/// A host may do what it says it could not: the size is what the next open will find.
#[test]
fn a_failed_resize_tells_the_size_that_the_file_has() {
    for (effect, size) in [(Effect::None, 2000), (Effect::All, 4000)] {
        let (fault, disk) = failing();
        fault.add_rule(FaultRule::fail(5).on(Operation::SetLen).with_effect(effect));
        disk.resize(4000).unwrap_err();
        assert_eq!((disk.size(), fault.len().unwrap()), (size, START + size), "{effect:?}");
    }
}

#[test]
fn a_resize_clears_only_what_lies_behind_the_end() {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&[9; 3000]));
    let trace = Arc::new(TraceStorage::new(Arc::clone(&memory), 100));
    let disk = open(Arc::clone(&trace) as _, Options::new().with("offset", START));
    let punched = || {
        let entries = trace.entries();
        let holes = entries.iter().filter(|entry| entry.operation == Operation::PunchHole);
        holes.map(|entry| (entry.extent.offset, entry.extent.length)).collect::<Vec<_>>()
    };
    disk.resize(2500).unwrap();
    assert_eq!(punched(), []);
    memory.set_len(3600).unwrap();
    disk.resize(2600).unwrap();
    assert_eq!(punched(), [(3500, 100)]);
}

/// What is written in pieces ends where it should.
#[test]
fn full_preallocation_has_the_size_that_was_asked_for() {
    for size in [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 5, (3 << 20) + 5] {
        let trace = Arc::new(TraceStorage::new(Arc::new(MemoryStorage::new()), 100));
        let storage: Arc<dyn Storage> = Arc::clone(&trace) as _;
        FORMAT.create(&storage, size, Options::new().with("preallocation", "full")).unwrap();
        assert_eq!(storage.len().unwrap(), size);
        let entries = trace.entries();
        assert_eq!(entries.iter().filter(|entry| entry.operation == Operation::SetLen).count(), 1);
        let writes = entries.iter().filter(|entry| entry.operation == Operation::Write);
        let lengths: Vec<u64> = writes.map(|entry| entry.extent.length).collect();
        assert_eq!(lengths.iter().sum::<u64>(), size);
        assert_eq!(lengths.len() as u64, size.div_ceil(256 << 10));
    }
}

#[test]
fn every_value_that_is_listed_is_taken() {
    let names = |options: &[OptionSpec]| options.iter().map(|option| option.name).collect::<Vec<_>>();
    assert_eq!(names(FORMAT.open_options()), ["offset", "size", "discard"]);
    assert_eq!(names(FORMAT.create_options()), ["size", "nocow", "preallocation", "extent_size_hint"]);
    for option in FORMAT.open_options() {
        for value in option.samples().iter().filter(|value| value.len() <= 3 || option.name == "discard") {
            let storage = Arc::new(MemoryStorage::from_bytes(&[9; 3000]));
            open(storage, Options::new().with(option.name, value.as_str()));
        }
    }
    let built = |option: &&OptionSpec| option.support == Support::Built;
    for option in FORMAT.create_options().iter().filter(built) {
        for value in option.samples() {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
            FORMAT.create(&storage, 10, Options::new().with(option.name, value)).unwrap();
        }
    }
}

#[test]
fn a_raw_disk_says_what_it_is() {
    let disk = open(Arc::new(MemoryStorage::from_bytes(&[9; 3000])), Options::new());
    let info = disk.as_info().unwrap().info().unwrap();
    assert_eq!((info.format, info.cluster_bytes, info.backing), ("raw", None, None));
}

#[test]
fn a_raw_image_is_as_long_as_its_disk() {
    let measured =
        FORMAT.measure(12_345, Options::new().with("preallocation", "off").with("nocow", "on")).unwrap();
    assert_eq!((measured.fully_allocated, measured.unit_bytes), (12_345, 1));
    assert!(measured.allocates_all && !measured.bitmaps && FORMAT.features().is_raw);
    for (name, value) in [("preallocation", "some"), ("colour", "red")] {
        assert!(FORMAT.measure(1, Options::new().with(name, value)).is_err(), "{name}");
    }
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let error = FORMAT.create(&storage, 1, Options::new().with("nocow", "on")).unwrap_err();
    assert_eq!(error.to_string(), "not supported: raw option 'nocow'");
    FORMAT.create(&storage, 1, Options::new().with("nocow", "off").with("extent_size_hint", "0")).unwrap();
}
