//! The options of qcow2: the one list of those of a new image, and the one of those of an open.
//!
//! Their order is the one in which QEMU's tools show them.

use blk_core::{Condition, Conflict, OptionKind, OptionSpec, Range};
use blk_luks::{Cipher, Hash, IvGenerator, Mode};

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
    OptionSpec::new(
        "encryption",
        Switch,
        "Encrypt the image in the old way, aes; encrypt.format=aes is the same",
    )
    .with_conflicts(&[Conflict {
        when: Condition::Given,
        other: "encrypt.format",
        and: Condition::Given,
        reason: "both say how the image is encrypted",
    }])
    .with_weight(0),
    OptionSpec::new("encrypt.format", Choice(&["aes", "luks"]), "Encrypt the image").with_weight(0),
    OptionSpec::new("encrypt.key-secret", Text, "ID of the secret that is the passphrase").with_weight(0),
    luks_option("encrypt.cipher-alg", Choice(&Cipher::NAMES), "Name of encryption cipher algorithm"),
    luks_option("encrypt.cipher-mode", Choice(&Mode::NAMES), "Name of encryption cipher mode"),
    luks_option("encrypt.ivgen-alg", Choice(&IvGenerator::NAMES), "Name of IV generator algorithm"),
    luks_option("encrypt.ivgen-hash-alg", Choice(&Hash::NAMES), "Name of IV generator hash algorithm"),
    luks_option("encrypt.hash-alg", Choice(&Hash::NAMES), "Name of encryption hash algorithm"),
    luks_option("encrypt.iter-time", Number(ITER_TIME_MS), "Time to spend in PBKDF in milliseconds"),
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
    OptionSpec::disk_size(DISK_BYTES),
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
    OptionSpec::new("data_file", Text, "Name of a file that the data is stored in")
        .with_conflicts(&[not_in_version_2(Condition::Given, "version 2 cannot have it")])
        .with_weight(0),
    OptionSpec::new("data_file_raw", Switch, "The data file can be read as a raw image")
        .with_conflicts(&[
            Conflict {
                when: Condition::Is("on"),
                other: "data_file",
                and: Condition::Missing,
                reason: "it is about the data file",
            },
            Conflict {
                when: Condition::Is("on"),
                other: "backing_file",
                and: Condition::Given,
                reason: "a raw data file is all of the disk",
            },
        ])
        .with_weight(0),
    OptionSpec::new("lazy_refcounts", Switch, "Let programs postpone refcount updates")
        .with_shown_default("off")
        .with_conflicts(&[not_in_version_2(Condition::Is("on"), "version 2 cannot have it")]),
    OptionSpec::new("refcount_bits", Number(Range::powers_of_two(1, 64)), "Bits of a refcount")
        .with_shown_default("16")
        .with_conflicts(&[not_in_version_2(Condition::IsNot("16"), "version 2 has 16")]),
];

/// How long a passphrase is hashed at most.
pub(crate) const ITER_TIME_MS: Range = Range::from_to(0, 3_600_000);

/// An option of images with a LUKS header.
const fn luks_option(name: &'static str, kind: OptionKind, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, kind, help).with_weight(0).with_conflicts(&[Conflict {
        when: Condition::Given,
        other: "encrypt.format",
        and: Condition::IsNot("luks"),
        reason: "it is an option of encrypt.format=luks",
    }])
}

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
    OptionSpec::new("data-file", Text, "name of the data file, in place of the one in the image")
        .that_selects_content()
        .with_weight(0),
    OptionSpec::new("open-data-file", Switch, "open the data file; without, no guest data is read")
        .with_default("on")
        .that_selects_content()
        .with_weight(0),
    OptionSpec::new("check", Switch, "open for a check only: damage is no reason to refuse")
        .with_default("off")
        .with_weight(0),
    OptionSpec::new("encrypt.format", Choice(&["aes", "luks"]), "how the image has to be encrypted")
        .with_weight(0),
    OptionSpec::new("encrypt.key-secret", Text, "ID of the secret that provides the passphrase")
        .with_weight(0),
    OptionSpec::new("locked", Switch, "look at the image without its key; no data is read or written")
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
