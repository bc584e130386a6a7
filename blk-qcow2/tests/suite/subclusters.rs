//! Extended L2 entries: what a request costs, what it leaves, and what a check says of wrong bitmaps.

use std::sync::Arc;

use crate::common::handmade::Handmade;
use crate::common::{Image, OneBacking};
use blk_core::storage::{Operation, TraceStorage};
use blk_core::{
    Access, BlockStatus, DenyResolver, DiscardFlags, Disk, Extent, Options, Preallocation, RepairMode,
    WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;

const KIB: u64 = 1 << 10;
const SUBCLUSTER: u64 = 2 * KIB;
const CLUSTER: u64 = 64 * KIB;
/// The first L2 table of a small image, and its first data cluster.
const L2: usize = 4 << 16;
const DATA: u64 = 5 << 16;
const UNMAP: ZeroFlags = ZeroFlags { may_unmap: true, fua: false, no_fallback: false, fast_only: false };

fn extended() -> Options {
    Options::new().with("extended_l2", "on")
}

fn write(disk: &Disk, at: u64, byte: u8, length: u64) {
    disk.write(at, &vec![byte; length as usize], WriteFlags::default()).unwrap();
}

fn zero(disk: &Disk, at: u64, length: u64, flags: ZeroFlags) {
    disk.write_zeroes(Extent::new(at, length), flags).unwrap();
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut content = vec![0xee; disk.size() as usize];
    disk.read(0, &mut content).unwrap();
    content
}

fn must_be_clean(disk: &Disk) {
    let checked = disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
}

/// A disk of so many bytes, all `0x99`.
fn backing(bytes: u64) -> Arc<Disk> {
    let disk = Image::new(bytes, Options::new()).open(Options::new());
    write(&disk, 0, 0x99, bytes);
    Arc::new(disk)
}

fn over(image: &Image, backing: Option<Arc<Disk>>) -> Disk {
    FORMAT.open(image.storage(), Access::ReadWrite, Options::new(), &OneBacking(backing)).unwrap()
}

/// Length, whether it is allocated and zero, and the host offset of each run.
fn runs(disk: &Disk) -> Vec<(u64, bool, bool, Option<u64>)> {
    let mut at = 0;
    let mut runs = Vec::new();
    while at < disk.size() {
        let BlockStatus { length, allocated, zero, host_offset, .. } =
            disk.block_status(Extent::between(at, disk.size())).unwrap();
        runs.push((length, allocated, zero, host_offset));
        at += length;
    }
    runs
}

#[test]
fn a_write_copies_up_to_the_ends_of_its_subclusters() {
    for (at, length, expected) in [
        (0, SUBCLUSTER, (0, SUBCLUSTER)),
        (4 * KIB, 4 * KIB, (4 * KIB, 4 * KIB)),
        (5000, 100, (4096, SUBCLUSTER)),
        (4096, 2049, (4096, 2 * SUBCLUSTER)),
        (CLUSTER - 1, 2, (CLUSTER - SUBCLUSTER, 2 * SUBCLUSTER)),
        (100, 3 * CLUSTER, (0, 3 * CLUSTER + SUBCLUSTER)),
    ] {
        let image = Image::new(1 << 20, extended());
        let trace = Arc::new(TraceStorage::new(image.storage(), 10_000));
        let resolver = OneBacking(Some(backing(1 << 20)));
        let disk =
            FORMAT.open(Arc::clone(&trace) as _, Access::ReadWrite, Options::new(), &resolver).unwrap();
        write(&disk, at, 7, length);
        let data: Vec<Extent> = trace
            .entries()
            .iter()
            .filter(|entry| entry.operation == Operation::Write && entry.extent.offset >= DATA)
            .map(|entry| entry.extent)
            .collect();
        let start = DATA + expected.0 % CLUSTER;
        let written: u64 = data.iter().map(|extent| extent.length).sum();
        assert_eq!((data[0].offset.min(start), written), (start, expected.1), "{at}+{length}: {data:?}");
        let mut shown = vec![0x99; 1 << 20];
        shown[at as usize..(at + length) as usize].fill(7);
        assert!(content(&disk) == shown, "{at}+{length}");
        must_be_clean(&disk);
    }
}

#[test]
fn subclusters_of_one_cluster_are_filled_in_place() {
    let image = Image::new(1 << 20, extended());
    let disk = over(&image, Some(backing(300 * KIB)));
    for at in [31, 0, 17, 16, 5] {
        write(&disk, at * SUBCLUSTER + 10, at as u8 + 1, 100);
    }
    zero(&disk, 17 * SUBCLUSTER, SUBCLUSTER, ZeroFlags::default());
    let data = |number: u64, count: u64| (count * SUBCLUSTER, true, false, Some(DATA + number * SUBCLUSTER));
    let reserved =
        |number: u64, count: u64| (count * SUBCLUSTER, false, false, Some(DATA + number * SUBCLUSTER));
    let zeroes = (SUBCLUSTER, true, true, Some(DATA + 17 * SUBCLUSTER));
    let expected = [
        data(0, 1),
        reserved(1, 4),
        data(5, 1),
        reserved(6, 10),
        data(16, 1),
        zeroes,
        reserved(18, 13),
        data(31, 1),
    ];
    assert_eq!(runs(&disk)[..8], expected);
    // What was zeroed is filled again.
    write(&disk, 17 * SUBCLUSTER + 3, 8, 3);
    assert_eq!(runs(&disk)[4], data(16, 2));
    let mut shown = vec![0; SUBCLUSTER as usize];
    shown[3..6].fill(8);
    assert_eq!(content(&disk)[17 * SUBCLUSTER as usize..18 * SUBCLUSTER as usize], shown);
    must_be_clean(&disk);
}

#[test]
fn parts_of_clusters_are_zeroed_by_marks_and_whole_ones_are_given_back() {
    let image = Image::new(1 << 20, extended());
    let disk = image.open(Options::new());
    write(&disk, 0, 1, 4 * CLUSTER);
    zero(&disk, SUBCLUSTER, CLUSTER, UNMAP);
    zero(&disk, 2 * CLUSTER, CLUSTER, UNMAP);
    zero(&disk, 3 * CLUSTER, CLUSTER, ZeroFlags::default());
    let found = runs(&disk);
    let expected = [
        (SUBCLUSTER, true, false, Some(DATA)),
        (CLUSTER, true, true, Some(DATA + SUBCLUSTER)),
        (CLUSTER - SUBCLUSTER, true, false, Some(DATA + CLUSTER + SUBCLUSTER)),
        (CLUSTER, true, true, None),
        (CLUSTER, true, true, Some(DATA + 3 * CLUSTER)),
    ];
    assert_eq!(found[..5], expected);
    disk.discard(Extent::new(0, 2 * CLUSTER - SUBCLUSTER), DiscardFlags::default()).unwrap();
    assert_eq!(runs(&disk)[0], (CLUSTER, true, true, None), "a part of the second cluster is left alone");
    must_be_clean(&disk);
}

/// Requests of every kind at odd places, against what they have to leave.
#[test]
fn requests_at_random_leave_what_they_have_to() {
    for (seed, cluster_size, below) in
        [(1, 16, 0), (2, 16, 200 * KIB + 77), (3, 64, 1 << 20), (4, 128, 700 * KIB)]
    {
        let image = Image::new(1 << 20, extended().with("cluster_size", cluster_size * KIB));
        let backing = (below > 0).then(|| backing(below));
        let mut disk = over(&image, backing.clone());
        let mut shown = vec![0; 1 << 20];
        shown[..below as usize].fill(0x99);
        let mut state: u64 = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005_u64).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for number in 0..600_u64 {
            let unit = [1, 512, SUBCLUSTER, cluster_size * KIB][random(4) as usize];
            let at = random((1 << 20) / unit) * unit;
            let length = (random(5) * unit + random(2) * 700).min((1 << 20) - at);
            let range = at as usize..(at + length) as usize;
            match random(8) {
                0..4 => {
                    write(&disk, at, number as u8, length);
                    shown[range].fill(number as u8);
                }
                4 | 5 => {
                    let flags = if random(2) == 0 { UNMAP } else { ZeroFlags::default() };
                    zero(&disk, at, length, flags);
                    shown[range].fill(0);
                }
                6 => {
                    let at = at / (cluster_size * KIB) * cluster_size * KIB;
                    let flags = WriteFlags { compressed: true, ..WriteFlags::default() };
                    let cluster = vec![number as u8; (cluster_size * KIB) as usize];
                    disk.write(at, &cluster, flags).unwrap();
                    shown[at as usize..][..cluster.len()].fill(number as u8);
                }
                _ => {
                    must_be_clean(&disk);
                    drop(disk);
                    disk = over(&image, backing.clone());
                }
            }
            if number % 20 == 0 {
                assert!(content(&disk) == shown, "{seed}: after request {number}");
            }
        }
        assert!(content(&disk) == shown, "{seed}");
        must_be_clean(&disk);
    }
}

