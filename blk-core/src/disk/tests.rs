use std::io::{IoSlice, IoSliceMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::sync::atomic::Ordering;
use crate::testing::{Flat, flat};
use crate::{ErrorKind, NativeFlags, Preallocation, Resize};

fn disk_of(flat: Flat) -> (Disk, Arc<Flat>) {
    let flat = Arc::new(flat);
    (Disk::new(Arc::clone(&flat), Access::ReadWrite), flat)
}

fn disk(limits: Limits) -> (Disk, Arc<Flat>) {
    disk_of(Flat::new((0..=255).cycle().take(1 << 14).collect(), limits))
}

fn all(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

const FUA: WriteFlags = WriteFlags { fua: true, compressed: false };
const ZERO_FUA: ZeroFlags = ZeroFlags { fua: true, may_unmap: false, no_fallback: false, fast_only: false };

#[test]
fn durable_requests_are_flushed_after_where_the_driver_cannot() {
    let extent = Extent::new(0, 512);
    for (native, flushes) in [
        (NativeFlags::default(), [true, true, true]),
        (NativeFlags::FUA, [false; 3]),
        (NativeFlags { write_fua: true, ..NativeFlags::default() }, [false, true, true]),
        (NativeFlags { zero_fua: true, ..NativeFlags::default() }, [true, true, true]),
        (NativeFlags { discard_fua: true, ..NativeFlags::default() }, [true, true, false]),
    ] {
        let (disk, flat) = disk(Limits { native, ..Limits::default() });
        let requests: [&dyn Fn() -> Result<()>; 3] =
            [&|| disk.write(0, &[1; 512], FUA), &|| disk.write_zeroes(extent, ZERO_FUA), &|| {
                disk.discard(extent, DiscardFlags { fua: true })
            }];
        for (request, flushes) in requests.into_iter().zip(flushes) {
            request().unwrap();
            let calls = flat.take_calls();
            assert_eq!(calls.len(), if flushes { 2 } else { 1 }, "{native:?}: {calls:?}");
            assert!(!flushes || calls[1] == "flush", "{native:?}: {calls:?}");
            assert_eq!(calls[0].contains("-f"), !flushes, "{native:?}: {calls:?}");
        }
        disk.write_vectored(0, &[IoSlice::new(&[1; 100]), IoSlice::new(&[2; 412])], FUA).unwrap();
        assert_eq!(flat.take_calls().len(), if flushes[0] { 2 } else { 1 }, "{native:?}");
    }
}

#[test]
fn zeroes_and_discards_have_their_own_largest_requests() {
    let limits = Limits {
        transfer_bytes_max: 1024,
        zero_bytes_max: 4096,
        discard_bytes_max: 2048,
        request_alignment: 512,
        ..Limits::default()
    };
    let (disk, flat) = disk(limits);
    disk.write_zeroes(Extent::new(512, 8192), ZeroFlags::default()).unwrap();
    assert_eq!(flat.take_calls(), ["write -z 512 4k", "write -z 4608 4k"]);
    disk.discard(Extent::new(0, 2560), DiscardFlags::default()).unwrap();
    assert_eq!(flat.take_calls(), ["discard 0 2k", "discard 2k 512"]);
    disk.write(0, &[1; 2048], WriteFlags::default()).unwrap();
    assert_eq!(flat.take_calls(), ["write 0 1k", "write 1k 1k"]);
    let (disk, flat) = self::disk(Limits { can_write_zeroes: false, ..limits });
    disk.write_zeroes(Extent::new(512, 2048), ZeroFlags::default()).unwrap();
    assert_eq!(flat.take_calls(), ["write 512 1k", "write 1536 1k"]);
}

#[test]
fn parts_of_a_request_end_where_units_do() {
    let limits = Limits {
        zero_granularity: 1024,
        zero_bytes_max: 4096,
        discard_granularity: 4096,
        discard_bytes_max: 2048,
        ..Limits::default()
    };
    let (disk, flat) = disk(limits);
    disk.write_zeroes(Extent::new(500, 8192), ZeroFlags::default()).unwrap();
    assert_eq!(flat.take_calls(), ["write -z 500 3596", "write -z 4k 4k", "write -z 8k 500"]);
    // Units are larger than what is taken at once.
    disk.discard(Extent::new(1000, 5000), DiscardFlags::default()).unwrap();
    assert_eq!(flat.take_calls(), ["discard 1000 2k", "discard 3048 1048", "discard 4k 1904"]);
}

#[test]
fn fast_zeroes_are_refused_without_asking_and_never_once_a_part_is_done() {
    let fast = ZeroFlags { fast_only: true, ..ZeroFlags::default() };
    let (slow, flat) = disk(Limits::default());
    let refused = slow.write_zeroes(Extent::new(0, 512), fast).unwrap_err();
    assert_eq!((refused.kind(), flat.take_calls().len()), (ErrorKind::Unsupported, 0));

    let limits = Limits { native: NativeFlags::ALL, zero_bytes_max: 4096, ..Limits::default() };
    let mut flat = Flat::new(vec![1; 1 << 14], limits);
    flat.refuses_from = 6000;
    let (disk, flat) = disk_of(flat);
    assert_eq!(disk.write_zeroes(Extent::new(5000, 2000), fast).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(all(&disk) == vec![1; 1 << 14], "nothing has changed");
    flat.take_calls();
    // The first part is fast, the second is not.
    disk.write_zeroes(Extent::new(0, 8192), fast).unwrap();
    let expected = ["write -z --fast 0 4k", "write -z --fast 4k 4k", "write -z 4k 4k"];
    assert_eq!(flat.take_calls(), expected);
    let bytes = all(&disk);
    assert!(bytes[..8192] == [0; 8192] && bytes[8192..] == [1; 8192]);
}

#[test]
fn buffers_at_odd_addresses_are_copied_for_a_driver_that_needs_them_aligned() {
    let limits = Limits { memory_alignment: 4096, transfer_bytes_max: 1000, ..Limits::default() };
    let (disk, _) = disk(limits);
    let expected = all(&disk);
    for shift in 0..5 {
        let mut buf = vec![0; 3000 + shift];
        disk.read(77, &mut buf[shift..]).unwrap();
        assert!(buf[shift..] == expected[77..3077]);
        disk.write(77, &buf[shift..], FUA).unwrap();
        let (a, b) = buf.split_at_mut(1234);
        disk.read_vectored(77, &mut [IoSliceMut::new(a), IoSliceMut::new(b)]).unwrap();
        assert!(buf[..3000] == expected[77..3077]);
        disk.write_vectored(77, &[IoSlice::new(&buf[..1]), IoSlice::new(&buf[1..])], FUA).unwrap();
        assert!(all(&disk) == expected);
        disk.write_zeroes(Extent::new(4000, 3001), ZeroFlags::default()).unwrap();
        disk.write(4000, &expected[4000..7001], WriteFlags::default()).unwrap();
    }
    let (disk, _) = self::disk(Limits { can_write_zeroes: false, ..limits });
    disk.write_zeroes(Extent::new(1, 5000), ZeroFlags::default()).unwrap();
    assert!(all(&disk)[1..5001] == [0; 5000]);
}

#[test]
fn pieces_of_any_length_are_one_request() {
    let (disk, flat) = disk(Limits { request_alignment: 512, ..Limits::default() });
    let (mut a, mut b, mut c) = ([0; 1], [0; 0], [0; 1023]);
    let bufs = &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b), IoSliceMut::new(&mut c)];
    disk.read_vectored(512, bufs).unwrap();
    assert_eq!((a[0], c[0], c[1022]), (0, 1, 255));
    disk.write_vectored(512, &[IoSlice::new(&[7; 500]), IoSlice::new(&[8; 12])], WriteFlags::default())
        .unwrap();
    assert_eq!(flat.take_calls(), ["read 512 1k", "write 512 512"]);
    let bytes = all(&disk);
    assert!(bytes[512..1012] == [7; 500] && bytes[1012..1024] == [8; 12] && bytes[1024] == 0);
    let misaligned = disk.read_vectored(512, &mut [IoSliceMut::new(&mut a)]).unwrap_err();
    assert_eq!(misaligned.kind(), ErrorKind::Misaligned);
    let past = disk.write_vectored(1 << 14, &[IoSlice::new(&[1; 512])], WriteFlags::default()).unwrap_err();
    assert_eq!(past.kind(), ErrorKind::OutOfRange);
    disk.read_vectored(1 << 14, &mut []).unwrap();
}

#[test]
fn runs_follow_one_another_and_are_bounded() {
    let disk = flat(vec![1; 4096], Limits::default());
    let lengths = |extent, max| {
        let runs = disk.block_status_runs(extent, max).unwrap();
        runs.into_iter().map(|run| run.length).collect::<Vec<_>>()
    };
    assert_eq!(lengths(Extent::new(96, 4000), 10), [1000; 4]);
    assert_eq!(lengths(Extent::new(0, 4000), 3), [1000; 3]);
    assert_eq!(lengths(Extent::new(0, 1001), 3), [1000, 1]);
    assert!(disk.block_status_runs(Extent::new(0, 1), 0).is_err());
    assert!(disk.block_status_runs(Extent::new(0, 0), 1).is_err());
    assert!(disk.host_run(Extent::new(0, 0)).is_err() && disk.host_run(Extent::new(0, 1)).unwrap().is_none());
    assert!(disk.prefetch(Extent::new(4096, 1)).is_err());
    disk.prefetch(Extent::new(4096, 0)).unwrap();
}

/// A driver that breaks what it owes about its status or its size.
#[derive(Debug)]
struct Breach {
    status: BlockStatus,
    runs: usize,
    size: crate::sync::atomic::AtomicU64,
    resized: Result<()>,
}

impl BlockDriver for Breach {
    fn size(&self) -> u64 {
        self.size.load(Ordering::SeqCst)
    }

    fn read(&self, _offset: u64, _buf: &mut [u8]) -> Result<()> {
        Ok(())
    }

    fn write(&self, _offset: u64, _buf: &[u8], _flags: WriteFlags) -> Result<()> {
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn block_status(&self, _extent: Extent) -> Result<BlockStatus> {
        Ok(self.status)
    }

    fn block_status_runs(&self, _extent: Extent, _runs_max: usize) -> Result<Vec<BlockStatus>> {
        Ok(vec![self.status; self.runs])
    }

    fn as_resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }
}

impl Resize for Breach {
    fn resize(&self, size: u64) -> Result<()> {
        self.size.store(size, Ordering::SeqCst);
        match &self.resized {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::from_errno(error.errno(), "resize")),
        }
    }
}

