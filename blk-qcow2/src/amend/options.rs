//! The options that can be changed, by their names.

use blk_core::{OptionKind, OptionSpec, Range};

use crate::options::ITER_TIME_MS;
use OptionKind::{Choice, Number, Size, Switch, Text};

/// What [`blk_core::Amend`] takes. Without a value an option stays as it is: there are no defaults.
pub(crate) static OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("backing_file", Text, "Name of the backing file"),
    OptionSpec::new("backing_fmt", Text, "Format of the backing file"),
    OptionSpec::new(
        "compat",
        Choice(&["0.10", "1.1"]),
        "Version of the format: 0.10 is version 2, 1.1 version 3",
    )
    .with_aliases(&[("v2", "0.10"), ("v3", "1.1")]),
    OptionSpec::new("data_file", Text, "Name of a file that the data is stored in"),
    OptionSpec::new("data_file_raw", Switch, "The data file can be read as a raw image"),
    OptionSpec::new(
        "encrypt.iter-time",
        Number(ITER_TIME_MS),
        "Time to spend in the key derivation, in milliseconds",
    ),
    OptionSpec::new("encrypt.keyslot", Number(Range::ANY), "The one key slot that is changed"),
    OptionSpec::new(
        "encrypt.new-secret",
        Text,
        "Secret that opens the key slots from now on. Without one they are erased",
    ),
    OptionSpec::new("encrypt.old-secret", Text, "Secret whose key slots are changed"),
    OptionSpec::new("encrypt.state", Choice(&["active", "inactive"]), "State of those key slots"),
    OptionSpec::new("lazy_refcounts", Switch, "Let programs postpone refcount updates"),
    OptionSpec::new("refcount_bits", Number(Range::powers_of_two(1, 64)), "Bits of a refcount"),
    OptionSpec::new("size", Size(Range::ANY), "Virtual disk size"),
];
