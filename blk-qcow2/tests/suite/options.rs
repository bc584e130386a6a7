//! Options of an open that govern what happens to the host file: which freed clusters are punched, and what
//! writes may destroy.

use std::sync::Arc;

use crate::common::Image;
use blk_core::storage::{Operation, TraceStorage};
use blk_core::{Access, DenyResolver, DiscardFlags, Disk, Extent, Options, Storage, WriteFlags};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 65_536;

/// How many holes a discard, and replacing a compressed cluster, punch under these options.
fn holes(options: Options) -> [usize; 2] {
    let image = Image::new(1 << 20, Options::new());
    let trace = Arc::new(TraceStorage::new(image.storage(), 10_000));
    let storage = Arc::clone(&trace) as Arc<dyn Storage>;
    let disk = FORMAT.open(storage, Access::ReadWrite, options, &DenyResolver).unwrap();
    let punched = || trace.entries().iter().filter(|entry| entry.operation == Operation::PunchHole).count();
    disk.write(0, &vec![1; CLUSTER as usize], WriteFlags::default()).unwrap();
    disk.discard(Extent::new(0, CLUSTER), DiscardFlags::default()).unwrap();
    disk.flush().unwrap();
    let by_discard = punched();
    disk.write(CLUSTER, &vec![1; CLUSTER as usize], WriteFlags { compressed: true, fua: false }).unwrap();
    disk.write(CLUSTER, &vec![2; CLUSTER as usize], WriteFlags::default()).unwrap();
    disk.flush().unwrap();
    assert!(disk.check(blk_core::RepairMode::None).unwrap().is_clean());
    [by_discard, punched() - by_discard]
}

#[test]
fn pass_discard_says_what_is_punched() {
    assert_eq!(holes(Options::new()), [1, 1]);
    assert_eq!(holes(Options::new().with("pass-discard-other", "off")), [1, 0]);
    assert_eq!(holes(Options::new().with("pass-discard-request", "off")), [0, 1]);
    assert_eq!(holes(Options::new().with("discard", "ignore")), [0, 0]);
    let other = Options::new().with("discard", "ignore").with("pass-discard-other", "on");
    assert_eq!(holes(other), [0, 1]);
}

/// Opens an image whose first guest cluster claims to lie at `host`.
fn lying(host: u64, options: Options) -> Disk {
    let image = Image::new(1 << 20, Options::new());
    let disk = image.open(Options::new());
    disk.write(0, &[1; 512], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let mut bytes = image.bytes();
    let l2_table = image.field(image.field(40) as usize) & 0x00ff_ffff_ffff_fe00;
    crate::common::patch(&mut bytes, l2_table as usize, &(host | 1 << 63).to_be_bytes());
    Image::from_bytes(&bytes).open(options)
}

#[test]
fn overlap_check_says_what_writes_are_held_against() {
    let image = Image::new(1 << 20, Options::new());
    let refcount_block = image.field(image.field(48) as usize);
    let l1_table = image.field(40);
    let write = |host: u64, options: &Options| {
        lying(host, options.clone())
            .write(0, &[7; 512], WriteFlags::default())
            .map_err(|error| error.to_string())
    };
    let options = |level: &str| Options::new().with("overlap-check", level);
    for (host, name, part) in [
        (refcount_block, "refcount block", "overlap-check.refcount-block"),
        (l1_table, "L1 table", "overlap-check.active-l1"),
    ] {
        for usual in [Options::new(), options("cached"), options("all"), options("none").with(part, "on")] {
            let error = write(host, &usual).unwrap_err();
            assert!(error.contains("would overwrite") && error.contains(name), "{error}");
        }
        write(host, &options("none")).unwrap();
        write(host, &options("all").with(part, "off")).unwrap();
    }
    write(refcount_block, &options("constant")).unwrap();
    write(l1_table, &options("constant")).unwrap_err();
}
