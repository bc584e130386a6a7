//! What a check finds in images that are damaged in one place, and what a repair makes of them.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

use crate::common::{Image, patch};
use blk_core::{Options, RepairMode, WriteFlags, ZeroFlags};
use blk_qcow2::FORMAT;
use expect_test::{Expect, expect};

const CLUSTER: usize = 4096;
const COPIED: u64 = 1 << 63;

/// Two plain clusters, a compressed one, a zero one with its host cluster.
fn healthy() -> Image {
    let image = Image::new(64 << 10, Options::new().with("cluster_size", CLUSTER as u64));
    let disk = image.open(Options::new());
    disk.write(0, &[0x11; 2 * CLUSTER], WriteFlags::default()).unwrap();
    disk.write(3 * CLUSTER as u64, &[0x22; CLUSTER], WriteFlags { compressed: true, fua: false }).unwrap();
    disk.write(5 * CLUSTER as u64, &[0x33; CLUSTER], WriteFlags::default()).unwrap();
    disk.write_zeroes(blk_core::Extent::new(5 * CLUSTER as u64, CLUSTER as u64), ZeroFlags::default())
        .unwrap();
    disk.close().unwrap();
    image
}

/// Where the structures of [`healthy`] lie.
struct Places {
    l1: usize,
    l2: usize,
    block: usize,
    data: u64,
}

fn places(image: &Image) -> Places {
    let l1 = image.field(40) as usize;
    let l2 = (image.field(l1) & 0x00ff_ffff_ffff_fe00) as usize;
    let data = image.field(l2) & 0x00ff_ffff_ffff_fe00;
    Places { l1, l2, block: image.field(image.field(48) as usize) as usize, data }
}

fn content(image: &Image) -> Vec<u8> {
    let mut content = vec![0; 64 << 10];
    image.open(Options::new()).read(0, &mut content).unwrap();
    content
}

/// Damages the image at `offset`; checks, repairs, checks again. With `keeps_content` no guest byte may
/// change.
fn damaged(offset: usize, bytes: &[u8], keeps_content: bool, expected: &Expect) {
    let image = healthy();
    let before = content(&image);
    let mut raw = image.bytes();
    patch(&mut raw, offset, bytes);
    let image = Image::from_bytes(&raw);
    let disk = image.open(Options::new());
    expected.assert_eq(&disk.check(RepairMode::None).unwrap().to_string());
    let of_storage =
        |image: &Image, repair| FORMAT.check(&image.storage(), repair).unwrap().expect("a report");
    assert_eq!(of_storage(&image, RepairMode::None), disk.check(RepairMode::None).unwrap());
    assert_eq!(image.bytes(), raw, "a check without repair changes nothing");
    let other = Image::from_bytes(&raw);
    let of_other = of_storage(&other, RepairMode::All);
    let repaired = disk.check(RepairMode::All).unwrap();
    assert_eq!((of_other, other.bytes() == image.bytes()), (repaired.clone(), true), "without an open disk");
    assert!(repaired.is_repaired(), "{repaired}");
    let again = disk.check(RepairMode::None).unwrap();
    assert!(again.is_clean(), "{again}");
    let once = image.bytes();
    assert!(disk.check(RepairMode::All).unwrap().is_clean());
    assert_eq!(image.bytes(), once, "a second repair changes nothing");
    disk.write(9 * CLUSTER as u64, &[9; 3 * CLUSTER], WriteFlags::default()).unwrap();
    disk.flush().unwrap();
    assert!(disk.check(RepairMode::None).unwrap().is_clean());
    if keeps_content {
        let mut after = content(&image);
        after[9 * CLUSTER..12 * CLUSTER].fill(0);
        assert!(after == before, "the repair changed guest bytes");
    }
}

#[test]
fn a_healthy_image_is_clean_and_counted() {
    let image = healthy();
    let checked = image.open(Options::new()).check(RepairMode::None).unwrap();
    assert!(checked.is_clean(), "{checked}");
    assert_eq!((checked.total_clusters, checked.allocated_clusters, checked.compressed_clusters), (16, 4, 1));
    assert_eq!(checked.fragmented_clusters, 2, "the compressed one, and the one after it");
    assert_eq!(checked.image_end_offset, image.bytes().len() as u64);
}

