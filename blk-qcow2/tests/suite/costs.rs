//! What requests cost on the host: operations, and bytes of the file. The content does not show that a cache,
//! a hint or a hole has stopped working.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

use std::fmt::Write;
use std::sync::Arc;

use blk_core::storage::{Operation, TraceStorage};
use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, Extent, MemoryStorage, Options, RepairMode, Storage,
    WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;
use expect_test::{Expect, expect};

const CLUSTER: u64 = 4096;
const COMPRESSED: WriteFlags = WriteFlags { compressed: true, fua: false };

/// A disk, and what it does to its file.
struct Subject {
    disk: Disk,
    memory: Arc<MemoryStorage>,
    trace: Arc<TraceStorage>,
}

impl Subject {
    fn new(size: u64, create: Options, open: Options) -> Self {
        let memory = Arc::new(MemoryStorage::new());
        FORMAT.create(&(Arc::clone(&memory) as Arc<dyn Storage>), size, create).unwrap();
        let trace = Arc::new(TraceStorage::new(Arc::clone(&memory) as Arc<dyn Storage>, 100_000));
        let storage = Arc::clone(&trace) as Arc<dyn Storage>;
        let disk = FORMAT.open(storage, Access::ReadWrite, open, &DenyResolver).unwrap();
        Self { disk, memory, trace }
    }

    fn small() -> Self {
        Self::new(4 << 20, Options::new().with("cluster_size", CLUSTER), Options::new())
    }

    /// The operations of one action: how many of each kind, and their bytes.
    fn cost(&self, action: impl FnOnce(&Disk)) -> String {
        let before = self.trace.operation_count();
        action(&self.disk);
        let entries = self.trace.entries();
        let mut text = String::new();
        for operation in Operation::ALL {
            let these =
                || entries.iter().filter(|entry| entry.number > before && entry.operation == operation);
            let bytes: u64 = match operation {
                Operation::SetLen => 0,
                _ => these().map(|entry| entry.extent.length).sum(),
            };
            if these().next().is_some() {
                let _ = write!(
                    text,
                    "{}{operation:?} {} ({bytes})",
                    if text.is_empty() { "" } else { ", " },
                    these().count()
                );
            }
        }
        if text.is_empty() { "nothing".to_owned() } else { text }
    }

    /// Bytes of the file that are no hole.
    fn host_bytes(&self) -> u64 {
        let (mut at, mut bytes) = (0, 0);
        while let Some(run) = self.memory.run_at(at).unwrap() {
            bytes += if run.data { run.length } else { 0 };
            at += run.length;
        }
        bytes
    }

    fn length(&self) -> u64 {
        self.memory.len().unwrap()
    }
}

fn write(disk: &Disk, offset: u64, length: u64) {
    disk.write(offset, &vec![7; length as usize], WriteFlags::default()).unwrap();
}

fn read(disk: &Disk, offset: u64, length: u64) {
    disk.read(offset, &mut vec![0; length as usize]).unwrap();
}