#[test]
fn what_a_disk_gains_reads_as_zeroes() {
    for mode in [Preallocation::Off, Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full] {
        for old in [100 * KIB, 100 * KIB + 512, 128 * KIB, 1000] {
            let image = Image::new(old, extended());
            let disk = over(&image, Some(backing(1 << 20)));
            write(&disk, old - 600, 5, 600);
            disk.as_resize().unwrap().grow(512 * KIB, mode).unwrap();
            let mut shown = vec![0x99; 512 * KIB as usize];
            shown[(old - 600) as usize..old as usize].fill(5);
            shown[old as usize..].fill(0);
            assert!(content(&disk) == shown, "{mode:?} {old}");
            must_be_clean(&disk);
        }
    }
}

/// Two guest clusters have one host cluster, as with a snapshot: a write to one leaves the other.
#[test]
fn a_shared_cluster_is_copied_from_its_first_data_to_its_last() {
    let image = Image::new(1 << 20, extended());
    let disk = image.open(Options::new());
    write(&disk, 2 * SUBCLUSTER, 1, SUBCLUSTER);
    write(&disk, 20 * SUBCLUSTER, 2, SUBCLUSTER);
    zero(&disk, 10 * SUBCLUSTER, SUBCLUSTER, ZeroFlags::default());
    zero(&disk, 30 * SUBCLUSTER, SUBCLUSTER, ZeroFlags::default());
    disk.close().unwrap();
    let mut made = Handmade::new(&image);
    made.put(L2, 8, DATA);
    made.put(L2 + 16, 8, DATA);
    let bitmap = made.get(L2 + 8, 8);
    assert_eq!(bitmap, 1 << 62 | 1 << 42 | 1 << 20 | 1 << 2);
    made.put(L2 + 24, 8, bitmap);
    made.count(DATA, 1);
    let image = made.image();
    let disk = image.open(Options::new());
    must_be_clean(&disk);
    write(&disk, 5 * SUBCLUSTER + 9, 3, 1);
    zero(&disk, CLUSTER + 20 * SUBCLUSTER, SUBCLUSTER, ZeroFlags::default());
    disk.flush().unwrap();
    // Zeroes change the bitmap alone; what was copied is in a row.
    assert_eq!(image.field(L2 + 24), 1 << 62 | 1 << 42 | 1 << 52 | 1 << 2);
    assert_eq!(image.field(L2 + 8), 1 << 62 | ((1 << 21) - (1 << 2)));
    let mut shown = vec![0; 2 * CLUSTER as usize];
    let part = |number: u64| (number * SUBCLUSTER) as usize..((number + 1) * SUBCLUSTER) as usize;
    shown[part(2)].fill(1);
    shown[part(20)].fill(2);
    shown[5 * SUBCLUSTER as usize + 9] = 3;
    shown[part(34)].fill(1);
    assert!(content(&disk)[..2 * CLUSTER as usize] == shown);
    // The other entry has the cluster alone now, and no flag: as with a snapshot, whose flags say nothing.
    let checked = disk.check(RepairMode::None).unwrap();
    assert_eq!((checked.corruptions, checked.leaks), (1, 0), "{checked}");
    assert!(
        checked.to_string().contains("OFLAG_COPIED data cluster: l2_entry=50000 refcount=1"),
        "{checked}"
    );
}

