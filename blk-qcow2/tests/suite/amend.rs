//! Images whose options are changed: disk and snapshots stay what they are, and the image is what its header
//! says.

use std::sync::Arc;

use blk_core::storage::{FaultRule, FaultStorage, MemoryStorage};
use blk_core::{
    Access, Amendment, DenyResolver, Disk, Error, Extent, MapResolver, NewSnapshot, Options, RepairMode,
    Result, Snapshots, Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;

use crate::common::{Image, OneBacking};

const COMPRESSED: WriteFlags = WriteFlags { compressed: true, fua: false };
const UNMAPPING: ZeroFlags = ZeroFlags { may_unmap: true, fua: false, no_fallback: false, fast_only: false };

fn amend(disk: &Disk, options: Options) -> Result<()> {
    let mut seen = (0, 1);
    let mut progress = |done, all| {
        assert!(done <= all && all > 0 && done * seen.1 >= seen.0 * all, "{done} of {all} after {seen:?}");
        seen = (done, all);
    };
    let amendment = Amendment { options, force: false, resolver: &DenyResolver, progress: &mut progress };
    disk.as_amend().expect("qcow2 can").amend(amendment)
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

fn snapshots(disk: &Disk) -> Vec<Vec<u8>> {
    let read = |snapshot: blk_core::SnapshotInfo| {
        let mut bytes = vec![0xee; snapshot.disk_bytes.unwrap_or(disk.size()) as usize];
        disk.read_snapshot(&snapshot.id, 0, &mut bytes).unwrap();
        bytes
    };
    disk.snapshots().unwrap().into_iter().map(read).collect()
}

/// What a disk shows, and each of its snapshots.
type Shown = (Vec<u8>, Vec<Vec<u8>>);

fn shown(disk: &Disk) -> Shown {
    (content(disk), snapshots(disk))
}

/// An image and what is below it.
struct Subject {
    bytes: Vec<u8>,
    backing: Option<Arc<Disk>>,
}

impl Subject {
    fn open_on(&self, storage: Arc<dyn Storage>) -> Result<Disk> {
        let options = Options::new();
        FORMAT.open(storage, Access::ReadWrite, options, &OneBacking(self.backing.clone()))
    }

    fn storage(&self) -> Arc<MemoryStorage> {
        Arc::new(MemoryStorage::from_bytes(&self.bytes))
    }
}

/// How an image is made: what it has, by bits of a number.
struct Made {
    cluster: u64,
    has_backing: bool,
    has_snapshots: bool,
    create: Options,
}

/// An image with clusters of each kind, shared with snapshots in each way.
fn subject(made: Made) -> Subject {
    let Made { cluster, has_backing, has_snapshots, create } = made;
    let size = cluster * 40;
    let backing = has_backing.then(|| {
        let below = Image::new(size, Options::new());
        let disk = below.open(Options::new());
        disk.write(0, &vec![0xbb; size as usize], WriteFlags::default()).unwrap();
        Arc::new(disk)
    });
    let image = Image::new(size, create.with("cluster_size", cluster));
    let options = Options::new();
    let disk =
        FORMAT.open(image.storage(), Access::ReadWrite, options, &OneBacking(backing.clone())).unwrap();
    let write = |at: u64, count: u64, byte: u8| {
        disk.write(at * cluster, &vec![byte; (cluster * count) as usize], WriteFlags::default()).unwrap();
    };
    let zero = |at: u64, count: u64, flags| {
        disk.write_zeroes(Extent::new(at * cluster, count * cluster), flags).unwrap();
    };
    let snapshot = |name: &str| {
        if has_snapshots {
            let new = NewSnapshot { name: name.to_owned(), ..NewSnapshot::default() };
            disk.create_snapshot(&new).unwrap();
        }
    };
    write(0, 12, 1);
    zero(2, 2, UNMAPPING);
    zero(4, 2, ZeroFlags::default());
    zero(20, 4, UNMAPPING);
    disk.write(30 * cluster, &vec![7; cluster as usize], COMPRESSED).unwrap();
    snapshot("one");
    zero(0, 1, ZeroFlags::default());
    zero(6, 1, UNMAPPING);
    write(4, 1, 2);
    zero(24, 2, UNMAPPING);
    snapshot("two");
    write(20, 1, 3);
    zero(8, 2, ZeroFlags::default());
    zero(39, 1, UNMAPPING);
    disk.close().unwrap();
    Subject { bytes: image.bytes(), backing }
}

fn subjects(cluster: u64, create: &Options) -> Vec<Subject> {
    let each = [(false, false), (false, true), (true, false), (true, true)];
    let made = |(has_backing, has_snapshots)| {
        subject(Made { cluster, has_backing, has_snapshots, create: create.clone() })
    };
    let mut all: Vec<Subject> = each.map(made).into();
    let zeroed = all.iter().filter(|subject| l1_tables(&subject.bytes).len() > 1).map(zeroed_in_snapshots);
    let zeroed: Vec<Subject> = zeroed.collect();
    all.extend(zeroed);
    all
}

/// The same image, whose snapshots have zeroes where the disk has data: in tables of their own, what they
/// share with it has the zero flag too, as QEMU leaves it.
fn zeroed_in_snapshots(subject: &Subject) -> Subject {
    let mut bytes = subject.bytes.clone();
    let tables = l1_tables(&bytes);
    let l2_tables = |bytes: &[u8], (l1, entries): (usize, usize)| -> Vec<usize> {
        let entries = (0..entries).map(|entry| word(bytes, l1 + entry * 8) & 0x00ff_ffff_ffff_fe00);
        entries.filter(|table| *table > 0).map(|table| table as usize).collect()
    };
    let active = l2_tables(&bytes, tables[0]);
    let cluster = 1 << u32::from_be_bytes(bytes[20..24].try_into().unwrap());
    let mut count = 0;
    for table in tables[1..].iter().flat_map(|l1| l2_tables(&bytes, *l1)).collect::<Vec<_>>() {
        let is_plain = |entry: u64| entry & (1 << 62) == 0 && entry & 0x00ff_ffff_ffff_fe00 != 0;
        let entries = (table..table + cluster).step_by(8).filter(|_| !active.contains(&table));
        for at in entries {
            let zeroed = word(&bytes, at) | u64::from(is_plain(word(&bytes, at)));
            count += u64::from(zeroed != word(&bytes, at));
            bytes[at..at + 8].copy_from_slice(&zeroed.to_be_bytes());
        }
    }
    assert!(count > 0, "the snapshots share clusters with the disk, in tables of their own");
    Subject { bytes, backing: subject.backing.clone() }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The L1 tables of an image, that of the disk first: where each begins, and how many entries it has.
fn l1_tables(bytes: &[u8]) -> Vec<(usize, usize)> {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut tables = vec![(word(bytes, 40) as usize, number(36))];
    let mut at = word(bytes, 64) as usize;
    for _ in 0..number(60) {
        tables.push((word(bytes, at) as usize, number(at + 8)));
        let names = u16::from_be_bytes([bytes[at + 12], bytes[at + 13]]) as usize
            + u16::from_be_bytes([bytes[at + 14], bytes[at + 15]]) as usize;
        at = (at + 40 + number(at + 36) + names).next_multiple_of(8);
    }
    tables
}

/// The version in the header, and the entries of all L2 tables that have the zero flag.
fn version_and_zeroes(bytes: &[u8], cluster: usize) -> (u32, usize) {
    let mut zeroes = 0;
    for (l1, entries) in l1_tables(bytes) {
        for entry in 0..entries {
            let table = (word(bytes, l1 + entry * 8) & 0x00ff_ffff_ffff_fe00) as usize;
            let indexes = if table == 0 { 0 } else { cluster / 8 };
            zeroes += (0..indexes).filter(|index| word(bytes, table + index * 8) & 1 != 0).count();
        }
    }
    (u32::from_be_bytes(bytes[4..8].try_into().unwrap()), zeroes)
}

fn must_be_clean(disk: &Disk, what: &str) {
    let report = disk.check(RepairMode::None).unwrap();
    assert!(report.is_clean(), "{what}: {report}");
}

/// Amended, and still the same; written to and opened again.
fn amended(subject: &Subject, options: &Options, what: &str) -> Vec<u8> {
    let storage = subject.storage();
    let disk = subject.open_on(Arc::clone(&storage) as _).unwrap();
    let before = shown(&disk);
    amend(&disk, options.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(shown(&disk) == before, "{what}: the open disk");
    must_be_clean(&disk, what);
    disk.close().unwrap();
    let bytes = storage.to_bytes(1 << 30).unwrap();
    let disk = subject.open_on(storage).unwrap();
    assert!(shown(&disk) == before, "{what}: opened again");
    must_be_clean(&disk, what);
    let data = vec![0x55; 3000];
    disk.write(disk.size() / 3, &data, WriteFlags::default()).unwrap();
    disk.write_zeroes(Extent::new(disk.size() / 2, disk.size() / 4), UNMAPPING).unwrap();
    let new = NewSnapshot { name: "after".to_owned(), ..NewSnapshot::default() };
    match disk.create_snapshot(&new) {
        // Narrow counts are at their end soon.
        Ok(_) | Err(Error::NoSpace { .. }) => {}
        Err(error) => panic!("{what}: {error}"),
    }
    disk.write(0, &data, WriteFlags::default()).unwrap();
    disk.close().unwrap();
    must_be_clean(&disk, what);
    bytes
}

#[test]
fn version_2_has_no_zero_clusters_and_shows_the_same() {
    for cluster in [512, 4096, 65536] {
        for (number, subject) in subjects(cluster, &Options::new()).iter().enumerate() {
            let what = format!("clusters of {cluster}, {number}");
            let (version, zeroes) = version_and_zeroes(&subject.bytes, cluster as usize);
            assert!(version == 3 && zeroes > 0, "{what}");
            let old = amended(subject, &Options::new().with("compat", "0.10"), &what);
            assert_eq!(version_and_zeroes(&old, cluster as usize), (2, 0), "{what}");
            let old = Subject { bytes: old, backing: subject.backing.clone() };
            let new = amended(&old, &Options::new().with("compat", "v3"), &what);
            assert_eq!(version_and_zeroes(&new, cluster as usize), (3, 0), "{what}");
        }
    }
}

#[test]
fn refcounts_of_every_width_become_those_of_every_other() {
    for cluster in [512, 4096] {
        for subject in subjects(cluster, &Options::new()) {
            let mut current = Subject { bytes: subject.bytes.clone(), backing: subject.backing.clone() };
            for bits in [64_u64, 8, 4, 32, 2, 16, 64, 2] {
                let what = format!("clusters of {cluster}, {bits} bits");
                let bytes = amended(&current, &Options::new().with("refcount_bits", bits), &what);
                assert_eq!(1 << bytes[99], bits, "{what}");
                current.bytes = bytes;
            }
        }
    }
}

#[test]
fn a_count_that_does_not_fit_is_named_and_nothing_changes() {
    for subject in subjects(4096, &Options::new()) {
        let storage = subject.storage();
        let disk = subject.open_on(Arc::clone(&storage) as _).unwrap();
        let changed = amend(&disk, Options::new().with("refcount_bits", 1_u64).with("lazy_refcounts", "on"));
        match changed {
            Ok(()) => assert!(disk.snapshots().unwrap().is_empty()),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("to 1 bits: Cluster at offset 0x"), "{text}");
                assert!(storage.to_bytes(1 << 30).unwrap() == subject.bytes);
                assert!(!disk.snapshots().unwrap().is_empty());
            }
        }
    }
}

#[test]
fn what_cannot_be_changed_is_refused_before_anything_is() {
    let options = |text: &str| {
        text.split(',').fold(Options::new(), |options, item| {
            let (name, value) = item.split_once('=').unwrap();
            options.with(name, value)
        })
    };
    for (create, wanted, reason) in [
        ("compat=1.1", "compat=0.9", "0.9"),
        ("compat=1.1", "refcount_bits=3", "3"),
        ("compat=1.1", "refcount_bits=8,compat=0.10", "compat=0.10 requires refcount_bits=16"),
        ("refcount_bits=8", "compat=0.10", "compat=0.10 requires refcount_bits=16"),
        ("compat=0.10", "refcount_bits=8", "require compatibility level 1.1"),
        ("compat=0.10", "lazy_refcounts=on", "Lazy refcounts only supported"),
        ("compat=1.1", "lazy_refcounts=on,compat=0.10", "Lazy refcounts only supported"),
        ("extended_l2=on", "size=4M,compat=0.10", "incompatible features 0x10"),
        ("compression_type=zstd", "refcount_bits=64,compat=0.10", "requires refcount_bits=16"),
        ("compression_type=zstd", "size=4M,compat=0.10", "zstd compression type and existing compressed"),
        ("compat=1.1", "refcount_bits=8,backing_file=x", "Cannot amend the backing file"),
        ("compat=1.1", "refcount_bits=8,backing_fmt=x", "Cannot amend the backing file"),
        ("compat=1.1", "refcount_bits=8,data_file=x", "images that use an external data file"),
        ("compat=1.1", "refcount_bits=8,data_file_raw=on", "cannot be set on existing images"),
        ("compat=1.1", "refcount_bits=8,encrypt.state=active", "encryption not present"),
        ("compat=1.1", "refcount_bits=8,size=1000", "multiple of 512"),
        ("compat=1.1", "refcount_bits=8,cluster_size=4096", "cluster_size"),
        ("compat=1.1", "refcount_bits=8,preallocation=off", "preallocation"),
        ("compat=1.1", "refcount_bits=8,compression_type=zstd", "compression_type"),
        ("compat=1.1", "refcount_bits=8,size=4E", "size"),
    ] {
        let image = Image::new(1 << 20, options(create));
        let disk = image.open(Options::new());
        disk.write(0, &vec![1; 70_000], WriteFlags::default()).unwrap();
        disk.write(131_072, &vec![2; 65_536], COMPRESSED).unwrap();
        disk.write_zeroes(Extent::new(262_144, 65_536), UNMAPPING).unwrap();
        disk.close().unwrap();
        let before = image.bytes();
        let error = amend(&disk, options(wanted)).unwrap_err();
        let what = format!("{create} to {wanted}: {error}");
        assert!(matches!(error, Error::InvalidOption { .. } | Error::NoSpace { .. }), "{what}");
        assert!(error.to_string().contains(reason), "{what}");
        assert!(image.bytes() == before, "{what}");
    }
}

#[test]
fn snapshots_of_other_sizes_keep_version_3() {
    let image = Image::new(1 << 20, Options::new());
    let disk = image.open(Options::new());
    disk.create_snapshot(&NewSnapshot::default()).unwrap();
    let version_2 = || Options::new().with("compat", "0.10");
    let before = image.bytes();
    let error = amend(&disk, version_2().with("size", 2_u64 << 20)).unwrap_err().to_string();
    assert!(error.contains("Internal snapshots prevent downgrade"), "{error}");
    assert!(image.bytes() == before);
    disk.resize(2 << 20).unwrap();
    assert!(amend(&disk, version_2()).unwrap_err().to_string().contains("has a disk of 1048576 bytes"));
    let large = NewSnapshot { vm_state_bytes: 1 << 32, ..NewSnapshot::default() };
    let image = Image::new(1 << 20, Options::new());
    let disk = image.open(Options::new());
    disk.create_snapshot(&large).unwrap();
    assert!(amend(&disk, version_2()).unwrap_err().to_string().contains("4294967296"));
}

#[test]
fn zstd_goes_with_version_3_where_nothing_is_compressed() {
    let image = Image::new(1 << 20, Options::new().with("compression_type", "zstd"));
    let disk = image.open(Options::new());
    amend(&disk, Options::new().with("compat", "0.10")).unwrap();
    let data = vec![9; 65_536];
    disk.write(0, &data, COMPRESSED).unwrap();
    disk.close().unwrap();
    let disk = image.open(Options::new());
    disk.write(65_536, &data, COMPRESSED).unwrap();
    assert!(content(&disk)[..131_072] == vec![9; 131_072]);
    must_be_clean(&disk, "zlib");
}

#[test]
fn the_size_is_changed_with_other_options() {
    let image = Image::new(1 << 20, Options::new().with("compat", "0.10"));
    let disk = image.open(Options::new());
    disk.write(0, &[1; 100], WriteFlags::default()).unwrap();
    let options = Options::new().with("size", 3_u64 << 20).with("compat", "1.1").with("lazy_refcounts", "on");
    amend(&disk, options).unwrap();
    assert_eq!(disk.size(), 3 << 20);
    amend(&disk, Options::new().with("size", 0_u64)).unwrap();
    disk.write(2 << 20, &[2; 100], WriteFlags::default()).unwrap();
    disk.flush().unwrap();
    assert!(image.bytes()[79] & 1 != 0, "lazy refcounts are on: the image is dirty");
    amend(&disk, Options::new().with("lazy_refcounts", "off")).unwrap();
    assert!(image.bytes()[79] & 1 == 0 && image.bytes()[87] == 0);
    must_be_clean(&disk, "grown");
}

/// As long as each operation fails from the `n`th on: what a crash there leaves is the same disk.
#[test]
fn an_amendment_that_is_cut_anywhere_leaves_the_same_disk() {
    let changes = ["compat=0.10", "refcount_bits=64", "refcount_bits=4", "lazy_refcounts=on", "compat=1.1"];
    for (number, subject) in subjects(512, &Options::new()).iter().enumerate() {
        let mut subject = Subject { bytes: subject.bytes.clone(), backing: subject.backing.clone() };
        for change in changes {
            if change == "compat=1.1" {
                let options = Options::new().with("compat", "0.10");
                subject.bytes = amended(&subject, &options, "downgrade first");
            }
            let (name, value) = change.split_once('=').unwrap();
            let options = Options::new().with(name, value);
            let before = shown(&subject.open_on(subject.storage()).unwrap());
            for cut in 0.. {
                let what = format!("{number}: {change}, cut at operation {cut}");
                let storage = subject.storage();
                let fault = Arc::new(FaultStorage::new(Arc::clone(&storage) as _));
                let disk = subject.open_on(Arc::clone(&fault) as _).unwrap();
                fault.add_rule(FaultRule::fail(5).after(cut).sticky());
                let is_done = amend(&disk, options.clone()).is_ok();
                drop(disk);
                let disk = subject.open_on(storage).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(shown(&disk) == before, "{what}");
                let report = disk.check(RepairMode::None).unwrap();
                assert_eq!((report.corruptions, report.check_errors), (0, 0), "{what}: {report}");
                if is_done {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_header_that_would_not_fit_stays_what_it_is() {
    let name = "n".repeat(400);
    let create = Options::new().with("cluster_size", 512_u64).with("compat", "0.10");
    let image = Image::new(1 << 20, create.with("backing_file", name.as_str()));
    let disk = image.open(Options::new().with("backing", "off"));
    let before = image.bytes();
    let error = amend(&disk, Options::new().with("compat", "1.1").with("size", 2_u64 << 20)).unwrap_err();
    assert!(error.to_string().contains("header and name would take 520 bytes"), "{error}");
    assert!(image.bytes() == before);
    disk.write(0, &[1; 10], WriteFlags::default()).unwrap();
}

/// Extensions and names that lie in other sectors than the first are there in both versions.
#[test]
fn names_and_unknown_extensions_move_with_the_header() {
    for length in [1, 100, 392, 400, 430, 600, 1023] {
        for cluster in [4096_u64, 65_536] {
            let name = "n".repeat(length);
            let create = Options::new().with("cluster_size", cluster).with("backing_file", name.as_str());
            let image = Image::new(1 << 20, create.with("backing_fmt", "raw"));
            let mut current = image.bytes();
            for compat in ["0.10", "1.1", "0.10", "1.1"] {
                let image = Image::from_bytes(&current);
                let disk = image.open(Options::new().with("backing", "off"));
                amend(&disk, Options::new().with("compat", compat)).unwrap();
                disk.close().unwrap();
                let disk = image.open(Options::new().with("backing", "off"));
                let backing = disk.info().unwrap().backing.unwrap();
                assert_eq!(
                    (backing.name.len(), backing.format.as_deref()),
                    (length, Some("raw")),
                    "{compat}"
                );
                must_be_clean(&disk, compat);
                current = image.bytes();
            }
        }
    }
}

/// A backing file that is named and not opened shows again at the next open.
#[test]
fn a_backing_file_that_is_not_opened_stays_hidden() {
    for cluster in [512_u64, 4096, 65_536] {
        let size = cluster * 40;
        let below = Image::new(size, Options::new());
        let base = below.open(Options::new());
        base.write(0, &vec![0xbb; size as usize], WriteFlags::default()).unwrap();
        let mut resolver = MapResolver::default();
        resolver.insert("base", Arc::new(base));
        let image = Image::new(0, Options::new());
        let create = Options::new().with("cluster_size", cluster).with("backing_file", "base");
        FORMAT.create_with(&image.storage(), size, create, &resolver).unwrap();
        let open = || FORMAT.open(image.storage(), Access::ReadWrite, Options::new(), &resolver).unwrap();
        let disk = open();
        disk.write(0, &vec![1; 10 * cluster as usize], WriteFlags::default()).unwrap();
        disk.write_zeroes(Extent::new(cluster, 3 * cluster), UNMAPPING).unwrap();
        disk.write_zeroes(Extent::new(5 * cluster, 3 * cluster), ZeroFlags::default()).unwrap();
        disk.write_zeroes(Extent::new(20 * cluster, 3 * cluster), UNMAPPING).unwrap();
        let before = content(&disk);
        disk.close().unwrap();
        drop(disk);
        let disk = image.open(Options::new().with("backing", "off"));
        amend(&disk, Options::new().with("compat", "0.10")).unwrap();
        disk.close().unwrap();
        drop(disk);
        let disk = open();
        assert!(content(&disk) == before, "clusters of {cluster}");
        assert_eq!(version_and_zeroes(&image.bytes(), cluster as usize), (2, 0));
        must_be_clean(&disk, "hidden");
    }
}
