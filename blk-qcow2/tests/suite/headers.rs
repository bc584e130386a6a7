//! Every bound of the header and its extensions: what is just allowed is taken, and the next one is refused
//! by name.

use std::sync::Arc;

use crate::common::Image;
use crate::common::handmade::Handmade;
use blk_core::{Access, BackingFile, DenyResolver, Disk, MemoryStorage, Options, Result, Storage};
use blk_qcow2::FORMAT;

const EXTENSION: usize = 112;
const BACKING_FORMAT: u64 = 0xe279_2aca;
const FEATURE_NAMES: u64 = 0x6803_f857;
const BITMAPS: u64 = 0x2385_2875;

/// Field, width, value.
type Change = (usize, usize, u64);

fn open(storage: Arc<dyn Storage>) -> Result<Disk> {
    FORMAT.open(storage, Access::ReadWrite, Options::new().with("backing", "off"), &DenyResolver)
}

fn small() -> Options {
    Options::new().with("cluster_size", 512u64)
}

/// Opens an image after these changes, in a file of `file_bytes` at least.
fn changed(create: Options, changes: &[Change], file_bytes: u64) -> Result<Disk> {
    let mut made = Handmade::new(&Image::new(1 << 20, create));
    for (at, width, value) in changes {
        made.put(*at, *width, *value);
    }
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&made.bytes));
    storage.set_len(storage.len()?.max(file_bytes))?;
    open(storage)
}

fn must_open(create: Options, changes: &[Change], file_bytes: u64) -> Disk {
    changed(create, changes, file_bytes).unwrap_or_else(|error| panic!("{changes:x?}: {error}"))
}

fn must_fail(create: Options, changes: &[Change], file_bytes: u64, expected: &str) {
    let error = changed(create, changes, file_bytes).map(drop).unwrap_err().to_string();
    assert!(error.contains(expected), "{changes:x?}: {error}");
}

fn backing(disk: &Disk) -> Option<BackingFile> {
    disk.as_info().unwrap().info().unwrap().backing
}

#[test]
fn a_header_has_104_bytes_to_a_cluster() {
    for length in [104, 105, 108, 112, 512] {
        must_open(small(), &[(100, 4, length)], 0);
    }
    for length in [0, 96, 103, 513, 520] {
        must_fail(small(), &[(100, 4, length)], 0, &format!("header_length is {length}, allowed is"));
    }
    // One of 104 bytes has no compression type: what is there is an unknown extension.
    must_open(small(), &[(100, 4, 104), (104, 4, 0x0700_0000), (108, 4, 0)], 0);
    must_fail(small(), &[(104, 1, 1)], 0, "compression_type is 1 with its feature bit clear");
    must_fail(small(), &[(72, 8, 8)], 0, "compression_type is 0 with its feature bit set");
    must_fail(small(), &[(72, 8, 8), (104, 1, 2)], 0, "compression_type is 2 with its feature bit set");
    must_open(small(), &[(72, 8, 8), (104, 1, 1)], 0);
    // Version 2 has none of these fields.
    let old = || small().with("compat", "0.10");
    must_open(old(), &[], 0);
    for (method, expected) in [(1, "key-secret"), (2, "(LUKS)"), (3, "crypt_method is 3")] {
        must_fail(old(), &[(32, 4, method)], 0, expected);
    }
}

/// The tables end where the file does; other implementations have no larger ones.
#[test]
fn tables_have_bounds() {
    // 512 bytes of 64 entries of 64 clusters: a disk of 1 MiB has 32 entries.
    must_open(small(), &[(36, 4, 32)], 0);
    must_fail(small(), &[(36, 4, 31)], 0, "l1_size is 31, a disk of 1048576 bytes needs 32");
    must_fail(small(), &[(24, 8, i64::MAX as u64)], 0, "l1_size is 32, a disk of 9223372036854775807 bytes");
    must_fail(small(), &[(24, 8, 1 << 63)], 0, "size is 9223372036854775808, the largest is");
    let at = 1 << 20;
    let most = 4_194_304;
    // The file may end before: what is missing reads as zeroes.
    for file_bytes in [at + (32 << 20), at, 0] {
        must_open(small(), &[(36, 4, most), (40, 8, at)], file_bytes);
        must_open(small(), &[(56, 4, 16_384), (48, 8, at)], file_bytes);
    }
    must_fail(small(), &[(36, 4, most + 1), (40, 8, at)], 0, "l1_size is 4194305, the largest");
    for clusters in [0, 16_385] {
        must_fail(small(), &[(56, 4, clusters), (48, 8, at)], 0, "allowed are 1 to 16384");
    }
    let end = 1 << 62;
    must_open(small(), &[(40, 8, end - 512), (36, 4, 64)], 0);
    must_fail(small(), &[(40, 8, end - 512), (36, 4, 65)], 0, "l1_table_offset is 0x3ffffffffffffe00");
    must_fail(small(), &[(40, 8, at + 8)], 0, "l1_table_offset is 0x100008");
    must_open(small(), &[(40, 8, 0)], 0);
    must_fail(small(), &[(40, 8, u64::MAX - 511)], 0, "l1_table_offset is 0xfffffffffffffe00");
    must_open(small(), &[(60, 4, 65_536), (64, 8, at)], at);
    must_fail(small(), &[(60, 4, 65_537), (64, 8, at)], at, "nb_snapshots is 65537");
    must_open(small(), &[(60, 4, 1), (64, 8, 0)], at);
    for count in [0, 1] {
        must_fail(small(), &[(60, 4, count), (64, 8, 8)], at, "snapshots_offset is 0x8");
    }
}

