//! Snapshots that are created, applied and deleted here: each keeps what the disk held, and nothing else
//! changes.

use blk_core::{
    Access, DenyResolver, Disk, Error, Extent, NewSnapshot, Options, RepairMode, Snapshots, WriteFlags,
    ZeroFlags,
};
use blk_qcow2::FORMAT;

use crate::common::{Image, Random};

fn named(name: &str) -> NewSnapshot {
    NewSnapshot { name: name.to_owned(), ..NewSnapshot::default() }
}

fn content(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

/// A disk, and what it and its snapshots hold.
struct Kept {
    image: Image,
    disk: Disk,
    bytes: Vec<u8>,
    snapshots: Vec<(String, Vec<u8>)>,
    options: Options,
    refused: u64,
}

impl Kept {
    fn new(size: u64, create: Options, options: &Options) -> Self {
        let image = Image::new(size, create);
        let disk = image.open(options.clone());
        let (snapshots, bytes) = (Vec::new(), vec![0; size as usize]);
        Self { image, disk, bytes, snapshots, options: options.clone(), refused: 0 }
    }

    fn step(&mut self, random: &mut Random, number: u64) {
        let size = self.bytes.len() as u64;
        let (start, length) = (random.below(size), 1 + random.below(size / 4));
        let end = (start + length).min(size);
        let range = start as usize..end as usize;
        let extent = Extent::between(start, end);
        let byte = number as u8 | 1;
        match random.below(16) {
            0..=5 => {
                self.disk.write(start, &vec![byte; range.len()], WriteFlags::default()).unwrap();
                self.bytes[range].fill(byte);
            }
            6 => {
                let unit = self.disk.limits().zero_granularity;
                let extent = extent.align_inward(unit);
                let data = vec![byte; extent.length as usize];
                let flags = WriteFlags { compressed: true, ..WriteFlags::default() };
                if !extent.is_empty() {
                    self.disk.write(extent.offset, &data, flags).unwrap();
                    self.bytes[extent.offset as usize..extent.end() as usize].fill(byte);
                }
            }
            7 | 8 => {
                let flags = ZeroFlags { may_unmap: random.below(2) == 0, ..ZeroFlags::default() };
                self.disk.write_zeroes(extent, flags).unwrap();
                self.bytes[range].fill(0);
            }
            9 | 10 => self.create(number),
            11 | 12 if !self.snapshots.is_empty() => self.apply(random),
            13 if !self.snapshots.is_empty() => {
                let chosen = random.below(self.snapshots.len() as u64) as usize;
                let (id, _) = self.snapshots.remove(chosen);
                self.disk.delete_snapshot(&id).unwrap();
            }
            14 if size < 3 << 20 => {
                self.disk.resize(size + 512 * (1 + random.below(300))).unwrap();
                self.bytes.resize(self.disk.size() as usize, 0);
            }
            _ => self.reopen(),
        }
    }

    fn create(&mut self, number: u64) {
        match self.disk.create_snapshot(&named(&format!("s{number}"))) {
            Ok(id) => self.snapshots.push((id, self.bytes.clone())),
            Err(Error::NoSpace { .. }) => self.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn apply(&mut self, random: &mut Random) {
        let (id, bytes) = &self.snapshots[random.below(self.snapshots.len() as u64) as usize];
        match self.disk.apply_snapshot(id) {
            Ok(()) => self.bytes = bytes.clone(),
            Err(Error::NoSpace { .. }) => self.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn reopen(&mut self) {
        self.disk.close().unwrap();
        self.disk = self.image.open(self.options.clone());
    }

    fn check(&self, what: &str) {
        assert_eq!(self.disk.size(), self.bytes.len() as u64, "{what}");
        assert!(content(&self.disk) == self.bytes, "{what}: the disk");
        for (id, bytes) in &self.snapshots {
            let mut found = vec![0xee; bytes.len()];
            self.disk.read_snapshot(id, 0, &mut found).unwrap();
            assert!(found == *bytes, "{what}: snapshot {id}");
        }
        let listed = self.disk.snapshots().unwrap();
        let ids: Vec<_> = listed.iter().map(|info| (info.id.clone(), info.disk_bytes)).collect();
        let expected: Vec<_> =
            self.snapshots.iter().map(|(id, bytes)| (id.clone(), Some(bytes.len() as u64))).collect();
        assert_eq!(ids, expected, "{what}");
        let report = self.disk.check(RepairMode::None).unwrap();
        assert!(report.is_clean(), "{what}: {report}: {:?}", report.findings);
    }
}

#[test]
fn disk_and_snapshots_are_what_they_were() {
    let shapes = [
        (512_u64, "1.1", "16", "off"),
        (512, "0.10", "16", "off"),
        (1024, "1.1", "2", "off"),
        (4096, "1.1", "4", "on"),
        (4096, "1.1", "64", "off"),
        (65_536, "1.1", "16", "on"),
    ];
    let mut refused = 0;
    for (number, (cluster, compat, bits, lazy)) in shapes.into_iter().enumerate() {
        let create = Options::new()
            .with("cluster_size", cluster)
            .with("compat", compat)
            .with("refcount_bits", bits)
            .with("lazy_refcounts", lazy);
        // Caches so small that slices come and go.
        let open = Options::new().with("l2-cache-slices", 2u64).with("refcount-cache-slices", 1u64);
        for seed in 1..=4 {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64) << 32 ^ seed);
            let mut kept = Kept::new(100_000 + 512 * random.below(900), create.clone(), &open);
            for step in 0..120 {
                kept.step(&mut random, step);
                if step % 8 == 7 {
                    kept.check(&format!(
                        "cluster {cluster}, {compat}, {bits} bits, seed {seed}, step {step}"
                    ));
                }
            }
            refused += kept.refused;
        }
    }
    assert!(refused > 5, "counts of two bits are full now and then: {refused}");
}

/// With one bit a cluster has one reference, and no snapshot is possible: nothing has changed, nothing leaks.
#[test]
fn counts_that_cannot_rise_refuse_a_snapshot() {
    for (bits, possible) in [(1_u64, 0), (2, 2), (4, 14)] {
        let create = Options::new().with("cluster_size", 4096u64).with("refcount_bits", bits);
        let image = Image::new(1 << 20, create);
        let disk = image.open(Options::new());
        disk.write(4096, &vec![7; 5 * 4096], WriteFlags::default()).unwrap();
        for _ in 0..possible {
            disk.create_snapshot(&named("s")).unwrap();
        }
        let before = image.bytes().len();
        let error = disk.create_snapshot(&named("s")).unwrap_err();
        assert!(error.to_string().contains(&format!("{bits} bits can count")), "{error}");
        assert_eq!(disk.snapshots().unwrap().len(), possible);
        assert!(disk.check(RepairMode::None).unwrap().is_clean());
        // In place, as before.
        disk.write(4096, &[8; 4096], WriteFlags::default()).unwrap();
        disk.close().unwrap();
        assert!(image.bytes().len() <= before + 4 * 4096, "{bits}");
        assert_eq!(image.field(72) & 1, 0, "the dirty bit is off again");
    }
}

#[test]
fn empty_disks_have_snapshots_too() {
    let image = Image::new(0, Options::new());
    let disk = image.open(Options::new());
    let empty = disk.create_snapshot(&named("")).unwrap();
    disk.resize(1 << 20).unwrap();
    disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    let full = disk.create_snapshot(&named("full")).unwrap();
    disk.apply_snapshot(&empty).unwrap();
    assert_eq!(disk.size(), 0);
    disk.apply_snapshot(&full).unwrap();
    assert_eq!((disk.size(), content(&disk)[511], content(&disk)[512]), (1 << 20, 1, 0));
    disk.delete_snapshot(&empty).unwrap();
    disk.delete_snapshot(&full).unwrap();
    disk.close().unwrap();
    let report = image.open(Options::new()).check(RepairMode::None).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn what_is_no_snapshot_is_refused_and_changes_nothing() {
    let image = Image::new(1 << 20, Options::new());
    let disk = image.open(Options::new());
    let id = disk.create_snapshot(&named("a")).unwrap();
    assert_eq!(id, "1");
    disk.flush().unwrap();
    let before = image.bytes();
    for unknown in ["", "a", "2", "01"] {
        let errors = [
            disk.apply_snapshot(unknown).unwrap_err(),
            disk.delete_snapshot(unknown).unwrap_err(),
            disk.read_snapshot(unknown, 0, &mut [0]).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, Error::Unresolved { name, .. } if name == unknown), "{error}");
        }
    }
    let long = disk.create_snapshot(&named(&"n".repeat(256))).unwrap_err().to_string();
    assert!(long.contains("256 bytes, allowed are 255"), "{long}");
    for (offset, length) in [(1 << 20, 1), ((1 << 20) - 1, 2), (u64::MAX, 2)] {
        let error = disk.read_snapshot(&id, offset, &mut vec![0; length]).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { size: 0x10_0000, .. }), "{error}");
    }
    disk.read_snapshot(&id, 1 << 20, &mut []).unwrap();
    assert!(image.bytes() == before);
}

