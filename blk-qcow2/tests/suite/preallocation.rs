//! Disks that grow with all of their new clusters allocated: what is written for it, and what is read
//! afterwards.

use std::sync::Arc;

use crate::common::Image;
use blk_core::storage::{FaultRule, FaultStorage, Operation, TraceStorage};
use blk_core::{
    Access, CheckReport, DenyResolver, DiscardFlags, Disk, Extent, MapResolver, MemoryStorage, Options,
    Preallocation, RepairMode, Storage, WriteFlags,
};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 512;
/// Guest bytes of an L2 table.
const REACH: u64 = 64 * CLUSTER;
/// Four and a half clusters.
const OLD: u64 = 4 * CLUSTER + 256;
const NEW: u64 = 3 * REACH + 5 * CLUSTER + 100;

fn create(size: u64) -> Image {
    Image::new(size, Options::new().with("cluster_size", CLUSTER))
}

fn grow(disk: &Disk, size: u64, preallocation: Preallocation) -> blk_core::Result<()> {
    disk.as_resize().unwrap().grow(size, preallocation)
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut content = vec![0xee; disk.size() as usize];
    disk.read(0, &mut content).unwrap();
    content
}

fn clean(disk: &Disk) -> CheckReport {
    let checked = disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
    checked
}

