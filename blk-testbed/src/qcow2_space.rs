//! What qcow2 images can be made with, as scenarios choose it. What the driver's own list of options says,
//! which values they take and what they contradict, comes from there.

use blk_harness::generate::MANY_UNITS;
use blk_harness::random::Random;
use blk_harness::scenario::Value::{self, Number};
use blk_harness::scenario::bounds::FAR_BYTES_MIN;
use blk_harness::scenario::{Backing, Config, OptionValues};
use blk_harness::space::{Amendment, Geometry, Kind, Knob, Space};

use blk_qcow2::{CREATE_OPTIONS as CREATE, OPEN_OPTIONS as OPEN};
use blk_sim::windows::{BASE_BYTES, DATA_BYTES};

use crate::chained;
use crate::data_file::{self, DataFile};
use crate::old_header::OLD_HEADER;
use crate::tall;

const CLUSTER_BYTES: u64 = 64 << 10;
/// Smaller clusters have no subclusters.
const EXTENDED_CLUSTER_BYTES_MIN: u64 = 16 << 10;
/// More clusters are not preallocated: each is counted whenever the image is checked.
const PREALLOCATED_UNITS_MAX: u64 = 1 << 17;

/// A preallocated disk of no more units is quickly made, opened and checked.
const FEW_UNITS: u64 = 1 << 14;
/// From here on, an index in a table of the largest clusters has more than 16 bits.
const FULL_TABLE_BYTES: u64 = 1 << 37;

/// Where a scenario starts: an image that others have made, its options, and the size of its disk.
pub(crate) struct StartImage {
    pub(crate) name: &'static str,
    options: &'static [(&'static str, Value)],
    pub(crate) size_bytes: u64,
}

/// The images, in the order of the words of `x-image`.
pub(crate) static IMAGES: [StartImage; 14] = [
    StartImage { name: "snapshots", size_bytes: 512 << 10, options: &[("cluster_size", Number(4 << 10))] },
    StartImage {
        name: "snapshots-v2",
        size_bytes: 512 << 10,
        options: &[("cluster_size", Number(512)), ("compat", Value::name("0.10"))],
    },
    StartImage {
        name: "snapshots-lazy",
        size_bytes: 2 << 20,
        options: &[
            ("cluster_size", Number(16 << 10)),
            ("lazy_refcounts", Value::Switch(true)),
            ("refcount_bits", Number(8)),
        ],
    },
    StartImage { name: "bitmaps", size_bytes: 4 << 20, options: &[] },
    StartImage { name: "compressed", size_bytes: 512 << 10, options: &[("cluster_size", Number(4 << 10))] },
    StartImage {
        name: "compressed-zstd",
        size_bytes: 512 << 10,
        options: &[("cluster_size", Number(8 << 10)), ("compression_type", Value::name("zstd"))],
    },
    StartImage {
        name: "features",
        size_bytes: 512 << 10,
        options: &[("cluster_size", Number(4 << 10)), ("refcount_bits", Number(32))],
    },
    StartImage {
        name: "narrow",
        size_bytes: 1 << 20,
        options: &[("cluster_size", Number(2 << 10)), ("refcount_bits", Number(1))],
    },
    StartImage {
        name: "wide",
        size_bytes: 256 << 10,
        options: &[("cluster_size", Number(512)), ("refcount_bits", Number(64))],
    },
    StartImage { name: "preallocated", size_bytes: 384 << 10, options: &[("cluster_size", Number(4 << 10))] },
    StartImage { name: "bitmaps-small", size_bytes: 3 << 20, options: &[("cluster_size", Number(512))] },
    StartImage {
        name: "bitmaps-stale",
        size_bytes: 512 << 10,
        options: &[("cluster_size", Number(4 << 10))],
    },
    StartImage {
        name: "subclusters",
        size_bytes: 1 << 20,
        options: &[("cluster_size", Number(16 << 10)), ("extended_l2", Value::Switch(true))],
    },
    StartImage {
        name: "snapshots-zeroed",
        size_bytes: 512 << 10,
        options: &[("cluster_size", Number(4 << 10))],
    },
];

/// So many cached tables can be asked for.
const CACHED: Kind = Kind::Number { max: 0xffff };
/// Cached tables: few, because eviction is what is tested.
const CACHE_SLICES: &[(u32, Option<Value>)] =
    &[(3, None), (2, Some(Number(1))), (1, Some(Number(2))), (1, Some(Number(3))), (1, Some(Number(8)))];

