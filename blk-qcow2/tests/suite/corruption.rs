//! Corrupt metadata that a request meets: the image says so from then on, and is not written any more.

use std::sync::Arc;

use blk_core::storage::{DiskStorage, MemoryStorage};
use blk_core::{
    Access, Bitmaps, DenyResolver, DiscardFlags, Disk, Error, Extent, NewSnapshot, Options, RepairMode,
    Result, Snapshots, Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;

use crate::common::{Image, OneBacking, patch};

const CLUSTER: u64 = 65_536;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;
const COMPRESSED: WriteFlags = WriteFlags { compressed: true, fua: false };
const UNMAPPING: ZeroFlags = ZeroFlags { may_unmap: true, fua: false, no_fallback: false, fast_only: false };

fn open(storage: Arc<dyn Storage>, access: Access) -> Result<Disk> {
    FORMAT.open(storage, access, Options::new(), &DenyResolver)
}

/// An image with data at 0, compressed data at 1 MiB, a snapshot and a bitmap.
fn healthy(compat: &str) -> Vec<u8> {
    let image = Image::new(4 << 20, Options::new().with("compat", compat));
    let disk = image.open(Options::new());
    disk.write(0, &vec![7; 4 * CLUSTER as usize], WriteFlags::default()).unwrap();
    disk.write(1 << 20, &vec![5; CLUSTER as usize], COMPRESSED).unwrap();
    if compat == "1.1" {
        disk.add_bitmap("bits", CLUSTER, true).unwrap();
    }
    disk.close().unwrap();
    image.bytes()
}

struct Places {
    l1: usize,
    l2: usize,
    /// Of guest offset 0.
    data: u64,
    table: usize,
    block: usize,
}

fn number(image: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(image[at..at + 8].try_into().unwrap())
}

fn places(image: &[u8]) -> Places {
    let l1 = number(image, 40) as usize;
    let l2 = (number(image, l1) & OFFSET) as usize;
    let table = number(image, 48) as usize;
    Places { l1, l2, data: number(image, l2) & OFFSET, table, block: number(image, table) as usize }
}

type Damage = fn(&mut [u8], &Places);

fn entry(image: &mut [u8], at: usize, value: u64) {
    patch(image, at, &value.to_be_bytes());
}

fn count(image: &mut [u8], places: &Places, offset: u64, count: u16) {
    patch(image, places.block + (offset / CLUSTER) as usize * 2, &count.to_be_bytes());
}

/// Each kind of corrupt entry, and the requests that have to meet it: of [`REQUESTS`], by their names.
const KINDS: [(&str, Damage, &str); 17] = [
    (
        "L1 unaligned",
        |image, at| entry(image, at.l1, (at.l2 as u64 + 512) | COPIED),
        "read map write zero discard",
    ),
    (
        "L1 reserved",
        |image, at| entry(image, at.l1, at.l2 as u64 | COPIED | 1),
        "read map write zero discard",
    ),
    (
        "L1 past the end",
        |image, at| entry(image, at.l1, 1 << 40 | COPIED),
        "read map write zero discard snapshot",
    ),
    ("L1 to the header", |image, at| entry(image, at.l1, COPIED), "read map write zero discard"),
    (
        "L2 unaligned",
        |image, at| entry(image, at.l2, (at.data + 512) | COPIED),
        "read map write zero discard",
    ),
    (
        "L2 reserved",
        |image, at| entry(image, at.l2, at.data | COPIED | 2),
        "read map write zero discard snapshot",
    ),
    (
        "L2 past the end",
        |image, at| entry(image, at.l2, 1 << 40 | COPIED),
        "read map write zero discard snapshot",
    ),
    ("L2 flag alone", |image, at| entry(image, at.l2, COPIED), "read map write zero discard snapshot"),
    ("L2 to the L1 table", |image, at| entry(image, at.l2, at.l1 as u64 | COPIED), "write discard snapshot"),
    ("L2 to itself", |image, at| entry(image, at.l2, at.l2 as u64 | COPIED), "write discard snapshot"),
    ("L2 to a block", |image, at| entry(image, at.l2, at.block as u64 | COPIED), "write discard snapshot"),
    ("L2 to the table", |image, at| entry(image, at.l2, at.table as u64 | COPIED), "write discard snapshot"),
    ("data uncounted", |image, at| count(image, at, at.data, 0), "discard snapshot"),
    ("L2 table uncounted", |image, at| count(image, at, at.l2 as u64, 0), "snapshot"),
    (
        "block unaligned",
        |image, at| entry(image, at.table, at.block as u64 + 512),
        "new discard snapshot bitmap",
    ),
    ("block past the end", |image, at| entry(image, at.table, 1 << 40), "new snapshot bitmap"),
    ("table counted as free", |image, at| count(image, at, at.l2 as u64, 0), "new bitmap"),
];

/// What is asked for.
type Request = fn(&Disk) -> Result<()>;

const REQUESTS: [(&str, Request); 9] = [
    ("read", |disk| disk.read(100, &mut [0; 1000])),
    ("map", |disk| disk.block_status(Extent::new(0, CLUSTER)).map(drop)),
    ("write", |disk| disk.write(100, &[1; 1000], WriteFlags::default())),
    ("new", |disk| disk.write(2 << 20, &[1; 1000], WriteFlags::default()).and_then(|()| disk.flush())),
    ("zero", |disk| disk.write_zeroes(Extent::new(0, CLUSTER), UNMAPPING)),
    ("discard", |disk| disk.discard(Extent::new(0, CLUSTER), DiscardFlags::default())),
    ("resize", |disk| disk.resize(700 << 20)),
    ("snapshot", |disk| disk.create_snapshot(&NewSnapshot::default()).map(drop)),
    ("bitmap", |disk| disk.add_bitmap("new", CLUSTER, false)),
];

/// Every request on every kind of damage: one that meets it fails and leaves a mark, and nothing is written
/// after that; one that does not leaves none.
#[test]
fn every_kind_of_corrupt_entry_is_marked_by_whatever_meets_it() {
    for (kind, damage, meets) in KINDS {
        let mut image = healthy("1.1");
        let at = places(&image);
        damage(&mut image, &at);
        for (name, request) in REQUESTS {
            let what = format!("{kind}: {name}");
            let storage = Arc::new(MemoryStorage::from_bytes(&image));
            let disk = open(Arc::clone(&storage) as _, Access::ReadWrite).unwrap();
            let answer = request(&disk);
            if meets.split(' ').any(|word| word == name) {
                assert!(matches!(answer, Err(Error::Corrupt { .. })), "{what}: {answer:?}");
            }
            let marked = storage.to_bytes(1 << 30).unwrap();
            let is_corrupt = matches!(answer, Err(Error::Corrupt { .. }));
            assert_eq!(marked[79] & 2 != 0, is_corrupt, "{what}: {answer:?}");
            if !is_corrupt {
                continue;
            }
            must_be_read_only(&disk, &what);
            assert!(storage.to_bytes(1 << 30).unwrap() == marked, "{what}");
            drop(disk);
            let refused = open(Arc::clone(&storage) as _, Access::ReadWrite).unwrap_err().to_string();
            assert!(refused.contains("marked corrupt"), "{what}: {refused}");
            let disk = open(Arc::clone(&storage) as _, Access::ReadOnly).unwrap();
            assert!(disk.info().unwrap().details.iter().any(|(name, value)| {
                *name == "corrupt" && matches!(value, blk_core::Detail::Switch(true))
            }));
            must_be_repaired(storage, &what);
        }
    }
}

fn must_be_read_only(disk: &Disk, what: &str) {
    for (name, request) in REQUESTS.into_iter().filter(|(name, _)| !["read", "map"].contains(name)) {
        let refused = request(disk);
        assert!(matches!(refused, Err(Error::Poisoned { .. })), "{what}, then {name}: {refused:?}");
    }
    assert!(matches!(disk.flush(), Err(Error::Poisoned { .. })), "{what}");
    // What nothing is wrong with can be read.
    disk.read(3 << 20, &mut [1; 512]).ok();
}

fn must_be_repaired(storage: Arc<MemoryStorage>, what: &str) {
    let storage = storage as Arc<dyn Storage>;
    let report = FORMAT.check(&storage, RepairMode::All).unwrap().unwrap();
    assert!(report.is_repaired(), "{what}: {report}");
    let disk =
        open(Arc::clone(&storage), Access::ReadWrite).unwrap_or_else(|error| panic!("{what}: {error}"));
    disk.write(0, &[3; 1000], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    assert!(disk.check(RepairMode::None).unwrap().is_clean(), "{what}");
}

#[test]
fn an_image_that_is_open_for_reading_is_never_written() {
    for (kind, damage, _) in KINDS {
        let mut image = healthy("1.1");
        let at = places(&image);
        damage(&mut image, &at);
        let storage = Arc::new(MemoryStorage::from_bytes(&image));
        let disk = open(Arc::clone(&storage) as _, Access::ReadOnly).unwrap();
        for (_, request) in REQUESTS {
            let _ = request(&disk);
        }
        assert!(storage.to_bytes(1 << 30).unwrap() == image, "{kind}");
    }
}

/// Version 2 has no bit: the handle alone refuses.
#[test]
fn version_2_is_not_written_any_more_either() {
    for (kind, damage, meets) in KINDS {
        if !meets.contains("read") {
            continue;
        }
        let mut image = healthy("0.10");
        let at = places(&image);
        damage(&mut image, &at);
        let storage = Arc::new(MemoryStorage::from_bytes(&image));
        let disk = open(Arc::clone(&storage) as _, Access::ReadWrite).unwrap();
        assert!(matches!(disk.read(0, &mut [0; 512]), Err(Error::Corrupt { .. })), "{kind}");
        assert!(disk.write(3 << 20, &[1; 512], WriteFlags::default()).is_err(), "{kind}");
        assert!(storage.to_bytes(1 << 30).unwrap() == image, "{kind}");
    }
}

/// Compressed data that is broken is lost, and no table is wrong.
#[test]
fn broken_compressed_data_is_no_corrupt_metadata() {
    let mut image = healthy("1.1");
    let at = places(&image);
    let descriptor = number(&image, at.l2 + 16 * 8);
    let host = (descriptor & ((1 << 54) - 1)) as usize;
    patch(&mut image, host, &[0xff; 16]);
    let storage = Arc::new(MemoryStorage::from_bytes(&image));
    let disk = open(Arc::clone(&storage) as _, Access::ReadWrite).unwrap();
    assert!(matches!(disk.read(1 << 20, &mut [0; 512]), Err(Error::Corrupt { .. })));
    disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    assert_eq!(storage.to_bytes(1 << 30).unwrap()[79] & 2, 0);
}

/// What a backing file says about itself is no word about the image over it.
#[test]
fn a_corrupt_backing_file_marks_nothing_above_it() {
    for (kind, damage, meets) in KINDS {
        let mut image = healthy("1.1");
        let at = places(&image);
        damage(&mut image, &at);
        let base: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&image));
        let base = Arc::new(open(Arc::clone(&base), Access::ReadOnly).unwrap());
        for levels in [1, 2] {
            let mut below = Arc::clone(&base);
            let mut storages = Vec::new();
            for _ in 0..levels {
                let overlay = Image::new(4 << 20, Options::new());
                let resolver = OneBacking(Some(below));
                let opened = FORMAT.open(overlay.storage(), Access::ReadWrite, Options::new(), &resolver);
                below = Arc::new(opened.unwrap());
                storages.push(overlay);
            }
            let disk = below;
            // A whole cluster: nothing of it is copied from below.
            disk.write(3 << 20, &vec![9; CLUSTER as usize], WriteFlags::default()).unwrap();
            let read = disk.read(0, &mut [0; 512]);
            let is_io = matches!(read, Err(Error::Io { .. }));
            assert_eq!(is_io, meets.contains("read"), "{kind}: {read:?}");
            // A part of a cluster is copied from below.
            let copied = disk.write(100, &[1; 100], WriteFlags::default());
            assert_eq!(copied.is_err(), is_io, "{kind}: {copied:?}");
            for (_, request) in REQUESTS {
                let _ = request(&disk);
            }
            disk.write((3 << 20) + 512, &[8; 512], WriteFlags::default())
                .unwrap_or_else(|error| panic!("{kind}: {error}"));
            disk.close().unwrap();
            for overlay in storages {
                assert_eq!(overlay.bytes()[79] & 2, 0, "{kind}");
            }
        }
    }
}

