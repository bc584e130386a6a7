//! Lazy refcounts: the dirty bit stands as long as anybody may write.

use crate::common::Image;
use blk_core::{Access, DenyResolver, Disk, Options, RepairMode, WriteFlags};
use blk_qcow2::FORMAT;

const CLUSTER: usize = 4096;

fn write(disk: &Disk, cluster: u64) {
    disk.write(cluster * CLUSTER as u64, &[cluster as u8 + 1; CLUSTER], WriteFlags::default()).unwrap();
}

/// KNOWN-BUGS 9: a handle that was dropped cleared the dirty bit while another one went on writing; after a
/// crash the image looked clean, with stale refcounts. Clones of a handle are one disk here, and dropping a
/// disk writes nothing; a second one that only reads leaves the bit alone, open and dropped.
#[test]
fn a_second_handle_leaves_the_dirty_bit() {
    let create = Options::new().with("cluster_size", CLUSTER as u64).with("lazy_refcounts", "on");
    let image = Image::new(1 << 20, create);
    let disk = image.open(Options::new());
    for cluster in 0..4 {
        write(&disk, cluster);
        disk.flush().unwrap();
        let second = FORMAT.open(image.storage(), Access::ReadOnly, Options::new(), &DenyResolver).unwrap();
        must_hold(&second, cluster);
        if cluster % 2 == 0 {
            second.close().unwrap();
        }
        drop(second);
        assert_eq!(image.field(72) & 1, 1, "after {cluster} clusters the dirty bit is off");
        // What a crash leaves now: it is seen that the counts are stale, and they are put right.
        let left = Image::from_bytes(&image.bytes());
        let recovered = left.open(Options::new());
        assert!(recovered.check(RepairMode::None).unwrap().is_clean());
        must_hold(&recovered, cluster);
    }
    drop(disk);
    assert_eq!(image.field(72) & 1, 1, "a disk that is dropped is like a process that is killed");
    image.open(Options::new()).close().unwrap();
    assert_eq!(image.field(72) & 1, 0);
}

fn must_hold(disk: &Disk, last: u64) {
    for cluster in 0..=last {
        let mut read = [0; CLUSTER];
        disk.read(cluster * CLUSTER as u64, &mut read).unwrap();
        assert_eq!(read, [cluster as u8 + 1; CLUSTER], "cluster {cluster}");
    }
}