/// Writes and zeroes of growing from `old` to `new`, as far as they are about data: how many of each, and
/// their bytes.
fn cost(old: u64, new: u64, preallocation: Preallocation) -> ([u64; 2], [u64; 2]) {
    let image = create(old);
    let trace = Arc::new(TraceStorage::new(image.storage(), 100_000));
    let disk =
        FORMAT.open(Arc::clone(&trace) as _, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    let before = trace.operation_count();
    grow(&disk, new, preallocation).unwrap();
    let entries = trace.entries();
    let of = |operation| {
        let these = entries.iter().filter(|entry| entry.number > before && entry.operation == operation);
        let lengths: Vec<u64> = these.map(|entry| entry.extent.length).collect();
        [lengths.len() as u64, lengths.iter().sum()]
    };
    assert!(content(&disk).iter().all(|byte| *byte == 0));
    clean(&disk);
    (of(Operation::Write), of(Operation::WriteZeroes))
}

#[test]
fn each_kind_of_preallocation_allocates_every_new_cluster() {
    for preallocation in [Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full] {
        for (old, new, allocated) in [
            (OLD, NEW, 3 * 64 + 6 - 4),
            (4 * CLUSTER, NEW, 3 * 64 + 6 - 4),
            (OLD, OLD + 10, 1),
            (0, 1, 1),
            (REACH, REACH + CLUSTER, 1),
        ] {
            let image = create(old);
            let disk = image.open(Options::new());
            let written = old.min(100) as usize;
            disk.write(0, &vec![7; written], WriteFlags::default()).unwrap();
            grow(&disk, new, preallocation).unwrap();
            let read = content(&disk);
            assert!(read[..written].iter().all(|byte| *byte == 7));
            assert!(read[written..].iter().all(|byte| *byte == 0));
            let first = u64::from(written > 0);
            assert_eq!(clean(&disk).allocated_clusters, allocated + first, "{preallocation:?} {old} {new}");
            // What is allocated costs nothing to write.
            let length = image.storage().len().unwrap();
            disk.write(old, &vec![8; (new - old) as usize], WriteFlags::default()).unwrap();
            disk.flush().unwrap();
            assert_eq!(image.storage().len().unwrap(), length, "{preallocation:?} {old} {new}");
            assert!(content(&disk)[old as usize..].iter().all(|byte| *byte == 8));
            clean(&disk);
        }
    }
}

/// The cluster in which the old disk ends is there already: everything after it is allocated nevertheless.
#[test]
fn what_is_allocated_already_is_passed_over() {
    for preallocation in [Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full] {
        let image = create(OLD);
        let disk = image.open(Options::new());
        disk.write(OLD - 10, &[7; 10], WriteFlags::default()).unwrap();
        grow(&disk, NEW, preallocation).unwrap();
        assert_eq!(clean(&disk).allocated_clusters, 3 * 64 + 6 - 4, "{preallocation:?}");
        assert!(content(&disk)[OLD as usize - 10..OLD as usize] == [7; 10]);
    }
}

/// Metadata alone writes no zeroes into new clusters; `full` writes all of them, at most 256 KiB at once.
#[test]
fn preallocation_writes_what_was_asked_for() {
    let clusters = 3 * 64 + 6 - 4;
    let metadata = cost(OLD, NEW, Preallocation::Metadata);
    assert_eq!(metadata.1, [0, 0]);
    let falloc = cost(OLD, NEW, Preallocation::Falloc);
    assert_eq!((falloc.0, falloc.1[1]), (metadata.0, clusters * CLUSTER));
    let full = cost(OLD, NEW, Preallocation::Full);
    assert_eq!(full.1, [0, 0]);
    assert_eq!(full.0[1], metadata.0[1] + clusters * CLUSTER);
    assert_eq!(full.0[0] - metadata.0[0], falloc.1[0], "a run of clusters is one write");
    // The old end's cluster is no other one when it is a whole one.
    let aligned = cost(4 * CLUSTER, NEW, Preallocation::Metadata);
    assert_eq!(aligned, metadata);
    assert_eq!(cost(OLD, OLD, Preallocation::Full), ([0, 0], [0, 0]));
    let off = cost(OLD, NEW, Preallocation::Off);
    assert!(off.0[1] < metadata.0[1] && off.1 == [0, 0], "{off:?}");
}

#[test]
fn large_runs_are_written_in_pieces() {
    let write = |size: u64| {
        let image = Image::new(0, Options::new());
        let trace = Arc::new(TraceStorage::new(image.storage(), 100_000));
        let disk =
            FORMAT.open(Arc::clone(&trace) as _, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        grow(&disk, size, Preallocation::Full).unwrap();
        clean(&disk);
        let entries = trace.entries();
        let writes = entries.iter().filter(|entry| entry.operation == Operation::Write);
        // Pieces of data: tables are written in parts of 4 KiB at most.
        writes.map(|entry| entry.extent.length).filter(|length| *length > 4096).collect::<Vec<_>>()
    };
    let cluster = 64 << 10;
    assert_eq!(write(3 * cluster), [3 * cluster]);
    // The first new cluster is the host's fifth, and pieces meet at multiples of 256 KiB.
    assert_eq!(write(4 * cluster), [3 * cluster, cluster]);
    assert_eq!(write(9 * cluster), [3 * cluster, 4 * cluster, 2 * cluster]);
}

/// Clusters that were used before are used again, and what they held does not show.
#[test]
fn used_clusters_are_zeroed() {
    for preallocation in [Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full] {
        let image = create(REACH);
        let disk = image.open(Options::new().with("pass-discard-request", "off"));
        disk.write(0, &vec![7; REACH as usize], WriteFlags::default()).unwrap();
        disk.flush().unwrap();
        let length = image.storage().len().unwrap();
        disk.discard(Extent::new(0, REACH), DiscardFlags::default()).unwrap();
        disk.flush().unwrap();
        grow(&disk, REACH + 60 * CLUSTER, preallocation).unwrap();
        assert!(content(&disk).iter().all(|byte| *byte == 0), "{preallocation:?}");
        assert!(image.storage().len().unwrap() <= length + 2 * CLUSTER, "{preallocation:?}");
        clean(&disk);
    }
}

/// What the backing file has past the old end is hidden; before it, it is visible.
#[test]
fn a_disk_below_is_hidden_behind_the_old_end() {
    for version in ["0.10", "1.1"] {
        for (backing_bytes, preallocation) in [
            (OLD - 300, Preallocation::Metadata),
            (OLD, Preallocation::Metadata),
            (2 * REACH + 70, Preallocation::Metadata),
            (2 * REACH + 70, Preallocation::Falloc),
            (2 * REACH + 70, Preallocation::Full),
        ] {
            let backing = create(backing_bytes).open(Options::new());
            backing.write(0, &vec![5; backing_bytes as usize], WriteFlags::default()).unwrap();
            let options = Options::new().with("cluster_size", CLUSTER).with("compat", version);
            let image = Image::new(OLD, options.with("backing_file", "base"));
            let resolver = MapResolver::single("base", Arc::new(backing));
            let disk = FORMAT.open(image.storage(), Access::ReadWrite, Options::new(), &resolver).unwrap();
            grow(&disk, NEW, preallocation).unwrap();
            let mut expected = vec![0; NEW as usize];
            expected[..backing_bytes.min(OLD) as usize].fill(5);
            assert!(content(&disk) == expected, "{version} {backing_bytes} {preallocation:?}");
            clean(&disk);
            // Metadata keeps what marks the clusters as zero; anything else makes them data.
            let status = disk.block_status(Extent::new(REACH, CLUSTER)).unwrap();
            let keeps = version == "1.1" && backing_bytes > OLD && preallocation == Preallocation::Metadata;
            assert_eq!(status.zero, keeps, "{version} {backing_bytes} {preallocation:?}: {status:?}");
            assert!(status.host_offset.is_some());
        }
    }
}

/// A cluster that the old disk has nothing of keeps its mark like all others.
#[test]
fn an_old_end_at_a_cluster_is_no_cluster_of_the_old_disk() {
    let backing = create(REACH).open(Options::new());
    backing.write(0, &vec![5; REACH as usize], WriteFlags::default()).unwrap();
    let old = 4 * CLUSTER;
    let image = Image::new(old, Options::new().with("cluster_size", CLUSTER).with("backing_file", "base"));
    let resolver = MapResolver::single("base", Arc::new(backing));
    let disk = FORMAT.open(image.storage(), Access::ReadWrite, Options::new(), &resolver).unwrap();
    grow(&disk, 8 * CLUSTER, Preallocation::Metadata).unwrap();
    for cluster in 4..8 {
        let status = disk.block_status(Extent::new(cluster * CLUSTER, CLUSTER)).unwrap();
        assert!(status.zero && status.host_offset.is_some(), "{cluster}: {status:?}");
    }
    assert!(content(&disk)[..old as usize].iter().all(|byte| *byte == 5));
    clean(&disk);
}

/// Space that cannot be had is given back.
#[test]
fn a_failed_preallocation_leaks_nothing() {
    for (preallocation, operation, skip) in
        [(Preallocation::Falloc, Operation::WriteZeroes, 1), (Preallocation::Full, Operation::Write, 3)]
    {
        let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        FORMAT.create(&memory, OLD, Options::new().with("cluster_size", CLUSTER)).unwrap();
        let fault = Arc::new(FaultStorage::new(memory));
        let disk =
            FORMAT.open(Arc::clone(&fault) as _, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
        fault.add_rule(FaultRule::fail(28).on(operation).after(skip));
        grow(&disk, NEW, preallocation).unwrap_err();
        fault.clear_rules();
        assert_eq!(disk.size(), OLD);
        disk.flush().unwrap();
        let checked = disk.check(RepairMode::None).unwrap();
        assert!(checked.is_clean(), "{preallocation:?}: {checked}");
        grow(&disk, NEW, preallocation).unwrap();
        assert!(content(&disk).iter().all(|byte| *byte == 0));
        clean(&disk);
    }
}

/// Free host clusters that lie apart are taken one by one, and no cluster of the disk is left out.
#[test]
fn clusters_that_lie_apart_are_all_allocated() {
    const TINY: u64 = 512;
    let (old, new) = (1400, 2100);
    let image = Image::new(old * TINY, Options::new().with("cluster_size", TINY));
    let disk = image.open(Options::new());
    disk.write(0, &vec![7; (old * TINY) as usize], WriteFlags::default()).unwrap();
    for cluster in (0..old).step_by(2) {
        disk.discard(Extent::new(cluster * TINY, TINY), DiscardFlags::default()).unwrap();
    }
    disk.flush().unwrap();
    grow(&disk, new * TINY, Preallocation::Metadata).unwrap();
    assert_eq!(clean(&disk).allocated_clusters, old / 2 + (new - old));
    assert!(content(&disk)[(old * TINY) as usize..].iter().all(|byte| *byte == 0));
}
