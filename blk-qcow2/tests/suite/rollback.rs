//! Requests that are refused or fail half-way: what they have allocated is freed, and no other request waits
//! or pays for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::log::LogStorage;
use blk_core::storage::{FaultRule, FaultStorage, Gate, Operation};
use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, Error, Extent, MemoryStorage, Options, RepairMode, Storage,
    WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 4096;
const COMPRESSED: WriteFlags = WriteFlags { compressed: true, fua: false };

/// A disk whose operations are written down unless a rule lets them fail.
struct Subject {
    disk: Disk,
    fault: Arc<FaultStorage>,
    log: Arc<LogStorage>,
}

impl Subject {
    fn new(size: u64, capacity: u64, options: Options) -> Self {
        Self::created(size, capacity, Options::new(), options)
    }

    fn created(size: u64, capacity: u64, create: Options, options: Options) -> Self {
        let log = Arc::new(LogStorage::new(MemoryStorage::with_capacity_limit(capacity)));
        let fault = Arc::new(FaultStorage::new(Arc::clone(&log) as _));
        let storage = Arc::clone(&fault) as Arc<dyn Storage>;
        FORMAT.create(&storage, size, create.with("cluster_size", CLUSTER)).unwrap();
        let disk = FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver).unwrap();
        log.take();
        Self { disk, fault, log }
    }

    fn must_be_clean(&self) {
        let checked = self.disk.check(RepairMode::None).unwrap();
        assert!(checked.is_clean(), "{checked}");
        self.log.take();
    }
}

fn pack(disk: &Disk, cluster: u64) -> Result<(), Error> {
    disk.write(cluster * CLUSTER, &[cluster as u8; CLUSTER as usize], COMPRESSED)
}

#[test]
fn compressed_clusters_that_could_not_be_written_give_back_their_room() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new());
    let fail = || subject.fault.add_rule(FaultRule::fail(5).on(Operation::Write));
    // The first makes a host cluster, which is not needed then.
    fail();
    assert!(matches!(pack(&subject.disk, 0), Err(Error::Io { .. })));
    subject.must_be_clean();
    pack(&subject.disk, 1).unwrap();
    assert_eq!(subject.log.take(), "write 5000+15");
    pack(&subject.disk, 2).unwrap();
    assert_eq!(subject.log.take(), "write 5015+15");
    // The next one only takes a reference more.
    fail();
    assert!(matches!(pack(&subject.disk, 3), Err(Error::Io { .. })));
    subject.must_be_clean();
    pack(&subject.disk, 4).unwrap();
    subject.must_be_clean();
    subject.disk.discard(Extent::new(0, 1 << 20), DiscardFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    subject.must_be_clean();
}

/// What does not fit into the rest of a host cluster goes on in the next one.
#[test]
fn compressed_clusters_lie_across_the_borders_of_host_clusters() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new());
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(2500)
    .collect();
    let content = |cluster: u64| {
        let mut content = vec![cluster as u8; CLUSTER as usize];
        let prefix = if cluster % 3 == 2 { 1000 } else { 2500 };
        content[..prefix].copy_from_slice(&noise[..prefix]);
        content
    };
    for cluster in 0..12 {
        subject.disk.write(cluster * CLUSTER, &content(cluster), COMPRESSED).unwrap();
        subject.must_be_clean();
    }
    for cluster in 0..12 {
        let mut read = vec![0; CLUSTER as usize];
        subject.disk.read(cluster * CLUSTER, &mut read).unwrap();
        assert!(read == content(cluster), "{cluster}");
    }
    let checked = subject.disk.check(RepairMode::None).unwrap();
    // Before them the header, two refcount structures, and two tables.
    assert_eq!((checked.compressed_clusters, checked.image_end_offset), (12, (5 + 7) * CLUSTER));
}

/// Counts that went up and down again wait to be written, although no reference does.
#[test]
fn a_flush_after_a_failed_write_writes_the_counts() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new());
    subject.disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    subject.fault.add_rule(FaultRule::fail(5).on(Operation::Write));
    assert!(subject.disk.write(CLUSTER, &[1; 512], WriteFlags::default()).is_err());
    subject.log.take();
    subject.disk.flush().unwrap();
    assert_eq!(subject.log.take(), "len, write 2000+1000, sync");
    subject.disk.flush().unwrap();
    assert_eq!(subject.log.take(), "sync");
    subject.must_be_clean();
}