/// A snapshot is opened by its ID, its name, or both, and shows what it holds for as long as it is there.
#[test]
fn a_snapshot_is_opened_for_reading() {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", 4096u64));
    let disk = image.open(Options::new());
    disk.write(0, &[1; 4096], WriteFlags::default()).unwrap();
    disk.create_snapshot(&named("2")).unwrap();
    disk.write(0, &[2; 4096], WriteFlags::default()).unwrap();
    disk.resize(2 << 20).unwrap();
    disk.create_snapshot(&named("second")).unwrap();
    disk.write(0, &[3; 4096], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    let try_open = |words: &[(&str, &str)], access| {
        let options = words.iter().fold(Options::new(), |all, (name, value)| all.with(name, *value));
        FORMAT.open(image.storage(), access, options, &DenyResolver)
    };
    for (words, size, byte) in [
        (&[("snapshot", "1")][..], 1 << 20, 1),
        (&[("snapshot", "2")], 2 << 20, 2),
        (&[("snapshot", "second")], 2 << 20, 2),
        (&[("snapshot.name", "2")], 1 << 20, 1),
        (&[("snapshot.id", "2")], 2 << 20, 2),
        (&[("snapshot.id", "2"), ("snapshot.name", "second")], 2 << 20, 2),
        (&[], 2 << 20, 3),
    ] {
        let opened = try_open(words, Access::ReadOnly).unwrap();
        assert_eq!((opened.size(), content(&opened)[4095]), (size, byte), "{words:?}");
        opened.close().unwrap();
    }
    for words in [&[("snapshot", "3")][..], &[("snapshot.id", "2"), ("snapshot.name", "2")]] {
        let error = try_open(words, Access::ReadOnly).unwrap_err().to_string();
        assert!(error.contains("no such snapshot") && error.contains(words[0].1), "{error}");
    }
    let error = try_open(&[("snapshot", "1")], Access::ReadWrite).unwrap_err().to_string();
    assert!(error.contains("for reading only"), "{error}");
}

/// Everything that a snapshot had alone is free once it is deleted.
#[test]
fn a_deleted_snapshot_gives_its_space_back() {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", 4096u64));
    let disk = image.open(Options::new());
    let fill = |byte: u8| disk.write(0, &vec![byte; 1 << 20], WriteFlags::default()).unwrap();
    fill(1);
    disk.flush().unwrap();
    let used = image.bytes().len();
    for round in 2..6 {
        let id = disk.create_snapshot(&named("s")).unwrap();
        fill(round);
        disk.delete_snapshot(&id).unwrap();
        assert!(disk.check(RepairMode::None).unwrap().is_clean());
    }
    disk.close().unwrap();
    assert!(image.bytes().len() <= 2 * used + (64 << 10), "{} of {used}", image.bytes().len());
}

/// On a host that is full, at whatever moment, a change happens or does not.
#[test]
fn a_full_host_leaves_things_as_they_were() {
    let create = || Options::new().with("cluster_size", 512u64).with("refcount_bits", 64u64);
    let needed = {
        let image = Image::new(20_000_000, create());
        let disk = image.open(Options::new());
        disk.write(0, &vec![1; 150_000], WriteFlags::default()).unwrap();
        disk.flush().unwrap();
        image.bytes().len() as u64 + 1024
    };
    let (mut made, mut refused) = (0, 0);
    for extra in (0..60).map(|clusters| clusters * 512) {
        let image = Image::limited(20_000_000, create(), needed + extra);
        let disk = image.open(Options::new());
        disk.write(0, &vec![1; 150_000], WriteFlags::default()).unwrap();
        let created = disk.create_snapshot(&named("s"));
        match &created {
            Ok(_) => made += 1,
            Err(Error::NoSpace { .. }) => refused += 1,
            Err(error) => panic!("{extra}: {error}"),
        }
        assert_eq!(disk.snapshots().unwrap().len(), usize::from(created.is_ok()), "{extra}");
        let mut read = vec![0; 150_000];
        disk.read(0, &mut read).unwrap();
        assert!(read.iter().all(|byte| *byte == 1), "{extra}");
        // A refcount block may have no room either.
        match disk.flush() {
            Ok(()) => {
                let report = disk.check(RepairMode::None).unwrap();
                assert!(report.is_clean(), "{extra}: {report}: {:?}", report.findings);
            }
            Err(error) => assert!(created.is_err() && matches!(error, Error::NoSpace { .. }), "{error}"),
        }
    }
    assert!(made > 5 && refused > 5, "{made} made, {refused} refused");
}
