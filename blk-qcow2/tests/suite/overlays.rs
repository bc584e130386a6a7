//! Naming another backing file, byte by byte and write by write, and giving up all content.

use std::sync::Arc;

use crate::common::Image;
use crate::common::handmade::Handmade;
use blk_core::storage::{FaultRule, FaultStorage, Operation, TraceStorage};
use blk_core::{
    Access, BackingFile, DenyResolver, Disk, Error, Extent, Options, RepairMode, Storage, WriteFlags,
    ZeroFlags,
};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 512;

fn open(storage: Arc<dyn Storage>) -> Disk {
    FORMAT.open(storage, Access::ReadWrite, Options::new().with("backing", "off"), &DenyResolver).unwrap()
}

fn small() -> Options {
    Options::new().with("cluster_size", CLUSTER)
}

fn name(name: &str, format: Option<&str>) -> BackingFile {
    BackingFile { name: name.to_owned(), format: format.map(str::to_owned) }
}

fn set(disk: &Disk, backing: Option<&BackingFile>) -> blk_core::Result<()> {
    disk.as_overlay().unwrap().set_backing(backing)
}

/// Writes and syncs of an action.
fn operations(trace: &TraceStorage, action: impl FnOnce()) -> String {
    let before = trace.operation_count();
    action();
    let entries = trace.entries();
    let shown =
        entries.iter().filter(|entry| entry.number > before).filter_map(|entry| match entry.operation {
            Operation::Write => Some(format!("{}+{}", entry.extent.offset, entry.extent.length)),
            Operation::Sync => Some("sync".to_owned()),
            _ => None,
        });
    shown.collect::<Vec<_>>().join(" ")
}

/// The header has 112 bytes, the mark of the end 8, a format's extension 16. The first name stands at 120.
#[test]
fn a_new_name_goes_where_the_old_one_is_not() {
    let image = Image::new(1 << 20, small().with("backing_file", "first"));
    let trace = Arc::new(TraceStorage::new(image.storage(), 10_000));
    let disk = open(Arc::clone(&trace) as _);
    for (backing, at, expected) in [
        // After the old one, durable before the header changes.
        (Some(name("second", None)), 128, "sync 128+6 sync 0+120 sync"),
        // The longer list of extensions reaches up to it: it is written with the name once more.
        (Some(name("third", Some("raw"))), 136, "sync 136+5 sync 0+141 sync"),
        (Some(name("4", Some("a-longer-format"))), 144, "sync 144+1 sync 0+145 sync"),
        // There is no room after the old one.
        (Some(name(&"n".repeat(370), None)), 120, "sync 0+490 sync"),
        (Some(name("fifth", None)), 496, "sync 496+5 sync 0+120 sync"),
        (Some(name("exactly8", None)), 504, "sync 504+8 sync 0+120 sync"),
        (Some(name(&"n".repeat(392), None)), 120, "sync 0+512 sync"),
        (None, 0, "sync 0+120 sync"),
        (Some(name("last", None)), 120, "sync 120+4 sync 0+124 sync"),
    ] {
        let found = operations(&trace, || set(&disk, backing.as_ref()).unwrap());
        assert_eq!((image.field(8), &*found), (at, expected), "{backing:?}");
        let reopened = open(image.storage());
        assert_eq!(reopened.as_info().unwrap().info().unwrap().backing, backing);
    }
    let error = set(&disk, Some(&name(&"n".repeat(393), None))).unwrap_err();
    assert!(
        error.to_string().contains("header and name take 513 bytes, the first cluster has 512"),
        "{error}"
    );
    assert_eq!(image.field(8), 120);
}

