//! What is known of the drivers under test: named deviations, so that runs go on past them
//! ([`Tolerant`](blk_harness::Tolerant)).

use blk_harness::scenario::Scenario;
use blk_harness::{Finding, Signature};

/// A way in which a driver is known to break the contract.
#[derive(Debug)]
pub struct Deviation {
    /// Its name; `docs/findings` has a document of that name.
    pub name: &'static str,
    /// What goes wrong, in one line.
    pub what: &'static str,
    /// Whether a finding is this one.
    pub is: fn(&Finding, &Scenario) -> bool,
}

/// What is known of imago 0.2.6.
pub static IMAGO: &[Deviation] = &[
    Deviation {
        name: "imago-partial-cluster",
        what: "zeroes, or a discard, at the end of a disk whose last cluster is partial panic",
        is: |finding, _| {
            matches!(finding.signature, Signature::Panic { .. })
                && finding.report().contains("imago-0.2.6/src/format/access.rs:607")
        },
    },
    Deviation {
        name: "imago-l1-before-refcount",
        what: "an L1 entry is on the disk before the refcount of the L2 table that it points to",
        is: |finding, _| {
            finding.provoked.is_some() && says(finding, &["OFLAG_COPIED L2 cluster", "refcount=0"])
        },
    },
];

/// What is known of qcow2-rs 0.1.6.
pub static QCOW2_RS: &[Deviation] = &[
    Deviation {
        name: "qcow2-rs-empty-disk",
        what: "a disk of 0 bytes cannot be opened: an assertion panics",
        is: |_, scenario| scenario.config.size_bytes == 0,
    },
    Deviation {
        name: "qcow2-rs-snapshots",
        what: "a write to a cluster that a snapshot shares loses the rest of it, and changes the snapshot",
        is: |_, scenario| starts_from(scenario, "snapshots"),
    },
    Deviation {
        name: "qcow2-rs-compressed-overfree",
        what: "a write to a compressed cluster that ends where a host cluster does frees the next one too",
        is: |_, scenario| starts_from(scenario, "compressed"),
    },
    Deviation {
        name: "qcow2-rs-narrow-refcounts",
        what: "refcounts of 2 and 4 bits are read and written at wrong bits",
        is: |_, scenario| matches!(scenario.config.options.number("refcount_bits"), Some(2 | 4)),
    },
    Deviation {
        name: "qcow2-rs-stale-bitmaps",
        what: "autoclear bits stay set in an image that is written to",
        is: |finding, _| finding.what.contains("autoclear feature bits"),
    },
    Deviation {
        name: "qcow2-rs-refcount-table",
        what: "a refcount table of one cluster that is full cannot grow: an assertion panics",
        is: |finding, scenario| {
            matches!(finding.signature, Signature::Panic { .. })
                && finding.report().contains("qcow2-rs-0.1.6/src/helpers.rs:102")
                && fills_refcount_table(scenario)
        },
    },
    Deviation {
        name: "qcow2-rs-failed-read",
        what: "a table whose read has failed counts as loaded: its requests fail, or see zeroes",
        is: |finding, _| finding.engine == "fault" && says(finding, &["Fail to load"]),
    },
    Deviation {
        name: "qcow2-rs-failed-flush",
        what: "what a failed flush had to write is forgotten, and the next flush succeeds without it",
        is: |finding, _| {
            finding.engine == "fault" && finding.promise == Some("what a flush has made durable is there")
        },
    },
];

/// Whether a line of the report has all of these words.
fn says(finding: &Finding, words: &[&str]) -> bool {
    finding.report().lines().any(|line| words.iter().all(|word| line.contains(word)))
}

/// Whether the disk and its metadata may need more clusters than a refcount table of one cluster counts.
fn fills_refcount_table(scenario: &Scenario) -> bool {
    let number = |name, usual| scenario.config.options.number(name).unwrap_or(usual);
    let (cluster_bytes, bits) = (number("cluster_size", 64 << 10), number("refcount_bits", 16).max(1));
    let blocks = u128::from(cluster_bytes / 8);
    let counted_bytes = blocks * u128::from(cluster_bytes * 8 / bits) * u128::from(cluster_bytes);
    // Metadata takes less than the data does.
    u128::from(scenario.config.size_bytes) * 2 > counted_bytes
}

/// Whether the scenario starts from an image of that kind that QEMU's tools have made.
fn starts_from(scenario: &Scenario, kind: &str) -> bool {
    scenario.config.options.get("x-image").is_some_and(|image| image.to_string().starts_with(kind))
}
