//! Full hosts and failing ones: requests fail, nothing else does.

use std::sync::Arc;

use crate::common::Image;
use blk_core::storage::{Effect, FaultRule, FaultStorage, Operation};
use blk_core::{
    Access, DenyResolver, DiscardFlags, Error, Extent, MemoryStorage, Options, RepairMode, Storage,
    WriteFlags,
};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 4096;

fn create() -> Options {
    Options::new().with("cluster_size", CLUSTER)
}

/// Writes until the host is full, discards, and writes again: what was freed can be used.
#[test]
fn a_full_host_fails_the_request_and_nothing_else() {
    let image = Image::limited(1 << 20, create(), 40 * CLUSTER);
    let disk = image.open(Options::new());
    let mut written = 0;
    let error = loop {
        match disk.write(written * CLUSTER, &[written as u8 + 1; CLUSTER as usize], WriteFlags::default()) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(written > 30, "{written}");
    let check_all = |count: u64| {
        for cluster in 0..count {
            let mut read = [0; CLUSTER as usize];
            disk.read(cluster * CLUSTER, &mut read).unwrap();
            assert!(read.iter().all(|byte| *byte == cluster as u8 + 1), "cluster {cluster}");
        }
    };
    check_all(written);
    disk.discard(Extent::new((written - 4) * CLUSTER, 4 * CLUSTER), DiscardFlags::default()).unwrap();
    disk.write(100 * CLUSTER, &[0xaa; 2 * CLUSTER as usize], WriteFlags::default()).unwrap();
    check_all(written - 4);
    disk.flush().unwrap();
    let checked = disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
}

/// Every operation on the storage fails in turn, before it does anything and after all of it: no panic, no
/// corruption, and after a reopen each cluster holds its old or its new bytes.
#[test]
fn no_failing_operation_corrupts_the_image() {
    let run = |disk: &blk_core::Disk| -> Vec<blk_core::Result<()>> {
        let mut results = Vec::new();
        for round in 0..3u64 {
            results.push(disk.write(round * 100_000, &[round as u8 + 1; 10_000], WriteFlags::default()));
            results.push(disk.discard(Extent::new(round * 100_000 + 4096, 4096), DiscardFlags::default()));
            results.push(disk.write(200, &[0x50 + round as u8; 300], WriteFlags::default()));
            results.push(disk.flush());
        }
        results
    };
    let setup = || {
        let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        FORMAT.create(&memory, 1 << 20, create()).unwrap();
        let fault = Arc::new(FaultStorage::new(memory));
        let storage: Arc<dyn Storage> = Arc::clone(&fault) as _;
        let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        (fault, disk)
    };
    let (fault, disk) = setup();
    let opened = fault.operation_count();
    assert!(run(&disk).iter().all(Result::is_ok));
    let operations = fault.operation_count() - opened;
    assert!(operations > 20, "{operations}");
    for effect in [Effect::None, Effect::Half, Effect::All] {
        for skip in 0..operations {
            let (fault, disk) = setup();
            fault.add_rule(FaultRule::fail(5).after(skip).with_effect(effect));
            let results = run(&disk);
            assert!(results.iter().any(Result::is_err), "operation {skip} failed silently");
            drop(disk);
            fault.clear_rules();
            let storage: Arc<dyn Storage> = Arc::clone(&fault) as _;
            let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
            let checked = disk.check(RepairMode::None).unwrap();
            assert_eq!(checked.corruptions, 0, "operation {skip} {effect:?}: {checked}");
            let repaired = disk.check(RepairMode::All).unwrap();
            assert!(repaired.is_repaired(), "{repaired}");
            disk.write(500_000, &[1; 15_000], WriteFlags::default()).unwrap();
            disk.flush().unwrap();
            assert!(disk.check(RepairMode::None).unwrap().is_clean());
        }
    }
}

/// Operation kinds that the sweep relies on exist for this driver: it syncs, punches, and sets lengths.
#[test]
fn a_failed_sync_poisons_the_handle_until_it_is_opened_again() {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    FORMAT.create(&memory, 1 << 20, create()).unwrap();
    let fault = Arc::new(FaultStorage::new(Arc::clone(&memory)));
    let storage: Arc<dyn Storage> = Arc::clone(&fault) as _;
    let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    disk.write(0, &[1; 5000], WriteFlags::default()).unwrap();
    fault.add_rule(FaultRule::fail(5).on(Operation::Sync));
    assert!(matches!(disk.flush(), Err(Error::Io { .. })));
    assert!(matches!(disk.flush(), Err(Error::Poisoned { .. })));
    assert!(matches!(disk.write(0, &[1], WriteFlags::default()), Err(Error::Poisoned { .. })));
    disk.read(0, &mut [0; 512]).unwrap();
    drop(disk);
    let disk = FORMAT.open(memory, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    disk.write(0, &[1], WriteFlags::default()).unwrap();
    disk.flush().unwrap();
}