#[test]
fn a_full_host_is_asked_again_only_where_something_waits_to_become_free() {
    let subject = Subject::new(1 << 20, 8 * CLUSTER, Options::new());
    subject.disk.write(0, &[1; 3 * CLUSTER as usize], WriteFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    subject.log.take();
    let write = |cluster: u64| subject.disk.write(cluster * CLUSTER, &[1; 512], WriteFlags::default());
    assert!(matches!(write(4), Err(Error::NoSpace { .. })));
    assert_eq!(subject.log.take(), "write 8000+200");
    subject.disk.discard(Extent::new(0, CLUSTER), DiscardFlags::default()).unwrap();
    write(4).unwrap();
    assert_eq!(
        subject.log.take(),
        "write 8000+1000, len, write 2000+1000, sync, write 4000+1000, sync, punch 5000+1000, \
         write 2000+1000, write 5000+1000"
    );
    subject.must_be_clean();
}

/// A host that has no room for the end of the last cluster: nothing is lost, and what needs no room goes on.
#[test]
fn a_flush_that_finds_the_host_full_is_tried_again() {
    let subject = Subject::new(1 << 20, 5 * CLUSTER + 600, Options::new());
    subject.disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    for _ in 0..2 {
        assert!(matches!(subject.disk.flush(), Err(Error::NoSpace { .. })));
    }
    let mut read = [0; 512];
    subject.disk.read(0, &mut read).unwrap();
    assert_eq!(read, [1; 512]);
    subject.disk.write(0, &[2; 512], WriteFlags::default()).unwrap();
}

/// An L2 table was made, and what it was made for has failed: the table alone is a reference too.
#[test]
fn with_lazy_counts_a_table_alone_makes_the_image_dirty() {
    let lazy = Options::new().with("lazy_refcounts", "on");
    let subject = Subject::created(1 << 20, 1 << 30, lazy, Options::new());
    subject.fault.add_rule(FaultRule::fail(5).on(Operation::Write));
    assert!(subject.disk.write(0, &[1; 512], WriteFlags::default()).is_err());
    subject.log.take();
    subject.disk.flush().unwrap();
    assert_eq!(
        subject.log.take(),
        "len, set_len 5000, read 0+200, write 0+200, sync, sync, write 3000+200, sync"
    );
    subject.disk.close().unwrap();
    assert_eq!(subject.log.take(), "sync, write 2000+1000, sync, read 0+200, write 0+200, sync");
}

#[test]
fn the_length_of_the_file_is_asked_for_where_it_may_have_grown() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new());
    let write_and_flush = |cluster: u64| {
        subject.disk.write(cluster * CLUSTER, &[1; CLUSTER as usize], WriteFlags::default()).unwrap();
        subject.log.take();
        subject.disk.flush().unwrap();
        subject.log.take()
    };
    assert!(write_and_flush(0).starts_with("len, "));
    assert!(write_and_flush(1).starts_with("len, "));
    subject.disk.discard(Extent::new(CLUSTER, CLUSTER), DiscardFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    // Again the last cluster of the file.
    assert_eq!(write_and_flush(2), "write 2000+1000, sync, write 4000+1000, sync");
}

#[test]
fn whole_clusters_alone_are_written_compressed() {
    let size = (1 << 20) - 1000;
    let subject = Subject::new(size, 1 << 30, Options::new());
    let last = size / CLUSTER * CLUSTER;
    for (offset, length, is_taken) in [
        (0, CLUSTER, true),
        (CLUSTER, 3 * CLUSTER, true),
        (512, CLUSTER, false),
        (CLUSTER, CLUSTER - 512, false),
        (CLUSTER, CLUSTER + 512, false),
        (last, size - last, true),
        (last - CLUSTER, size - last + CLUSTER, true),
        (last + 512, size - last - 512, false),
    ] {
        let written = subject.disk.write(offset, &vec![7; length as usize], COMPRESSED);
        match written {
            Ok(()) => assert!(is_taken, "{offset}+{length}"),
            Err(Error::Misaligned { alignment, .. }) => {
                assert!(!is_taken && alignment == CLUSTER, "{offset}+{length}");
            }
            Err(error) => panic!("{offset}+{length}: {error}"),
        }
        let mut read = vec![0; length as usize];
        subject.disk.read(offset, &mut read).unwrap();
        assert!(!is_taken || read.iter().all(|byte| *byte == 7), "{offset}+{length}");
    }
    subject.must_be_clean();
}

#[test]
fn a_discard_that_is_to_be_ignored_changes_nothing() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new().with("discard", "ignore"));
    subject.disk.write(0, &[7; 4 * CLUSTER as usize], WriteFlags::default()).unwrap();
    subject.disk.discard(Extent::new(0, 1 << 20), DiscardFlags::default()).unwrap();
    let mut read = [0; 4 * CLUSTER as usize];
    subject.disk.read(0, &mut read).unwrap();
    assert!(read == [7; 4 * CLUSTER as usize]);
}

#[test]
fn zeroes_without_data_are_refused_where_only_data_will_do() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new());
    subject.disk.write(0, &[7; 3 * CLUSTER as usize], WriteFlags::default()).unwrap();
    let fast = ZeroFlags { no_fallback: true, ..ZeroFlags::default() };
    for (from, to, is_taken) in [
        (512, 1024, false),
        (512, CLUSTER, false),
        (CLUSTER, 2 * CLUSTER + 512, false),
        (CLUSTER, 2 * CLUSTER, true),
        (CLUSTER + 512, CLUSTER + 1024, true),
        (3 * CLUSTER - 512, 4 * CLUSTER, false),
        (3 * CLUSTER, 4 * CLUSTER + 512, true),
    ] {
        let zeroed = subject.disk.write_zeroes(Extent::between(from, to), fast);
        assert_eq!(zeroed.is_ok(), is_taken, "{from} to {to}: {zeroed:?}");
        let mut read = vec![0; (to - from) as usize];
        subject.disk.read(from, &mut read).unwrap();
        assert_eq!(read.iter().all(|byte| *byte == 0), is_taken, "{from} to {to}");
    }
}