const PLAIN: BlockStatus =
    BlockStatus { length: 512, allocated: true, zero: false, compressed: false, host_offset: Some(0) };

fn breach(status: BlockStatus, runs: usize, resized: Result<()>) -> Disk {
    Disk::new(Breach { status, runs, size: 4096.into(), resized }, Access::ReadWrite)
}

fn panics(run: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

#[test]
fn a_status_that_contradicts_itself_is_a_breach() {
    let extent = Extent::new(0, 1024);
    assert!(!panics(|| drop(breach(PLAIN, 2, Ok(())).block_status_runs(extent, 2))));
    for (status, runs) in [
        (BlockStatus { length: 0, ..PLAIN }, 1),
        (BlockStatus { length: 1025, ..PLAIN }, 1),
        (BlockStatus { compressed: true, ..PLAIN }, 1),
        (BlockStatus { compressed: true, zero: true, host_offset: None, ..PLAIN }, 1),
        (BlockStatus { compressed: true, allocated: false, host_offset: None, ..PLAIN }, 1),
        (BlockStatus { host_offset: Some(u64::MAX), ..PLAIN }, 1),
    ] {
        let disk = breach(status, runs, Ok(()));
        assert!(panics(|| drop(disk.block_status(extent))), "{status:?}");
        assert!(panics(|| drop(disk.block_status_runs(extent, 2))), "{status:?}");
    }
    for (runs, runs_max) in [(0, 2), (3, 2), (3, 3)] {
        let disk = breach(PLAIN, runs, Ok(()));
        assert!(panics(|| drop(disk.block_status_runs(extent, runs_max))), "{runs} of {runs_max}");
    }
}

#[test]
fn a_refused_change_of_size_leaves_the_size() {
    let refused = || Err(Error::unsupported("shrinking"));
    assert!(panics(|| drop(breach(PLAIN, 1, refused()).resize(512))));
    assert!(!panics(|| drop(breach(PLAIN, 1, refused()).resize(4096))));
    let failed = breach(PLAIN, 1, Err(Error::from_errno(5, "truncate")));
    assert!(failed.resize(512).is_err());
    assert_eq!(failed.size(), 512, "a failure may come too late");
}

#[test]
fn who_watches_the_size_is_told_once_for_each_change() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let disk = Arc::new(breach(PLAIN, 1, Ok(())));
    let (list, weak) = (Arc::clone(&told), Arc::downgrade(&disk));
    let watcher: Arc<SizeWatcher> = Arc::new(move |size| {
        // It may make requests.
        weak.upgrade().expect("the disk is there").flush().unwrap();
        list.lock().push(size);
    });
    disk.watch_size(&watcher);
    disk.resize(8192).unwrap();
    disk.resize(8192).unwrap();
    assert!(disk.grow(9000, Preallocation::Full).is_err(), "this driver does not allocate");
    disk.resize(512).unwrap();
    assert_eq!(*told.lock(), [8192, 512]);
    let failing = breach(PLAIN, 1, Err(Error::from_errno(5, "truncate")));
    failing.watch_size(&watcher);
    failing.resize(1024).unwrap_err();
    assert_eq!(*told.lock(), [8192, 512, 1024], "a failure may change the size, too");
    drop(watcher);
    disk.resize(600).unwrap();
    assert_eq!(told.lock().len(), 3, "nobody watches any more");
}

#[test]
fn limits_that_contradict_themselves_are_a_breach() {
    let changes: [&dyn Fn(&mut Limits); 9] = [
        &|limits| limits.request_alignment = 3,
        &|limits| limits.memory_alignment = 0,
        &|limits| limits.memory_alignment = 1 << 30,
        &|limits| limits.preferred_bytes = 5000,
        &|limits| limits.transfer_bytes_max = 0,
        &|limits| (limits.request_alignment, limits.zero_bytes_max) = (512, 1000),
        &|limits| (limits.request_alignment, limits.discard_bytes_max) = (512, 100),
        &|limits| limits.zero_granularity = 0,
        &|limits| (limits.native.fast_zero, limits.can_write_zeroes) = (true, false),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut limits = Limits::default();
        change(&mut limits);
        assert!(panics(|| drop(flat(Vec::new(), limits))), "number {number}: {limits:?}");
    }
    let coarse = flat(Vec::new(), Limits { request_alignment: 1 << 20, ..Limits::default() });
    assert_eq!(coarse.limits().preferred_bytes, 1 << 20);
}