#[test]
fn a_count_that_is_too_high_is_a_leak() {
    let p = places(&healthy());
    let index = p.data as usize / CLUSTER;
    damaged(
        p.block + 2 * index,
        &[0, 3],
        true,
        &expect![[r#"
            leak at image offset 0x5000: Leaked cluster 5 refcount=3 reference=1
            corruption at image offset 0x4000: ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=3
            1 corruptions (0 repaired), 1 leaks (0 repaired), 0 errors"#]],
    );
}

#[test]
fn a_count_that_is_too_low_is_a_corruption() {
    let p = places(&healthy());
    let index = p.data as usize / CLUSTER;
    damaged(
        p.block + 2 * index,
        &[0, 0],
        true,
        &expect![[r#"
            corruption at image offset 0x5000: ERROR cluster 5 refcount=0 reference=1
            corruption at image offset 0x4000: ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=0
            2 corruptions (0 repaired), 0 leaks (0 repaired), 0 errors"#]],
    );
}

#[test]
fn a_lost_copied_flag_is_a_corruption() {
    let p = places(&healthy());
    damaged(
        p.l2,
        &p.data.to_be_bytes(),
        true,
        &expect![[r#"
            corruption at image offset 0x4000: ERROR OFLAG_COPIED data cluster: l2_entry=5000 refcount=1
            1 corruptions (0 repaired), 0 leaks (0 repaired), 0 errors"#]],
    );
}

#[test]
fn a_cluster_used_twice_is_found_from_every_side() {
    let p = places(&healthy());
    damaged(
        p.l2 + 8,
        &(p.data | COPIED).to_be_bytes(),
        false,
        &expect![[r#"
            corruption at image offset 0x5000: ERROR cluster 5 refcount=1 reference=2
            leak at image offset 0x6000: Leaked cluster 6 refcount=1 reference=0
            1 corruptions (0 repaired), 1 leaks (0 repaired), 0 errors"#]],
    );
}

#[test]
fn an_entry_that_points_to_a_table_or_nowhere_is_dropped() {
    let p = places(&healthy());
    damaged(
        p.l2,
        &(p.l1 as u64 | COPIED).to_be_bytes(),
        false,
        &expect![[r#"
            corruption at image offset 0x3000: ERROR cluster 3 refcount=1 reference=2
            leak at image offset 0x5000: Leaked cluster 5 refcount=1 reference=0
            1 corruptions (0 repaired), 1 leaks (0 repaired), 0 errors"#]],
    );
    damaged(
        p.l2,
        &(1u64 << 40).to_be_bytes(),
        false,
        &expect![[r#"
            corruption at image offset 0x4000: ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x10000000000 size 0x1000
            leak at image offset 0x5000: Leaked cluster 5 refcount=1 reference=0
            1 corruptions (0 repaired), 1 leaks (0 repaired), 0 errors"#]],
    );
}

/// One entry is wrong: it is reported where it stands, and all of it that can be right stays.
#[test]
fn a_wrong_entry_is_told_and_mended() {
    const COMPRESSED: u64 = 1 << 62;
    let image = healthy();
    let p = places(&image);
    let (l1, l2, end) = (p.l1, p.l2, image.bytes().len() as u64);
    let entry = |table: usize, index: usize| image.field(table + 8 * index);
    let (table, data, compressed) = (entry(l1, 0), entry(l2, 1), entry(l2, 3));
    let sectors = |more: u64| more << 58;
    for (level, index, wrong, why, right) in [
        ("L1", 0, table | 1 << 60, "reserved bits are set", table),
        ("L1", 0, table | 1, "reserved bits are set", table),
        ("L2", 1, data | 1 << 56, "reserved bits are set", data),
        ("L2", 1, data | 2, "reserved bits are set", data),
        ("L2", 3, compressed | COPIED, "the copied flag is set on a compressed cluster", compressed),
        ("L2", 9, COPIED, "the copied flag is set without a cluster", 0),
        ("L2", 9, COPIED | 512, "the offset is not that of a cluster", 0),
        ("L2", 9, l2 as u64, "the cluster lies on metadata", 0),
        ("L2", 9, end, "the cluster lies past the end of the file", 0),
        ("L2", 9, COMPRESSED | (l1 as u64 + 100), "compressed data lies on metadata", 0),
        ("L2", 9, COMPRESSED | sectors(1) | (l1 as u64 - 100), "compressed data lies on metadata", 0),
        ("L2", 9, COMPRESSED | ((1 << 56) - 1), "compressed data lies past the end of the file", 0),
    ] {
        let at = if level == "L1" { l1 } else { l2 } + 8 * index;
        let mut raw = image.bytes();
        raw.resize(end as usize, 0);
        patch(&mut raw, at, &wrong.to_be_bytes());
        let image = Image::from_bytes(&raw);
        let disk = image.open(Options::new());
        let report = disk.check(RepairMode::All).unwrap();
        assert!(report.is_repaired(), "{report}");
        let expected = format!("Repairing {level} entry {index} is ");
        let found = report.findings.iter().find(|finding| finding.message.starts_with(&expected));
        let found = found.unwrap_or_else(|| panic!("{why}: {:#?}", report.findings));
        assert!(found.message.ends_with(&format!(": {why}")), "{found:?}");
        assert_eq!((found.offset, image.field(at)), (at as u64, right), "{why}");
    }
}

/// The bit that says that a cluster reads as zeroes came with version 3.
#[test]
fn version_2_has_no_zero_clusters() {
    let create = || Options::new().with("cluster_size", CLUSTER as u64).with("compat", "0.10");
    let image = Image::new(64 << 10, create());
    let disk = image.open(Options::new());
    disk.write(0, &[0x11; CLUSTER], WriteFlags::default()).unwrap();
    disk.close().unwrap();
    drop(disk);
    let l2 = places(&image).l2;
    let right = image.field(l2);
    let mut raw = image.bytes();
    patch(&mut raw, l2, &(right | 1).to_be_bytes());
    let image = Image::from_bytes(&raw);
    let report = image.open(Options::new()).check(RepairMode::All).unwrap();
    assert_eq!(
        report.findings[0].message,
        format!("Repairing L2 entry 0 is {:#018x}: reserved bits are set", right | 1)
    );
    assert!(report.is_repaired() && image.field(l2) == right, "{report}");
}

#[test]
fn a_lost_refcount_block_is_made_anew() {
    let image = healthy();
    let table = image.field(48) as usize;
    damaged(
        table,
        &[0; 8],
        true,
        &expect![[r#"
            corruption at image offset 0x0: ERROR cluster 0 refcount=0 reference=1
            corruption at image offset 0x1000: ERROR cluster 1 refcount=0 reference=1
            corruption at image offset 0x3000: ERROR cluster 3 refcount=0 reference=1
            corruption at image offset 0x4000: ERROR cluster 4 refcount=0 reference=1
            corruption at image offset 0x5000: ERROR cluster 5 refcount=0 reference=1
            corruption at image offset 0x6000: ERROR cluster 6 refcount=0 reference=1
            corruption at image offset 0x7000: ERROR cluster 7 refcount=0 reference=1
            corruption at image offset 0x8000: ERROR cluster 8 refcount=0 reference=1
            corruption at image offset 0x3000: ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=8000000000004000 refcount=0
            corruption at image offset 0x4000: ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=0
            corruption at image offset 0x4008: ERROR OFLAG_COPIED data cluster: l2_entry=8000000000006000 refcount=0
            corruption at image offset 0x4028: ERROR OFLAG_COPIED data cluster: l2_entry=8000000000008001 refcount=0
            12 corruptions (0 repaired), 0 leaks (0 repaired), 0 errors"#]],
    );
}

/// A crash between counts and the length of the file leaves counts past its end: no leak yet, but one once
/// the file grows. A repair lowers them, also in a block of its own, and only where nothing is worse than a
/// leak.
#[test]
fn a_repair_frees_what_is_counted_past_the_end_of_the_file() {
    for repair in [RepairMode::Leaks, RepairMode::All] {
        for is_damaged in [false, true] {
            let image = healthy();
            let p = places(&image);
            let mut raw = image.bytes();
            let clusters = raw.len() / CLUSTER;
            for past in [0, 1, 900] {
                patch(&mut raw, p.block + 2 * (clusters + past), &[0, 2]);
            }
            // A second block, which the table refers to and the first block counts, with one count in it.
            let second = raw.len();
            raw.resize(second + CLUSTER, 0);
            patch(&mut raw, image.field(48) as usize + 8, &(second as u64).to_be_bytes());
            patch(&mut raw, p.block + 2 * clusters, &[0, 1]);
            patch(&mut raw, second + 10, &[0, 7]);
            if is_damaged {
                let entry = COPIED | ((clusters as u64 + 900) * CLUSTER as u64);
                patch(&mut raw, p.l2 + 8 * 9, &entry.to_be_bytes());
            }
            let image = Image::from_bytes(&raw);
            let disk = image.open(Options::new());
            let found = disk.check(RepairMode::None).unwrap();
            assert_eq!((found.leaks, found.leaks_past_end, found.is_clean()), (0, 3, !is_damaged), "{found}");
            let repaired = disk.check(repair).unwrap();
            let again = disk.check(RepairMode::None).unwrap();
            let expected = if is_damaged { 3 } else { 0 };
            assert_eq!((repaired.leaks_past_end, again.leaks_past_end), (expected, expected), "{repair:?}");
            if !is_damaged {
                disk.write(9 * CLUSTER as u64, &[9; 3 * CLUSTER], WriteFlags::default()).unwrap();
                disk.flush().unwrap();
                assert!(disk.check(RepairMode::None).unwrap().is_clean(), "{repair:?}");
            }
        }
    }
}

/// Where something is counted that has no reference, leaks can be freed; where nothing is counted that has
/// one, it is not known what else is missing.
#[test]
fn repairing_leaks_leaves_corruptions_alone() {
    for (counts, is_repaired) in [([0, 0, 0, 5], false), ([0, 1, 0, 5], true)] {
        let image = healthy();
        let p = places(&image);
        let index = p.data as usize / CLUSTER;
        let mut raw = image.bytes();
        patch(&mut raw, p.block + 2 * index, &counts);
        // One more reference to the first cluster of data.
        patch(&mut raw, p.l2 + 8 * 9, &p.data.to_be_bytes());
        let image = Image::from_bytes(&raw);
        let disk = image.open(Options::new());
        let report = disk.check(RepairMode::Leaks).unwrap();
        assert_eq!((report.leaks, report.leaks_fixed), (1, u64::from(is_repaired)), "{report}");
        assert_eq!((report.corruptions > 0, report.corruptions_fixed), (true, 0), "{report}");
        assert_eq!(report.check_errors, u64::from(!is_repaired), "{report}");
        assert_eq!(image.bytes() == raw, !is_repaired);
        assert_eq!(disk.check(RepairMode::None).unwrap().leaks, u64::from(!is_repaired));
    }
}

/// The dirty bit asks for a repair at the next open for writing, which ends with the bit clear.
#[test]
fn a_dirty_image_is_recovered_at_open() {
    let image = healthy();
    let before = content(&image);
    let p = places(&image);
    let mut raw = image.bytes();
    patch(&mut raw, 72, &1u64.to_be_bytes());
    patch(&mut raw, p.block + 2 * (p.data as usize / CLUSTER), &[0, 0, 0, 0]);
    let image = Image::from_bytes(&raw);
    let disk = image.open(Options::new());
    assert_eq!(image.field(72), 0, "the dirty bit is off");
    assert!(disk.check(RepairMode::None).unwrap().is_clean());
    drop(disk);
    assert!(content(&image) == before);
}
