//! Zeroes and discards of more bytes than the metadata are locked for at once (1 GiB), at odd offsets.

use std::sync::Arc;

use blk_core::{Access, DiscardFlags, Disk, Extent, Options, WriteFlags, ZeroFlags};

use blk_qcow2::FORMAT;

use crate::common::{Image, OneBacking};

const GIB: u64 = 1 << 30;
const SIZE: u64 = 5 * GIB + 3 * 512;

/// Requests from one offset to another: their ends on, before and behind a gigabyte, a cluster and a sector.
const REQUESTS: [(u64, u64); 5] = [
    (0, SIZE),
    (GIB, 4 * GIB),
    (GIB - 513, 3 * GIB + 515),
    (512, 2 * GIB + (64 << 10) + 512),
    (2 * GIB + 7, SIZE - 1),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Zeroes { may_unmap: bool },
    Discard,
}

/// Where data are before the request: at both ends of it, around each gigabyte, and at the ends of the disk.
fn marks(start: u64, end: u64) -> Vec<u64> {
    let edges = [start, end].into_iter().chain((0..=5).map(|number| number * GIB));
    let near = edges.flat_map(|edge| [edge.saturating_sub(1), edge, edge + (64 << 10)]);
    let mut marks: Vec<u64> = near.chain([SIZE - 1]).filter(|mark| *mark < SIZE).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

fn byte(disk: &Disk, at: u64) -> u8 {
    let mut byte = [0];
    disk.read(at, &mut byte).unwrap();
    byte[0]
}

/// Makes the request, and looks at each mark: now, and after the image was closed and opened.
fn try_request(create: &Options, request: Request, start: u64, end: u64) {
    let image = Image::new(SIZE, create.clone());
    let disk = image.open(Options::new().with("discard", "unmap"));
    let marks = marks(start, end);
    for mark in &marks {
        disk.write(*mark, &[7], WriteFlags::default()).unwrap();
    }
    let extent = Extent::between(start, end);
    match request {
        Request::Zeroes { may_unmap } => {
            disk.write_zeroes(extent, ZeroFlags { may_unmap, ..ZeroFlags::default() }).unwrap();
        }
        Request::Discard => disk.discard(extent, DiscardFlags::default()).unwrap(),
    }
    let what = format!("{request:?} {start:#x}..{end:#x} {create:?}");
    let look = |disk: &Disk| {
        for mark in &marks {
            let is_zero = byte(disk, *mark) == 0;
            // A discard may leave what is no whole cluster.
            let must_be_zero = request != Request::Discard && (start..end).contains(mark);
            assert!(is_zero || !must_be_zero, "{what}: {mark:#x} is not zero");
            assert!(!is_zero || (start..end).contains(mark), "{what}: {mark:#x} is gone");
        }
    };
    look(&disk);
    if request == Request::Discard && (end - start) > 2 * GIB {
        assert_eq!(byte(&disk, start.next_multiple_of(GIB) + (64 << 10)), 0, "{what}: nothing was discarded");
    }
    disk.flush().unwrap();
    drop(disk);
    let disk = image.open(Options::new());
    look(&disk);
    let check = disk.check(blk_core::RepairMode::None).unwrap();
    assert!(check.is_clean(), "{what}: {check}");
}

#[test]
fn long_zeroes_and_discards_change_what_they_name() {
    let (v3, v2) = (Options::new(), Options::new().with("compat", "0.10"));
    for create in [v3.clone(), v3.clone().with("cluster_size", "2M"), v3.with("cluster_size", "4k"), v2] {
        for (start, end) in REQUESTS {
            for request in
                [Request::Zeroes { may_unmap: true }, Request::Zeroes { may_unmap: false }, Request::Discard]
            {
                try_request(&create, request, start, end);
            }
        }
    }
}

/// Over a backing file each cluster that is discarded hides it from then on; of version 2 none can.
#[test]
fn a_long_discard_over_a_backing_file_hides_it() {
    let base = Image::new(SIZE, Options::new().with("cluster_size", "2M"));
    let base = base.open(Options::new());
    for at in (0..5).map(|number| number * GIB + 4096) {
        base.write(at, &[9], WriteFlags::default()).unwrap();
    }
    let base = Arc::new(base);
    for (version, is_hidden) in [("1.1", true), ("0.10", false)] {
        let create = Options::new().with("compat", version).with("cluster_size", "2M");
        let image = Image::new(SIZE, create);
        let open = Options::new().with("discard", "unmap");
        let backing = OneBacking(Some(Arc::clone(&base)));
        let disk = FORMAT.open(image.storage(), Access::ReadWrite, open, &backing).unwrap();
        let extent = Extent::between(GIB - 513, 4 * GIB + 515);
        disk.discard(extent, DiscardFlags::default()).unwrap();
        for at in (0..5).map(|number| number * GIB + 4096) {
            let expected = if is_hidden && (GIB..4 * GIB).contains(&at) { 0 } else { 9 };
            assert_eq!(byte(&disk, at), expected, "{version}: {at:#x}");
        }
        assert!(disk.check(blk_core::RepairMode::None).unwrap().is_clean());
    }
}
