//! Repairs of images of every width of counts: references that are too many, refcount structures that are
//! lost, marks that go.

use std::sync::Arc;

use crate::common::handmade::{COPIED, OFFSET};
use crate::common::{Image, patch};
use blk_core::storage::{Operation, TraceStorage};
use blk_core::{
    Access, CheckReport, DenyResolver, Disk, Extent, MemoryStorage, Options, RepairMode, Storage, WriteFlags,
    ZeroFlags,
};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 512;
/// Guest bytes of an L2 table.
const REACH: u64 = 64 * CLUSTER;
const SIZE: u64 = 4 * REACH;
const COMPRESSED: u64 = 1 << 62;

/// A disk of four L2 tables, of which the first two are there; with counts of so many bits.
fn image(refcount_bits: u64) -> Image {
    let create = Options::new().with("cluster_size", CLUSTER).with("refcount_bits", refcount_bits);
    let image = Image::new(SIZE, create);
    let disk = image.open(Options::new());
    for (cluster, byte) in [(0, 1), (1, 2), (64, 3), (70, 4)] {
        disk.write(cluster * CLUSTER, &[byte; CLUSTER as usize], WriteFlags::default()).unwrap();
    }
    disk.close().unwrap();
    drop(disk);
    image
}

/// The number of 8 bytes at an offset.
fn number(bytes: &[u8], at: u64) -> u64 {
    u64::from_be_bytes(bytes[at as usize..][..8].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: u64, value: u64) {
    patch(bytes, at as usize, &value.to_be_bytes());
}

/// Where the L2 tables lie that the L1 table refers to.
fn l2_tables(bytes: &[u8]) -> Vec<u64> {
    let l1 = number(bytes, 40);
    (0..4).map(|index| number(bytes, l1 + 8 * index) & OFFSET).collect()
}

/// Opens it although it may be marked.
fn open(storage: Arc<dyn Storage>) -> Disk {
    let options = Options::new().with("check", "on");
    FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver).unwrap()
}

fn guest(image: &Image) -> Vec<u8> {
    let mut guest = vec![0xee; SIZE as usize];
    open(image.storage()).read(0, &mut guest).unwrap();
    guest
}

fn at(guest: &[u8], cluster: u64) -> &[u8] {
    &guest[(cluster * CLUSTER) as usize..][..CLUSTER as usize]
}

fn repair(image: &Image) -> CheckReport {
    let disk = open(image.storage());
    let report = disk.check(RepairMode::All).unwrap();
    if report.is_repaired() {
        let again = disk.check(RepairMode::None).unwrap();
        assert!(again.is_clean(), "{again}");
    }
    report
}

/// With one bit a cluster has one reference. Those that are too many get a copy: of the same bytes, past the
/// end.
#[test]
fn clusters_that_cannot_be_shared_are_copied() {
    let mut bytes = image(1).bytes();
    let [first, second, ..] = l2_tables(&bytes)[..] else { unreachable!() };
    let end = bytes.len() as u64;
    let entry = |cluster: u64| number(&bytes, first + 8 * cluster);
    let (one, two) = (entry(0), entry(1));
    let four = number(&bytes, second + 8 * 6);
    // Two clusters of the first table are used by it and by the second; a cluster of the second by itself.
    for (at, entry) in [(first + 80, one), (second + 8, one), (second + 16, two), (second + 24, four)] {
        put(&mut bytes, at, entry);
    }
    let image = Image::from_bytes(&bytes);
    assert!(repair(&image).is_repaired());
    let guest = guest(&image);
    for (cluster, byte) in [(0, 1), (10, 1), (65, 1), (1, 2), (66, 2), (67, 4), (70, 4), (64, 3), (11, 0)] {
        assert!(at(&guest, cluster).iter().all(|found| *found == byte), "{cluster} is {byte}");
    }
    assert_eq!(image.bytes().len() as u64, end + 4 * CLUSTER, "four copies");
}