/// qcow2, under the names that its own options have. New options come at the end.
pub static QCOW2: Space = Space {
    name: "qcow2",
    knobs: &[
        Knob::of_option(CREATE, "compat", const { &[(1, Some(Value::name("0.10"))), (4, None)] }),
        // Small clusters make many tables out of few bytes; each size comes up.
        Knob::of_option(
            CREATE,
            "cluster_size",
            &[
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
        ),
        Knob::of_option(
            CREATE,
            "refcount_bits",
            &[
                (8, None),
                (1, Some(Number(1))),
                (1, Some(Number(2))),
                (1, Some(Number(4))),
                (1, Some(Number(8))),
                (1, Some(Number(32))),
                (1, Some(Number(64))),
            ],
        ),
        Knob::of_option(CREATE, "compression_type", const { &[(2, None), (1, Some(Value::name("zstd")))] }),
        // What the others allocate besides shows nothing that a test would see.
        Knob::of_option_within(
            CREATE,
            "preallocation",
            Kind::Choice(&["off", "metadata"]),
            const { &[(7, None), (1, Some(Value::name("metadata")))] },
        ),
        Knob::of_option(CREATE, "lazy_refcounts", const { &[(5, None), (1, Some(Value::Switch(true)))] }),
        Knob::of_option_within(OPEN, "l2-cache-slices", CACHED, CACHE_SLICES),
        // What exceeds a cluster becomes one.
        Knob::of_option(
            OPEN,
            "l2-cache-entry-size",
            &[
                (32, None),
                (5, Some(Number(512))),
                (4, Some(Number(1 << 10))),
                (2, Some(Number(2 << 10))),
                (2, Some(Number(4 << 10))),
                (1, Some(Number(8 << 10))),
                (1, Some(Number(16 << 10))),
                (1, Some(Number(64 << 10))),
            ],
        ),
        Knob::of_option_within(OPEN, "refcount-cache-slices", CACHED, CACHE_SLICES),
        // What a resize allocates of what it adds. It is the target's, not the driver's.
        Knob::new(
            "x-growth",
            Kind::Choice(&["off", "metadata", "falloc", "full"]),
            Some(Value::Switch(false)),
            const {
                &[
                    (9, None),
                    (2, Some(Value::name("metadata"))),
                    (1, Some(Value::name("falloc"))),
                    (1, Some(Value::name("full"))),
                ]
            },
        ),
        // What the scenario starts from, where that is no new image. It is the target's too.
        Knob::new(
            "x-image",
            Kind::Choice(&[
                "off",
                "snapshots",
                "snapshots-v2",
                "snapshots-lazy",
                "bitmaps",
                "compressed",
                "compressed-zstd",
                "features",
                "narrow",
                "wide",
                "preallocated",
                "bitmaps-small",
                "bitmaps-stale",
                "subclusters",
                "snapshots-zeroed",
            ]),
            Some(Value::Switch(false)),
            const {
                &[
                    (72, None),
                    (1, Some(Value::name("snapshots"))),
                    (1, Some(Value::name("snapshots-v2"))),
                    (1, Some(Value::name("snapshots-lazy"))),
                    (1, Some(Value::name("bitmaps"))),
                    (1, Some(Value::name("compressed"))),
                    (1, Some(Value::name("compressed-zstd"))),
                    (1, Some(Value::name("features"))),
                    (1, Some(Value::name("narrow"))),
                    (1, Some(Value::name("wide"))),
                    (1, Some(Value::name("preallocated"))),
                    (1, Some(Value::name("bitmaps-small"))),
                    (1, Some(Value::name("bitmaps-stale"))),
                    (3, Some(Value::name("subclusters"))),
                    (2, Some(Value::name("snapshots-zeroed"))),
                ]
            },
        ),
        // What the host demands was an option of this space: its place stays.
        Knob::new(
            "x-alignment",
            Kind::PowerOfTwo { min: 1, max: 4096 },
            Some(Number(1)),
            const { &[(1, None)] },
        ),
        // The backing file lies on the host of the image, and fails with it. It is the target's too.
        Knob::new("x-backing-on-host", Kind::Switch, Some(Value::Switch(false)), &[]),
        Knob::of_option(CREATE, "extended_l2", const { &[(4, None), (1, Some(Value::Switch(true)))] }),
        // Where data lies; the file is one on the host of the image. It is the target's too.
        Knob::new(
            data_file::OPTION,
            Kind::Choice(&["off", "plain", "raw"]),
            Some(Value::Switch(false)),
            const { &[(14, None), (1, Some(Value::name("plain"))), (1, Some(Value::name("raw")))] },
        ),
        // The target knows the key.
        Knob::of_option(
            CREATE,
            "encrypt.format",
            const { &[(13, None), (1, Some(Value::name("aes"))), (2, Some(Value::name("luks")))] },
        ),
        // A raw backing file lies on the host too, where commits write to it. It is the target's too.
        Knob::new(
            chained::WRITTEN,
            Kind::Switch,
            Some(Value::Switch(false)),
            const { &[(1, None), (1, Some(Value::Switch(true)))] },
        ),
        // The second half of the disk is the state of a machine, which lies behind the image's. It is the
        // target's too.
        Knob::new(
            tall::OPTION,
            Kind::Switch,
            Some(Value::Switch(false)),
            const { &[(15, None), (1, Some(Value::Switch(true)))] },
        ),
    ],
    ignored: &[],
    old_header: Some(&OLD_HEADER),
    unit: Some("cluster_size"),
    backing_option: Some("backing_file"),
    legalize,
    geometry,
    described: None,
    tune,
};

/// What is decided when an image is made.
const IMAGE_OPTIONS: [&str; 8] = [
    "compat",
    "cluster_size",
    "refcount_bits",
    "compression_type",
    "preallocation",
    "lazy_refcounts",
    "extended_l2",
    "encrypt.format",
];

/// What images are amended to. New ones come at the end. Some stand twice: they are drawn as often.
static AMENDMENTS: [Amendment; 13] = [
    Amendment::new("compat=0.10"),
    Amendment::new("compat=1.1"),
    Amendment::new("compat=0.10"),
    Amendment::new("refcount_bits=16"),
    Amendment::new("refcount_bits=1"),
    Amendment::new("refcount_bits=2"),
    Amendment::new("refcount_bits=4"),
    Amendment::new("refcount_bits=8"),
    Amendment::new("refcount_bits=32"),
    Amendment::new("refcount_bits=64"),
    Amendment::new("lazy_refcounts=on"),
    Amendment::new("lazy_refcounts=off"),
    Amendment::new("compat=1.1"),
];

/// Of images over a backing file that stays as it is: the same, then those.
static OVER_BACKING: [Amendment; 20] = and_more([
    chained::REBASE,
    chained::REBASE,
    chained::REBASE,
    chained::REBASE,
    chained::FLATTEN,
    chained::FLATTEN,
    chained::FLATTEN_COMPRESSED,
]);

/// Of images over a backing file that commits write to.
static OVER_WRITTEN: [Amendment; 21] = and_more([
    chained::COMMIT,
    chained::COMMIT,
    chained::COMMIT,
    chained::COMMIT,
    chained::COMMIT,
    chained::COMMIT,
    chained::FLATTEN,
    chained::FLATTEN_COMPRESSED,
]);

/// [`AMENDMENTS`], then those of these texts.
const fn and_more<const MORE: usize, const ALL: usize>(texts: [&'static str; MORE]) -> [Amendment; ALL] {
    let mut all = [AMENDMENTS[0]; ALL];
    let mut place = 0;
    while place < ALL {
        all[place] = if place < AMENDMENTS.len() {
            AMENDMENTS[place]
        } else {
            Amendment::alone(texts[place - AMENDMENTS.len()])
        };
        place += 1;
    }
    all
}

fn start_image(options: &OptionValues) -> Option<&'static StartImage> {
    IMAGES.iter().find(|image| options.is("x-image", image.name))
}

fn cluster_bytes(options: &OptionValues) -> u64 {
    options.number("cluster_size").unwrap_or(CLUSTER_BYTES)
}

/// What the driver's list of options does not say: a slice is no larger than a cluster; nothing is
/// preallocated where that takes long; a cache holds something. A far disk is of version 3, whose zeroes are
/// marks: those of version 2 are data over a backing file.
///
/// Clusters are large enough for subclusters; without these, a preallocated cluster would hide the backing
/// file.
///
/// An image of others has its own options, and no backing file.
fn legalize(options: &mut OptionValues, config: &Config) {
    match start_image(options) {
        Some(_) if config.backing != Backing::None => options.remove("x-image"),
        Some(image) => {
            for name in IMAGE_OPTIONS {
                let value = image.options.iter().find(|(of_image, _)| *of_image == name);
                options.set(name, value.map(|(_, value)| value.clone()));
            }
        }
        None => {}
    }
    legalize_data_file(options, config);
    let is_far = config.size_bytes.max(config.backing_bytes) > BASE_BYTES / 8;
    if config.backing != Backing::Raw || is_far {
        options.remove(chained::WRITTEN);
    }
    if config.backing == Backing::None || options.is_on(chained::WRITTEN) {
        options.remove("x-backing-on-host");
    }
    let is_plain = config.backing == Backing::None && DataFile::of(options) == DataFile::Inside;
    if !is_plain || start_image(options).is_some() || config.size_bytes > FAR_BYTES_MIN {
        options.remove(tall::OPTION);
    }
    if options.is_on(tall::OPTION) {
        options.remove("x-growth");
    }
    if config.backing != Backing::None && !options.is_on("extended_l2") {
        options.remove("preallocation");
    }
    if options.is_on("extended_l2") && cluster_bytes(options) < EXTENDED_CLUSTER_BYTES_MIN {
        options.set("cluster_size", Some(Number(EXTENDED_CLUSTER_BYTES_MIN)));
    }
    if config.size_bytes > FAR_BYTES_MIN {
        options.remove("compat");
    }
    let units = config.size_bytes / cluster_bytes(options);
    if units > PREALLOCATED_UNITS_MAX {
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

/// Version 2 has no data file, nor have images of others. A raw one shows no backing file, and all of it is
/// mapped when it is made.
fn legalize_data_file(options: &mut OptionValues, config: &Config) {
    let is_far = config.size_bytes > DATA_BYTES / 4;
    if options.is("compat", "0.10") || start_image(options).is_some() || is_far {
        options.remove(data_file::OPTION);
    }
    let units = config.size_bytes / cluster_bytes(options);
    // Of an encrypted image it shows no plain text either.
    let is_encrypted = options.get("encrypt.format").is_some();
    let hides = config.backing != Backing::None || units > PREALLOCATED_UNITS_MAX || is_encrypted;
    if hides && DataFile::of(options) == DataFile::Raw {
        options.set(data_file::OPTION, Some(Value::name("plain")));
    }
}

fn geometry(config: &Config) -> Geometry {
    let cluster = cluster_bytes(&config.options);
    let slice = config.options.number("l2-cache-entry-size").unwrap_or(cluster);
    let has_data_file = DataFile::of(&config.options) != DataFile::Inside;
    let entry_bytes = if config.options.is_on("extended_l2") { 16 } else { 8 };
    Geometry {
        unit_bytes: cluster,
        table_reach_bytes: slice / entry_bytes * cluster,
        // What is compressed would lie in plain on the host.
        compressed_unit_bytes: Some(cluster)
            .filter(|_| !has_data_file && config.options.get("encrypt.format").is_none()),
        alignment_bytes: 1,
        size_is_file_length: false,
        snapshots: !has_data_file && !config.options.is_on(tall::OPTION),
        // Version 2 has no autoclear bit that vouches for them.
        bitmaps: !config.options.is("compat", "0.10") && !config.options.is_on(tall::OPTION),
        is_dense: false,
        amendments: match config.backing {
            Backing::None => &AMENDMENTS,
            _ if config.options.is_on(chained::WRITTEN) => &OVER_WRITTEN,
            _ => &OVER_BACKING,
        },
    }
}

/// Large clusters make few of far disks, so that all can be preallocated: then their host offsets are far
/// too. Wide refcounts make the blocks and tables of a disk of many clusters grow soonest.
///
/// A disk that an image of others has is as large as it is, or larger: then it grows first.
fn tune(config: &mut Config, rng: &mut Random) {
    if let Some(image) = start_image(&config.options) {
        config.backing = Backing::None;
        let more = if rng.chance(1, 4) { rng.below(64) * 512 } else { 0 };
        config.size_bytes = image.size_bytes + more;
        return;
    }
    if config.size_bytes > FAR_BYTES_MIN && rng.chance(3, 4) {
        let cluster = if config.size_bytes >= FULL_TABLE_BYTES {
            rng.one_of(&[64 << 10, 1 << 20, 2 << 20, 2 << 20])
        } else {
            rng.one_of(&[64 << 10, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 2 << 20])
        };
        // As far past an edge as it was by units of another size.
        config.size_bytes += rng.below(16) * cluster;
        config.options.set("cluster_size", Some(Number(cluster)).filter(|_| cluster != CLUSTER_BYTES));
        // What this allocates costs by the unit, and all of it is mapped past 4 GiB.
        let is_cheap = config.size_bytes / cluster <= FEW_UNITS;
        let preallocation =
            Some(Value::name("metadata")).filter(|_| rng.chance(if is_cheap { 5 } else { 1 }, 6));
        config.options.set("preallocation", preallocation);
    }
    // What allocates as it grows has to keep what the backing file shows of its last cluster.
    if config.options.get("x-growth").is_some() && config.backing != Backing::None && rng.chance(1, 2) {
        config.size_bytes -= rng.below(cluster_bytes(&config.options).min(config.size_bytes.max(1)));
    }
    let has_many = cluster_bytes(&config.options) == 512 && config.size_bytes / 512 >= MANY_UNITS;
    if has_many && config.options.get("refcount_bits").is_none() && rng.chance(7, 8) {
        config.options.set("refcount_bits", Some(Value::Number(64)));
    }
    if has_many && config.backing == Backing::None && rng.chance(2, 3) {
        // As many clusters as blocks count that just need a second cluster of the refcount table.
        if config.options.number("refcount_bits") == Some(64) {
            config.size_bytes = (3950 + rng.below(570)) * 512;
            config.options.set("preallocation", Some(Value::name("metadata")));
        }
    }
}