#[test]
fn a_request_costs_so_many_operations() {
    let subject = Subject::small();
    let mut table = String::new();
    let mut row = |what: &str, action: &dyn Fn(&Disk)| {
        let _ = writeln!(table, "{what}: {}", subject.cost(action));
    };
    row("read of nothing", &|disk| read(disk, 0, 1 << 20));
    row("first write of 1 MiB", &|disk| write(disk, 0, 1 << 20));
    row("flush", &|disk| disk.flush().unwrap());
    row("flush of nothing", &|disk| disk.flush().unwrap());
    row("write in place", &|disk| write(disk, 100, 1 << 19));
    row("read", &|disk| read(disk, 100, 1 << 19));
    row("first write of a sector", &|disk| write(disk, (1 << 20) + 512, 512));
    row("zeroes, kept", &|disk| {
        disk.write_zeroes(Extent::new(0, 1 << 18), ZeroFlags::default()).unwrap();
    });
    row("zeroes, unmapped", &|disk| {
        let flags = ZeroFlags { may_unmap: true, ..ZeroFlags::default() };
        disk.write_zeroes(Extent::new(1 << 18, 1 << 18), flags).unwrap();
    });
    row("discard", &|disk| disk.discard(Extent::new(1 << 19, 1 << 19), DiscardFlags::default()).unwrap());
    row("flush", &|disk| disk.flush().unwrap());
    row("compressed write", &|disk| {
        disk.write(2 << 20, &[7; CLUSTER as usize], COMPRESSED).unwrap();
    });
    row("read of it", &|disk| read(disk, 2 << 20, CLUSTER));
    row("read of a part of it", &|disk| read(disk, 2 << 20, CLUSTER / 2));
    row("read of another part", &|disk| read(disk, (2 << 20) + CLUSTER / 2, CLUSTER / 2));
    row("close", &|disk| disk.close().unwrap());
    expect![[r#"
        read of nothing: nothing
        first write of 1 MiB: Read 2 (8192), Write 1 (1048576)
        flush: Write 3 (8704), Sync 3 (0)
        flush of nothing: Sync 1 (0)
        write in place: Write 1 (524288)
        read: Read 1 (524288)
        first write of a sector: Write 1 (512)
        zeroes, kept: nothing
        zeroes, unmapped: nothing
        discard: nothing
        flush: Write 3 (12288), PunchHole 1 (786432), SetLen 1 (0), Sync 3 (0)
        compressed write: Read 1 (4096), Write 1 (21), WriteZeroes 1 (4096)
        read of it: Read 1 (512)
        read of a part of it: Read 1 (512)
        read of another part: nothing
        close: Write 3 (8704), Sync 3 (0)
    "#]]
    .assert_eq(&table);
}

#[test]
fn compressed_clusters_share_host_clusters_and_plain_ones_lie_in_a_row() {
    let subject = Subject::small();
    let empty = subject.length();
    for index in 0..64 {
        subject.disk.write(index * CLUSTER, &[index as u8; CLUSTER as usize], COMPRESSED).unwrap();
    }
    subject.disk.flush().unwrap();
    // An L2 table, and two clusters for 64 times less than 64 bytes.
    assert!(subject.length() <= empty + 3 * CLUSTER, "{} of {empty}", subject.length());
    for index in 0..64 {
        write(&subject.disk, (1 << 20) + index * CLUSTER, CLUSTER);
    }
    let checked = subject.disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
    assert_eq!((checked.compressed_clusters, checked.allocated_clusters), (64, 128));
    let fragmented = checked.fragmented_clusters;
    for index in (0..64).rev() {
        write(&subject.disk, (2 << 20) + index * CLUSTER, CLUSTER);
    }
    let checked = subject.disk.check(RepairMode::None).unwrap();
    assert!(checked.fragmented_clusters > fragmented + 60, "{} of {fragmented}", checked.fragmented_clusters);
}

/// Whatever is given back is found again, and costs the host nothing until then.
#[test]
fn a_disk_that_is_filled_and_emptied_again_and_again_does_not_grow() {
    const SIZE: u64 = 4 << 20;
    for refcount_bits in [1, 16, 64] {
        let create = Options::new().with("cluster_size", CLUSTER).with("refcount_bits", refcount_bits);
        let subject = Subject::new(SIZE, create, Options::new());
        write(&subject.disk, 0, SIZE);
        subject.disk.flush().unwrap();
        let full = subject.length();
        assert!(subject.host_bytes() > SIZE);
        for _ in 0..5 {
            subject.disk.discard(Extent::new(0, SIZE), DiscardFlags::default()).unwrap();
            subject.disk.flush().unwrap();
            let empty = subject.host_bytes();
            assert!(empty < 16 * CLUSTER, "{empty}");
            write(&subject.disk, 0, SIZE);
            subject.disk.flush().unwrap();
            assert!(subject.length() <= full, "{} after {full}", subject.length());
        }
    }
}

/// A cache of two slices thrashes on three tables, and does not on two.
#[test]
fn caches_keep_what_was_used_last() {
    let options = || Options::new().with("l2-cache-slices", 2).with("refcount-cache-slices", 2);
    let subject = Subject::new(256 << 10, Options::new().with("cluster_size", 512), options());
    let reach = 64 * 512;
    write(&subject.disk, 0, 256 << 10);
    subject.disk.flush().unwrap();
    let visit = |tables: &[u64]| {
        subject.cost(|disk| {
            for table in tables.repeat(10) {
                read(disk, table * reach, 512);
            }
        })
    };
    visit(&[0, 1]);
    let expected: [(&[u64], Expect); 3] = [
        (&[0, 1], expect!["Read 20 (10240)"]),
        (&[0, 1, 2], expect!["Read 58 (29696)"]),
        (&[0, 0, 0, 1, 0, 0, 0, 2], expect!["Read 110 (56320)"]),
    ];
    for (tables, cost) in expected {
        cost.assert_eq(&visit(tables));
    }
}

/// All runs that are known without reading a table come in one call, each as it comes by itself.
#[test]
fn one_call_tells_all_runs_that_are_known() {
    let Subject { disk, .. } = Subject::small();
    for cluster in (0..20).step_by(2) {
        disk.write(cluster * CLUSTER, &[1; CLUSTER as usize], WriteFlags::default()).unwrap();
    }
    let whole = Extent::new(0, disk.size());
    let runs = disk.block_status_runs(whole, 1000).unwrap();
    // The last one is what has no table.
    assert_eq!(runs.len(), 21);
    assert_eq!(disk.block_status_runs(whole, 7).unwrap(), runs[..7]);
    let mut at = 0;
    for run in runs {
        assert_eq!(disk.block_status(Extent::between(at, whole.end())).unwrap(), run, "at {at}");
        at += run.length;
    }
    assert_eq!(at, disk.size());
}