/// Nothing has to be copied for what reads as zeroes, and a compressed cluster keeps its place in the
/// sectors.
#[test]
fn zero_and_compressed_clusters_are_separated_too() {
    let image = image(1);
    let disk = image.open(Options::new());
    let mixed: Vec<u8> = (0..CLUSTER).map(|index| (index * index / 3 % 251) as u8 & 0x77).collect();
    disk.write(2 * CLUSTER, &mixed, WriteFlags { compressed: true, fua: false }).unwrap();
    disk.write(3 * CLUSTER, &[5; CLUSTER as usize], WriteFlags::default()).unwrap();
    disk.write_zeroes(Extent::new(3 * CLUSTER, CLUSTER), ZeroFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let mut bytes = image.bytes();
    bytes.resize(bytes.len().next_multiple_of(CLUSTER as usize), 0);
    let first = l2_tables(&bytes)[0];
    let zero = number(&bytes, first + 24);
    assert_eq!((zero & 1, zero & OFFSET != 0), (1, true), "a zero cluster with a host cluster");
    // The compressed bytes again, so that they begin late in one cluster and end in the next.
    let compressed = number(&bytes, first + 16) & ((1 << 61) - 1);
    let stored = bytes[compressed as usize..][..CLUSTER as usize].to_vec();
    let start = bytes.len() as u64 + 300;
    bytes.resize(bytes.len() + 1024, 0);
    patch(&mut bytes, start as usize, &stored);
    let entry = COMPRESSED | 1 << 61 | start;
    for (index, entry) in [(2, entry), (4, entry), (5, zero), (20, entry)] {
        put(&mut bytes, first + 8 * index, entry);
    }
    let end = bytes.len() as u64;
    let image = Image::from_bytes(&bytes);
    let report = repair(&image);
    assert!(report.is_repaired(), "{report}");
    let guest = guest(&image);
    for cluster in [2, 4, 20] {
        assert!(at(&guest, cluster) == mixed, "{cluster}");
    }
    assert!(at(&guest, 3).iter().chain(at(&guest, 5)).all(|byte| *byte == 0));
    let repaired = image.bytes();
    let entries = [2, 4, 20].map(|index| number(&repaired, first + 8 * index));
    // The last keeps the bytes; each of the others has its own, at the same place of its cluster.
    let moved = entries.map(|moved| (moved - entry) / CLUSTER);
    assert!(entries.iter().all(|moved| (moved - entry).is_multiple_of(CLUSTER)), "{moved:?}");
    assert!(moved[2] == 0 && moved[0] != 0 && moved[1] > moved[0], "{moved:?}");
    assert_eq!([3, 5].map(|index| number(&repaired, first + 8 * index)), [1, zero]);
    assert!(repaired.len() as u64 > end + 1024 && repaired.len() as u64 <= end + 4096);
}

/// All that a table refers to would have to be copied with it: of an L1 table's entries the first keeps it.
#[test]
fn of_several_l1_entries_the_first_keeps_the_table() {
    let mut bytes = image(1).bytes();
    let l1 = number(&bytes, 40);
    let table = number(&bytes, l1 + 8);
    put(&mut bytes, l1 + 16, table);
    put(&mut bytes, l1 + 24, table);
    let image = Image::from_bytes(&bytes);
    let before = guest(&image);
    assert!(repair(&image).is_repaired());
    assert_eq!([1, 2, 3].map(|index| number(&image.bytes(), l1 + 8 * index)), [table, 0, 0]);
    let after = guest(&image);
    assert!(after[..2 * REACH as usize] == before[..2 * REACH as usize]);
    assert!(after[2 * REACH as usize..].iter().all(|byte| *byte == 0));
}

/// A repair makes no file more than twice as long: what cannot be copied any more is dropped.
#[test]
fn no_more_is_copied_than_the_file_has() {
    let table = 8 * 64;
    // 64 entries refer to one cluster: 63 copies are wanted.
    for clusters in [63, 62] {
        let mut bytes = image(1).bytes();
        let first = l2_tables(&bytes)[0];
        let entry = number(&bytes, first);
        for place in (first..first + table).step_by(8) {
            put(&mut bytes, place, entry);
        }
        bytes.resize(clusters * CLUSTER as usize, 0);
        let image = Image::from_bytes(&bytes);
        assert!(repair(&image).is_repaired());
        let guest = guest(&image);
        let same = (0..64).filter(|cluster| at(&guest, *cluster).iter().all(|byte| *byte == 1)).count();
        assert_eq!(same, clusters + 1);
        assert_eq!(image.bytes().len(), 2 * clusters * CLUSTER as usize);
    }
}

/// Widths of counts, and how many of them a block of 512 bytes has.
const WIDTHS: [(u64, u64); 4] = [(1, 4096), (2, 2048), (16, 256), (64, 64)];

/// Stores a count of 1 for a cluster in the block that lies at `block`.
fn store_count(bytes: &mut [u8], block: u64, index: u64, bits: u64) {
    if bits >= 8 {
        bytes[(block + (index + 1) * bits / 8 - 1) as usize] = 1;
    } else {
        bytes[(block + index * bits / 8) as usize] |= 1 << (index * bits % 8);
    }
}

/// Counts of clusters that the file does not have do not matter; they do not make the image longer.
#[test]
fn counts_behind_the_end_are_no_finding() {
    for (bits, entries, unused) in
        WIDTHS.map(|(bits, entries)| (bits, entries, 0)).into_iter().chain([(64, 64, 40)])
    {
        let mut intact = image(bits).bytes();
        let end = intact.len();
        // With 56 counts of 64 bits in front of it, all that is past the end is 64 bytes.
        intact.resize(end + unused * CLUSTER as usize, 0);
        let clusters = intact.len() as u64 / CLUSTER;
        let group = clusters.next_multiple_of(8);
        for leaks in [
            &[clusters][..],
            &[group],
            &[group + 1],
            &[group, (group + 8).min(entries - 1)],
            &[entries - 1],
            &[clusters, entries - 1],
            &[entries - 2, entries - 1],
        ] {
            let mut bytes = intact.clone();
            let block = number(&bytes, number(&bytes, 48));
            for index in leaks {
                store_count(&mut bytes, block, *index, bits);
            }
            let image = Image::from_bytes(&bytes);
            let disk = image.open(Options::new());
            for mode in [RepairMode::None, RepairMode::Leaks, RepairMode::All] {
                let report = disk.check(mode).unwrap();
                assert!(report.is_clean(), "{bits} bits {leaks:?}: {report}");
                assert_eq!(report.image_end_offset, end as u64);
                // A repair frees them, so that they do not leak once the file grows.
                let expected = if mode == RepairMode::None { &bytes } else { &intact };
                assert!(image.bytes() == *expected, "{bits} bits {leaks:?} {mode:?}");
            }
        }
    }
}

/// The end of an image is that of the last cluster that is used or counted.
#[test]
fn an_image_ends_with_what_is_used_or_counted() {
    let mut bytes = image(16).bytes();
    let end = bytes.len() as u64;
    bytes.resize(bytes.len() + 10 * CLUSTER as usize, 0);
    let ends_at = |bytes: &[u8]| {
        open(Image::from_bytes(bytes).storage()).check(RepairMode::None).unwrap().image_end_offset
    };
    assert_eq!(ends_at(&bytes), end);
    let block = number(&bytes, number(&bytes, 48));
    for (index, expected) in [(2, 3), (9, 10), (10, 10)] {
        store_count(&mut bytes, block, end / CLUSTER + index, 16);
        assert_eq!(ends_at(&bytes), end + expected * CLUSTER);
    }
}

/// Files of many blocks.
fn filled(refcount_bits: u64) -> Image {
    let create = Options::new().with("cluster_size", CLUSTER).with("refcount_bits", refcount_bits);
    let image = Image::new(SIZE, create.with("preallocation", "metadata"));
    let disk = image.open(Options::new());
    disk.write(0, &vec![7; SIZE as usize], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    image
}

/// A block that is not the first has a wrong count.
#[test]
fn counts_in_every_block_are_compared_and_mended() {
    let intact = filled(64).bytes();
    let table = number(&intact, 48);
    let cluster = 64 * 3 + 5;
    let counted = |block: u64| number(&intact, table + 8 * block) + 8 * 5;
    for (wrong, is_leak) in [(2, true), (0, false)] {
        let mut bytes = intact.clone();
        put(&mut bytes, counted(3), wrong);
        let image = Image::from_bytes(&bytes);
        let report = repair(&image);
        let word = if is_leak { "Leaked" } else { "ERROR" };
        let expected = format!("{word} cluster {cluster} refcount={wrong} reference=1");
        assert_eq!(report.findings[0].message, expected);
        assert_eq!((report.leaks, report.corruptions), (u64::from(is_leak), u64::from(!is_leak)));
        assert!(report.is_repaired() && guest(&image).iter().all(|byte| *byte == 7), "{report}");
        // Where nothing was counted that is used, all counts are rebuilt.
        assert_eq!(image.bytes() == intact, is_leak);
    }
    // Leaks of an image that has lost a block are not its only trouble: none of them is given back.
    let mut bytes = intact.clone();
    put(&mut bytes, counted(1), 2);
    put(&mut bytes, table + 8 * 3, 0);
    let image = Image::from_bytes(&bytes);
    let report = open(image.storage()).check(RepairMode::Leaks).unwrap();
    assert_eq!((report.leaks, report.leaks_fixed, report.corruptions_fixed), (2, 0, 0), "{report}");
    let expected = format!("ERROR cluster {cluster} refcount=0 reference=1");
    assert!(report.findings.iter().any(|finding| finding.message == expected), "{report}");
    assert!(image.bytes() == bytes);
    assert!(repair(&image).is_repaired());
    assert!(guest(&image).iter().all(|byte| *byte == 7));
}

/// An L1 entry refers to the header, whose size, read as an L2 entry, is a zero cluster that is not aligned.
#[test]
fn nothing_is_mended_in_the_header_as_if_it_were_a_table() {
    let image = Image::new(0x7fe00, Options::new().with("cluster_size", 1024));
    let disk = image.open(Options::new());
    disk.write(0, &[7; 1024], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    let mut intact = image.bytes();
    put(&mut intact, 24, 0x7fe01);
    let mut bytes = intact.clone();
    put(&mut bytes, number(&intact, 40) + 8 * 3, COPIED);
    for entry in [COPIED | 1 << 9, COPIED | 1 << 56] {
        // In the middle of the header, and where a disk of this size has no table.
        put(&mut bytes, number(&intact, 40) + 8 * 2, entry);
        let image = Image::from_bytes(&bytes);
        let report = repair(&image);
        assert!(report.corruptions > 0 && report.is_repaired(), "{report}");
        assert_eq!(image.bytes()[..48], intact[..48]);
        let mut guest = [0; 1024];
        open(image.storage()).read(0, &mut guest).unwrap();
        assert_eq!(guest, [7; 1024]);
    }
}

/// What is wrong with the table that says where the counts are; it is rebuilt.
#[test]
fn refcount_structures_that_cannot_be_used_are_made_anew() {
    for bits in [1, 16, 64] {
        let intact = filled(bits).bytes();
        let (table, l1) = (number(&intact, 48), number(&intact, 40));
        for (entry, value, expected) in [
            (0, l1, if bits == 1 { "overflow cluster" } else { "refcount block 0 refcount=2" }),
            (3, table, if bits == 1 { "overflow cluster" } else { "refcount block 3 refcount=2" }),
            (3, 1 << 56, "Repairing refcount block 3 is outside image"),
            (3, 513, "ERROR refcount table entry 3 has reserved bits set"),
            (3, (1 << 56) - CLUSTER, "Repairing refcount block 3 is outside image"),
            (0, 0, "ERROR cluster 0 refcount=0 reference=1"),
        ] {
            let mut bytes = intact.clone();
            put(&mut bytes, table + 8 * entry, value);
            let image = Image::from_bytes(&bytes);
            let report = repair(&image);
            assert!(report.is_repaired(), "{report}");
            let found = report.findings.iter().find(|finding| finding.message.contains(expected));
            let found = found.unwrap_or_else(|| panic!("{expected}: {report}"));
            if expected.contains("entry 3") {
                assert_eq!(found.offset, table + 24);
            }
            assert_ne!(image.field(48), table, "{expected}");
            assert!(guest(&image).iter().all(|byte| *byte == 7));
        }
        // A table that lies on something else is given up too.
        let mut bytes = intact.clone();
        put(&mut bytes, 48, l1);
        let image = Image::from_bytes(&bytes);
        assert!(repair(&image).is_repaired());
        assert!(image.field(48) != l1 && image.field(40) == l1);
    }
}

/// What is not used needs no counts: only blocks for the tables, and for the new structures themselves.
#[test]
fn new_refcount_structures_are_no_larger_than_they_have_to_be() {
    let mut bytes = image(64).bytes();
    let (table, clusters) = (number(&bytes, 48), 64 * 20 + 5);
    put(&mut bytes, table, 0);
    bytes.resize((clusters * CLUSTER) as usize, 0);
    let image = Image::from_bytes(&bytes);
    assert!(repair(&image).is_repaired());
    assert_eq!(image.bytes().len() as u64, clusters * CLUSTER, "there is room inside");
    let table = image.field(48) as usize;
    let used: Vec<usize> = (0..64).filter(|index| image.field(table + 8 * index) != 0).collect();
    assert_eq!(used, [0]);
}

/// Marks in the header go when nothing is wrong any more, and not before.
#[test]
fn marks_go_with_the_last_finding() {
    let intact = image(16).bytes();
    let block = number(&intact, number(&intact, 48));
    let clusters = intact.len() as u64 / CLUSTER;
    for marks in 1..4u64 {
        let mut bytes = intact.clone();
        put(&mut bytes, 72, marks);
        let clean = Image::from_bytes(&bytes);
        assert!(open(clean.storage()).check(RepairMode::Leaks).unwrap().is_clean());
        assert_eq!(clean.field(72), marks, "leaks alone are no reason to trust the image");
        assert!(repair(&clean).is_clean());
        assert_eq!(clean.field(72), 0);
        store_count(&mut bytes, block, clusters, 16);
        bytes.resize(bytes.len() + CLUSTER as usize, 0);
        let leaking = Image::from_bytes(&bytes);
        assert_eq!(open(leaking.storage()).check(RepairMode::Leaks).unwrap().leaks_fixed, 1);
        assert_eq!(leaking.field(72), marks);
        // A snapshot table that lies past the end keeps everything from being walked.
        put(&mut bytes, 60, 1 << 32);
        put(&mut bytes, 64, (clusters + 1) * CLUSTER);
        let broken = Image::from_bytes(&bytes);
        assert!(!repair(&broken).is_repaired());
        assert_eq!(broken.field(72), marks);
    }
}

/// Every write of a repair, and every sync: entries that lead to something follow it, and are followed by
/// what they no longer use.
fn writes(bytes: &[u8]) -> String {
    let memory = Arc::new(MemoryStorage::from_bytes(bytes));
    let trace = Arc::new(TraceStorage::new(memory, 10_000));
    let disk = open(Arc::clone(&trace) as _);
    let before = trace.operation_count();
    assert!(disk.check(RepairMode::All).unwrap().is_repaired());
    let mut text = Vec::new();
    for entry in trace.entries().iter().filter(|entry| entry.number > before) {
        match entry.operation {
            Operation::Write => text.push(format!("{:#x}+{}", entry.extent.offset, entry.extent.length)),
            Operation::Sync => text.push("sync".to_owned()),
            _ => {}
        }
    }
    // The driver's own state comes first.
    let text = text.join(" ");
    text.strip_prefix("sync").expect("a check begins with a flush").trim_start().to_owned()
}

#[test]
fn repairs_write_in_order_and_nothing_twice() {
    let intact = filled(64).bytes();
    let table = number(&intact, 48);
    let block = |index: u64| number(&intact, table + 8 * index);
    let first = l2_tables(&intact)[0];
    let entry = number(&intact, first);
    let with = |changes: &[(u64, u64)]| {
        let mut bytes = intact.clone();
        for (at, value) in changes {
            put(&mut bytes, *at, *value);
        }
        writes(&bytes)
    };
    assert_eq!(with(&[]), "");
    assert_eq!(with(&[(72, 1)]), "sync 0x0+512 sync");
    // A shared cluster: one count rises, and then another falls; in between the image is marked as dirty.
    let (low, high) = (block((number(&intact, first + 8) & OFFSET) / CLUSTER / 64), block(3));
    assert_ne!(low, high);
    let shared = with(&[(first, number(&intact, first + 8) & !COPIED), (high, 5)]);
    let begins = format!("{low:#x}+512 sync 0x0+512 sync {:#x}+8 sync", first + 8);
    assert!(shared.starts_with(&begins), "{shared}");
    assert!(shared.ends_with(&format!("{high:#x}+512 sync 0x0+512 sync")), "{shared}");
    // An entry that goes, because it leads nowhere: nothing refers to the cluster that it named before.
    let count = block((entry & OFFSET) / CLUSTER / 64);
    assert_eq!(with(&[(first, 1 << 40)]), format!("{count:#x}+512 sync {first:#x}+8 sync"));
    assert_eq!(with(&[(first, entry & !COPIED)]), format!("{first:#x}+8 sync"));
    // New blocks and their table, then the header, then the count of the old table falls.
    let rebuilt = with(&[(number(&intact, 48), 0)]);
    let (structures, rest) =
        rebuilt.split_once(" sync ").expect("what the header points to is durable before");
    let blocks = (intact.len() as u64 / CLUSTER).div_ceil(64);
    assert_eq!(structures.split(' ').count() as u64, blocks + 1, "{rebuilt}");
    assert!(rest.starts_with("0x0+512 sync ") && rest.ends_with("+512 sync"), "{rebuilt}");
    assert_eq!(rest.split(' ').count(), 4, "{rebuilt}");
}
