//! External data files: what lies where, what reaches a raw one, what is refused, and what a check says.

use std::sync::Arc;

use crate::common::log::LogStorage;
use crate::common::{Image, patch};
use blk_core::storage::{FaultRule, FaultStorage, Operation};
use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, ErrorKind, Extent, MapResolver, MemoryStorage, NewSnapshot,
    Options, Preallocation, RepairMode, Resolver, Result, Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;

const UNMAP: ZeroFlags = ZeroFlags { may_unmap: true, fua: false, no_fallback: false, fast_only: false };
const CLUSTER: u64 = 4096;

/// An image and its data file, both in memory.
#[derive(Debug)]
struct Pair {
    image: Arc<MemoryStorage>,
    data: Arc<MemoryStorage>,
    resolver: MapResolver,
}

impl Pair {
    fn of(image: Arc<MemoryStorage>, data: Arc<MemoryStorage>) -> Self {
        let mut resolver = MapResolver::default();
        resolver.insert_storage("data", Arc::clone(&data) as _, Access::ReadWrite);
        Self { image, data, resolver }
    }

    fn try_new(size: u64, options: Options) -> Result<Self> {
        let pair = Self::of(Arc::default(), Arc::default());
        let image: Arc<dyn Storage> = Arc::clone(&pair.image) as _;
        FORMAT.create_with(&image, size, options.with("data_file", "data"), &pair.resolver)?;
        Ok(pair)
    }

    fn new(size: u64, options: Options) -> Self {
        Self::try_new(size, options).expect("the options are legal")
    }

    fn try_open(&self, options: Options) -> Result<Disk> {
        FORMAT.open(Arc::clone(&self.image) as _, Access::ReadWrite, options, &self.resolver)
    }

    fn open(&self) -> Disk {
        self.try_open(Options::new()).expect("the image opens")
    }

    /// The data file, with zeroes past its end, as far as a disk of `size` bytes reaches.
    fn content(&self, size: u64) -> Vec<u8> {
        let mut bytes = vec![0xee; size as usize];
        self.data.read_at(0, &mut bytes).unwrap();
        bytes
    }

    fn image_bytes(&self) -> Vec<u8> {
        self.image.to_bytes(1 << 30).unwrap()
    }
}

fn small(raw: &str) -> Options {
    Options::new().with("cluster_size", CLUSTER).with("data_file_raw", raw)
}

