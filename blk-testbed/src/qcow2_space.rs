//! What qcow2 images can be made with, as scenarios choose it. It names no driver: the tests of the verifier use it as well.

use blk_harness::generate::MANY_UNITS;
use blk_harness::random::Random;
use blk_harness::scenario::Value::{self, Number};
use blk_harness::scenario::{Backing, Config, OptionValues};
use blk_harness::space::{Geometry, Kind, Knob, Space};

const CLUSTER_BYTES: u64 = 64 << 10;
const SLICE_BYTES_MIN: u64 = 512;

/// Cached tables: few, because eviction is what is tested.
const CACHE_SLICES: &[(u32, Option<Value>)] =
    &[(3, None), (2, Some(Number(1))), (1, Some(Number(2))), (1, Some(Number(3))), (1, Some(Number(8)))];

/// qcow2, under the names that its own options have. New options come at the end.
pub static QCOW2: Space = Space {
    name: "qcow2",
    knobs: &[
        Knob {
            name: "compat",
            kind: Kind::Choice(&["0.10", "1.1"]),
            usual: Some(Value::name("1.1")),
            drawn: &[(1, Some(Value::name("0.10"))), (4, None)],
        },
        Knob {
            name: "cluster_size",
            kind: Kind::PowerOfTwo { min: 512, max: 2 << 20 },
            usual: Some(Number(CLUSTER_BYTES)),
            // Small clusters make many tables out of few bytes; each size comes up.
            drawn: &[
                (2520, Some(Number(512))),
                (1008, Some(Number(1 << 10))),
                (16, Some(Number(2 << 10))),
                (2520, Some(Number(4 << 10))),
                (16, Some(Number(8 << 10))),
                (1008, Some(Number(16 << 10))),
                (16, Some(Number(32 << 10))),
                (1008, None),
                (16, Some(Number(128 << 10))),
                (16, Some(Number(256 << 10))),
                (16, Some(Number(512 << 10))),
                (16, Some(Number(1 << 20))),
                (16, Some(Number(2 << 20))),
            ],
        },
        Knob {
            name: "refcount_bits",
            kind: Kind::PowerOfTwo { min: 1, max: 64 },
            usual: Some(Number(16)),
            drawn: &[
                (8, None),
                (1, Some(Number(1))),
                (1, Some(Number(2))),
                (1, Some(Number(4))),
                (1, Some(Number(8))),
                (1, Some(Number(32))),
                (1, Some(Number(64))),
            ],
        },
        Knob {
            name: "compression_type",
            kind: Kind::Choice(&["zlib", "zstd"]),
            usual: Some(Value::name("zlib")),
            drawn: &[(2, None), (1, Some(Value::name("zstd")))],
        },
        Knob {
            name: "preallocation",
            kind: Kind::Choice(&["off", "metadata"]),
            usual: Some(Value::Switch(false)),
            drawn: &[(7, None), (1, Some(Value::name("metadata")))],
        },
        Knob {
            name: "lazy_refcounts",
            kind: Kind::Switch,
            usual: Some(Value::Switch(false)),
            drawn: &[(5, None), (1, Some(Value::Switch(true)))],
        },
        Knob {
            name: "l2-cache-slices",
            kind: Kind::Number { max: 0xffff },
            usual: None,
            drawn: CACHE_SLICES,
        },
        Knob {
            name: "l2-cache-entry-size",
            kind: Kind::PowerOfTwo { min: SLICE_BYTES_MIN, max: 2 << 20 },
            usual: None,
            // What exceeds a cluster becomes one.
            drawn: &[
                (32, None),
                (5, Some(Number(512))),
                (4, Some(Number(1 << 10))),
                (2, Some(Number(2 << 10))),
                (2, Some(Number(4 << 10))),
                (1, Some(Number(8 << 10))),
                (1, Some(Number(16 << 10))),
                (1, Some(Number(64 << 10))),
            ],
        },
        Knob {
            name: "refcount-cache-slices",
            kind: Kind::Number { max: 0xffff },
            usual: None,
            drawn: CACHE_SLICES,
        },
    ],
    ignored: &[],
    unit: Some("cluster_size"),
    has_backing: true,
    legalize,
    geometry,
    tune,
};

fn cluster_bytes(options: &OptionValues) -> u64 {
    options.number("cluster_size").unwrap_or(CLUSTER_BYTES)
}

/// Version 2 has 16-bit refcounts and zlib alone, and no lazy refcounts; a slice is no larger than a cluster; over a backing
/// file nothing is preallocated (it would hide it); a cache holds something.
fn legalize(options: &mut OptionValues, config: &Config) {
    if options.is("compat", "0.10") {
        for name in ["refcount_bits", "compression_type", "lazy_refcounts"] {
            options.remove(name);
        }
    }
    if config.backing != Backing::None {
        options.remove("preallocation");
    }
    let largest = cluster_bytes(options);
    if options.number("l2-cache-entry-size").is_some_and(|bytes| bytes > largest) {
        options.set("l2-cache-entry-size", Some(Value::Number(largest)));
    }
    for name in ["l2-cache-slices", "refcount-cache-slices"] {
        if options.number(name) == Some(0) {
            options.remove(name);
        }
    }
}

fn geometry(config: &Config) -> Geometry {
    let cluster = cluster_bytes(&config.options);
    let slice = config.options.number("l2-cache-entry-size").unwrap_or(cluster);
    Geometry {
        unit_bytes: cluster,
        table_reach_bytes: slice / 8 * cluster,
        compressed_unit_bytes: Some(cluster),
        alignment_bytes: 1,
        size_is_file_length: false,
    }
}

/// Wide refcounts make the blocks and tables of a disk of many clusters grow soonest.
fn tune(config: &mut Config, rng: &mut Random) {
    let has_many = cluster_bytes(&config.options) == 512 && config.size_bytes / 512 >= MANY_UNITS;
    if has_many && config.options.get("refcount_bits").is_none() && rng.chance(7, 8) {
        config.options.set("refcount_bits", Some(Value::Number(64)));
    }
}
