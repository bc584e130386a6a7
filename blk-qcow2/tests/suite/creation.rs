//! Where everything of a new image lies, and that nothing of it is larger than it has to be.

use std::sync::Arc;

use crate::common::Image;
use blk_core::storage::{Operation, TraceStorage};
use blk_core::{MemoryStorage, Options, RepairMode, Storage};
use blk_qcow2::FORMAT;

const CLUSTER: u64 = 512;

fn small(refcount_bits: u64) -> Options {
    Options::new().with("cluster_size", CLUSTER).with("refcount_bits", refcount_bits)
}

/// With 64-bit counts a block counts 64 clusters, and a cluster of the table names 64 blocks.
#[test]
fn preallocated_images_are_as_long_as_they_have_to_be() {
    for (bits, per_block) in [(64, 64), (16, 256), (1, 4096)] {
        for data in [0u64, 1, 60, 61, 64, 65, 129, 900, 3900, 3950, 3956, 3957, 4000, 4100, 8000, 8100] {
            let size = (data * CLUSTER).saturating_sub(100);
            let options = small(bits).with("preallocation", "metadata");
            let image = Image::new(size, options);
            let tables = data.div_ceil(64);
            let (l1_entries, l1_clusters) = (tables.max(1), (tables.max(1) * 8).div_ceil(CLUSTER));
            let clusters = image.storage().len().unwrap() / CLUSTER;
            let blocks = clusters.div_ceil(per_block);
            let table_clusters = (blocks * 8).div_ceil(CLUSTER);
            let expected = 1 + table_clusters + blocks + l1_clusters + tables + data;
            assert_eq!(clusters, expected, "{bits} bits, {data} clusters");
            assert_eq!(image.field(56) >> 32, table_clusters, "{data}");
            assert_eq!(image.field(36 - 4) & 0xffff_ffff, l1_entries, "{data}");
            let disk = image.open(Options::new());
            assert_eq!(disk.size(), size);
            let checked = disk.check(RepairMode::None).unwrap();
            assert!(checked.is_clean(), "{checked}");
            assert_eq!((checked.allocated_clusters, checked.fragmented_clusters), (data, 0));
            assert_eq!(checked.image_end_offset, clusters * CLUSTER);
        }
    }
}

/// Operations of a creation.
fn operations(size: u64, options: Options) -> Vec<String> {
    let trace = Arc::new(TraceStorage::new(Arc::new(MemoryStorage::new()), 1000));
    FORMAT.create(&(Arc::clone(&trace) as Arc<dyn Storage>), size, options).unwrap();
    let shown = |operation, offset, length| match operation {
        Operation::SetLen | Operation::Sync => format!("{operation:?}"),
        _ => format!("{operation:?} {offset:#x}+{length}"),
    };
    let entries = trace.entries();
    entries.iter().map(|entry| shown(entry.operation, entry.extent.offset, entry.extent.length)).collect()
}

/// Only what is not zero is written, and the header last.
#[test]
fn a_creation_writes_what_it_has_to_in_order() {
    let start = ["SetLen", "SetLen", "Write 0x200+8"];
    let end = ["Sync", "Write 0x0+120", "Sync"];
    let with = |middle: &[&str]| -> Vec<String> {
        [&start[..], middle, &end[..]].concat().into_iter().map(str::to_owned).collect()
    };
    assert_eq!(operations(0, small(16)), with(&["Write 0x400+8"]));
    assert_eq!(operations(100 * CLUSTER, small(16)), with(&["Write 0x400+8"]));
    let mapped = ["Write 0x400+212", "Write 0x800+512", "Write 0xa00+288", "Write 0x600+16"];
    for (preallocation, data) in [("metadata", None), ("falloc", Some(0xc00)), ("full", Some(0xc00))] {
        let data = data.map(|data| format!("WriteZeroes {data:#x}+51200"));
        let expected = with(&[&mapped[..], data.as_deref().as_slice()].concat());
        assert_eq!(operations(100 * CLUSTER, small(16).with("preallocation", preallocation)), expected);
    }
}

/// 112 bytes of the header, 8 that end the extensions: 392 are left for a name.
#[test]
fn a_header_takes_no_more_than_a_cluster() {
    for (name_bytes, format, is_taken) in
        [(392, None, true), (393, None, false), (376, Some("raw"), true), (377, Some("raw"), false)]
    {
        let mut options = small(16).with("backing_file", "n".repeat(name_bytes));
        if let Some(format) = format {
            options = options.with("backing_fmt", format);
        }
        let created = Image::try_new(1 << 20, options);
        assert_eq!(created.is_ok(), is_taken, "{name_bytes}");
        if let Ok(image) = created {
            assert_eq!(image.bytes()[512 - name_bytes..512], vec![b'n'; name_bytes]);
            image.open(Options::new().with("backing", "off"));
        }
    }
}

#[test]
fn the_largest_size_is_told() {
    for (cluster_bytes, largest) in [(512u64, 1u64 << 37), (65_536, 1 << 51), (2 << 20, 1 << 61)] {
        for size in [largest + 1, 1 << 63, u64::MAX] {
            let error = Image::try_new(size, Options::new().with("cluster_size", cluster_bytes)).unwrap_err();
            assert!(error.to_string().contains(&format!("the largest is {largest}")), "{error}");
        }
    }
}
