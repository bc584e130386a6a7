//! Dirty bitmaps that other programs have made: what they occupy is counted, their names are listed, and what
//! is wrong with them is found.

use crate::common::Image;
use crate::common::handmade::Handmade;
use blk_core::{Access, DenyResolver, Detail, Options, RepairMode, WriteFlags};
use blk_qcow2::FORMAT;

/// Larger than the smallest, so that an entry can be aligned to 512 bytes and not to a cluster.
const CLUSTER: u64 = 1024;
/// Where the fixed part of the header, with the compression type, ends.
const EXTENSION: usize = 112;
const COUNT: usize = EXTENSION + 8;
const DIRECTORY_SIZE: usize = EXTENSION + 16;
const DIRECTORY_OFFSET: usize = EXTENSION + 24;
const AUTOCLEAR: usize = 88;

/// An image with two bitmaps; the directory is the last of its clusters.
struct Bitmaps {
    made: Handmade,
    /// The first bitmap's table, of three entries: a cluster, all ones, nothing.
    table: usize,
    /// The first entry of the directory, of 24 bytes, 8 of extra data and a name of 5.
    first: usize,
    /// The second, of 24 bytes and a name of 1023.
    second: usize,
}

fn entry(table: u64, table_size: u32, flags: u32, granularity_bits: u8, name: &str, extra: &[u8]) -> Vec<u8> {
    let mut entry = table.to_be_bytes().to_vec();
    entry.extend(table_size.to_be_bytes());
    entry.extend(flags.to_be_bytes());
    entry.extend([1, granularity_bits]);
    entry.extend((name.len() as u16).to_be_bytes());
    entry.extend((extra.len() as u32).to_be_bytes());
    entry.extend(extra);
    entry.extend(name.as_bytes());
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry
}

fn bitmaps() -> Bitmaps {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", CLUSTER));
    let mut made = Handmade::new(&image);
    let data = made.append(&[0x55; CLUSTER as usize]);
    let table = made.append(&[data, 1, 0].map(u64::to_be_bytes).concat());
    let other_data = made.append(&[0xaa; CLUSTER as usize]);
    let other_table = made.append(&other_data.to_be_bytes());
    let mut directory = entry(table, 3, 2, 16, "first", &[9; 8]);
    let second = directory.len();
    directory.extend(entry(other_table, 1, 1, 63, &"n".repeat(1023), &[]));
    let size = directory.len();
    let directory = made.append(&directory);
    made.put(EXTENSION, 4, 0x2385_2875);
    made.put(EXTENSION + 4, 4, 24);
    made.put(COUNT, 4, 2);
    made.put(DIRECTORY_SIZE, 8, size as u64);
    made.put(DIRECTORY_OFFSET, 8, directory);
    made.put(AUTOCLEAR, 8, 1);
    let (first, second) = (directory as usize, directory as usize + second);
    Bitmaps { made, table: table as usize, first, second }
}

/// What `info` says of the bitmaps.
fn listed(made: &Handmade) -> Result<Detail, String> {
    let disk = FORMAT.open(made.image().storage(), Access::ReadOnly, Options::new(), &DenyResolver).unwrap();
    let info = disk.as_info().unwrap().info().map_err(|error| error.to_string())?;
    let found = info.details.into_iter().find(|(name, _)| *name == "bitmaps");
    Ok(found.map_or(Detail::List(Vec::new()), |(_, bitmaps)| bitmaps))
}

fn detail(flag: &str, name: &str, granularity: u64) -> Detail {
    Detail::Group(vec![
        ("flags", Detail::List(vec![Detail::Text(flag.to_owned())])),
        ("name", Detail::Text(name.to_owned())),
        ("granularity", Detail::Number(granularity)),
    ])
}

#[test]
fn bitmaps_are_counted_and_named() {
    let Bitmaps { made, .. } = bitmaps();
    let (found, image) = made.checked_and_repaired();
    assert_eq!(found, "0 corruptions (0 repaired), 0 leaks (0 repaired), 0 errors");
    assert!(image.bytes() == made.bytes, "nothing was to be repaired");
    let expected = vec![detail("auto", "first", 1 << 16), detail("in-use", &"n".repeat(1023), 1 << 63)];
    assert_eq!(listed(&made), Ok(Detail::List(expected)));
}

/// Without their autoclear bit they are out of date: their clusters are leaks, and they are not listed.
#[test]
fn bitmaps_that_nobody_vouches_for_are_leaks() {
    let mut made = bitmaps().made;
    made.put(AUTOCLEAR, 8, 2);
    assert_eq!(listed(&made), Ok(Detail::List(Vec::new())));
    let (found, _) = made.checked_and_repaired();
    assert!(found.ends_with("0 corruptions (0 repaired), 6 leaks (0 repaired), 0 errors"), "{found}");
    assert_eq!(found.matches("refcount=1 reference=0").count(), 6, "{found}");
}

