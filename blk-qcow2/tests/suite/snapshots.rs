//! Snapshots that others have made: they are described, what they use is counted and guarded, and what is
//! wrong is found.

use std::sync::Arc;

use crate::common::Image;
use crate::common::handmade::{COPIED, Handmade, OFFSET};
use blk_core::{
    Access, CheckReport, DenyResolver, Disk, Error, MemoryStorage, Options, RepairMode, Result, SnapshotInfo,
    Storage, WriteFlags,
};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 1024;
/// So many entries take a cluster and a part of a second one.
const L1_ENTRIES: u32 = 130;
const COUNT: usize = 60;
const TABLE_OFFSET: usize = 64;

/// What a test says of a snapshot.
#[derive(Default)]
struct Entry<'a> {
    l1_offset: u64,
    l1_entries: u32,
    id: &'a str,
    name: &'a str,
    state_bytes: u32,
    extra: &'a [u8],
}

impl Entry<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut entry = self.l1_offset.to_be_bytes().to_vec();
        entry.extend(self.l1_entries.to_be_bytes());
        entry.extend((self.id.len() as u16).to_be_bytes());
        entry.extend((self.name.len() as u16).to_be_bytes());
        entry.extend(1_700_000_000u32.to_be_bytes());
        entry.extend(5u32.to_be_bytes());
        entry.extend(7u64.to_be_bytes());
        entry.extend(self.state_bytes.to_be_bytes());
        // Version 3 asks for the sizes of the machine state, once more, and of the disk.
        let usual = [u64::from(self.state_bytes).to_be_bytes(), (1u64 << 20).to_be_bytes()].concat();
        let extra = if self.extra.is_empty() { &usual } else { self.extra };
        entry.extend((extra.len() as u32).to_be_bytes());
        entry.extend(extra);
        entry.extend(self.id.as_bytes());
        entry.extend(self.name.as_bytes());
        entry.resize(entry.len().next_multiple_of(8), 0);
        entry
    }
}

