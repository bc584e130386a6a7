//! What requests do to the host, operation by operation, on layouts that differ in what a request has to do.
//!
//! Each file in `steps/` has a line for each request: the operations on the image's file, in hexadecimal,
//! `offset+length`. Their order is what keeps a crash harmless (see the module `metadata`), their number is
//! what a request costs, their offsets are where the allocator puts things. Whoever blesses a change of them
//! has looked at all three.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use crate::common::OneBacking;
use crate::common::log::LogStorage;
use blk_core::{
    Access, DiscardFlags, Disk, Extent, MemoryStorage, Options, RepairMode, Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;
use expect_test::{ExpectFile, expect_file};

const COMPRESSED: WriteFlags = WriteFlags { compressed: true, fua: false };
const KEPT: ZeroFlags = ZeroFlags { may_unmap: false, no_fallback: false, fua: false, fast_only: false };
const UNMAPPED: ZeroFlags = ZeroFlags { may_unmap: true, no_fallback: false, fua: false, fast_only: false };
const FAST: ZeroFlags = ZeroFlags { may_unmap: false, no_fallback: true, fua: false, fast_only: false };

/// Bytes that differ from one quarter of a cluster to the next.
fn pattern(range: Range<u64>, fill: u8, cluster: u64) -> Vec<u8> {
    range.map(|at| fill.wrapping_add((at / (cluster / 4)) as u8)).collect()
}

/// A disk, what its bytes have to be, and what it has done to its file.
struct Subject {
    disk: Disk,
    content: Vec<u8>,
    cluster: u64,
    log: Arc<LogStorage>,
    text: String,
}

impl Subject {
    /// A disk of some 100 clusters that ends inside of one, over a disk of `backing` clusters that ends
    /// inside of one too.
    fn new(cluster: u64, backing: Option<u64>, create: Options, open: Options) -> Self {
        Self::sized(100 * cluster - 1000 % cluster, cluster, backing, create, open)
    }

    fn sized(size: u64, cluster: u64, backing: Option<u64>, create: Options, open: Options) -> Self {
        let log = Arc::new(LogStorage::new(MemoryStorage::new()));
        let storage = Arc::clone(&log) as Arc<dyn Storage>;
        FORMAT.create(&storage, size, create.with("cluster_size", cluster)).unwrap();
        let mut content = vec![0; size as usize];
        let backing = backing.map(|clusters| {
            let image = MemoryStorage::new();
            let bytes = clusters * cluster - cluster / 4;
            let storage: Arc<dyn Storage> = Arc::new(image);
            FORMAT.create(&storage, bytes, Options::new().with("cluster_size", cluster)).unwrap();
            let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &OneBacking(None)).unwrap();
            // Some zeroes: marks where the version has one.
            disk.write_zeroes(Extent::between(14 * cluster, bytes.min(16 * cluster)), KEPT).unwrap();
            for at in [0, 2, 4, 5, 6, 7, 9, clusters - 1] {
                let (at, end) = (at * cluster, (at * cluster + cluster).min(bytes));
                let bytes = pattern(at..end, 0xbb, cluster);
                disk.write(at, &bytes, WriteFlags::default()).unwrap();
                let shown = (end.min(size) - at.min(size)) as usize;
                content[at.min(size) as usize..][..shown].copy_from_slice(&bytes[..shown]);
            }
            Arc::new(disk)
        });
        log.take();
        let disk = FORMAT.open(storage, Access::ReadWrite, open, &OneBacking(backing)).unwrap();
        let text = format!("open: {}\n", log.take());
        Self { disk, content, cluster, log, text }
    }

    fn note(&mut self, what: &str) {
        let _ = writeln!(self.text, "{what}: {}", self.log.take());
    }

    /// Where a place stands that is given in quarters of a cluster.
    fn at(&self, quarters: u64) -> u64 {
        quarters * self.cluster / 4
    }

    fn write(&mut self, from: u64, to: u64, fill: u8, flags: WriteFlags) {
        let (from, to) = (self.at(from), self.at(to).min(self.disk.size()));
        let bytes = pattern(from..to, fill, self.cluster);
        self.content[from as usize..to as usize].copy_from_slice(&bytes);
        self.disk.write(from, &self.content[from as usize..to as usize], flags).unwrap();
        let what = if flags.compressed { "compressed write" } else { "write" };
        self.note(&format!("{what} {from:x} to {to:x}"));
    }

    fn read(&mut self, from: u64, to: u64) {
        let (from, to) = (self.at(from), self.at(to).min(self.disk.size()));
        let mut read = vec![0xee; (to - from) as usize];
        self.disk.read(from, &mut read).unwrap();
        self.note(&format!("read {from:x} to {to:x}"));
        let differs = read.iter().zip(&self.content[from as usize..]).position(|(is, has_to)| is != has_to);
        assert_eq!(differs, None, "after {from:x} in\n{}", self.text);
    }

    fn zero(&mut self, from: u64, to: u64, flags: ZeroFlags) {
        let (from, to) = (self.at(from), self.at(to).min(self.disk.size()));
        let done = self.disk.write_zeroes(Extent::between(from, to), flags);
        if done.is_ok() {
            self.content[from as usize..to as usize].fill(0);
        }
        let failed = done.err().map_or_else(String::new, |error| format!(" ({error})"));
        let kind = if flags.no_fallback { ", no data" } else { "" };
        let kind = if flags.may_unmap { ", unmapped" } else { kind };
        self.note(&format!("zeroes {from:x} to {to:x}{kind}{failed}"));
    }

    fn discard(&mut self, from: u64, to: u64, is_hidden: bool) {
        let (from, to) = (self.at(from), self.at(to).min(self.disk.size()));
        self.disk.discard(Extent::between(from, to), DiscardFlags::default()).unwrap();
        if is_hidden {
            let first = from.next_multiple_of(self.cluster);
            let last = if to == self.disk.size() { to } else { to / self.cluster * self.cluster };
            self.content[first as usize..last.max(first) as usize].fill(0);
        }
        self.note(&format!("discard {from:x} to {to:x}"));
    }

    fn flush(&mut self) {
        self.disk.flush().unwrap();
        self.note("flush");
    }

    fn resize(&mut self, quarters: u64) {
        let size = self.at(quarters);
        self.disk.resize(size).unwrap();
        self.content.resize(size as usize, 0);
        self.note(&format!("resize to {size:x}"));
    }

    /// Runs of the disk from the second quarter of its first cluster on: length, what it is, and where it
    /// lies.
    fn map(&mut self) {
        let mut at = self.at(1);
        let mut text = String::new();
        while at < self.disk.size() {
            let status = self.disk.block_status(Extent::between(at, self.disk.size())).unwrap();
            let kind = match (status.allocated, status.zero, status.compressed) {
                (false, false, _) => "below",
                (false, true, _) => "nothing",
                (true, true, _) => "zeroes",
                (true, false, true) => "compressed",
                (true, false, false) => "data",
            };
            let host = status.host_offset.map_or_else(String::new, |host| format!(" at {host:x}"));
            let _ = write!(text, " {:x} {kind}{host},", status.length);
            at += status.length;
        }
        let steps = self.log.take();
        let _ = writeln!(self.text, "map:{text} {steps}");
    }
}

