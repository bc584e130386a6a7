//! Disks that become smaller, and larger again: what is cut off is gone, and its space is free.

use std::sync::Arc;

use blk_core::storage::{FaultRule, FaultStorage, Operation};
use blk_core::{
    Access, Bitmaps, DenyResolver, Disk, Error, Extent, MemoryStorage, NewSnapshot, Options, Preallocation,
    RepairMode, Snapshots, Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;

use crate::common::{Image, OneBacking, Random};

fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

fn assert_clean(disk: &Disk, what: &str) {
    let report = disk.check(RepairMode::None).unwrap();
    assert!(report.is_clean(), "{what}: {report}");
}

/// A disk of bytes 3, 512 longer than what it lies under at first.
fn below(size: u64) -> Arc<Disk> {
    let storage = Arc::new(MemoryStorage::from_bytes(&vec![3; size as usize]));
    let image = Image::new(size, Options::new());
    let disk = image.open(Options::new());
    disk.write(0, &storage.to_bytes(1 << 30).unwrap(), WriteFlags::default()).unwrap();
    Arc::new(disk)
}

/// What is tried: options of the image, and whether a longer disk lies below.
fn shapes() -> Vec<(Options, u64, bool)> {
    let mut all = Vec::new();
    for (cluster, size) in [(512_u64, 200 << 10), (4096, 900 << 10), (65536, 3 << 20)] {
        for compat in ["0.10", "1.1"] {
            for has_below in [false, true] {
                let options = Options::new().with("cluster_size", cluster).with("compat", compat);
                all.push((options, size, has_below));
            }
        }
    }
    for bits in [1_u64, 2, 64] {
        all.push((
            Options::new().with("cluster_size", 512_u64).with("refcount_bits", bits),
            100 << 10,
            false,
        ));
    }
    for has_below in [false, true] {
        let lazy = Options::new().with("cluster_size", 1024_u64).with("lazy_refcounts", "on");
        all.push((lazy, 300 << 10, has_below));
        let extended = Options::new().with("cluster_size", 16384_u64).with("extended_l2", "on");
        all.push((extended, 700 << 10, has_below));
    }
    all
}

fn step(disk: &Disk, bytes: &mut [u8], random: &mut Random, byte: u8, unit: u64) {
    let size = bytes.len() as u64;
    let start = random.below(size);
    let extent = Extent::between(start, (start + 1 + random.below(size / 3)).min(size));
    let range = extent.offset as usize..extent.end() as usize;
    match random.below(8) {
        0..=3 => {
            disk.write(extent.offset, &vec![byte; range.len()], WriteFlags::default()).unwrap();
            bytes[range].fill(byte);
        }
        4 => {
            disk.write_zeroes(extent, ZeroFlags { may_unmap: byte & 2 == 0, ..ZeroFlags::default() })
                .unwrap();
            bytes[range].fill(0);
        }
        5 => {
            let unit = Extent::new(extent.offset / unit * unit, unit);
            if unit.end() <= size {
                let flags = WriteFlags { compressed: true, ..WriteFlags::default() };
                disk.write(unit.offset, &vec![byte; unit.length as usize], flags).unwrap();
                bytes[unit.offset as usize..unit.end() as usize].fill(byte);
            }
        }
        6 => disk.flush().unwrap(),
        _ => {}
    }
}

/// Sizes at every kind of place: inside a cluster, between two, between two tables, nothing, and back.
#[test]
fn what_is_cut_off_does_not_come_back() {
    for (number, (options, size, has_below)) in shapes().into_iter().enumerate() {
        let base = has_below.then(|| below(size + 512));
        let image = Image::new(size, options.clone());
        let resolver = OneBacking(base.clone());
        let open = || FORMAT.open(image.storage(), Access::ReadWrite, Options::new(), &resolver).unwrap();
        let mut disk = open();
        let mut bytes = vec![if has_below { 3 } else { 0 }; size as usize];
        let mut random = Random(0x9e37_79b9 + number as u64);
        let unit = disk.as_info().unwrap().info().unwrap().cluster_bytes.unwrap();
        for round in 0..24_u8 {
            for inner in 0..4 {
                step(&disk, &mut bytes, &mut random, (round * 4 + inner) | 1, unit);
            }
            let new = match random.below(6) {
                0 => random.below(size),
                1 => random.below(size) / unit * unit,
                2 => size / 2 / (unit * unit / 8) * (unit * unit / 8),
                3 => u64::from(round & 1),
                _ => size,
            }
            .max(512);
            let old = bytes.len() as u64;
            disk.resize(new).unwrap();
            assert_eq!(disk.size(), new);
            bytes.resize(new as usize, 0);
            if random.below(3) == 0 {
                disk.close().unwrap();
                drop(disk);
                disk = open();
            }
            let what = format!("{options:?} below {has_below} round {round}: {old} to {new}");
            assert!(content(&disk) == bytes, "{what}");
            assert_clean(&disk, &what);
        }
    }
}

/// The file ends after the last cluster in use.
#[test]
fn a_smaller_disk_has_a_smaller_file() {
    for (options, size, _) in shapes().into_iter().filter(|(_, _, has_below)| !has_below) {
        let image = Image::new(size, options.clone());
        let empty = image.storage().len().unwrap();
        let disk = image.open(Options::new());
        disk.write(0, &vec![7; size as usize], WriteFlags::default()).unwrap();
        disk.flush().unwrap();
        let full = image.storage().len().unwrap();
        assert!(full >= size, "{options:?}");
        disk.resize(512).unwrap();
        let unit = disk.as_info().unwrap().info().unwrap().cluster_bytes.unwrap();
        // Tables of small clusters have moved on as they grew, and stay.
        let room = if unit < 4096 { full } else { empty + 8 * unit };
        assert!(image.storage().len().unwrap() < room, "{options:?}");
        let mut first = [0; 512];
        disk.read(0, &mut first).unwrap();
        assert_eq!(first, [7; 512]);
        let report = disk.check(RepairMode::None).unwrap();
        assert_eq!(report.allocated_clusters, 1, "{options:?} {unit}");
        disk.close().unwrap();
    }
}

/// A snapshot keeps what it has, and brings it back.
#[test]
fn a_snapshot_keeps_what_the_disk_gives_up() {
    for (options, size, has_below) in shapes() {
        let base = has_below.then(|| below(size + 512));
        let image = Image::new(size, options.clone());
        let resolver = OneBacking(base);
        let disk = FORMAT.open(image.storage(), Access::ReadWrite, Options::new(), &resolver).unwrap();
        disk.write(0, &vec![5; size as usize], WriteFlags::default()).unwrap();
        let made = disk.create_snapshot(&NewSnapshot::default());
        if options == shapes()[12].0 {
            assert!(matches!(made, Err(Error::NoSpace { .. })), "one bit counts one reference");
            continue;
        }
        let id = made.unwrap();
        for new in [size / 2 + 700, 1000, 512] {
            disk.resize(new).unwrap();
            assert_clean(&disk, &format!("{options:?} at {new}"));
            assert!(content(&disk) == vec![5; new as usize], "{options:?} at {new}");
        }
        disk.resize(size).unwrap();
        assert!(content(&disk)[512..].iter().all(|byte| *byte == 0), "{options:?}");
        disk.apply_snapshot(&id).unwrap();
        assert!(content(&disk) == vec![5; size as usize], "{options:?}");
        disk.delete_snapshot(&id).unwrap();
        assert_clean(&disk, "without it");
        disk.close().unwrap();
    }
}

#[test]
fn bits_of_bitmaps_behind_the_end_do_not_come_back() {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", 4096_u64));
    let disk = image.open(Options::new());
    disk.add_bitmap("all", 4096, true).unwrap();
    disk.write(0, &vec![1; 1 << 20], WriteFlags::default()).unwrap();
    disk.resize(100 << 10).unwrap();
    disk.resize(1 << 20).unwrap();
    for _ in 0..2 {
        let runs = disk.bitmap_run("all", Extent::new(0, 1 << 20)).unwrap();
        assert_eq!(runs, (100 << 10, true));
        let rest = disk.bitmap_run("all", Extent::between(100 << 10, 1 << 20)).unwrap();
        assert_eq!(rest, ((1 << 20) - (100 << 10), false));
        disk.close().unwrap();
        assert_clean(&disk, "bitmaps");
    }
    let disk = image.open(Options::new());
    assert_eq!(disk.bitmap_run("all", Extent::new(0, 1 << 20)).unwrap(), (100 << 10, true));
}

#[test]
fn a_smaller_disk_allocates_nothing() {
    let image = Image::new(1 << 20, Options::new());
    let disk = image.open(Options::new());
    let error = disk.grow(1 << 19, Preallocation::Full).unwrap_err();
    assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
    assert_eq!(disk.size(), 1 << 20);
}

/// What cannot be given back is found before anything changes.
#[test]
fn a_broken_entry_behind_the_end_refuses_a_smaller_size() {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", 4096_u64));
    let disk = image.open(Options::new());
    disk.write(512 << 10, &[9; 4096], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let l2 = (image.field(image.field(40) as usize) & 0x00ff_ffff_ffff_fe00) as usize;
    let entry = l2 + 8 * 128;
    for (broken, what) in [(1_u64 << 63 | 0x0fff_f000_0000, "past the end"), (1 << 63 | 0x1200, "unaligned")]
    {
        let mut bytes = image.bytes();
        bytes[entry..entry + 8].copy_from_slice(&broken.to_be_bytes());
        let damaged = Image::from_bytes(&bytes);
        let disk = damaged.open(Options::new());
        assert!(matches!(disk.resize(4096), Err(Error::Corrupt { .. })), "{what}");
        assert_eq!(disk.size(), 1 << 20, "{what}");
    }
}

/// Places that are reserved in a table that a snapshot has, too: the copy of the table is made before the
/// size changes, or, where the host is full, nothing changes.
#[test]
fn a_table_with_reserved_places_is_copied_first() {
    let create = Options::new().with("cluster_size", 16_384_u64).with("extended_l2", "on");
    let image = Image::new(1 << 20, create.with("preallocation", "metadata"));
    let fault = Arc::new(FaultStorage::new(image.storage()));
    let storage = Arc::clone(&fault) as Arc<dyn Storage>;
    let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    disk.write(0, &vec![5; 100_000], WriteFlags::default()).unwrap();
    disk.create_snapshot(&NewSnapshot::default()).unwrap();
    let end = image.storage().len().unwrap();
    for operation in [Operation::Write, Operation::SetLen, Operation::WriteZeroes] {
        let rule = FaultRule::fail(28).on(operation).sticky();
        let past = Extent::between(end, 1 << 40);
        fault.add_rule(if operation == Operation::SetLen { rule } else { rule.within(past) });
    }
    let refused = disk.resize(300 << 10);
    assert!(refused.is_err(), "there is no room for a copy");
    assert_eq!(disk.size(), 1 << 20, "{refused:?}");
    drop(disk);
    let disk = image.open(Options::new());
    assert_eq!(disk.size(), 1 << 20, "nothing has changed");
    disk.resize(300 << 10).unwrap();
    let mut expected = vec![5; 100_000];
    expected.resize(300 << 10, 0);
    assert!(content(&disk) == expected);
    assert_clean(&disk, "shrunk");
}