fn write(disk: &Disk, at: u64, byte: u8, length: u64) {
    disk.write(at, &vec![byte; length as usize], WriteFlags::default()).unwrap();
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

/// A small generator: the tests are the same each time.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// The options of all shapes that matter here.
fn shapes() -> Vec<Options> {
    let mut shapes = Vec::new();
    for cluster in [512u64, 4096, 65_536] {
        for (name, value) in [("refcount_bits", "1"), ("lazy_refcounts", "on"), ("refcount_bits", "64")] {
            shapes.push(Options::new().with("cluster_size", cluster).with(name, value));
        }
        shapes.push(Options::new().with("cluster_size", cluster).with("preallocation", "metadata"));
    }
    shapes.push(Options::new().with("cluster_size", 16_384u64).with("extended_l2", "on"));
    shapes
}

/// Random requests, with closes and growth in between: a raw data file is the disk after each flush; no file
/// holds what the other one should; a check finds nothing.
#[test]
fn guest_data_lie_at_their_offsets_and_a_raw_data_file_is_the_disk() {
    for (number, shape) in shapes().into_iter().enumerate() {
        for raw in ["off", "on"] {
            let mut state = number as u64 * 7919 + raw.len() as u64;
            let mut size = 300_000 + next(&mut state) % 5 * 512;
            let pair = Pair::new(size, shape.clone().with("data_file_raw", raw));
            let mut expected = vec![0; size as usize];
            let mut disk = pair.open();
            for _ in 0..120 {
                let at = next(&mut state) % size;
                let length = (next(&mut state) % 40_000 + 1).min(size - at);
                let range = at as usize..(at + length) as usize;
                match next(&mut state) % 9 {
                    0 => disk.write_zeroes(Extent::new(at, length), UNMAP).unwrap(),
                    1 => disk.write_zeroes(Extent::new(at, length), ZeroFlags::default()).unwrap(),
                    2 => disk.discard(Extent::new(at, length), DiscardFlags::default()).unwrap(),
                    3 => {
                        disk.close().unwrap();
                        disk = pair.open();
                        continue;
                    }
                    4 if size < 600_000 => {
                        size += next(&mut state) % 70_000;
                        disk.grow(size, Preallocation::Off).unwrap();
                        expected.resize(size as usize, 0);
                        continue;
                    }
                    _ => {
                        let byte = next(&mut state) as u8 | 1;
                        write(&disk, at, byte, length);
                        expected[range].fill(byte);
                        continue;
                    }
                }
                // What a discard leaves of a part is its own affair.
                disk.read(at, &mut expected[range]).unwrap();
            }
            disk.flush().unwrap();
            assert!(content(&disk) == expected, "{shape:?} {raw}");
            if raw == "on" {
                assert!(pair.content(size) == expected, "{shape:?}: the data file is not the disk");
                assert_eq!(pair.data.len().unwrap(), size, "{shape:?}");
            }
            must_be_clean(&disk);
            disk.close().unwrap();
            assert!(content(&pair.open()) == expected, "{shape:?} {raw}");
        }
    }
}

#[test]
fn zeroes_and_discards_reach_a_raw_data_file_whole_or_in_part() {
    let pair = Pair::new(10 * CLUSTER + 512, small("on"));
    let disk = pair.open();
    write(&disk, 0, 7, disk.size());
    disk.write_zeroes(Extent::new(100, 5000), ZeroFlags::default()).unwrap();
    disk.write_zeroes(Extent::new(4 * CLUSTER, CLUSTER), UNMAP).unwrap();
    disk.discard(Extent::new(6 * CLUSTER, 2 * CLUSTER), DiscardFlags::default()).unwrap();
    disk.discard(Extent::new(10 * CLUSTER, 512), DiscardFlags::default()).unwrap();
    disk.flush().unwrap();
    let mut expected = vec![7; disk.size() as usize];
    for range in [100..5100, 4 * CLUSTER..5 * CLUSTER, 6 * CLUSTER..8 * CLUSTER, 10 * CLUSTER..disk.size()] {
        expected[range.start as usize..range.end as usize].fill(0);
    }
    assert_eq!(pair.content(disk.size()), expected);
    assert_eq!(content(&disk), expected);
    let checked = disk.check(RepairMode::None).unwrap();
    assert_eq!((checked.allocated_clusters, checked.is_clean()), (11, true), "all of it stays mapped");
}

#[test]
fn a_raw_data_file_maps_everything_from_the_start_and_as_it_grows() {
    for extended in ["off", "on"] {
        let options = Options::new()
            .with("data_file_raw", "on")
            .with("extended_l2", extended)
            .with("cluster_size", 16_384u64);
        let pair = Pair::new(100_000, options);
        let disk = pair.open();
        let status = disk.block_status(Extent::new(0, 100_000)).unwrap();
        assert_eq!((status.length, status.allocated, status.host_offset), (100_000, true, Some(0)));
        disk.resize(1 << 20).unwrap();
        let status = disk.block_status(Extent::new(0, 1 << 20)).unwrap();
        assert_eq!((status.length, status.allocated, status.host_offset), (1 << 20, true, Some(0)));
        assert_eq!(pair.data.len().unwrap(), 1 << 20);
        must_be_clean(&disk);
    }
}

/// Bytes that a longer data file holds past the end are none of the disk that grows over them.
#[test]
fn what_lies_past_the_end_of_a_data_file_does_not_show_when_the_disk_grows() {
    for raw in ["off", "on"] {
        let pair = Pair::new(3 * CLUSTER + 100, small(raw));
        pair.data.write_at(3 * CLUSTER + 100, &vec![0xbb; 30_000]).unwrap();
        let disk = pair.open();
        write(&disk, 3 * CLUSTER, 5, 100);
        disk.resize(8 * CLUSTER).unwrap();
        let mut expected = vec![0; 8 * CLUSTER as usize];
        expected[3 * CLUSTER as usize..3 * CLUSTER as usize + 100].fill(5);
        assert_eq!(content(&disk), expected, "{raw}");
        write(&disk, 5 * CLUSTER + 1, 9, 1);
        expected[5 * CLUSTER as usize + 1] = 9;
        assert_eq!(content(&disk), expected, "{raw}");
    }
}

/// Marks that other programs have made: the cluster is mapped before it is written, so that tables and data
/// file never say different things.
#[test]
fn a_marked_cluster_of_a_raw_data_file_is_mapped_durably_before_it_is_written() {
    let made = Pair::new(4 * CLUSTER, small("on"));
    let mut bytes = made.image_bytes();
    let table = table_of(&bytes);
    // The second cluster is marked, the third was never written; the data file holds old bytes there.
    patch(&mut bytes, table + 8, &1u64.to_be_bytes());
    patch(&mut bytes, table + 16, &0u64.to_be_bytes());
    made.data.write_at(CLUSTER, &[0xcc; 2 * CLUSTER as usize]).unwrap();
    let pair = Pair::of(Arc::new(MemoryStorage::from_bytes(&bytes)), Arc::clone(&made.data));
    let disk = pair.open();
    assert_eq!(content(&disk), vec![0; 4 * CLUSTER as usize]);
    write(&disk, CLUSTER + 1000, 3, 2000);
    let entries = pair.image_bytes();
    let entry = |at: usize| u64::from_be_bytes(entries[at..at + 8].try_into().unwrap());
    assert_eq!(entry(table + 8), (1 << 63) | CLUSTER, "it is mapped without a flush");
    assert_eq!(entry(table + 16), 0);
    write(&disk, 2 * CLUSTER, 4, 1);
    disk.flush().unwrap();
    let mut expected = vec![0; 4 * CLUSTER as usize];
    expected[CLUSTER as usize + 1000..CLUSTER as usize + 3000].fill(3);
    expected[2 * CLUSTER as usize] = 4;
    assert!(content(&disk) == expected && pair.content(4 * CLUSTER) == expected);
}

/// Where the only L2 table of a small image lies.
fn table_of(bytes: &[u8]) -> usize {
    let field = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    (field(field(40) as usize) & 0x00ff_ffff_ffff_fe00) as usize
}

#[test]
fn data_are_durable_before_the_entries_that_refer_to_them() {
    let pair = Pair::new(8 * CLUSTER, small("off"));
    let image = Arc::new(LogStorage::new(pair.image.duplicate()));
    let data = FaultStorage::new(Arc::new(pair.data.duplicate()));
    data.add_rule(FaultRule::fail(5).on(Operation::Sync));
    let mut resolver = MapResolver::default();
    resolver.insert_storage("data", Arc::new(data), Access::ReadWrite);
    let storage = Arc::clone(&image) as Arc<dyn Storage>;
    let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &resolver).unwrap();
    write(&disk, CLUSTER, 3, 10);
    image.take();
    assert!(disk.flush().is_err());
    let done = image.take();
    assert!(!done.contains("sync"), "the image is not synced before its data: {done}");
    assert!(disk.write(0, &[1], WriteFlags::default()).is_err(), "the handle is poisoned");
}

