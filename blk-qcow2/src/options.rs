//! The options of qcow2: the one list of those of a new image, and the one of those of an open.
//!
//! Their order is the one in which QEMU's tools show them.

use blk_core::{Condition, Conflict, OptionKind, OptionSpec, Range};

use OptionKind::{Choice, Number, Size, Switch, Text};

/// The largest cache that can be asked for, in slices.
const CACHE_SLICES_MAX: u64 = 1 << 20;
/// What clusters, and slices of tables, are long.
const CLUSTER_BYTES: Range = Range::powers_of_two(512, 2 << 20);
/// An L1 table of 32 MiB of clusters of 2 MiB maps 2^61 bytes.
const DISK_BYTES: Range = Range::from_to(0, 1 << 61);

/// Why an option contradicts version 2 of the format.
const fn not_in_version_2(when: Condition, reason: &'static str) -> Conflict {
    Conflict { when, other: "compat", and: Condition::Is("0.10"), reason }
}

/// The options of a new image.
pub static CREATE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::not_built("encryption", Switch, "Encrypt the image in the old way, aes"),
    OptionSpec::not_built("encrypt.format", Text, "Encrypt the image: aes or luks"),
    OptionSpec::not_built("encrypt.key-secret", Text, "Name of the secret that unlocks the image"),
    OptionSpec::not_built("encrypt.cipher-alg", Text, "Cipher"),
    OptionSpec::not_built("encrypt.cipher-mode", Text, "Mode of the cipher"),
    OptionSpec::not_built("encrypt.ivgen-alg", Text, "How initialisation vectors are made"),
    OptionSpec::not_built("encrypt.ivgen-hash-alg", Text, "Hash by which initialisation vectors are made"),
    OptionSpec::not_built("encrypt.hash-alg", Text, "Hash of the key derivation"),
    OptionSpec::not_built("encrypt.iter-time", Number(Range::ANY), "Time for the key derivation, in ms"),
    OptionSpec::new("cluster_size", Size(CLUSTER_BYTES), "Size of a cluster")
        .with_shown_default("65536")
        .with_weight(4),
    OptionSpec::new("extended_l2", Switch, "Allocate in subclusters, 32 of a cluster")
        .with_shown_default("off")
        .with_conflicts(&[not_in_version_2(Condition::Is("on"), "version 2 cannot have it")]),
    OptionSpec::new(
        "preallocation",
        Choice(&["off", "metadata", "falloc", "full"]),
        "What is allocated at creation",
    )
    .with_default("off"),
    OptionSpec::new("compression_type", Choice(&["zlib", "zstd"]), "How compressed clusters are stored")
        .with_shown_default("zlib")
        .with_conflicts(&[not_in_version_2(Condition::Is("zstd"), "version 2 knows only zlib")]),
    OptionSpec::disk_size(DISK_BYTES).that_is_amendable(),
    OptionSpec::new(
        "compat",
        Choice(&["0.10", "1.1"]),
        "Version of the format: 0.10 is version 2, 1.1 version 3",
    )
    .with_aliases(&[("v2", "0.10"), ("v3", "1.1")])
    .with_default("1.1"),
    OptionSpec::new("backing_file", Text, "Name of the backing file").with_weight(2),
    OptionSpec::new("backing_fmt", Text, "Format of the backing file").with_conflicts(&[Conflict {
        when: Condition::Given,
        other: "backing_file",
        and: Condition::Missing,
        reason: "it is the format of the backing file",
    }]),
    OptionSpec::not_built("data_file", Text, "Name of a file that the data is stored in"),
    OptionSpec::not_built("data_file_raw", Switch, "The data file can be read as a raw image"),
    OptionSpec::new("lazy_refcounts", Switch, "Let programs postpone refcount updates")
        .with_shown_default("off")
        .with_conflicts(&[not_in_version_2(Condition::Is("on"), "version 2 cannot have it")]),
    OptionSpec::new("refcount_bits", Number(Range::powers_of_two(1, 64)), "Bits of a refcount")
        .with_shown_default("16")
        .with_conflicts(&[not_in_version_2(Condition::IsNot("16"), "version 2 has 16")]),
];

/// The options of an open.
pub static OPEN_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "l2-cache-slices",
        Number(Range::from_to(0, CACHE_SLICES_MAX)),
        "L2 slices kept in memory",
    ),
    OptionSpec::new("l2-cache-entry-size", Size(CLUSTER_BYTES), "bytes of an L2 slice, at most a cluster"),
    OptionSpec::new(
        "refcount-cache-slices",
        Number(Range::from_to(0, CACHE_SLICES_MAX)),
        "refcount block slices kept in memory",
    ),
    OptionSpec::new(
        "discard",
        Choice(&["unmap", "ignore"]),
        "unmap: a discard gives space back to the host; ignore: it does nothing",
    )
    .with_aliases(&[("on", "unmap"), ("off", "ignore")])
    .with_default("unmap"),
    OptionSpec::new(
        "lazy-refcounts",
        Switch,
        "postpone refcount updates until the close; the default is the image's flag",
    ),
    OptionSpec::new(
        "pass-discard-request",
        Switch,
        "punch holes into the file for guest discards; the default is that of discard",
    ),
    OptionSpec::new(
        "pass-discard-snapshot",
        Switch,
        "punch holes for clusters freed together with the whole content, as by commit",
    ),
    OptionSpec::new(
        "pass-discard-other",
        Switch,
        "punch holes for clusters that were replaced, such as moved tables",
    ),
    OptionSpec::new(
        "overlap-check",
        Choice(&["none", "constant", "cached", "all"]),
        "metadata that no write may overlap",
    )
    .with_default("cached"),
    overlap_part("overlap-check.main-header"),
    overlap_part("overlap-check.active-l1"),
    overlap_part("overlap-check.active-l2"),
    overlap_part("overlap-check.refcount-table"),
    overlap_part("overlap-check.refcount-block"),
    overlap_part("overlap-check.snapshot-table"),
    overlap_part("overlap-check.inactive-l1"),
    overlap_part("overlap-check.inactive-l2"),
    overlap_part("overlap-check.bitmap-directory"),
    OptionSpec::new("backing", Switch, "open the image's backing file")
        .with_default("on")
        .that_selects_content()
        .with_weight(0),
    OptionSpec::new("check", Switch, "open for a check only: damage is no reason to refuse")
        .with_default("off")
        .with_weight(0),
    snapshot_option("snapshot", "ID or name of a snapshot that is opened, for reading only"),
    snapshot_option("snapshot.id", "ID of that snapshot"),
    snapshot_option("snapshot.name", "name of that snapshot"),
    #[cfg(any(test, feature = "control"))]
    OptionSpec::new("x-control", Size(Range::ANY), "seed of the choices that the driver is free to make")
        .with_default("0"),
];

const fn snapshot_option(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, Text, help).that_selects_content().with_weight(0)
}

const fn overlap_part(name: &'static str) -> OptionSpec {
    OptionSpec::new(name, Switch, "whether writes are checked against it; the default is the level's")
}