/// What a repair has given back is written like any other cluster.
#[test]
fn clusters_of_bitmaps_that_nobody_vouches_for_are_used_again() {
    for autoclear in [0, 2] {
        let mut made = bitmaps().made;
        made.put(AUTOCLEAR, 8, autoclear);
        let image = made.image();
        let length = image.bytes().len();
        let disk = image.open(Options::new());
        disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
        let repaired = disk.check(RepairMode::Leaks).unwrap();
        assert_eq!((repaired.leaks, repaired.leaks_fixed), (6, 6), "{autoclear}: {repaired}");
        disk.write(CLUSTER, &[2; 16 * CLUSTER as usize], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        assert!(
            image.bytes().len() < length + 16 * CLUSTER as usize,
            "{autoclear}: what was given back is used"
        );
        assert!(image.open(Options::new()).check(RepairMode::None).unwrap().is_clean(), "{autoclear}");
    }
}

/// The names are read up to the directory's end and no further; the limits are those of the specification.
#[test]
fn names_have_limits() {
    let Bitmaps { made, first, second, .. } = bitmaps();
    let size = made.get(DIRECTORY_SIZE, 8);
    let told_with = |changes: &[(usize, usize, u64)]| {
        let mut made = made.clone();
        for (at, width, value) in changes {
            made.put(*at, *width, *value);
        }
        listed(&made)
    };
    // A byte after the second name is padding.
    assert!(told_with(&[(DIRECTORY_SIZE, 8, size - 1)]).is_ok());
    for (changes, expected) in [
        (&[(DIRECTORY_SIZE, 8, size - 2)][..], "entry 1: a name of 1023 bytes, granularity 2^63"),
        (&[(second + 17, 1, 64)], "entry 1: a name of 1023 bytes, granularity 2^64"),
        (&[(second + 18, 2, 1024)], "entry 1: a name of 1024 bytes, granularity 2^63"),
        (&[(second + 20, 4, 2)], "entry 1: a name of 1023 bytes, granularity 2^63"),
        (&[(first + 20, 4, 0xffff_fff0)], "entry 0: a name of 5 bytes, granularity 2^16"),
        (&[(COUNT, 4, 3)], "entry 2: a name of 0 bytes, granularity 2^0"),
    ] {
        let error = told_with(changes).unwrap_err();
        assert!(error.contains(expected), "{changes:?}: {error}");
    }
    // Nothing after the name of the first belongs to it.
    let Ok(Detail::List(one)) = told_with(&[(COUNT, 4, 1), (first + 12, 4, 0), (first + 18, 2, 2)]) else {
        panic!("one bitmap is listed")
    };
    let no_flags = Detail::Group(vec![
        ("flags", Detail::List(Vec::new())),
        ("name", Detail::Text("fi".to_owned())),
        ("granularity", Detail::Number(1 << 16)),
    ]);
    assert_eq!(one, [no_flags]);
}

/// Field, width, value, and what is reported.
type Damage = (usize, usize, u64, String);

fn damages(bitmaps: &Bitmaps) -> Vec<Damage> {
    let Bitmaps { made, table, first, second } = bitmaps;
    let (table, first, second) = (*table, *first, *second);
    let end = made.bytes.len() as u64;
    let directory = first as u64;
    let not_a_cluster = |entry: usize, value: u64| {
        format!(
            "bitmap table at image offset {:#x}: entry {entry} is {value:#018x}: neither",
            table + 8 * entry
        )
    };
    let does_not_fit = |at: usize, table: u64, bytes: u64| {
        format!(
            "bitmap directory at image offset {at:#x}: a bitmap table at {table:#x}, {bytes} bytes, does not fit"
        )
    };
    vec![
        (COUNT, 4, 65_536, format!("bitmap directory at image offset {directory:#x}: 65536 bitmaps")),
        (COUNT, 4, 65_535, "an entry reaches past the directory's end".to_owned()),
        (COUNT, 4, 3, "an entry reaches past the directory's end".to_owned()),
        (DIRECTORY_OFFSET, 8, directory - 512, "2 bitmaps at".to_owned()),
        (DIRECTORY_OFFSET, 8, 0u64.wrapping_sub(CLUSTER), "reach past the end of the file".to_owned()),
        (DIRECTORY_SIZE, 8, end - directory + 1, "reach past the end of the file".to_owned()),
        (
            DIRECTORY_SIZE,
            8,
            (second + 23) as u64 - directory,
            format!("image offset {second:#x}: an entry reaches past"),
        ),
        (first, 8, table as u64 + 512, does_not_fit(first, table as u64 + 512, 24)),
        (first, 8, end, does_not_fit(first, end, 24)),
        (first, 8, 0u64.wrapping_sub(CLUSTER), does_not_fit(first, 0u64.wrapping_sub(CLUSTER), 24)),
        (
            first + 8,
            4,
            (end - table as u64) / 8 + 1,
            does_not_fit(first, table as u64, end - table as u64 + 8),
        ),
        (table, 8, made.get(table, 8) | 1, not_a_cluster(0, made.get(table, 8) | 1)),
        (table, 8, made.get(table, 8) + 512, not_a_cluster(0, made.get(table, 8) + 512)),
        (table, 8, made.get(table, 8) | 1 << 56, not_a_cluster(0, made.get(table, 8) | 1 << 56)),
        (table + 16, 8, 2, not_a_cluster(2, 2)),
        (table + 16, 8, 1 << 63, not_a_cluster(2, 1 << 63)),
        (table + 16, 8, 1 << 40, "a dirty bitmap reaches past the end of the file".to_owned()),
        (table + 16, 8, end - CLUSTER, "a dirty bitmap lies on clusters that are in use".to_owned()),
    ]
}

#[test]
fn what_is_wrong_with_a_bitmap_is_found_and_all_are_given_up() {
    let intact = bitmaps();
    for (at, width, value, expected) in damages(&intact) {
        let mut made = intact.made.clone();
        made.put(at, width, value);
        let (found, image) = made.checked_and_repaired();
        assert!(found.contains(&expected), "{expected}: {found}");
        assert_eq!(image.field(AUTOCLEAR), 0, "{expected}");
    }
}

/// A directory may end where the file does, and with the fixed part of an entry; a table may end with the
/// file too.
#[test]
fn bitmaps_may_end_with_the_file() {
    let Bitmaps { made: intact, first, second, .. } = bitmaps();
    let mut made = intact.clone();
    made.put(DIRECTORY_SIZE, 8, made.bytes.len() as u64 - first as u64);
    assert!(made.checked_and_repaired().0.starts_with("0 corruptions"));
    let mut made = intact.clone();
    made.put(second + 18, 2, 0);
    made.put(DIRECTORY_SIZE, 8, (second + 24 - first) as u64);
    let (found, _) = made.checked_and_repaired();
    assert!(found.ends_with("0 corruptions (0 repaired), 1 leaks (0 repaired), 0 errors"), "{found}");
    let mut made = intact;
    let table = made.append(&[0; CLUSTER as usize]);
    made.put(first, 8, table);
    made.put(first + 8, 4, CLUSTER / 8);
    let (found, _) = made.checked_and_repaired();
    let leaks = "0 corruptions (0 repaired), 2 leaks (0 repaired), 0 errors";
    assert!(found.ends_with(leaks), "what the first had is of no use: {found}");
}

/// What is wrong elsewhere is no reason to give bitmaps up.
#[test]
fn bitmaps_outlive_a_repair() {
    let mut made = bitmaps().made;
    let before = made.clone();
    made.append(&[0; CLUSTER as usize]);
    let (found, image) = made.checked_and_repaired();
    assert!(found.ends_with("0 corruptions (0 repaired), 1 leaks (0 repaired), 0 errors"), "{found}");
    assert_eq!(image.field(AUTOCLEAR), 1);
    assert_eq!(listed(&before), listed(&Handmade::new(&image)));
}

/// Tables that lie on each other could take more time than the file has bytes.
#[test]
fn tables_are_no_larger_than_the_file_together() {
    let Bitmaps { mut made, first, second, .. } = bitmaps();
    let zeroes = made.append(&vec![0; 40 * CLUSTER as usize]);
    let first_bytes = 40 * CLUSTER;
    let rest_bytes = made.bytes.len() as u64 - first_bytes;
    made.put(first, 8, zeroes);
    made.put(first + 8, 4, first_bytes / 8);
    made.put(second, 8, zeroes);
    for (entries, expected) in
        [(rest_bytes / 8, "lies on clusters that are in use"), (rest_bytes / 8 + 1, "does not fit")]
    {
        made.put(second + 8, 4, entries);
        let (found, _) = made.checked_and_repaired();
        assert!(found.contains(expected), "{found}");
    }
}

/// A disk that grows may need a longer table of a bitmap that has nothing to say of it.
#[test]
fn a_table_grows_with_the_disk() {
    let image = Image::new(64 << 10, Options::new().with("cluster_size", 512_u64));
    let disk = image.open(Options::new());
    let bitmaps = disk.as_bitmaps().unwrap();
    for (name, is_enabled) in [("on", true), ("off", false)] {
        bitmaps.add_bitmap(name, 512, is_enabled).unwrap();
    }
    disk.write(1000, &[1; 100], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    for size in [2 << 20, (2 << 20) + 512, 20 << 20] {
        let disk = image.open(Options::new());
        disk.resize(size).unwrap();
        disk.close().unwrap();
        drop(disk);
        let disk = image.open(Options::new());
        let infos = disk.as_bitmaps().unwrap().bitmaps().unwrap();
        let told: Vec<_> =
            infos.iter().map(|info| (info.is_in_use, info.is_inconsistent, info.dirty_bytes)).collect();
        assert_eq!(told, [(false, false, 1024), (false, false, 0)], "{size}");
        assert!(disk.check(RepairMode::None).unwrap().is_clean(), "{size}");
    }
}