/// Clusters that are zeroes already, with a host cluster and without.
fn zeroes_again(s: &mut Subject) {
    s.write(21, 22, 0x15, WriteFlags::default());
    s.zero(20, 24, KEPT);
    s.zero(20, 24, KEPT);
    s.map();
    s.zero(20, 24, UNMAPPED);
    s.flush();
    s.zero(20, 24, UNMAPPED);
    s.flush();
    s.zero(18, 30, UNMAPPED);
    s.write(18, 30, 0x33, WriteFlags::default());
    s.zero(20, 24, KEPT);
    s.write(21, 26, 0x34, WriteFlags::default());
    // Over nothing, and over the ends of tables and slices of them.
    s.zero(60, 72, KEPT);
    s.write(68, 70, 0x35, WriteFlags::default());
    s.zero(56, 72, UNMAPPED);
    s.zero(250, 262, UNMAPPED);
    s.read(240, 280);
}

/// The life of a disk. `is_hidden`: what is discarded reads as zeroes.
fn life(mut subject: Subject, is_hidden: bool, expected: &ExpectFile) {
    let s = &mut subject;
    s.read(0, 9);
    s.write(1, 2, 0x11, WriteFlags::default());
    s.write(16, 31, 0x12, WriteFlags::default());
    s.flush();
    s.zero(9, 10, KEPT);
    s.write(17, 30, 0x13, WriteFlags::default());
    s.flush();
    for cluster in [10, 11, 12, 13] {
        s.write(cluster * 4, cluster * 4 + 4, 0x20 + cluster as u8, COMPRESSED);
    }
    s.read(41, 42);
    s.read(40, 50);
    s.write(45, 46, 0x14, WriteFlags::default());
    s.flush();
    s.read(3, 22);
    s.read(41, 63);
    s.map();
    s.zero(18, 27, KEPT);
    s.flush();
    s.zero(61, 63, KEPT);
    s.zero(65, 67, FAST);
    zeroes_again(s);
    s.zero(28, 37, UNMAPPED);
    s.zero(37, 38, KEPT);
    s.write(158, 159, 0x31, WriteFlags::default());
    s.flush();
    s.discard(39, 53, is_hidden);
    s.write(40, 44, 0x16, COMPRESSED);
    s.flush();
    s.map();
    s.write(32, 60, 0x17, WriteFlags::default());
    s.write(36, 40, 0x1a, COMPRESSED);
    s.discard(34, 45, is_hidden);
    s.flush();
    s.write(200, 204, 0x30, COMPRESSED);
    s.discard(200, 204, is_hidden);
    s.flush();
    s.write(300, 304, 0x18, WriteFlags::default());
    s.write(304, 308, 0x32, COMPRESSED);
    s.write(390, 400, 0x19, WriteFlags::default());
    s.zero(393, 400, KEPT);
    s.read(5, 387);
    s.flush();
    s.resize(413);
    s.write(401, 413, 0x1b, WriteFlags::default());
    s.resize(900);
    s.zero(760, 800, KEPT);
    s.write(890, 893, 0x1c, WriteFlags::default());
    s.zero(600, 700, UNMAPPED);
    s.discard(0, 300, is_hidden);
    s.flush();
    s.write(0, 100, 0x1d, WriteFlags::default());
    s.read(0, 900);
    s.map();
    s.disk.close().unwrap();
    s.note("close");
    let checked = s.disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
    expected.assert_eq(&s.text);
}

