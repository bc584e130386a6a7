//! How large images are, before they are made. The numbers are those that qemu-img 10.0 tells.

use blk_core::Options;
use blk_qcow2::FORMAT;

use crate::common::Image;

fn options(list: &str) -> Options {
    let pairs = list.split(',').filter_map(|option| option.split_once('='));
    pairs.fold(Options::new(), |options, (name, value)| options.with(name, value))
}

#[test]
fn all_metadata_is_counted() {
    const GIB: u64 = 1 << 30;
    for (list, size, bytes) in [
        ("", 0, 196_608),
        ("", 1, 393_216),
        ("", 1 << 20, 1_376_256),
        ("", 10 * GIB, 10_739_318_784),
        ("", 1 << 51, 2_252_143_463_694_336),
        ("cluster_size=512", 0, 1536),
        ("cluster_size=512", 10 * GIB, 10_951_259_648),
        ("cluster_size=512", 128 * GIB, 140_176_111_104),
        ("cluster_size=4k", 10 * GIB, 10_763_706_368),
        ("cluster_size=2M", 10 * GIB, 10_747_904_000),
        ("refcount_bits=1", 10 * GIB, 10_738_991_104),
        ("refcount_bits=64,cluster_size=512", 1 << 20, 1_083_904),
        ("refcount_bits=64,cluster_size=512", 10 * GIB, 11_083_701_760),
        ("extended_l2=on", 10 * GIB, 10_740_629_504),
        ("extended_l2=on", 1 << 50, 1_126_209_191_870_464),
        ("extended_l2=on,cluster_size=16k", 10 * GIB, 10_749_280_256),
    ] {
        let measured = FORMAT.measure(size, options(list)).unwrap();
        assert_eq!(measured.fully_allocated, bytes, "{list} {size}");
        assert!(!measured.allocates_all && measured.bitmaps, "{list}");
    }
}

#[test]
fn what_is_preallocated_is_said_and_so_is_what_version_2_lacks() {
    for (list, unit_bytes, allocates_all, bitmaps) in [
        ("preallocation=full", 65_536, true, true),
        ("preallocation=falloc,cluster_size=4k", 4096, true, true),
        ("preallocation=metadata", 65_536, false, true),
        ("compat=0.10", 65_536, false, false),
        ("compat=v2,lazy_refcounts=on", 65_536, false, false),
        ("backing_file=b,preallocation=full", 65_536, true, true),
    ] {
        let measured = FORMAT.measure(1 << 20, options(list)).unwrap();
        let numbers = (measured.unit_bytes, measured.allocates_all, measured.bitmaps);
        assert_eq!(numbers, (unit_bytes, allocates_all, bitmaps), "{list}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (list, size, text) in [
        ("", (1 << 51) + 1, "a disk of 2251799813685249 bytes is too large for clusters of 65536"),
        ("", u64::MAX, "too large"),
        ("cluster_size=512", (128 << 30) + 1, "too large for clusters of 512"),
        ("extended_l2=on", (1 << 50) + 1, "too large"),
        ("extended_l2=on,cluster_size=8k", 1, "need clusters of 16384 bytes, not 8192"),
        ("cluster_size=513", 1, "513 is not a power of two"),
        ("compat=0.10,refcount_bits=8", 1, "version 2 has 16"),
        ("encrypt.format=luks", 1, "'encrypt.key-secret' is required"),
        ("colour=red", 1, "unknown to format 'qcow2'"),
    ] {
        let error = FORMAT.measure(size, options(list)).unwrap_err().to_string();
        assert!(error.contains(text), "{list}: {error}");
    }
}

/// In L2 tables of its own, past those of the disk.
#[test]
fn machine_state_lies_past_whole_l2_tables() {
    for (size, cluster_bytes, offset) in [
        (1u64 << 20, 65_536u64, 512 << 20),
        (0, 65_536, 0),
        (1 << 20, 512, 1 << 20),
        ((1 << 20) + 1, 512, (1 << 20) + 32_768),
    ] {
        let disk = Image::new(size, Options::new().with("cluster_size", cluster_bytes)).open(Options::new());
        let info = disk.as_info().unwrap().info().unwrap();
        assert_eq!(info.machine_state_offset, offset, "{size} {cluster_bytes}");
    }
    let features = FORMAT.features();
    assert!(
        features.backing
            && features.compression
            && features.bitmaps
            && !features.is_raw
            && !features.has_footer
    );
}
