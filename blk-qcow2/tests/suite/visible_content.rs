//! What shows of a disk: runs that end where tables begin, bytes that come to light when it grows, what it
//! says about itself.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

use std::fmt::Write;
use std::sync::Arc;

use crate::common::log::LogStorage;
use crate::common::{Image, OneBacking, patch};
use blk_core::{
    Access, DiscardFlags, Disk, Extent, MemoryStorage, Options, RepairMode, Storage, WriteFlags, ZeroFlags,
};
use blk_qcow2::FORMAT;
use expect_test::expect;

fn open(storage: Arc<dyn Storage>, backing: Option<Arc<Disk>>, options: Options) -> Disk {
    FORMAT.open(storage, Access::ReadWrite, options, &OneBacking(backing)).unwrap()
}

/// A disk of so many bytes, all of them 0xbb.
fn full_disk(bytes: u64) -> Arc<Disk> {
    let image = Image::new(bytes, Options::new());
    let disk = image.open(Options::new());
    disk.write(0, &vec![0xbb; bytes as usize], WriteFlags::default()).unwrap();
    Arc::new(disk)
}

fn write(disk: &Disk, offset: u64, length: u64) {
    disk.write(offset, &vec![7; length as usize], WriteFlags::default()).unwrap();
}

/// An L2 table of 512 bytes has 64 entries.
#[test]
fn runs_and_reads_end_where_tables_begin() {
    const TABLE: u64 = 64 * 512;
    let log = Arc::new(LogStorage::new(MemoryStorage::new()));
    let storage = Arc::clone(&log) as Arc<dyn Storage>;
    FORMAT.create(&storage, 8 * TABLE, Options::new().with("cluster_size", 512)).unwrap();
    let caches = Options::new().with("l2-cache-slices", 1).with("refcount-cache-slices", 1);
    let disk = open(storage, None, caches);
    // The last cluster of table 2 and the first of table 3, next to one another on the host; and the end of
    // the disk.
    write(&disk, 3 * TABLE - 512, 1024);
    write(&disk, 8 * TABLE - 512, 512);
    disk.flush().unwrap();
    let mut text = String::new();
    for offset in [0, 10, TABLE, TABLE + 700, 2 * TABLE, 3 * TABLE - 512, 3 * TABLE + 512, 4 * TABLE + 5] {
        let status = disk.block_status(Extent::between(offset, 8 * TABLE)).unwrap();
        let _ = writeln!(text, "{offset:#x}: {:#x} {}", status.length, status.allocated);
    }
    expect![[r#"
        0x0: 0x10000 false
        0xa: 0xfff6 false
        0x8000: 0x8000 false
        0x82bc: 0x7d44 false
        0x10000: 0x7e00 false
        0x17e00: 0x200 true
        0x18200: 0x7e00 false
        0x20005: 0x17ffb false
    "#]]
    .assert_eq(&text);
    log.take();
    let mut read = [0; 700];
    disk.read(3 * TABLE - 300, &mut read).unwrap();
    assert_eq!(read, [7; 700]);
    disk.read(3 * TABLE - 300, &mut [0; 700]).unwrap();
    disk.read(3 * TABLE - 700, &mut read).unwrap();
    // Other tables are cached: what is written in place is looked up first.
    write(&disk, 3 * TABLE - 300, 400);
    disk.read(3 * TABLE - 300, &mut read).unwrap();
    assert_eq!(read, [7; 700]);
    // The size is a whole number of clusters: nothing of the old disk can come to light, and nothing is
    // looked for.
    disk.resize(8 * TABLE + 512).unwrap();
    write(&disk, 8 * TABLE, 512);
    disk.flush().unwrap();
    disk.read(3 * TABLE, &mut read).unwrap();
    log.take();
    // Nothing but the entry of the new cluster, in a table that is there already.
    disk.resize(8 * TABLE + 1024).unwrap();
    assert_eq!(log.take(), "read 600+200, sync, read 0+200, write 0+200, sync");
}

/// Host clusters in the order of their first writes: 0, 5, and then 1 to 4 and 6 to 8 in a row; 6 keeps its
/// own as zeroes.
#[test]
fn writes_in_place_and_reads_stay_inside_what_was_asked_for() {
    const CLUSTER: u64 = 4096;
    let image = Image::new(1 << 20, Options::new().with("cluster_size", CLUSTER));
    let disk = image.open(Options::new());
    for (cluster, count) in [(0, 1), (5, 1), (1, 4), (6, 3)] {
        write(&disk, cluster * CLUSTER, count * CLUSTER);
    }
    let host = |cluster: u64| {
        disk.block_status(Extent::new(cluster * CLUSTER, CLUSTER)).unwrap().host_offset.unwrap()
    };
    let first = host(0);
    assert_eq!([5, 1, 4, 6, 8].map(|cluster| (host(cluster) - first) / CLUSTER), [1, 2, 5, 6, 8]);
    disk.write(CLUSTER / 2, &[9; CLUSTER as usize], WriteFlags::default()).unwrap();
    let mut read = [1; 2 * CLUSTER as usize];
    disk.read(0, &mut read).unwrap();
    let half = (CLUSTER / 2) as usize;
    assert!(read[..half].iter().chain(&read[3 * half..]).all(|byte| *byte == 7));
    assert!(read[half..3 * half].iter().all(|byte| *byte == 9));
    // A cluster that was kept is filled, also where those before it get new ones.
    disk.discard(Extent::new(5 * CLUSTER, CLUSTER), DiscardFlags::default()).unwrap();
    let kept = host(6);
    disk.write_zeroes(Extent::new(6 * CLUSTER, CLUSTER), ZeroFlags::default()).unwrap();
    write(&disk, 5 * CLUSTER + 512, 2 * CLUSTER);
    assert_eq!(host(6), kept);
    assert!(disk.check(RepairMode::None).unwrap().is_clean());
}

/// The runs of a disk from `at` on.
fn map(disk: &Disk, mut at: u64) -> String {
    let mut text = String::new();
    while at < disk.size() {
        let status = disk.block_status(Extent::between(at, disk.size())).unwrap();
        let kind = match (status.allocated, status.zero) {
            (true, true) => "zeroes",
            (true, false) => "data",
            (false, _) => "below",
        };
        let host = status.host_offset.map_or_else(String::new, |host| format!(" at {host:x}"));
        let _ = write!(text, " {:x} {kind}{host}", status.length);
        at += status.length;
    }
    text
}

/// An image that holds data, compressed data and marks past the end of its disk, also past the new size: no
/// byte of them is content of the larger disk, whatever the backing file has, and no cluster of theirs is
/// lost.
#[test]
fn entries_behind_the_end_are_cleared_when_a_disk_grows() {
    const CLUSTER: u64 = 4096;
    // A table of 512 entries reaches over 2 MiB: the end of the first and the start of the second.
    let (old, new, full) = (508 * CLUSTER, 516 * CLUSTER, 520 * CLUSTER);
    for compat in ["1.1", "0.10"] {
        for backing in [0, old, 510 * CLUSTER, full] {
            let create = Options::new().with("cluster_size", CLUSTER).with("compat", compat);
            let image = Image::new(full, create);
            let disk = image.open(Options::new());
            write(&disk, 507 * CLUSTER, CLUSTER);
            write(&disk, 509 * CLUSTER, 5 * CLUSTER);
            write(&disk, 518 * CLUSTER, CLUSTER);
            disk.write(
                515 * CLUSTER,
                &[9; CLUSTER as usize],
                WriteFlags { compressed: true, ..WriteFlags::default() },
            )
            .unwrap();
            disk.write_zeroes(Extent::new(511 * CLUSTER, CLUSTER), ZeroFlags::default()).unwrap();
            disk.close().unwrap();
            let mut bytes = image.bytes();
            patch(&mut bytes, 24, &old.to_be_bytes());
            let storage = Arc::new(MemoryStorage::from_bytes(&bytes));
            let disk = open(storage, (backing > 0).then(|| full_disk(backing)), Options::new());
            disk.resize(new).unwrap();
            let mut read = vec![1; new as usize];
            disk.read(0, &mut read).unwrap();
            assert!(read[old as usize..].iter().all(|byte| *byte == 0), "{compat} {backing:#x}");
            assert!(
                read[507 * CLUSTER as usize..old as usize].iter().all(|byte| *byte == 7),
                "{compat} {backing:#x}"
            );
            let shown = backing.min(old).min(507 * CLUSTER) as usize;
            assert!(read[..shown].iter().all(|byte| *byte == 0xbb), "{compat} {backing:#x}");
            disk.flush().unwrap();
            let checked = disk.check(RepairMode::None).unwrap();
            assert!(checked.is_clean(), "{compat} {backing:#x}: {checked}");
            disk.resize(full).unwrap();
            let mut read = vec![1; (full - new) as usize];
            disk.read(new, &mut read).unwrap();
            assert!(read.iter().all(|byte| *byte == 0), "{compat} {backing:#x}");
        }
    }
}

/// A disk of 10 and a half clusters becomes one of 13 and a quarter, over disks of all lengths that matter.
/// In an image that lies, cluster 12 has data already.
#[test]
fn nothing_comes_to_light_when_a_disk_grows() {
    const CLUSTER: u64 = 4096;
    let (old, new) = (10 * CLUSTER + 2048, 13 * CLUSTER + 1024);
    let mut text = String::new();
    for compat in ["1.1", "0.10"] {
        for backing in
            [0, old - 512, old, old + 512, 11 * CLUSTER, 11 * CLUSTER + 512, 12 * CLUSTER, 20 * CLUSTER]
        {
            let create = Options::new().with("cluster_size", CLUSTER).with("compat", compat);
            let image = Image::new(20 * CLUSTER, create);
            if backing == 20 * CLUSTER {
                let disk = image.open(Options::new());
                write(&disk, 12 * CLUSTER, CLUSTER);
                disk.close().unwrap();
            }
            let mut bytes = image.bytes();
            patch(&mut bytes, 24, &old.to_be_bytes());
            let log = Arc::new(LogStorage::new(MemoryStorage::from_bytes(&bytes)));
            let disk = open(Arc::clone(&log) as _, (backing > 0).then(|| full_disk(backing)), Options::new());
            log.take();
            disk.resize(new).unwrap();
            let _ = write!(text, "version {compat} over {backing:#x}: {}\n ", log.take());
            let _ = writeln!(text, "{}", map(&disk, 10 * CLUSTER));
            let mut read = vec![1; new as usize];
            disk.read(0, &mut read).unwrap();
            let shown = backing.min(old) as usize;
            assert!(read[..shown].iter().all(|byte| *byte == 0xbb), "{compat} {backing:#x}");
            assert!(read[shown..].iter().all(|byte| *byte == 0), "{compat} {backing:#x}");
            disk.flush().unwrap();
            let checked = disk.check(RepairMode::None).unwrap();
            assert!(checked.is_clean(), "{checked}");
        }
    }
    expect![[r#"
        version 1.1 over 0x0: sync, read 0+200, write 0+200, sync
          3400 below
        version 1.1 over 0xa600: sync, read 0+200, write 0+200, sync
          3400 below
        version 1.1 over 0xa800: sync, read 0+200, write 0+200, sync
          3400 below
        version 1.1 over 0xaa00: read 2000+1000, read 4000+1000, write 5000+1000, len, write 2000+1000, sync, write 4000+1000, sync, write 3000+200, sync, read 0+200, write 0+200, sync
          1000 data at 5000 2400 below
        version 1.1 over 0xb000: read 2000+1000, read 4000+1000, write 5000+1000, len, write 2000+1000, sync, write 4000+1000, sync, write 3000+200, sync, read 0+200, write 0+200, sync
          1000 data at 5000 2400 below
        version 1.1 over 0xb200: read 2000+1000, read 4000+1000, write 5000+1000, len, write 2000+1000, sync, write 4000+1000, sync, write 3000+200, sync, read 0+200, write 0+200, sync
          1000 data at 5000 2400 zeroes
        version 1.1 over 0xc000: read 2000+1000, read 4000+1000, write 5000+1000, len, write 2000+1000, sync, write 4000+1000, sync, write 3000+200, sync, read 0+200, write 0+200, sync
          1000 data at 5000 2400 zeroes
        version 1.1 over 0x14000: read 4000+1000, read 2000+1000, write 6000+1000, len, write 2000+1000, sync, write 4000+1000, sync, punch 5000+1000, write 2000+1000, sync, read 0+200, write 0+200, sync
          1000 data at 6000 2400 zeroes
        version 0.10 over 0x0: sync, read 0+200, write 0+200, sync
          3400 below
        version 0.10 over 0xa600: sync, read 0+200, write 0+200, sync
          3400 below
        version 0.10 over 0xa800: sync, read 0+200, write 0+200, sync
          3400 below
        version 0.10 over 0xaa00: read 2000+1000, read 4000+1000, write 5000+1000, len, write 2000+1000, sync, write 4000+1000, sync, write 3000+200, sync, read 0+200, write 0+200, sync
          1000 data at 5000 2400 below
        version 0.10 over 0xb000: read 2000+1000, read 4000+1000, write 5000+1000, len, write 2000+1000, sync, write 4000+1000, sync, write 3000+200, sync, read 0+200, write 0+200, sync
          1000 data at 5000 2400 below
        version 0.10 over 0xb200: read 2000+1000, read 4000+1000, write 5000+1000, write 6000+1000, len, write 2000+1000, sync, write 4000+1000, sync, write 3000+200, sync, read 0+200, write 0+200, sync
          2000 data at 5000 1400 below
        version 0.10 over 0xc000: read 2000+1000, read 4000+1000, write 5000+1000, write 6000+1000, len, write 2000+1000, sync, write 4000+1000, sync, write 3000+200, sync, read 0+200, write 0+200, sync
          2000 data at 5000 1400 below
        version 0.10 over 0x14000: read 4000+1000, read 2000+1000, write 6000+1000, write 7000+1000, write 5000+1000, write 8000+1000, len, write 2000+1000, sync, write 4000+1000, sync, read 0+200, write 0+200, sync
          2000 data at 6000 1000 data at 5000 400 data at 8000
    "#]].assert_eq(&text);
}

#[test]
fn a_disk_says_what_it_is() {
    let mut text = String::new();
    for (compat, more, patches) in [
        ("0.10", None, &[][..]),
        ("1.1", None, &[]),
        ("1.1", Some(("lazy_refcounts", "on")), &[]),
        ("1.1", Some(("compression_type", "zstd")), &[]),
        // A bit that is not ours.
        ("1.1", Some(("refcount_bits", "1")), &[(80, 2u64)]),
    ] {
        let mut create = Options::new().with("compat", compat);
        if let Some((name, value)) = more {
            create = create.with(name, value);
        }
        let image = Image::new(1 << 20, create);
        let mut bytes = image.bytes();
        for (at, value) in patches {
            patch(&mut bytes, *at, &value.to_be_bytes());
        }
        let disk = Image::from_bytes(&bytes).open(Options::new());
        let info = disk.as_info().unwrap().info().unwrap();
        let _ = writeln!(text, "{:?} {:?} {:?}", info.format, info.is_dirty, info.details);
    }
    expect![[r#"
        "qcow2" false [("compat", Text("0.10")), ("compression-type", Text("zlib")), ("refcount-bits", Number(16))]
        "qcow2" false [("compat", Text("1.1")), ("compression-type", Text("zlib")), ("lazy-refcounts", Switch(false)), ("refcount-bits", Number(16)), ("corrupt", Switch(false)), ("extended-l2", Switch(false))]
        "qcow2" false [("compat", Text("1.1")), ("compression-type", Text("zlib")), ("lazy-refcounts", Switch(true)), ("refcount-bits", Number(16)), ("corrupt", Switch(false)), ("extended-l2", Switch(false))]
        "qcow2" false [("compat", Text("1.1")), ("compression-type", Text("zstd")), ("lazy-refcounts", Switch(false)), ("refcount-bits", Number(16)), ("corrupt", Switch(false)), ("extended-l2", Switch(false))]
        "qcow2" false [("compat", Text("1.1")), ("compression-type", Text("zlib")), ("lazy-refcounts", Switch(false)), ("refcount-bits", Number(1)), ("corrupt", Switch(false)), ("extended-l2", Switch(false))]
    "#]].assert_eq(&text);
}

/// An image with the bitmap "b", of 64 KiB a bit, and these autoclear bits.
fn with_bitmap(autoclear: u64) -> Image {
    let image = Image::new(1 << 20, Options::new());
    let block = image.field(image.field(48) as usize) as usize;
    let mut bytes = image.bytes();
    let directory = (bytes.len() as u64).next_multiple_of(65_536);
    bytes.resize(directory as usize + 65_536, 0);
    patch(&mut bytes, block + 2 * (directory / 65_536) as usize, &[0, 1]);
    patch(&mut bytes, 88, &autoclear.to_be_bytes());
    patch(
        &mut bytes,
        112,
        &[0x23, 0x85, 0x28, 0x75, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32],
    );
    patch(&mut bytes, 136, &directory.to_be_bytes());
    patch(&mut bytes, 144, &[0; 8]);
    patch(&mut bytes, directory as usize + 16, &[1, 16, 0, 1, 0, 0, 0, 0, b'b']);
    Image::from_bytes(&bytes)
}

/// The bit that vouches for bitmaps is the first: others say nothing of them.
#[test]
fn bitmaps_show_while_the_image_vouches_for_them() {
    for (autoclear, is_shown) in [(1, true), (3, true), (0, false), (2, false)] {
        let disk = with_bitmap(autoclear).open(Options::new());
        let info = disk.as_info().unwrap().info().unwrap();
        let bitmaps = info.details.iter().find(|(name, _)| *name == "bitmaps");
        assert_eq!(bitmaps.is_some(), is_shown, "{autoclear}: {bitmaps:?}");
        write(&disk, 0, 512);
        let info = disk.as_info().unwrap().info().unwrap();
        let bitmaps = info.details.iter().find(|(name, _)| *name == "bitmaps");
        assert_eq!(bitmaps.is_some(), is_shown, "{autoclear}, after a write: {bitmaps:?}");
    }
}

#[test]
fn a_disk_tells_its_cluster_size_and_the_disk_below() {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", 8192));
    let alone = open(image.storage(), None, Options::new());
    let limits = alone.limits();
    assert_eq!((limits.zero_granularity, limits.discard_granularity), (8192, 8192));
    assert!(alone.backing().is_none());
    drop(alone);
    let backing = full_disk(65_536);
    let disk = open(image.storage(), Some(Arc::clone(&backing)), Options::new());
    assert!(disk.backing().is_some_and(|found| Arc::ptr_eq(found, &backing)));
}

/// Zeroes over clusters of which every other one has data: none is left out, however many there are.
#[test]
fn zeroes_over_alternating_clusters_reach_every_one() {
    const TINY: u64 = 512;
    let clusters = 2048;
    for (flags, discards) in [(false, false), (true, false), (false, true)] {
        let image = Image::new(clusters * TINY, Options::new().with("cluster_size", TINY));
        let disk = image.open(Options::new());
        for cluster in (1..clusters).step_by(2) {
            disk.write(cluster * TINY, &[7; TINY as usize], WriteFlags::default()).unwrap();
        }
        let whole = Extent::new(0, clusters * TINY);
        if discards {
            disk.discard(whole, DiscardFlags::default()).unwrap();
        } else {
            disk.write_zeroes(whole, ZeroFlags { may_unmap: flags, ..ZeroFlags::default() }).unwrap();
        }
        let mut read = vec![1; whole.length as usize];
        disk.read(0, &mut read).unwrap();
        assert_eq!(read.iter().position(|byte| *byte != 0), None, "unmap {flags}, discard {discards}");
    }
}