/// A disk of two L2 tables, of which the first has two clusters.
fn disk() -> Handmade {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", CLUSTER));
    let disk = image.open(Options::new());
    disk.write(0, &[0x11; 2 * CLUSTER as usize], WriteFlags::default()).unwrap();
    disk.write(292 * CLUSTER, &[0x22; 100], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    Handmade::new(&image)
}

/// One more reference from a snapshot to an L2 table and all that it refers to.
fn share(made: &mut Handmade, l2: u64) {
    made.count(l2, 1);
    for at in (l2..l2 + CLUSTER).step_by(8) {
        let entry = made.get(at as usize, 8);
        if entry != 0 {
            made.put(at as usize, 8, entry & !COPIED);
            made.count(entry & OFFSET, 1);
        }
    }
}

/// An image with three snapshots, and where the entries of their table lie.
struct Snapshots {
    made: Handmade,
    entries: [usize; 3],
    l1_tables: [u64; 3],
    /// The L2 table that only a snapshot has.
    own_l2: u64,
}

fn snapshots() -> Snapshots {
    let mut made = disk();
    let l1 = made.get(40, 8) as usize;
    let shared = made.get(l1, 8) & OFFSET;
    made.put(l1, 8, shared);
    let own_data = made.append(&[0x33; CLUSTER as usize]);
    let own_l2 = made.append(&own_data.to_be_bytes());
    let mut table = vec![0; L1_ENTRIES as usize * 8];
    table[..8].copy_from_slice(&shared.to_be_bytes());
    share(&mut made, shared);
    table[L1_ENTRIES as usize * 8 - 8..].copy_from_slice(&(own_l2 | COPIED).to_be_bytes());
    let first = made.append(&table);
    share(&mut made, shared);
    let second = made.append(&shared.to_be_bytes());
    let third = made.append(&[0; 8]);
    let extra = [[0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 16, 0, 0], [0xff; 8]].concat();
    let entry = |l1_offset, l1_entries| Entry { l1_offset, l1_entries, ..Entry::default() };
    let encoded = [
        Entry { id: "1", name: "before", state_bytes: 9, extra: &extra, ..entry(first, L1_ENTRIES) },
        Entry { id: "22", name: "", state_bytes: 77, ..entry(second, 1) },
        Entry { name: "n", extra: &[&extra[..16], &[0, 0, 0, 0, 0, 0, 0, 8]].concat(), ..entry(third, 1) },
    ]
    .map(|entry| entry.encode());
    let table = made.append(&encoded.concat());
    let start = table as usize;
    let entries = [start, start + encoded[0].len(), start + encoded[0].len() + encoded[1].len()];
    made.put(COUNT, 4, 3);
    made.put(TABLE_OFFSET, 8, table);
    Snapshots { made, entries, l1_tables: [first, second, third], own_l2 }
}

fn described(storage: Arc<dyn Storage>) -> Result<Vec<SnapshotInfo>> {
    let disk = FORMAT.open(storage, Access::ReadOnly, Options::new(), &DenyResolver).unwrap();
    Ok(disk.as_info().unwrap().info()?.snapshots)
}

#[test]
fn snapshots_are_counted_and_described() {
    let Snapshots { made, .. } = snapshots();
    let (found, image) = made.checked_and_repaired();
    assert_eq!(found, "0 corruptions (0 repaired), 0 leaks (0 repaired), 0 errors");
    assert!(image.bytes() == made.bytes, "nothing was to be repaired");
    let listed = described(image.storage()).unwrap();
    let expected = [("1", "before", 1 << 40, None), ("22", "", 77, None), ("", "n", 1 << 40, Some(8))];
    assert_eq!(listed.len(), 3);
    for (info, (id, name, vm_state_bytes, instruction_count)) in listed.iter().zip(expected) {
        assert_eq!((&*info.id, &*info.name), (id, name));
        assert_eq!((info.vm_state_bytes, info.instruction_count), (vm_state_bytes, instruction_count));
        assert_eq!((info.date_seconds, info.date_nanoseconds), (1_700_000_000, 5));
        assert_eq!(info.vm_clock_nanoseconds, 7);
    }
    let disk = image.open(Options::new());
    let checked = disk.check(RepairMode::None).unwrap();
    assert_eq!((checked.allocated_clusters, checked.fragmented_clusters), (3, 0), "of the disk alone");
}

/// What a check without repair says of an image.
fn check(made: &Handmade) -> CheckReport {
    repaired(&made.image(), RepairMode::None)
}

fn repaired(image: &Image, repair: RepairMode) -> CheckReport {
    let report = FORMAT.check(&image.storage(), repair).unwrap();
    report.expect("the format has a check")
}

/// What keeps the table from being read keeps everything from being repaired that a snapshot could need.
#[test]
fn a_table_that_is_wrong_is_found_and_nothing_is_given_back() {
    let Snapshots { made, entries, .. } = snapshots();
    let second = entries[1];
    let end = made.bytes.len() as u64;
    let past = |offset: u64, size: u64| {
        let what =
            "ERROR: counting reference for region exceeding the end of the file by one cluster or more";
        format!("{what}: offset {offset:#x} size {size:#x}")
    };
    for (at, width, value, expected) in [
        (second + 36, 4, 1025, "entry 1 has 1025 bytes of extra data, allowed are up to 1024".to_owned()),
        (second + 8, 4, 4_194_305, "snapshot 22 () l1_size=0x400001: L1 table is too large".to_owned()),
        (second + 8, 4, 4_194_304, "the snapshots' L1 tables take more than the file has".to_owned()),
        (second, 8, 512, "snapshot 22 () l1_offset=0x200: L1 table is not cluster aligned".to_owned()),
        (second, 8, 1 << 56, past(1 << 56, 8)),
        (TABLE_OFFSET, 8, end + CLUSTER, past(end + CLUSTER, 40 * 3)),
        (second, 8, end + CLUSTER, past(end + CLUSTER, 8)),
        (second, 8, (1 << 56) - CLUSTER, past((1 << 56) - CLUSTER, 8)),
        (second + 8, 4, end / 8, "the snapshots' L1 tables take more than the file has".to_owned()),
    ] {
        let mut made = made.clone();
        made.put(at, width, value);
        // A leak of its own, which must not be reported.
        made.count(made.get(40, 8), 1);
        let report = check(&made);
        assert!(report.findings.iter().any(|finding| finding.message.contains(&expected)), "{report}");
        assert!(!report.is_clean(), "{report}");
        assert_eq!(repaired(&made.image(), RepairMode::Leaks).leaks_fixed, 0, "{expected}");
        // An entry that cannot be read cannot be kept either.
        let opened = FORMAT.open(made.image().storage(), Access::ReadWrite, Options::new(), &DenyResolver);
        assert_eq!(opened.is_err(), expected.starts_with("entry"), "{expected}");
        let described = described(made.image().storage());
        let is_malformed = matches!(described, Err(Error::Malformed { .. }));
        assert_eq!(is_malformed, expected.starts_with("entry"), "what can be listed is listed: {expected}");
    }
}

/// The largest that is allowed is taken.
#[test]
fn a_table_has_limits() {
    let Snapshots { mut made, entries, .. } = snapshots();
    made.put(COUNT, 4, 1);
    made.put(entries[0] + 36, 4, 1024);
    made.bytes.resize(made.bytes.len() + CLUSTER as usize, 0);
    assert!(described(made.image().storage()).is_ok());
    let report = check(&made);
    assert_eq!(report.check_errors, 0, "{report}");
    // Exactly what the file has: the third's table is as long as all of it but those of the others.
    let Snapshots { mut made, entries, .. } = snapshots();
    let left = made.bytes.len() as u64 / 8 - u64::from(L1_ENTRIES) - 1;
    made.put(entries[2], 8, 0);
    for (entries_of_third, expected) in
        [(left, "found L1 entry with reserved bits"), (left + 1, "take more than the file has")]
    {
        made.put(entries[2] + 8, 4, entries_of_third);
        let report = check(&made).to_string();
        assert!(report.contains(expected), "{report}");
    }
}

/// 64 MiB is what is read of a table to describe it.
#[test]
fn a_table_of_64_mib_is_described() {
    let empty = Image::new(1 << 20, Options::new());
    let entry = Entry { l1_offset: 0, ..Entry::default() }.encode();
    let bytes_of_entry = 128 << 10;
    let start = 1 << 20;
    for (last_name_bytes, is_read) in [(65_481u16, true), (65_482, false)] {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&empty.bytes()));
        storage.set_len(80 << 20).unwrap();
        storage.write_at(COUNT as u64, &[0, 0, 2, 0, 0, 0, 0, 0, 0, 16, 0, 0]).unwrap();
        for number in 0..512 {
            let name_bytes = if number == 511 { last_name_bytes } else { 65_481 };
            let mut entry = entry.clone();
            entry[12..14].copy_from_slice(&[0xff; 2]);
            entry[14..16].copy_from_slice(&name_bytes.to_be_bytes());
            storage.write_at(start + number * bytes_of_entry, &entry).unwrap();
        }
        let listed = described(storage);
        assert_eq!(listed.map(|listed| listed.len()).ok(), is_read.then_some(512));
    }
}

