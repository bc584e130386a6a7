//! The largest and the smallest that an option, a name or a size may be: both are taken, and the next one is
//! refused.

use crate::common::Image;
use blk_core::{BackingFile, DenyResolver, Disk, Options, Result};
use blk_qcow2::FORMAT;

/// What the specification allows.
const NAME_BYTES_MAX: usize = 1023;

fn create(option: &'static str, value: &impl ToString) -> Result<Image> {
    Image::try_new(1 << 20, Options::new().with(option, value.to_string()))
}

fn open(image: &Image) -> Disk {
    let options = Options::new().with("backing", "off");
    FORMAT.open(image.storage(), blk_core::Access::ReadWrite, options, &DenyResolver).unwrap()
}

#[test]
fn a_backing_name_has_1_to_1023_bytes() {
    for (length, is_allowed) in [(0, false), (1, true), (NAME_BYTES_MAX, true), (NAME_BYTES_MAX + 1, false)] {
        let name = "n".repeat(length);
        let created = create("backing_file", &name);
        assert_eq!(created.is_ok(), is_allowed, "{length}");
        if let Ok(image) = created {
            let disk = open(&image);
            let info = disk.as_info().unwrap().info().unwrap();
            assert_eq!(info.backing.unwrap().name, name);
        }
        let image = create("backing_file", &"old").unwrap();
        let disk = open(&image);
        let overlay = disk.as_overlay().unwrap();
        let changed = overlay.set_backing(Some(&BackingFile { name: name.clone(), format: None }));
        assert_eq!(changed.is_ok(), is_allowed, "{length}");
        let expected = if is_allowed { &name } else { "old" };
        drop(disk);
        let disk = open(&image);
        assert_eq!(disk.as_info().unwrap().info().unwrap().backing.unwrap().name, expected);
    }
}

#[test]
fn clusters_have_512_bytes_to_2_mib_and_counts_1_to_64_bits() {
    for (bytes, is_allowed) in
        [(0u64, false), (256, false), (512, true), (513, false), (2 << 20, true), (4 << 20, false)]
    {
        assert_eq!(create("cluster_size", &bytes).is_ok(), is_allowed, "{bytes}");
    }
    for (bits, is_allowed) in [(0, false), (1, true), (3, false), (64, true), (128, false)] {
        assert_eq!(create("refcount_bits", &bits).is_ok(), is_allowed, "{bits}");
    }
    for (compat, bits, is_allowed) in
        [("0.10", 16, true), ("0.10", 8, false), ("0.10", 32, false), ("1.1", 8, true)]
    {
        let options = Options::new().with("compat", compat).with("refcount_bits", bits);
        assert_eq!(Image::try_new(1 << 20, options).is_ok(), is_allowed, "{compat} {bits}");
    }
}

#[test]
fn a_disk_grows_up_to_the_largest_l1_table() {
    let image = Image::try_new(1 << 20, Options::new()).unwrap();
    let disk = open(&image);
    let error = disk.resize((1 << 51) + 1).unwrap_err().to_string();
    assert!(error.contains("needs 4194305 L1 entries, the largest table has 4194304"), "{error}");
    disk.resize(1 << 51).unwrap();
    assert_eq!(disk.size(), 1 << 51);
    assert!(disk.resize((1 << 51) + 1).is_err());
}

/// An L1 table has at most 32 MiB: 2^22 entries, of 64 entries of 512 bytes, or 8192 of 64 KiB.
#[test]
fn the_largest_disk_depends_on_the_cluster_size() {
    for (cluster_bytes, largest) in [(512u64, 1u64 << 37), (65_536, 1 << 51)] {
        let options = || Options::new().with("cluster_size", cluster_bytes);
        let image = Image::try_new(largest, options()).unwrap();
        assert_eq!(open(&image).size(), largest);
        assert!(Image::try_new(largest + 1, options()).is_err(), "{cluster_bytes}");
        let image = Image::try_new(0, options()).unwrap();
        assert_eq!(open(&image).size(), 0);
    }
}
