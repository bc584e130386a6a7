//! Random configurations: small disks of small clusters mostly, for speed, with every value of every field coming up.

use crate::random::Random;

use super::Limits;
use super::aim::MANY_CLUSTERS;
use crate::scenario::{Backing, Compression, Config};

/// Small clusters make many tables out of few bytes. The rare ones are drawn separately.
const CLUSTER_BITS: [u8; 16] = [9, 9, 9, 9, 9, 10, 10, 12, 12, 12, 12, 12, 14, 14, 16, 16];
const CACHE_ENTRIES: [u16; 8] = [0, 0, 0, 1, 1, 2, 3, 8];
const BACKINGS: [Backing; 8] = [
    Backing::None,
    Backing::None,
    Backing::None,
    Backing::None,
    Backing::Raw,
    Backing::Raw,
    Backing::Format,
    Backing::Chain,
];

pub(super) fn random(rng: &mut Random, limits: &Limits) -> Config {
    let cluster_bits = if rng.chance(1, 64) {
        rng.one_of(&[11, 13, 15, 17, 18, 19, 20, 21])
    } else {
        rng.one_of(&CLUSTER_BITS)
    };
    let cluster = 1 << cluster_bits;
    let size_bytes = size(rng, cluster, limits.disk_bytes_max);
    let backing = rng.one_of(&BACKINGS);
    let l2_slice_bytes = if rng.chance(1, 3) { 512 << rng.below(u64::from(cluster_bits) - 8) } else { 0 };
    // Wide refcounts make the blocks and tables of a disk of many clusters grow soonest.
    let usual_order = if cluster_bits == 9 && size_bytes / cluster >= MANY_CLUSTERS { 6 } else { 4 };
    let lanes = if limits.lanes_max < 2 { 0 } else { 2 + rng.below(u64::from(limits.lanes_max) - 1) as u8 };
    let mut config = Config {
        lanes,
        size_bytes,
        version: if rng.chance(1, 5) { 2 } else { 3 },
        cluster_bits,
        refcount_order: if rng.chance(1, 2) { usual_order } else { rng.below(7) as u8 },
        backing,
        backing_bytes: if backing == Backing::None { 0 } else { backing_size(rng, size_bytes, cluster) },
        compression: if rng.chance(1, 3) { Compression::Zstd } else { Compression::Zlib },
        l2_cache_entries: rng.one_of(&CACHE_ENTRIES),
        l2_slice_bytes,
        refcount_cache_entries: rng.one_of(&CACHE_ENTRIES),
        preallocate: rng.chance(1, 8),
        discard: !rng.chance(1, 5),
        lazy_refcounts: rng.chance(1, 6),
        atom_bytes: if rng.chance(1, 4) { 4096 } else { 512 },
        control: if rng.chance(1, 3) { rng.below(u64::from(u32::MAX)) as u32 } else { 0 },
    };
    config.normalize();
    config
}

/// The size of the disk, in bytes: most have a few clusters, some need several L2 tables, an eighth have odd tails.
fn size(rng: &mut Random, cluster: u64, disk_bytes_max: u64) -> u64 {
    let clusters_max = (disk_bytes_max / cluster).max(1);
    // Large clusters get fewer, since all of the disk is compared at the end.
    let few = if cluster < 1 << 14 { 64 } else { 16 };
    let table = cluster / 8;
    let clusters = match rng.below(16) {
        0..=3 => 1 + rng.below(4),
        4..=8 => 1 + rng.below(few / 4),
        13 if 2 * table <= clusters_max => table + rng.below(3 * table),
        14 if cluster <= 1024 => table + rng.below(3 * table),
        // Small clusters again: enough of them for several refcount blocks, even for another refcount table.
        12 if cluster <= 1024 => clusters_max - rng.below(clusters_max / 2 + 1),
        15 if cluster <= 1024 => 1 + rng.below(clusters_max),
        _ => 1 + rng.below(few),
    };
    let size = clusters.min(clusters_max) * cluster;
    match rng.below(32) {
        0..=2 => size - rng.below(cluster / 512) * 512,
        3 => size - rng.below(cluster),
        4 => rng.below(1025),
        _ => size,
    }
}

/// The size of the backing file, in bytes: the same, shorter or longer, also by parts of a cluster or sector.
fn backing_size(rng: &mut Random, size: u64, cluster: u64) -> u64 {
    match rng.below(8) {
        0..=2 => size,
        3 => rng.below(size + 1),
        4 => rng.below(size / 512 + 1) * 512,
        5 => size.saturating_sub(rng.below(2 * cluster)),
        6 => size + rng.below(2 * cluster / 512) * 512,
        _ => size + rng.below(2 * cluster),
    }
}