/// Two snapshots that have one L1 table get one each, and the disk and the snapshots are what they were.
#[test]
fn l1_tables_that_lie_on_others_get_a_place_of_their_own() {
    let Snapshots { mut made, entries, l1_tables, own_l2 } = snapshots();
    let end = made.bytes.len() as u64;
    made.put(entries[1], 8, l1_tables[0]);
    made.put(entries[1] + 8, 4, u64::from(L1_ENTRIES));
    made.put(entries[2], 8, l1_tables[0]);
    let (found, image) = made.checked_and_repaired();
    assert!(found.contains("ERROR cluster 4 refcount=3 reference=4"), "{found}");
    let offsets = entries.map(|entry| image.field(entry));
    assert_eq!(offsets, [l1_tables[0], end, end + 2 * CLUSTER]);
    let bytes = image.bytes();
    let table = |offset: u64, entries: u32| &bytes[offset as usize..][..entries as usize * 8];
    assert!(table(end, L1_ENTRIES) == table(offsets[0], L1_ENTRIES));
    assert!(table(offsets[2], 1) == table(offsets[0], 1));
    assert_eq!(image.field(l1_tables[0] as usize + 8 * (L1_ENTRIES as usize - 1)) & OFFSET, own_l2);
}

/// No repair makes the file larger than twice what it was.
#[test]
fn a_repair_copies_no_more_than_the_file_has() {
    for (more, is_repaired) in [(0, true), (1, false)] {
        let mut made = disk();
        let clusters = made.bytes.len() as u64 / CLUSTER + 1;
        let entry = Entry { l1_offset: 0, l1_entries: 1, ..Entry::default() }.encode();
        let count = clusters as usize + more;
        let table = made.append(&entry.repeat(count));
        made.put(COUNT, 4, count as u64);
        made.put(TABLE_OFFSET, 8, table);
        assert_eq!(made.bytes.len() as u64, clusters * CLUSTER);
        // Their tables are the first 8 bytes of the header.
        let image = made.image();
        let disk = image.open(Options::new());
        let report = disk.check(RepairMode::All).unwrap();
        assert_eq!(report.is_repaired(), is_repaired, "{report}");
        assert_eq!((image.bytes().len() as u64).div_ceil(CLUSTER), 2 * clusters);
    }
}

fn write(disk: &Disk) -> Result<()> {
    disk.write(0, &[7; 512], WriteFlags::default())
}

