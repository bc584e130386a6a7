//! Amendments of images that contradict themselves: refused, in bounded time and memory.

use std::sync::Arc;

use blk_core::storage::{FaultRule, FaultStorage, Operation};
use blk_core::{
    Access, Amendment, DenyResolver, Disk, Error, Extent, MemoryStorage, Options, Result, WriteFlags,
    ZeroFlags,
};
use blk_qcow2::FORMAT;

use crate::common::{Image, patch};

fn amend(disk: &Disk, name: &'static str, value: &str) -> Result<()> {
    let options = Options::new().with(name, value);
    let amendment = Amendment { options, force: false, resolver: &DenyResolver, progress: &mut |_, _| () };
    disk.as_amend().unwrap().amend(amendment)
}

fn field(bytes: &[u8], at: usize) -> usize {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize & 0x00ff_ffff_ffff_fe00
}

/// The counts of an L2 table and of the clusters of zeroes to which it refers, whatever they are: that of the
/// table, which a crash may leave too high, says nothing about how many trees reach it.
#[test]
fn a_downgrade_trusts_no_count() {
    for cluster in [512_u64, 4096] {
        for (table_count, cluster_count, is_refused) in [
            (0xffff_u16, 1_u16, false),
            (2, 1, false),
            (1, 0, true),
            (0xfffe, 0xffff, false),
            (1, 1, false),
            (1, 0xffff, false),
        ] {
            let what = format!("clusters of {cluster}, {table_count} and {cluster_count}");
            let image = Image::new(20 * cluster, Options::new().with("cluster_size", cluster));
            let disk = image.open(Options::new());
            disk.write(0, &vec![1; 20 * cluster as usize], WriteFlags::default()).unwrap();
            disk.write_zeroes(Extent::new(0, 5 * cluster), ZeroFlags::default()).unwrap();
            disk.close().unwrap();
            let mut bytes = image.bytes();
            let block = field(&bytes, field(&bytes, 48));
            let table = field(&bytes, field(&bytes, 40));
            let mut set = |at: usize, count: u16| {
                patch(&mut bytes, block + at / cluster as usize * 2, &count.to_be_bytes());
            };
            set(table, table_count);
            let hosts: Vec<usize> = (0..5).map(|entry| field(&image.bytes(), table + entry * 8)).collect();
            for host in &hosts {
                set(*host, cluster_count);
            }
            let image = Image::from_bytes(&bytes);
            let disk = image.open(Options::new());
            let answer = amend(&disk, "compat", "0.10");
            assert_eq!(matches!(answer, Err(Error::Corrupt { .. })), is_refused, "{what}: {answer:?}");
            let after = image.bytes();
            if is_refused {
                assert!(after[79] & 2 != 0, "{what}: it is marked");
                continue;
            }
            answer.unwrap();
            for host in hosts {
                let at = block + host / cluster as usize * 2;
                let left = u16::from_be_bytes([after[at], after[at + 1]]);
                // Where a cluster is the table's alone, its zeroes are written.
                let dropped = u16::from(cluster_count > 1);
                assert_eq!(left, cluster_count - dropped, "{what}");
            }
        }
    }
}

/// A refcount table that names one full block again and again.
#[test]
fn a_refcount_table_that_would_be_too_long_is_refused_at_once() {
    let create = Options::new().with("cluster_size", 512_u64).with("refcount_bits", 1_u64);
    let image = Image::new(1 << 20, create);
    let mut bytes = image.bytes();
    let block = bytes.len().next_multiple_of(512);
    bytes.resize(block, 0);
    bytes.extend_from_slice(&[0xff; 512]);
    let (table, clusters) = (bytes.len(), 1600_u32);
    for _ in 0..clusters * 64 {
        bytes.extend_from_slice(&(block as u64).to_be_bytes());
    }
    patch(&mut bytes, 48, &(table as u64).to_be_bytes());
    patch(&mut bytes, 56, &clusters.to_be_bytes());
    let fault = Arc::new(FaultStorage::new(Arc::new(MemoryStorage::from_bytes(&bytes))));
    let disk =
        FORMAT.open(Arc::clone(&fault) as _, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    fault.add_rule(FaultRule::fail(5).on(Operation::Read).after(40_000).sticky());
    let refused = amend(&disk, "refcount_bits", "64").unwrap_err();
    assert!(refused.to_string().contains("the largest has 8 MiB"), "{refused}");
}