#[test]
fn a_size_that_stays_is_no_change() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new());
    subject.disk.resize(1 << 20).unwrap();
    assert_eq!(subject.log.take(), "-", "the size stays");
    for size in [(1 << 20) + 1, (1 << 20) - 1] {
        subject.disk.resize(size).unwrap();
        assert_eq!(subject.disk.size(), size);
    }
}

/// Waits until so many operations are held at the gate.
fn arrive(gate: &Gate, count: u64) {
    let begun = Instant::now();
    while gate.waiting_count() < count {
        assert!(begun.elapsed() < Duration::from_mins(1), "{} of {count} came", gate.waiting_count());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is held at a gate, how many of it are there together, and what makes it.
type Request<'a> = (Operation, u64, &'a (dyn Fn(u64) + Sync));

/// What needs no change of metadata goes on side by side: writes in place, reads, and a flush of nothing but
/// data. Flushes wait for one another: of two syncs in flight only one would hear of a failure.
#[test]
fn requests_in_place_do_not_wait_for_one_another() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new());
    subject.disk.write(0, &[1; 4 * CLUSTER as usize], WriteFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    let requests: [Request<'_>; 3] = [
        (Operation::Sync, 1, &|_| subject.disk.flush().unwrap()),
        (Operation::Write, 2, &|n| {
            subject.disk.write(n * CLUSTER, &[2; 5000], WriteFlags::default()).unwrap();
        }),
        (Operation::Read, 2, &|n| subject.disk.read(n * CLUSTER, &mut [0; 5000]).unwrap()),
    ];
    let gates: Vec<(Operation, Arc<Gate>)> =
        requests.iter().map(|(operation, ..)| (*operation, Arc::new(Gate::new()))).collect();
    std::thread::scope(|scope| {
        let opener = Opener(&gates);
        for (operation, gate) in &gates {
            subject.fault.add_rule(FaultRule::hold(gate).on(*operation).sticky());
        }
        for ((_, together, request), (_, gate)) in requests.iter().zip(&gates) {
            for n in [0, 2] {
                scope.spawn(move || request(n));
            }
            arrive(gate, *together);
        }
        drop(opener);
    });
}

/// A flush that has metadata to write waits for the disk several times. It keeps other changes of metadata
/// waiting, and nothing else.
#[test]
fn reads_and_writes_in_place_go_on_while_a_flush_waits_for_the_disk() {
    let subject = Subject::new(1 << 20, 1 << 30, Options::new());
    subject.disk.write(0, &[1; 4 * CLUSTER as usize], WriteFlags::default()).unwrap();
    subject.disk.flush().unwrap();
    subject.disk.write(8 * CLUSTER, &[2; 100], WriteFlags::default()).unwrap();
    let gates = [(Operation::Sync, Arc::new(Gate::new()))];
    let (_, gate) = &gates[0];
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let opener = Opener(&gates);
        subject.fault.add_rule(FaultRule::hold(gate).on(Operation::Sync).sticky());
        scope.spawn(|| subject.disk.flush().unwrap());
        arrive(gate, 1);
        scope.spawn(|| {
            let mut read = [0; 100];
            subject.disk.read(8 * CLUSTER, &mut read).unwrap();
            assert_eq!(read, [2; 100]);
            subject.disk.write(CLUSTER, &[3; 100], WriteFlags::default()).unwrap();
            subject.disk.write(8 * CLUSTER + 50, &[4; 50], WriteFlags::default()).unwrap();
            done.fetch_add(1, Ordering::SeqCst);
        });
        let begun = Instant::now();
        while done.load(Ordering::SeqCst) == 0 {
            assert!(begun.elapsed() < Duration::from_mins(1), "requests wait for the flush");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(gate.waiting_count(), 1, "the flush still waits for its first sync");
        // One that changes metadata waits, and sees what the flush has left.
        scope.spawn(|| subject.disk.write(12 * CLUSTER, &[5; 100], WriteFlags::default()).unwrap());
        drop(opener);
    });
    for (cluster, byte) in [(1, 3), (8, 2), (12, 5)] {
        let mut read = [0; 50];
        subject.disk.read(cluster * CLUSTER, &mut read).unwrap();
        assert_eq!(read, [byte; 50], "cluster {cluster}");
    }
    let report = subject.disk.check(RepairMode::None).unwrap();
    assert!(report.is_clean(), "{report}");
}

/// Opens all gates, also where an assertion has failed.
struct Opener<'a>(&'a [(Operation, Arc<Gate>)]);

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, gate)| gate.open());
    }
}
