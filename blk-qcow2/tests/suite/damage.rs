//! Requests to images with one wrong entry: what they say, what they do to the file before they notice, and
//! whether they mark it as corrupt.
//!
//! `steps/damage.txt` has three lines for each: the damage and the request, the answer, and the operations on
//! the file.

use std::fmt::Write;
use std::sync::Arc;

use crate::common::log::LogStorage;
use crate::common::{Image, patch};
use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, Error, Extent, MemoryStorage, Options, RepairMode, Result,
    Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;
use expect_test::expect_file;

const CLUSTER: u64 = 4096;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Where the structures of [`healthy`] lie.
const TABLE: u64 = 0x1000;
const BLOCK: u64 = 0x2000;
const L1: u64 = 0x3000;
const L2: u64 = 0x4000;
const DATA: u64 = 0x5000;
const END: u64 = 0x9000;

/// Guest clusters 0 to 2 in a row, 3 zeroes that keep a cluster; 4 L1 entries.
fn healthy(compat: &str) -> Vec<u8> {
    let create = Options::new().with("cluster_size", CLUSTER).with("compat", compat);
    let image = Image::new(8 << 20, create);
    let disk = image.open(Options::new());
    disk.write(0, &[0x11; 4 * CLUSTER as usize], WriteFlags::default()).unwrap();
    if compat == "1.1" {
        disk.write_zeroes(Extent::new(3 * CLUSTER, CLUSTER), ZeroFlags::default()).unwrap();
    }
    disk.close().unwrap();
    drop(disk);
    let places = [image.field(48), image.field(0x1000), image.field(40), image.field(0x3000) & !COPIED];
    assert_eq!(places, [TABLE, BLOCK, L1, L2]);
    let bytes = image.bytes();
    assert_eq!((image.field(L2 as usize), bytes.len() as u64), (DATA | COPIED, END));
    bytes
}

/// Eight bytes at an offset.
type Damage<'a> = &'a [(u64, u64)];

fn write(disk: &Disk, cluster: u64) -> Result<()> {
    disk.write(cluster * CLUSTER + 512, &[9; 512], WriteFlags::default())
}

fn read(disk: &Disk, cluster: u64) -> Result<()> {
    disk.read(cluster * CLUSTER + 512, &mut [9; 512])
}

fn discard(disk: &Disk, cluster: u64, count: u64) -> Result<()> {
    disk.discard(Extent::new(cluster * CLUSTER, count * CLUSTER), DiscardFlags::default())?;
    disk.flush()
}

fn write_and_flush(disk: &Disk, cluster: u64) -> Result<()> {
    write(disk, cluster)?;
    disk.flush()
}

/// The length of the first run.
fn status(disk: &Disk) -> Result<()> {
    let status = disk.block_status(Extent::new(0, 8 * CLUSTER))?;
    Err(Error::unsupported(format!("no error, a run of {:#x}", status.length)))
}

fn open(bytes: &[u8], options: Options) -> (Disk, Arc<LogStorage>) {
    let log = Arc::new(LogStorage::new(MemoryStorage::from_bytes(bytes)));
    let disk = FORMAT.open(Arc::clone(&log) as _, Access::ReadWrite, options, &DenyResolver).unwrap();
    log.take();
    (disk, log)
}

struct Report(String);

impl Report {
    fn add(&mut self, what: &str, damage: Damage<'_>, request: &dyn Fn(&Disk) -> Result<()>) {
        self.add_to(&healthy("1.1"), what, damage, request);
    }

    fn add_to(
        &mut self,
        image: &[u8],
        what: &str,
        damage: Damage<'_>,
        request: &dyn Fn(&Disk) -> Result<()>,
    ) {
        let mut bytes = image.to_vec();
        for (at, value) in damage {
            bytes.resize(bytes.len().max(*at as usize + 8), 0);
            patch(&mut bytes, *at as usize, &value.to_be_bytes());
        }
        let (disk, log) = open(&bytes, Options::new());
        let answer = request(&disk).err().map_or_else(|| "done".to_owned(), |error| error.to_string());
        let steps = log.take();
        let mut marks = [0; 8];
        log.read_at(72, &mut marks).unwrap();
        let is_marked = bytes[7] == 3 && marks[7] & 2 != 0;
        let is_refused = matches!(write(&disk, 0), Err(Error::Poisoned { .. }));
        let mark = match (is_marked, is_refused) {
            (true, true) => " [marked as corrupt]",
            (false, true) => " [refuses writes]",
            (false, false) => "",
            (true, false) => " [marked as corrupt, but goes on]",
        };
        let _ = writeln!(self.0, "{what}\n  {answer}{mark}\n  {steps}");
    }
}