fn caches(slices: u64) -> Options {
    Options::new().with("l2-cache-slices", slices).with("refcount-cache-slices", slices)
}

#[test]
fn the_usual_layout() {
    life(Subject::new(4096, None, Options::new(), Options::new()), true, &expect_file!["steps/usual.txt"]);
}

#[test]
fn small_clusters_wide_counts_and_caches_of_one_slice() {
    let create = Options::new().with("refcount_bits", 64);
    life(Subject::new(512, None, create, caches(1)), true, &expect_file!["steps/small.txt"]);
}

#[test]
fn counts_of_one_bit_over_a_disk() {
    let create = Options::new().with("refcount_bits", 1);
    life(Subject::new(512, Some(40), create, caches(2)), true, &expect_file!["steps/over_a_disk.txt"]);
}

#[test]
fn version_2_alone_and_over_a_disk() {
    let create = || Options::new().with("compat", "0.10");
    let alone = Subject::new(1024, None, create(), Options::new());
    life(alone, true, &expect_file!["steps/version_2.txt"]);
    let over = Subject::new(1024, Some(120), create(), Options::new());
    life(over, false, &expect_file!["steps/version_2_over_a_disk.txt"]);
}

#[test]
fn lazy_refcounts() {
    let create = Options::new().with("lazy_refcounts", "on");
    life(Subject::new(1024, None, create, caches(2)), true, &expect_file!["steps/lazy.txt"]);
}