#[test]
fn a_backing_name_lies_between_the_header_and_the_clusters_end() {
    let name = |offset: u64, length: u64| [(8, 8, offset), (16, 4, length)];
    for (offset, length) in [(0, 5), (512, 0)] {
        assert_eq!(backing(&must_open(small(), &name(offset, length), 0)), None, "{offset} {length}");
    }
    let named = |offset: u64, length: u64, bytes: u64| {
        let mut changes = name(offset, length).to_vec();
        changes.extend((offset..offset + bytes).map(|at| (at as usize, 1, u64::from(b'n'))));
        changes
    };
    for (offset, length) in [(120, 1), (511, 1), (120, 392)] {
        let disk = must_open(small(), &named(offset, length, length), 0);
        assert_eq!(backing(&disk).unwrap().name.len() as u64, length, "{offset}");
    }
    // It ends at a zero byte, and is none where it begins with one.
    assert_eq!(backing(&must_open(small(), &named(120, 50, 7), 0)).unwrap().name, "nnnnnnn");
    for (offset, length) in [(120, 50), (112, 400), (8, 5), (111, 5)] {
        assert_eq!(backing(&must_open(small(), &name(offset, length), 0)), None, "{offset} {length}");
    }
    for (offset, length) in [(513, 1), (513, 0), (u64::MAX, 1), (u64::MAX, 0)] {
        must_fail(small(), &name(offset, length), 0, &format!("backing_file_offset is {offset}, the name"));
    }
    for (offset, length, allowed) in [(120, 393, 392), (512, 1, 0), (8, 505, 504)] {
        let expected = format!("is {length}, at offset {offset} allowed are up to {allowed}");
        must_fail(small(), &name(offset, length), 0, &expected);
    }
    let large = || Options::new().with("cluster_size", 4096u64);
    assert_eq!(backing(&must_open(large(), &named(120, 1023, 1023), 0)).unwrap().name.len(), 1023);
    must_fail(large(), &name(120, 1024), 0, "backing_file_size is 1024");
    // It may hold any bytes.
    let bytes = backing(&must_open(small(), &[(8, 8, 120), (16, 4, 1), (120, 1, 0xff)], 0)).unwrap().name;
    assert_eq!(*blk_core::name::to_bytes(&bytes), [0xff]);
}

#[test]
fn extensions_end_with_their_area() {
    let extension = |at: usize, kind: u64, length: u64| [(at, 4, kind), (at + 4, 4, length)];
    // To the end of the first cluster, without a mark of the end.
    must_open(small(), &extension(EXTENSION, 0x1234, 392), 0);
    must_fail(small(), &extension(EXTENSION, 0x1234, 393), 0, "but the area for extensions ends at 0x200");
    // One that begins in the last 8 bytes is read: this one has to have 24 bytes.
    let last = [extension(EXTENSION, 0x1234, 384), extension(504, BITMAPS, 0)].concat();
    must_fail(small(), &last, 0, "the bitmaps extension has length 0, and must have 24");
    must_open(small(), &[&last[..2], &extension(504, 0x1234, 0)].concat(), 0);
    must_fail(small(), &[&last[..2], &extension(504, 0x1234, 1)].concat(), 0, "has length 1");
    // One that would begin in the last 4 bytes is none.
    let name = [(8, 8, 124), (16, 4, 5)];
    let cut = [&name[..], &extension(EXTENSION, 0x1234, 0), &extension(120, BITMAPS, 0)].concat();
    must_open(small(), &cut, 0);
    // Nothing is read after the end marker.
    must_open(small(), &extension(120, BITMAPS, 0), 0);
    for length in [23, 25] {
        must_fail(small(), &extension(EXTENSION, BITMAPS, length), 0, "and must have 24");
    }
}

