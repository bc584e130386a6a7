//! Lazy refcounts: the dirty bit stands as long as anybody may write.

use std::sync::Arc;

use crate::common::Image;
use blk_core::{Disk, Options, RepairMode, WriteFlags};

const CLUSTER: usize = 4096;

fn write(disk: &Disk, cluster: u64) {
    disk.write(cluster * CLUSTER as u64, &[cluster as u8 + 1; CLUSTER], WriteFlags::default()).unwrap();
}

/// KNOWN-BUGS 9: a handle that was dropped cleared the dirty bit while another one went on writing; after a crash the image looked
/// clean, with stale refcounts.
#[test]
fn a_handle_that_is_dropped_leaves_the_others_dirty_bit() {
    let create = Options::new().with("cluster_size", CLUSTER as u64).with("lazy_refcounts", "on");
    let image = Image::new(1 << 20, create);
    let one = Arc::new(image.open(Options::new()));
    let other = Arc::clone(&one);
    write(&one, 0);
    one.flush().unwrap();
    drop(one);
    for cluster in 1..4 {
        write(&other, cluster);
        other.flush().unwrap();
        // What a crash leaves now: it has to be seen that the counts are stale, and they are put right.
        let left = Image::from_bytes(&image.bytes());
        assert_eq!(left.field(72) & 1, 1, "after {cluster} clusters the dirty bit is off");
        let disk = left.open(Options::new());
        assert!(disk.check(RepairMode::None).unwrap().is_clean());
        for written in 0..=cluster {
            let mut read = [0; CLUSTER];
            disk.read(written * CLUSTER as u64, &mut read).unwrap();
            assert_eq!(read, [written as u8 + 1; CLUSTER], "cluster {written}");
        }
    }
    other.close().unwrap();
    assert_eq!(image.field(72) & 1, 0, "the last one that closes clears it");
}