/// Tables that become too small: the refcount table, whose blocks count 64 clusters each, and the L1 table,
/// for which a gap of the right length has to be found.
#[test]
fn tables_grow() {
    let create = Options::new().with("refcount_bits", 64);
    let mut subject = Subject::sized(40 << 10, 512, None, create, caches(16));
    let s = &mut subject;
    s.write(0, 320, 0x41, WriteFlags::default());
    s.flush();
    for (from, to) in [(8, 12), (16, 24), (32, 48), (64, 76), (84, 100), (120, 160)] {
        s.discard(from, to, true);
    }
    s.flush();
    // L1 tables of 2, 3 and 5 clusters.
    for entries in [65, 129, 300] {
        s.resize(entries * 64 * 4);
    }
    s.write(2000, 2400, 0x42, WriteFlags::default());
    s.flush();
    s.write(4096, 4096 + 4 * 4096, 0x43, WriteFlags::default());
    s.flush();
    s.write(30000, 30000 + 4 * 4096, 0x44, WriteFlags::default());
    s.resize(1200 * 64 * 4);
    for (from, to) in [(0, 400), (2000, 2400), (4096, 20_480), (30_000, 46_384), (300_000, 300_100)] {
        s.read(from, to);
    }
    s.map();
    s.disk.close().unwrap();
    s.note("close");
    let checked = s.disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
    expect_file!["steps/tables.txt"].assert_eq(&s.text);
}

/// What is copied around a write is written with it up to a size, and apart from it where that is exceeded.
#[test]
fn large_clusters_are_copied_in_parts() {
    for (cluster, name) in [
        (1 << 18, expect_file!["steps/copied_at_once.txt"]),
        (1 << 19, expect_file!["steps/copied_in_parts.txt"]),
    ] {
        let mut subject = Subject::sized(18 * cluster, cluster, Some(16), Options::new(), Options::new());
        let s = &mut subject;
        s.write(1, 2, 0x51, WriteFlags::default());
        s.write(8, 9, 0x52, WriteFlags::default());
        s.write(17, 19, 0x53, WriteFlags::default());
        s.write(22, 26, 0x54, WriteFlags::default());
        s.write(29, 32, 0x54, WriteFlags::default());
        s.write(38, 40, 0x55, WriteFlags::default());
        s.write(12, 16, 0x56, COMPRESSED);
        s.write(13, 14, 0x57, WriteFlags::default());
        s.discard(0, 8, true);
        s.flush();
        s.write(5, 6, 0x58, WriteFlags::default());
        s.write(61, 62, 0x59, WriteFlags::default());
        s.read(0, 72);
        s.map();
        s.disk.close().unwrap();
        s.note("close");
        assert!(s.disk.check(RepairMode::None).unwrap().is_clean());
        name.assert_eq(&s.text);
    }
}

/// No part of a cluster is filled from the backing file first and zeroed then.
#[test]
fn zeroes_as_data_are_written_once() {
    let cluster = 1 << 18;
    let version_2 = Options::new().with("compat", "0.10");
    let mut subject = Subject::sized(12 * cluster, cluster, Some(16), version_2, Options::new());
    let s = &mut subject;
    s.write(4, 8, 0x61, WriteFlags::default());
    s.zero(8, 20, KEPT);
    s.read(0, 48);
    s.map();
    let extent = Extent::new(cluster + 100_000, 150_000);
    s.content[extent.offset as usize..extent.end() as usize].fill(0);
    s.disk.write_zeroes(extent, KEPT).unwrap();
    s.note("zeroes inside of the second cluster");
    s.read(0, 48);
    s.disk.close().unwrap();
    s.note("close");
    expect_file!["steps/zeroes_as_data.txt"].assert_eq(&s.text);
}