#[test]
fn a_format_name_has_up_to_15_bytes() {
    let large = || Options::new().with("cluster_size", 4096u64);
    let with = |length: usize, byte: u8| {
        let mut changes = vec![(EXTENSION, 4, BACKING_FORMAT), (EXTENSION + 4, 4, length as u64)];
        changes.extend((0..length).map(|index| (EXTENSION + 8 + index, 1, u64::from(byte))));
        changes.extend([(8, 8, 2000), (16, 4, 1), (2000, 1, u64::from(b'n'))]);
        changes
    };
    let disk = must_open(large(), &with(15, b'f'), 0);
    assert_eq!(backing(&disk).unwrap().format, Some("f".repeat(15)));
    must_fail(large(), &with(16, b'f'), 0, "the backing file's format has 16 bytes, allowed are 15");
    // Nor can one be given that could not be opened.
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let named = large().with("backing_file", "n").with("backing_fmt", "f".repeat(16));
    let error = FORMAT.create(&storage, 1 << 20, named).unwrap_err().to_string();
    assert!(error.contains("has 16 bytes, allowed are 15"), "{error}");
    must_fail(large(), &with(3, 0xff), 0, "a string that is not UTF-8");
}

/// Three bitmaps of 64 features can have names; a name is that of one bit of one bitmap.
#[test]
fn features_are_told_by_the_names_that_the_image_has() {
    let count = 193;
    let named = |index: usize, kind: u8, name: &str| {
        let mut changes = vec![(EXTENSION, 4, FEATURE_NAMES), (EXTENSION + 4, 4, 48 * count)];
        let at = EXTENSION + 8 + 48 * index;
        // Every other entry is of another bit.
        let mut entries = vec![9u8; 48 * count as usize];
        for entry in entries.chunks_mut(48) {
            entry[0] = 0;
        }
        let entry = &mut entries[at - EXTENSION - 8..][..48];
        entry.fill(0);
        entry[..2].copy_from_slice(&[kind, 7]);
        entry[2..2 + name.len()].copy_from_slice(name.as_bytes());
        changes.extend(entries.iter().enumerate().map(|(i, byte)| (EXTENSION + 8 + i, 1, u64::from(*byte))));
        changes.push((72, 8, 1 << 7));
        changed(Options::new(), &changes, 0).map(drop).unwrap_err().to_string()
    };
    let long = "n".repeat(46);
    for (index, name) in [(0, "a"), (100, "some name"), (191, &*long)] {
        let error = named(index, 0, name);
        assert_eq!(error, format!("Unsupported qcow2 feature(s): {name}"), "{index}");
    }
    for (index, kind) in [(192, 0), (3, 1), (3, 2)] {
        let error = named(index, kind, "a");
        let expected = "Unsupported qcow2 feature(s): Unknown incompatible feature: 80";
        assert_eq!(error, expected, "{index} {kind}");
    }
}

/// What follows the names is no name, though it looks like one.
#[test]
fn feature_names_end_with_their_extension() {
    let mut changes = vec![(EXTENSION, 4, FEATURE_NAMES), (EXTENSION + 4, 4, 48), (EXTENSION + 9, 1, 9)];
    changes.extend([(EXTENSION + 56, 4, 0x0007_6161), (EXTENSION + 60, 4, 8), (72, 8, 1 << 7)]);
    must_fail(small(), &changes, 0, "Unknown incompatible feature: 80");
}

/// QEMU's images have the table from clusters of 8 KiB on; with smaller ones the backing file's name needs
/// the room.
#[test]
fn new_images_name_their_features() {
    for (cluster_bytes, compat, has_names) in [
        (512u64, "1.1", false),
        (4096, "1.1", false),
        (8192, "1.1", true),
        (2 << 20, "1.1", true),
        (65536, "0.10", false),
    ] {
        let create = Options::new().with("cluster_size", cluster_bytes).with("compat", compat);
        let bytes = Image::new(1 << 20, create).bytes();
        let has = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
        for name in ["dirty bit", "extended L2 entries", "lazy refcounts", "raw external data"] {
            assert_eq!(has(name), has_names, "{cluster_bytes} {compat}: {name}");
        }
    }
    must_fail(
        Options::new().with("cluster_size", 8192u64),
        &[(72, 8, 3 << 5), (121, 1, 5)],
        0,
        "dirty bit, Unknown incompatible feature: 40",
    );
}