/// What a failed sync leaves on the medium is unknown: no name that follows may rest on it.
#[test]
fn a_failed_sync_of_a_name_poisons_the_handle() {
    for skip in 0..3 {
        let image = Image::new(1 << 20, small().with("backing_file", "first"));
        let fault = Arc::new(FaultStorage::new(image.storage()));
        let disk = open(Arc::clone(&fault) as _);
        fault.add_rule(FaultRule::fail(5).on(Operation::Sync).after(skip));
        set(&disk, Some(&name("second", None))).unwrap_err();
        fault.clear_rules();
        let error = set(&disk, Some(&name("third", None))).unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
        let named = open(image.storage()).as_info().unwrap().info().unwrap().backing;
        let found = named.unwrap().name;
        assert!(found == "first" || found == "second", "{found}");
    }
}

/// A disk of four L2 tables: in each a cluster, a compressed one, and one that reads as zeroes.
fn filled() -> Image {
    let image = Image::new(4 * 64 * CLUSTER, small().with("backing_file", "base"));
    let disk = open(image.storage());
    for table in 0..4 {
        let at = table * 64 * CLUSTER;
        disk.write(at, &[7; 2 * CLUSTER as usize], WriteFlags::default()).unwrap();
        disk.write(at + 4 * CLUSTER, &[8; CLUSTER as usize], WriteFlags { compressed: true, fua: false })
            .unwrap();
        disk.write_zeroes(Extent::new(at + 8 * CLUSTER, CLUSTER), ZeroFlags::default()).unwrap();
    }
    disk.close().unwrap();
    drop(disk);
    image
}

fn forget(disk: &Disk) -> blk_core::Result<()> {
    disk.as_overlay().unwrap().forget_content()
}

#[test]
fn all_tables_are_forgotten_at_once() {
    let image = filled();
    let trace = Arc::new(TraceStorage::new(image.storage(), 10_000));
    let disk = open(Arc::clone(&trace) as _);
    let l1 = image.field(40);
    // All before is made durable; then come one write of the L1 table, and after it one of the counts.
    let found = operations(&trace, || forget(&disk).unwrap());
    let block = image.field(image.field(48) as usize);
    assert_eq!(found, format!("sync sync sync {l1}+512 sync {block}+512 sync"));
    let whole = Extent::new(0, 4 * 64 * CLUSTER);
    let status = disk.block_status(whole).unwrap();
    assert!(!status.allocated && status.length == whole.length, "{status:?}");
    assert!(image.bytes()[l1 as usize..].iter().all(|byte| *byte == 0));
    let checked = disk.check(RepairMode::None).unwrap();
    assert!(checked.is_clean() && checked.allocated_clusters == 0, "{checked}");
}

/// What waits to be given back takes memory: after 2^16 clusters it is given back, and the rest later.
#[test]
fn a_large_content_is_forgotten_in_parts() {
    for (clusters, syncs) in [(60_000, 5), (70_000, 8)] {
        let image = Image::new(clusters * CLUSTER, small().with("preallocation", "metadata"));
        let trace = Arc::new(TraceStorage::new(image.storage(), 100_000));
        let disk = open(Arc::clone(&trace) as _);
        let found = operations(&trace, || forget(&disk).unwrap());
        assert_eq!(found.matches("sync").count(), syncs, "{clusters} clusters");
        assert_eq!(disk.check(RepairMode::None).unwrap().allocated_clusters, 0);
    }
}

/// A table that is not what it should be is named by the place on the disk, and nothing of it goes.
#[test]
fn a_wrong_table_is_not_forgotten() {
    let mut made = Handmade::new(&filled());
    let l1 = made.get(40, 8) as usize;
    let l2 = made.get(l1 + 16, 8) as usize & 0x00ff_ffff_ffff_fe00;
    made.put(l2 + 8 * 5, 8, 512 + 8);
    let image = made.image();
    let disk = open(image.storage());
    let error = forget(&disk).unwrap_err();
    let guest = 2 * 64 * CLUSTER + 5 * CLUSTER;
    assert!(error.to_string().contains(&format!("for guest offset {guest:#x}: reserved")), "{error}");
    assert_ne!(image.field(l1 + 16), 0);
}
