use super::super::judge::write_some;
use super::super::templates::{SHARED, templates};
use super::super::{ImageStats, judge};
use super::*;

/// A template whose guest cluster 0 refers to `target`, as if it were data of its own.
fn mapped_to(image: &[u8], target: u64) -> Vec<u8> {
    let mut image = image.to_vec();
    let l2 = (number(&image, number(&image, 40, 8) as usize, 8) & OFFSET) as usize;
    image[l2..l2 + 8].copy_from_slice(&(target | 1 << 63).to_be_bytes());
    image
}

/// Every structure of every template, as the target of a guest cluster: a driver that checks what it
/// overwrites refuses, and one that does not is found. Cells: structures x whether it checks.
#[test]
fn a_mapping_onto_metadata_destroys_nothing_and_a_driver_that_follows_it_is_found() {
    let (mut cells, mut missed) = (0, Vec::new());
    for template in templates() {
        let healthy = Metadata::of(template.image.clone(), true);
        for (cluster, owners) in &healthy.owners {
            let target = (*cluster * healthy.cluster_bytes) as u64;
            // The table of guest cluster 0 would refer to itself.
            if target == 0 || owners.contains(&Owner::L2 { l1_index: 0 }) {
                continue;
            }
            let image = mapped_to(&template.image, target);
            cells += 2;
            let judged = judge(&image, &mut ImageStats::default());
            assert_eq!(judged, Ok(true), "{}: {owners:?}", template.name);
            if write_some(&image, "none", &mut ImageStats::default()).is_ok() {
                missed.push(format!("{}: {owners:?}", template.name));
            }
        }
    }
    println!("{cells} cells");
    assert!(cells >= 100, "{cells}");
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// A directory of bitmaps as long as no file is must not leave the rest unguarded. Cells: structures x
/// lengths.
#[test]
fn a_directory_of_any_length_leaves_other_structures_guarded() {
    let mut cells = 0;
    for template in templates() {
        let Some(extension) = bitmaps_extension(&template.image) else { continue };
        let healthy = Metadata::of(template.image.clone(), true);
        for (cluster, owners) in &healthy.owners {
            let target = (*cluster * healthy.cluster_bytes) as u64;
            if target == 0 || owners.contains(&Owner::L2 { l1_index: 0 }) {
                continue;
            }
            for bytes in [0, 64 << 20, (64 << 20) + 1, 1 << 32, (1 << 32) + 32, 1 << 62, u64::MAX] {
                let mut image = mapped_to(&template.image, target);
                image[extension + 16..extension + 24].copy_from_slice(&u64::to_be_bytes(bytes));
                let judged = judge(&image, &mut ImageStats::default());
                assert!(judged.is_ok(), "{}: {owners:?}, {bytes}: {judged:?}", template.name);
                cells += 1;
            }
        }
    }
    println!("{cells} cells");
    assert!(cells >= 30, "{cells}");
}

/// An L1 table of a snapshot that claims more than the file has must not leave the rest unguarded.
#[test]
fn a_snapshot_table_of_any_length_leaves_other_structures_guarded() {
    let shared = templates().iter().find(|template| template.name.ends_with(SHARED)).unwrap();
    let snapshot = number(&shared.image, 64, 8) as usize;
    let (l1, l1_entry) = (number(&shared.image, 40, 8) as usize, 1 << 63);
    for entries in [0, 1, 512, 513, 0x2_0001, 4 << 20, u32::MAX] {
        let mut image = shared.image.clone();
        image[snapshot + 8..snapshot + 12].copy_from_slice(&entries.to_be_bytes());
        // Its L2 table, as if it were the disk's alone.
        let own = number(&image, l1, 8) | l1_entry;
        image[l1..l1 + 8].copy_from_slice(&own.to_be_bytes());
        let judged = judge(&image, &mut ImageStats::default());
        assert!(judged.is_ok(), "{entries} entries: {judged:?}");
    }
}

#[test]
fn a_snapshot_and_the_directory_of_bitmaps_are_metadata() {
    let shared = templates().iter().find(|template| template.name.ends_with(SHARED)).unwrap();
    let found = Metadata::of(shared.image.clone(), true);
    for what in
        ["the snapshot table", "a snapshot's L1 table", "a snapshot's L2 table", "the directory of bitmaps"]
    {
        assert!(found.owners.values().any(|owners| owners.contains(&Owner::Kept(what))), "{what}");
    }
}