fn with_data() -> Handmade {
    let image = Image::new(1 << 20, extended());
    let disk = image.open(Options::new());
    write(&disk, 0, 1, 2 * SUBCLUSTER);
    let flags = WriteFlags { compressed: true, ..WriteFlags::default() };
    disk.write(CLUSTER, &vec![2; CLUSTER as usize], flags).unwrap();
    disk.close().unwrap();
    Handmade::new(&image)
}

#[test]
fn wrong_bitmaps_fail_a_read_are_found_and_are_repaired_without_loss() {
    let both = "ERROR offset=50000: Allocated cluster has corrupted subcluster allocation bitmap";
    let nowhere = "ERROR: Unallocated cluster has non-zero subcluster allocation map";
    let compressed = "ERROR compressed cluster 1 with non-zero subcluster allocation bitmap, \
                      entry=0x4000000000060000";
    for (index, descriptor, bitmap, message, after) in [
        (0, None, 1 << 32 | 3, both, 3),
        (0, None, 7 << 32 | 3, both, 4 << 32 | 3),
        (3, Some(0), 1, nowhere, 0),
        (3, Some(0), 1 << 40 | 1 << 8, nowhere, 1 << 40),
        (1, None, 1, compressed, 0),
        (1, None, 1 << 63, compressed, 0),
        (0, Some(DATA | 1 << 63 | 1), 3, "reserved bits are set", 3),
        (3, Some(1), 0, "reserved bits are set", 0),
    ] {
        let mut made = with_data();
        let at = L2 + 16 * index;
        let old = made.get(at, 8);
        made.put(at, 8, descriptor.unwrap_or(old));
        made.put(at + 8, 8, bitmap);
        let image = made.image();
        let mut buf = vec![0; SUBCLUSTER as usize];
        let error =
            image.open(Options::new()).read(index as u64 * CLUSTER, &mut buf).unwrap_err().to_string();
        assert!(error.contains("L2 entry"), "{error}");
        let (found, repaired) = made.checked_and_repaired();
        assert!(found.contains(message), "{bitmap:#x}: {found}");
        assert_eq!(repaired.field(at + 8), after, "{bitmap:#x}");
        let disk = repaired.open(Options::new());
        let shown = content(&disk);
        assert!(shown[..2 * SUBCLUSTER as usize].iter().all(|byte| *byte == 1), "{bitmap:#x}: data is kept");
        assert!(shown[CLUSTER as usize..2 * CLUSTER as usize].iter().all(|byte| *byte == 2), "{bitmap:#x}");
    }
}

