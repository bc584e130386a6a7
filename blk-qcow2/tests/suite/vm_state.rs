//! The state of a virtual machine behind the disk.

use std::sync::Arc;

use blk_core::{Access, Disk, Error, NewSnapshot, Options, RepairMode, Snapshots, VmState, WriteFlags};
use blk_qcow2::FORMAT;

use crate::common::{Image, OneBacking, patch};

fn state(disk: &Disk, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; length];
    disk.read_vm_state(offset, &mut bytes).unwrap();
    bytes
}

fn assert_clean(disk: &Disk, what: &str) {
    let report = disk.check(RepairMode::None).unwrap();
    assert!(report.is_clean(), "{what}: {report}");
}

fn shapes() -> [Options; 7] {
    let cluster = |bytes: u64| Options::new().with("cluster_size", bytes);
    [
        cluster(512),
        cluster(512).with("refcount_bits", 64_u64),
        cluster(4096).with("compat", "0.10"),
        cluster(65536),
        cluster(2 << 20),
        cluster(1024).with("lazy_refcounts", "on"),
        cluster(16384).with("extended_l2", "on"),
    ]
}

#[test]
fn it_is_read_back_and_is_no_part_of_the_disk() {
    for options in shapes() {
        for size in [0, 512, 100_000 / 512 * 512, 1 << 20] {
            let what = format!("{options:?} {size}");
            let below = Image::new(40 << 20, Options::new());
            let base = below.open(Options::new());
            base.write(0, &vec![4; 40 << 20], WriteFlags::default()).unwrap();
            let image = Image::new(size, options.clone());
            let resolver = OneBacking(Some(Arc::new(base)));
            let open = || FORMAT.open(image.storage(), Access::ReadWrite, Options::new(), &resolver).unwrap();
            let disk = open();
            assert!(state(&disk, 0, 100_000) == vec![0; 100_000], "{what}: nothing is there at first");
            let mut bytes = vec![0; 200_000];
            for (number, (offset, length)) in
                [(0, 512), (700, 3000), (100, 100_000), (150_000, 1), (3000, 65_536)].into_iter().enumerate()
            {
                let data = vec![number as u8 + 1; length];
                disk.write_vm_state(offset, &data).unwrap();
                bytes[offset as usize..offset as usize + length].copy_from_slice(&data);
                assert!(state(&disk, 0, 200_000) == bytes, "{what} {number}");
            }
            disk.close().unwrap();
            assert_clean(&disk, &what);
            drop(disk);
            let disk = open();
            assert!(state(&disk, 0, 200_000) == bytes, "{what}");
            let mut shown = vec![0; size as usize];
            disk.read(0, &mut shown).unwrap();
            assert!(shown.iter().all(|byte| *byte == 4), "{what}: the disk shows none of it");
        }
    }
}

#[test]
fn a_snapshot_keeps_it_and_brings_it_back() {
    for options in shapes() {
        let image = Image::new(300 << 10, options.clone());
        let disk = image.open(Options::new());
        disk.write(0, &[1; 4096], WriteFlags::default()).unwrap();
        disk.write_vm_state(0, &vec![7; 70_000]).unwrap();
        let new = NewSnapshot { vm_state_bytes: 70_000, ..NewSnapshot::default() };
        let id = disk.create_snapshot(&new).unwrap();
        assert_eq!(disk.snapshots().unwrap()[0].vm_state_bytes, 70_000);
        disk.write_vm_state(1000, &vec![8; 90_000]).unwrap();
        disk.resize(512).unwrap();
        assert!(state(&disk, 0, 100_000) == vec![0; 100_000], "{options:?}: a smaller disk has none");
        assert_clean(&disk, "smaller");
        disk.apply_snapshot(&id).unwrap();
        let mut wanted = vec![7; 70_000];
        wanted.resize(100_000, 0);
        assert!(state(&disk, 0, 100_000) == wanted, "{options:?}");
        disk.delete_snapshot(&id).unwrap();
        assert!(state(&disk, 0, 100_000) == wanted, "{options:?}");
        assert_clean(&disk, "deleted");
        disk.resize(64 << 20).unwrap();
        let mut gained = vec![1; (64 << 20) - (300 << 10)];
        disk.read(300 << 10, &mut gained).unwrap();
        assert!(gained.iter().all(|byte| *byte == 0), "{options:?}: the larger disk shows none of it");
        disk.close().unwrap();
        assert_clean(&disk, "larger");
    }
}

#[test]
fn a_size_that_has_as_many_tables_keeps_it() {
    let image = Image::new(1 << 20, Options::new());
    let disk = image.open(Options::new());
    disk.write_vm_state(0, &[7; 512]).unwrap();
    disk.resize(2 << 20).unwrap();
    assert_eq!(state(&disk, 0, 512), [7; 512]);
    disk.resize(1 << 30).unwrap();
    assert_eq!(state(&disk, 0, 512), [0; 512]);
}

#[test]
fn what_no_image_can_have_is_refused() {
    let image = Image::new(1 << 20, Options::new().with("cluster_size", 512_u64));
    let disk = image.open(Options::new());
    let empty = image.bytes();
    assert!(matches!(disk.read_vm_state(u64::MAX, &mut [0; 2]), Err(Error::OutOfRange { .. })));
    assert!(matches!(disk.write_vm_state(i64::MAX as u64, &[0; 2]), Err(Error::OutOfRange { .. })));
    // An L1 table of 32 MiB maps 128 GiB in clusters of 512 bytes.
    assert!(matches!(disk.write_vm_state(1 << 40, &[0; 2]), Err(Error::NoSpace { .. })));
    assert_eq!(state(&disk, 1 << 40, 2), [0; 2]);
    assert!(image.bytes() == empty);
}

/// Requests that meet a broken entry of the state's mark the image, as those of the disk do.
#[test]
fn a_broken_entry_of_the_state_marks_the_image() {
    let made = Image::new(1 << 20, Options::new().with("cluster_size", 4096_u64));
    let disk = made.open(Options::new());
    disk.write_vm_state(0, &[7; 8192]).unwrap();
    disk.close().unwrap();
    drop(disk);
    let l1 = made.field(40) as usize;
    let table = (made.field(l1 + 8) & 0x00ff_ffff_ffff_fe00) as usize;
    for (at, value) in [
        (l1 + 8, 1_u64 << 63 | (table as u64 + 512)),
        (l1 + 8, 1 << 63 | 0x0fff_f000_0000),
        (table, 1 << 63 | 0x1200),
        (table, 1 << 63 | 0x0fff_f000_0000),
    ] {
        for is_write in [false, true] {
            let mut bytes = made.bytes();
            patch(&mut bytes, at, &value.to_be_bytes());
            let image = Image::from_bytes(&bytes);
            let disk = image.open(Options::new());
            let answer = if is_write {
                disk.write_vm_state(100, &[1; 100])
            } else {
                disk.read_vm_state(100, &mut [1; 100])
            };
            let what = format!("{value:#x} at {at:#x}, write {is_write}: {answer:?}");
            assert!(matches!(answer, Err(Error::Corrupt { .. })), "{what}");
            assert!(image.bytes()[79] & 2 != 0, "{what}");
            assert!(disk.write(0, &[1], WriteFlags::default()).is_err(), "{what}");
        }
    }
}
