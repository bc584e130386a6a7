//! The small disks of which everything is tried: all sequences of up to three requests over three clusters of
//! every kind (`cargo xtask exhaust`).

use blk_harness::exhaust::Bounds;
use blk_harness::scenario::{Backing, Config};

/// Clusters of the disk.
const CLUSTERS: u64 = 3;

/// All sequences of up to three requests.
pub const BOUNDS: Bounds = Bounds { units: CLUSTERS, length: 3, points: 0, step: 1 };

/// What is run on: the usual configuration, the smallest caches, lazy refcounts, a backing file, and version
/// 2 over one.
pub fn configs() -> Vec<Config> {
    let usual = Config { size_bytes: CLUSTERS << 9, ..Config::default() }.with("cluster_size", "512");
    let below = Config { backing: Backing::Raw, backing_bytes: 1100, ..usual.clone() };
    vec![
        usual.clone(),
        small_caches(usual.clone()).with("refcount_bits", "64"),
        usual.with("lazy_refcounts", "on"),
        below.clone(),
        below.with("compat", "0.10"),
    ]
}

fn small_caches(config: Config) -> Config {
    config.with("l2-cache-slices", "1").with("refcount-cache-slices", "1")
}

/// Disks of three clusters, the last of them cut off, on each layout that differs in what a request has to
/// do.
pub fn layouts() -> [Config; 4] {
    let small = Config { size_bytes: (CLUSTERS << 9) - 100, ..Config::default() }.with("cluster_size", "512");
    [
        small.clone(),
        Config { backing: Backing::Raw, backing_bytes: 1000, ..small.clone() },
        Config { backing: Backing::Format, backing_bytes: 2000, ..small.clone() }.with("compat", "0.10"),
        small_caches(small).with("refcount_bits", "1"),
    ]
}