/// A write into what belongs to a snapshot is refused, as far as `overlap-check` says.
#[test]
fn what_snapshots_use_is_guarded() {
    let Snapshots { made, entries, l1_tables, own_l2 } = snapshots();
    let active = made.get(made.get(40, 8) as usize, 8) & OFFSET;
    let [first, ..] = l1_tables;
    for (victim, name, part, is_usual) in [
        (entries[0] as u64, "the snapshot table", "snapshot-table", true),
        (first, "a snapshot's L1 table", "inactive-l1", true),
        (first + CLUSTER, "a snapshot's L1 table", "inactive-l1", true),
        (l1_tables[2], "a snapshot's L1 table", "inactive-l1", true),
        (own_l2, "a snapshot's L2 table", "inactive-l2", false),
    ] {
        let mut made = made.clone();
        made.put(active as usize, 8, victim | COPIED);
        let l1 = made.get(40, 8) as usize;
        made.put(l1, 8, active | COPIED);
        let part = format!("overlap-check.{part}");
        let options = |level: &str| Options::new().with("overlap-check", level);
        for (options, is_guarded) in [
            (Options::new(), is_usual),
            (options("all"), true),
            (options("none"), false),
            (options("none").with(&part, "on"), true),
            (options("all").with(&part, "off"), false),
        ] {
            let image = made.image();
            let written = write(&image.open(options.clone()));
            assert_eq!(written.is_err(), is_guarded, "{name} {options:?}");
            if let Err(error) = written {
                assert!(error.to_string().contains(name), "{error}");
                assert!(image.bytes()[victim as usize..][..512] == made.bytes[victim as usize..][..512]);
            }
        }
    }
}

/// What follows a snapshot's L1 table is no part of it: neither as entries, nor the next cluster.
#[test]
fn what_no_snapshot_uses_is_not_guarded() {
    let Snapshots { mut made, entries, l1_tables, .. } = snapshots();
    let l1 = made.get(40, 8) as usize;
    let entry = (made.get(l1 + 16, 8) & OFFSET) as usize + 8 * (292 - 256);
    let behind_entries = made.get(entry, 8) & OFFSET;
    assert_ne!(behind_entries, 0);
    made.put(l1_tables[2] as usize + 8, 8, behind_entries);
    let whole = made.append(&[0; CLUSTER as usize]);
    let behind_cluster = made.append(&[0; CLUSTER as usize]);
    made.put(entries[1], 8, whole);
    made.put(entries[1] + 8, 4, CLUSTER / 8);
    for victim in [behind_entries, behind_cluster] {
        made.put(entry, 8, victim | COPIED);
        let image = made.image();
        let disk = image.open(Options::new().with("overlap-check", "all"));
        disk.write(292 * CLUSTER, &[9; 512], WriteFlags::default()).unwrap();
        assert_eq!(image.bytes()[victim as usize..][..512], [9; 512]);
    }
}

/// What lies past the end of the disk is taken out of its tables when it grows, not out of those of a
/// snapshot.
#[test]
fn a_growing_disk_leaves_a_snapshot_what_it_shares() {
    let mut made = snapshots().made;
    let shared = made.get(made.get(40, 8) as usize, 8) & OFFSET;
    let data = made.get(shared as usize + 8, 8) & OFFSET;
    made.put(24, 8, CLUSTER);
    let image = made.image();
    let before = image.bytes();
    let disk = image.open(Options::new());
    disk.resize(4 * CLUSTER).unwrap();
    let mut read = [1; 4 * CLUSTER as usize];
    disk.read(0, &mut read).unwrap();
    let (old, new) = read.split_at(CLUSTER as usize);
    assert!(old.iter().all(|byte| *byte == 0x11) && new.iter().all(|byte| *byte == 0));
    disk.flush().unwrap();
    let checked = disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
    for cluster in [shared, data] {
        let cluster = cluster as usize..(cluster + CLUSTER) as usize;
        assert!(image.bytes()[cluster.clone()] == before[cluster.clone()], "{cluster:#x?}");
    }
}

/// Copying the table would give the snapshot's back.
#[test]
fn a_table_of_a_snapshot_that_is_counted_once_is_not_given_back() {
    let Snapshots { mut made, .. } = snapshots();
    let l1 = made.get(40, 8) as usize;
    let shared = made.get(l1, 8) & OFFSET;
    made.count(shared, -2);
    let image = Image::from_bytes(&made.bytes);
    let disk = image.open(Options::new().with("overlap-check", "all"));
    let error = disk.write(0, &[9; 512], WriteFlags::default()).unwrap_err();
    assert!(error.to_string().contains("a snapshot has too has refcount 1"), "{error}");
    drop(disk);
    let table = shared as usize..(shared + CLUSTER) as usize;
    assert!(image.bytes()[table.clone()] == made.bytes[table], "the table is as it was");
}