fn count(cluster: u64) -> u64 {
    BLOCK + cluster / 4 * 8
}

#[test]
fn wrong_entries_are_noticed_before_they_do_harm() {
    let mut report = Report(String::new());
    let r = &mut report;
    l1_entries(r);
    l2_entries(r);
    counts(r);
    refcount_tables(r);
    let v2 = healthy("0.10");
    r.add_to(
        &v2,
        "version 2, the count of the L1 table is 0: write",
        &[(count(3), 0x0001_0001_0001_0000)],
        &|disk| write(disk, 9),
    );
    expect_file!["steps/damage.txt"].assert_eq(&report.0);
}

fn l1_entries(r: &mut Report) {
    let second = L1 + 8;
    let read_second = |disk: &Disk| read(disk, 512);
    for (what, entry) in [
        ("reserved bits", L2 | COPIED | 2),
        ("no cluster", COPIED),
        ("not aligned", (L2 + 512) | COPIED),
        ("past the end", END | COPIED),
    ] {
        r.add(&format!("L1 entry 1, {what}: read"), &[(second, entry)], &read_second);
        r.add(&format!("L1 entry 1, {what}: write"), &[(second, entry)], &|disk| write(disk, 512));
    }
    r.add("L1 entry 1, the last cluster: read", &[(second, (END - CLUSTER) | COPIED)], &read_second);
    r.add("two L1 entries, one L2 table: write", &[(second, L2 | COPIED)], &|disk| {
        write_and_flush(disk, 520)
    });
    // Counts 3 to 0: the L2 table has two references.
    r.add("a shared L2 table: write", &[(L1, L2), (count(4), 0x2_0001_0001_0001)], &|disk| {
        write_and_flush(disk, 9)
    });
    // Its cluster is free after the first flush, and taken by the second write.
    r.add("an L2 table that is said to be shared: writes", &[(L1, L2)], &|disk| {
        write_and_flush(disk, 9)?;
        write_and_flush(disk, 20)?;
        write_and_flush(disk, 30)
    });
    // Until the copy counts, the old table is what a crash leaves.
    let maps_itself = [(L1, L2), (L2 + 8, L2 | COPIED)];
    r.add("an L2 table that is said to be shared and maps itself: writes", &maps_itself, &|disk| {
        write(disk, 9)?;
        write(disk, 1)
    });
    r.add(
        "an L2 table that is said to be shared and maps itself: write and discard",
        &maps_itself,
        &|disk| {
            write(disk, 9)?;
            discard(disk, 1, 1)
        },
    );
    r.add("a shared L2 table without a count: write", &[(L1, L2), (count(4), 0x1_0001_0001)], &|disk| {
        write_and_flush(disk, 9)
    });
}

fn l2_entries(r: &mut Report) {
    for (what, entry) in [
        ("data past the end", END | COPIED),
        ("zeroes past the end", END | COPIED | 1),
        ("compressed data past the end", END | COMPRESSED),
        ("reserved bits", DATA | COPIED | 4),
    ] {
        r.add(&format!("L2 entry 0, {what}: read"), &[(L2, entry)], &|disk| read(disk, 0));
        r.add(&format!("L2 entry 2, {what}: status"), &[(L2 + 16, entry)], &status);
        r.add(&format!("L2 entry 2, {what}: write of five"), &[(L2 + 16, entry)], &|disk| {
            disk.write(512, &vec![9; 5 * CLUSTER as usize], WriteFlags::default())
        });
    }
    r.add("L2 entry 10, reserved bits: write of four from 8 on", &[(L2 + 80, DATA | COPIED | 4)], &|disk| {
        disk.write(8 * CLUSTER + 512, &[9; 3 * CLUSTER as usize], WriteFlags::default())
    });
    // Two sectors, the second in the next cluster, whose data then are counted twice.
    let over_the_edge = COMPRESSED | 1 << 58 | (DATA + CLUSTER - 512);
    r.add("L2 entry 0, data on the refcount block: write", &[(L2, BLOCK | COPIED)], &|disk| write(disk, 0));
    r.add("L2 entry 2, data on the refcount block: write of three", &[(L2 + 16, BLOCK | COPIED)], &|disk| {
        disk.write(512, &[9; 3 * CLUSTER as usize], WriteFlags::default())
    });
    for (what, entry) in [
        ("shared data on the L1 table", L1),
        ("compressed data on the L1 table", COMPRESSED | L1 | 7),
        ("zeroes that keep the L2 table", L2 | COPIED | 1),
    ] {
        let damage = [(L2, entry)];
        r.add(&format!("L2 entry 0, {what}: write"), &damage, &|disk| write(disk, 0));
        r.add(&format!("L2 entry 0, {what}: discard"), &damage, &|disk| discard(disk, 0, 1));
        let unmapped = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
        r.add(&format!("L2 entry 0, {what}: zeroes"), &damage, &|disk| {
            disk.write_zeroes(Extent::new(0, CLUSTER), unmapped)
        });
    }
    let compressed = WriteFlags { compressed: true, fua: false };
    r.add("L2 entry 0, shared data on the L1 table: compressed write", &[(L2, L1)], &|disk| {
        disk.write(0, &[9; CLUSTER as usize], compressed)
    });
    r.add(
        "compressed data over two clusters, the second not counted: discard",
        &[(L2, over_the_edge), (count(4), 0x1_0001_0000_0001)],
        &|disk| discard(disk, 0, 1),
    );
}