/// A cluster that is not counted because its entry is wrong is not given back.
#[test]
fn repairing_leaks_keeps_a_compressed_cluster_with_a_bitmap() {
    let mut made = with_data();
    made.put(L2 + 16 + 8, 8, 1);
    let image = made.image();
    let disk = image.open(Options::new());
    let report = disk.check(RepairMode::Leaks).unwrap();
    assert_eq!((report.corruptions, report.leaks_fixed), (1, 0), "{report}");
    drop(disk);
    assert_eq!(image.bytes(), made.bytes, "nothing is changed");
}

#[test]
fn clusters_are_large_enough() {
    for cluster_size in [512_u64, 8 * KIB] {
        let error = Image::try_new(1 << 20, extended().with("cluster_size", cluster_size)).unwrap_err();
        let expected = format!("need clusters of 16384 bytes, not {cluster_size}");
        assert!(error.to_string().contains(&expected), "{error}");
    }
    let error = Image::try_new(1 << 20, extended().with("compat", "0.10")).unwrap_err().to_string();
    assert!(error.contains("extended_l2") && error.contains("version 2"), "{error}");
    let image = Image::new(1 << 20, Options::new().with("cluster_size", 8 * KIB));
    let mut bytes = image.bytes();
    bytes[79] |= 1 << 4;
    let storage = Image::from_bytes(&bytes).storage();
    let error =
        FORMAT.open(storage, Access::ReadOnly, Options::new(), &DenyResolver).unwrap_err().to_string();
    assert!(error.contains("cluster_bits is 13"), "{error}");
}

#[test]
fn preallocated_clusters_show_the_backing_file() {
    for mode in ["metadata", "falloc", "full"] {
        let options = || Options::new().with("preallocation", mode).with("backing_file", "below");
        let error = Image::try_new(1 << 20, options()).unwrap_err().to_string();
        assert!(error.contains("hide the backing file"), "{error}");
        let image = Image::new(1 << 20, options().with("extended_l2", "on"));
        let disk = image.open(Options::new().with("backing", "off"));
        assert_eq!(runs(&disk).len(), 1, "all of it has a place: {:?}", runs(&disk));
        assert_eq!(runs(&disk)[0].3, Some(DATA), "{mode}");
        must_be_clean(&disk);
        disk.as_overlay().unwrap().set_backing(None).unwrap();
        disk.close().unwrap();
        let disk = over(&image, Some(backing(1 << 20)));
        assert!(content(&disk).iter().all(|byte| *byte == 0x99));
        write(&disk, 77, 1, 1);
        assert_eq!(content(&disk)[76..80], [0x99, 1, 0x99, 0x99]);
        must_be_clean(&disk);
    }
}