/// The same for a disk that an image lies in.
#[test]
fn a_corrupt_disk_marks_no_image_inside_it() {
    let inner = Image::new(8 << 20, Options::new());
    let storage = || -> Arc<dyn Storage> { Arc::new(DiskStorage::new(Arc::new(inner.open(Options::new())))) };
    let outer = storage();
    FORMAT.create(&outer, 4 << 20, Options::new()).unwrap();
    let disk = open(outer, Access::ReadWrite).unwrap();
    disk.write(0, &vec![7; 2 * CLUSTER as usize], WriteFlags::default()).unwrap();
    let host = disk.block_status(Extent::new(CLUSTER, CLUSTER)).unwrap().host_offset.unwrap();
    disk.close().unwrap();
    drop(disk);
    let mut bytes = inner.bytes();
    let at = places(&bytes);
    entry(&mut bytes, at.l2 + (host / CLUSTER) as usize * 8, COPIED | 0x1200);
    let inner = Image::from_bytes(&bytes);
    let below = Arc::new(inner.open(Options::new()));
    let disk = open(Arc::new(DiskStorage::new(Arc::clone(&below))), Access::ReadWrite).unwrap();
    let error = disk.read(CLUSTER, &mut [0; 512]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("the disk below"), "{error}");
    let mut header = [0; 512];
    below.read(0, &mut header).unwrap();
    assert_eq!(header[79] & 2, 0, "the image inside is not marked");
    assert_eq!(inner.bytes()[79] & 2, 2, "the one that is corrupt is");
    let mut read = [0; 512];
    disk.read(0, &mut read).unwrap();
    assert_eq!(read, [7; 512]);
}