fn counts(r: &mut Report) {
    // Counts 0 to 3, and 4 to 7.
    r.add("the count of the L1 table is 0: write", &[(count(3), 0x0001_0001_0001_0000)], &|disk| {
        write(disk, 9)
    });
    let no_data = (count(5), 0x0001_0000_0001_0001);
    r.add("a shared cluster has count 0: write", &[(L2, DATA), no_data], &|disk| write(disk, 0));
    r.add("a cluster has count 0: discard", &[no_data], &|disk| discard(disk, 0, 1));
    r.add("two entries share a cluster with count 1: discard", &[(L2 + 8, DATA | COPIED)], &|disk| {
        discard(disk, 0, 2)
    });
}

fn refcount_tables(r: &mut Report) {
    let fill = |disk: &Disk| disk.write(32 * CLUSTER, &vec![9; 1 << 20], WriteFlags::default());
    for (what, entry) in [
        ("not aligned", BLOCK + 512),
        ("past 2^56", 1 << 56),
        ("the L1 table", L1),
        ("an L2 table", L2),
        ("past the end", END),
        ("the last cluster", END - CLUSTER),
    ] {
        r.add(&format!("refcount table entry 0 is {what}: write"), &[(TABLE, entry)], &|disk| write(disk, 9));
    }
    r.add("two entries, one block: write", &[(TABLE + 8, BLOCK)], &|disk| write(disk, 9));
    // The second block counts clusters 64 and on, of 512 bytes.
    let create = Options::new().with("cluster_size", 512).with("refcount_bits", 64);
    let small = Image::new(2 << 20, create);
    let table = small.field(48);
    let l1 = small.field(40);
    let small = small.bytes();
    for (what, entry) in [("not aligned", 0x201), ("past 2^56", 1 << 56), ("past the end", 1 << 55)] {
        r.add_to(&small, &format!("refcount table entry 1 is {what}: write"), &[(table + 8, entry)], &fill);
    }
    r.add_to(
        &small,
        "an L2 table where the second block would lie: write",
        &[(l1 + 8 * 20, (64 * 512) | COPIED), (65 * 512 - 8, 0)],
        &fill,
    );
    let wide = Image::new(4 << 20, Options::new().with("cluster_size", 512));
    let disk = wide.open(Options::new());
    disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let l1 = wide.field(40);
    let l2 = wide.field(l1 as usize) & !COPIED;
    for cluster in [0, 1] {
        let entry = (l1 + cluster * 512) | COPIED;
        let what = format!("data on cluster {cluster} of an L1 table of two: write");
        r.add_to(&wide.bytes(), &what, &[(l2, entry)], &|disk| {
            disk.write(0, &[9; 512], WriteFlags::default())
        });
    }
}

/// What lies past the counted clusters does not matter: a new block does not take it for counts.
#[test]
fn noise_behind_the_counted_clusters_counts_nothing() {
    let create = Options::new().with("cluster_size", 512).with("refcount_bits", 64);
    let mut bytes = Image::new(2 << 20, create).bytes();
    bytes.resize(64 * 512, 0);
    bytes.resize(128 * 512, 0xff);
    let (disk, _) = open(&bytes, Options::new());
    disk.write(0, &vec![9; 1 << 20], WriteFlags::default()).unwrap();
    let checked = disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
    let mut content = vec![0; 1 << 20];
    disk.read(0, &mut content).unwrap();
    assert!(content.iter().all(|byte| *byte == 9));
}