#[test]
fn a_flush_syncs_a_data_file_only_where_it_has_changed() {
    let pair = Pair::new(8 * CLUSTER, small("on"));
    let data = Arc::new(LogStorage::new(pair.data.duplicate()));
    let mut resolver = MapResolver::default();
    resolver.insert_storage("data", Arc::clone(&data) as _, Access::ReadWrite);
    let storage = Arc::clone(&pair.image) as Arc<dyn Storage>;
    let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &resolver).unwrap();
    let after = |change: &dyn Fn()| {
        change();
        data.take();
        disk.flush().unwrap();
        data.take()
    };
    assert_eq!(after(&|| ()), "-");
    assert_eq!(after(&|| write(&disk, 0, 1, 100)), "sync");
    assert_eq!(after(&|| disk.write_zeroes(Extent::new(0, 100), UNMAP).unwrap()), "sync");
    assert_eq!(after(&|| disk.discard(Extent::new(0, CLUSTER), DiscardFlags::default()).unwrap()), "sync");
    assert_eq!(after(&|| ()), "-");
}

#[test]
fn contradictions_are_refused_before_anything_changes() {
    for (options, expected) in [
        (small("on").with("backing_file", "b"), "a raw data file is all of the disk"),
        (small("off").with("compat", "0.10"), "version 2 cannot have it"),
        (small("off").with("data_file", "n".repeat(1024)), "the name has 1024 bytes"),
        (small("off").with("data_file", ""), "the name has 0 bytes"),
    ] {
        let image: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let options =
            if options.get("data_file").is_some() { options } else { options.with("data_file", "data") };
        let error = FORMAT.create(&image, 1 << 20, options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(image.len().unwrap(), 0);
    }
    let error = Image::try_new(1 << 20, small("on")).unwrap_err().to_string();
    assert!(error.contains("it is about the data file"), "{error}");
}

#[test]
fn names_are_opened_by_the_resolver_alone() {
    let pair = Pair::new(1 << 20, small("off"));
    let opened = |options: Options, resolver: &dyn Resolver| {
        FORMAT.open(Arc::clone(&pair.image) as _, Access::ReadOnly, options, resolver)
    };
    assert_eq!(opened(Options::new(), &DenyResolver).unwrap_err().kind(), ErrorKind::Unresolved);
    let other = Options::new().with("data-file", "elsewhere");
    let error = opened(other.clone(), &pair.resolver).unwrap_err().to_string();
    assert!(error.contains("elsewhere"), "{error}");
    let mut resolver = MapResolver::default();
    resolver.insert_storage("elsewhere", Arc::clone(&pair.data) as _, Access::ReadOnly);
    assert_eq!(opened(other.clone(), &resolver).unwrap().size(), 1 << 20);
    let error = FORMAT
        .open(Image::new(1 << 20, Options::new()).storage(), Access::ReadOnly, other, &resolver)
        .unwrap_err()
        .to_string();
    assert!(error.contains("it can only be given for an image with an external data file"), "{error}");
    // What is only described needs no data file.
    let closed = opened(Options::new().with("open-data-file", "off"), &DenyResolver).unwrap();
    let info = closed.as_info().unwrap().info().unwrap();
    assert!(format!("{:?}", info.details).contains("(\"data-file\", Text(\"data\"))"), "{info:?}");
}

#[test]
fn compressed_clusters_snapshots_and_a_backing_file_under_a_raw_one_are_refused() {
    let pair = Pair::new(1 << 20, small("on"));
    let disk = pair.open();
    let compressed = WriteFlags { compressed: true, ..WriteFlags::default() };
    assert_eq!(disk.write(0, &[1; 4096], compressed).unwrap_err().kind(), ErrorKind::Unsupported);
    let new = NewSnapshot { name: "s".to_owned(), ..NewSnapshot::default() };
    let error = disk.as_snapshots().unwrap().create_snapshot(&new).unwrap_err();
    assert!(error.to_string().contains("external data file"), "{error}");
    let backing = blk_core::BackingFile { name: "b".to_owned(), format: None };
    let error = disk.as_overlay().unwrap().set_backing(Some(&backing)).unwrap_err();
    assert!(error.to_string().contains("backing_file"), "{error}");
    must_be_clean(&disk);
}

/// A program that does not know the bit clears it: then the data file is no disk, and stays none.
#[test]
fn without_its_autoclear_bit_a_data_file_is_not_raw() {
    let pair = Pair::new(8 * CLUSTER, small("on"));
    let mut bytes = pair.image_bytes();
    patch(&mut bytes, 88, &0u64.to_be_bytes());
    let plain = Pair::of(Arc::new(MemoryStorage::from_bytes(&bytes)), Arc::clone(&pair.data));
    let disk = plain.open();
    write(&disk, 0, 7, 8 * CLUSTER);
    disk.write_zeroes(Extent::new(0, CLUSTER), ZeroFlags::default()).unwrap();
    disk.close().unwrap();
    assert_eq!(plain.content(1), [7], "a mark is enough");
    assert!(content(&plain.open())[..CLUSTER as usize].iter().all(|byte| *byte == 0));
    assert_eq!(plain.image_bytes()[88..96], [0; 8]);
    // The bit of an image that has it stays, whatever is written.
    let disk = pair.open();
    write(&disk, 0, 7, 8 * CLUSTER);
    disk.resize(16 * CLUSTER).unwrap();
    disk.close().unwrap();
    assert_eq!(pair.image_bytes()[88..96], [0, 0, 0, 0, 0, 0, 0, 2]);
}

/// What is wrong with entries is found, also where `qemu-img check` finds nothing.
#[test]
fn a_check_knows_where_entries_have_to_lead() {
    let made = Pair::new(8 * CLUSTER, small("on"));
    let healthy = made.image_bytes();
    let table = table_of(&healthy);
    for (index, entry, expected) in [
        (0, 0x4000_0000_0000_5000u64, "a data file has no compressed clusters"),
        (2, (1 << 63) | (5 * CLUSTER), "leads to 0x5000 in the data file, and must lead to 0x2000"),
        (3, 3 * CLUSTER, "OFLAG_COPIED data cluster: l2_entry=3000 refcount=1"),
        (4, (1 << 63) | (4 * CLUSTER + 512), "Data cluster is not properly aligned"),
    ] {
        let mut bytes = healthy.clone();
        patch(&mut bytes, table + index * 8, &entry.to_be_bytes());
        let pair = Pair::of(Arc::new(MemoryStorage::from_bytes(&bytes)), Arc::clone(&made.data));
        let storage: Arc<dyn Storage> = Arc::clone(&pair.image) as _;
        let report = FORMAT.check(&storage, RepairMode::None).unwrap().unwrap();
        assert!(report.corruptions > 0 && format!("{report}").contains(expected), "{index}: {report}");
        let disk = pair.open();
        let read = |number: u64| disk.read(number * CLUSTER, &mut [0; 10]);
        assert_eq!(read(index as u64).is_err(), index != 3, "{index}");
        assert!(read(6).is_ok(), "{index}: others are read");
        drop(disk);
        if index == 3 {
            assert!(FORMAT.check(&storage, RepairMode::All).unwrap().unwrap().is_repaired());
            assert_eq!(pair.image_bytes()[table..table + 64], healthy[table..table + 64]);
        }
    }
}

/// The rest of a short data file reads as zeroes.
#[test]
fn a_short_data_file_reads_as_zeroes_past_its_end() {
    for raw in ["off", "on"] {
        let pair = Pair::new(8 * CLUSTER, small(raw));
        let disk = pair.open();
        write(&disk, 0, 9, 8 * CLUSTER);
        disk.close().unwrap();
        pair.data.set_len(2 * CLUSTER + 5).unwrap();
        let disk = pair.open();
        let mut expected = vec![0; 8 * CLUSTER as usize];
        expected[..2 * CLUSTER as usize + 5].fill(9);
        assert_eq!(content(&disk), expected, "{raw}");
        write(&disk, 7 * CLUSTER, 1, 1);
        expected[7 * CLUSTER as usize] = 1;
        assert_eq!(content(&disk), expected, "{raw}");
    }
}

#[test]
fn preallocated_data_files_hold_what_was_asked_for() {
    for (raw, preallocation, mapped, stored) in [
        ("off", "off", false, false),
        ("off", "metadata", true, false),
        ("off", "falloc", true, true),
        ("off", "full", true, true),
        ("on", "off", true, false),
        ("on", "full", true, true),
    ] {
        let pair = Pair::new(1 << 20, small(raw).with("preallocation", preallocation));
        assert_eq!(pair.data.len().unwrap(), 1 << 20, "{raw} {preallocation}");
        let status = pair.open().block_status(Extent::new(0, 1 << 20)).unwrap();
        assert_eq!((status.allocated, status.length), (mapped, 1 << 20), "{raw} {preallocation}");
        let holds = pair.data.allocated_bytes().unwrap().is_none_or(|bytes| (bytes >= 1 << 20) == stored);
        assert!(holds || preallocation == "falloc", "{raw} {preallocation}");
        must_be_clean(&pair.open());
    }
}
