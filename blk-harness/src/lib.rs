#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! Describe the driver once, as a [`FormatDriver`]: of a [`blk_core::Format`], or of two functions.
//! [`suites!`] gives it the four engines by name: `mine_sequence` compares each answer with a disk in memory,
//! `mine_crash` crashes the host at each operation of the storage, `mine_fault` lets each of them fail, and
//! `mine_race` has several requests in flight under a deterministic scheduler. [`fuzz_target!`] makes a fuzz
//! target of one; [`regressions!`], [`conformance!`] and [`explore!`] make tests. A driver with options of
//! its own, or with units of allocation, describes them as a [`space::Space`] ([`units!`] for the latter
//! alone).
//!
//! Locks of the driver come from [`blk_core::sync`]: the scheduler of races cannot see others, and a thread
//! that waits in one stops all of them.

pub mod blame;
mod checker;
pub mod crash;
pub mod driver;
pub mod engine;
mod execute;
pub mod exhaust;
mod explain;
pub mod fault;
pub mod finding;
mod follow_up;
pub mod fuzzing;
pub mod generate;
mod images;
mod inspect;
pub mod job;
mod judge;
mod known;
mod memory;
pub mod minimise;
mod model;
pub mod mutate;
mod oracle;
mod outcome;
pub mod page;
pub mod picture;
pub mod plant;
pub mod promise;
pub mod race;
mod refusal;
mod relay;
pub mod repro;
pub mod reproduce;
mod run;
pub mod runner;
pub mod scenario;
pub mod session;
pub mod space;
pub mod statistics;
mod status;
mod suite;
pub mod tap;
pub mod testing;
pub mod tests;
pub mod watch;

pub use blk_sim::{progress, random};
pub use blk_verify::{Finding, RequestKind, Signature, journal, report, stamp, verify};
pub use driver::{
    CreateConfigured, CreateFunction, DiskFunction, FormatDriver, OpenConfigured, OpenFunction,
};
pub use engine::{Engine, RunOptions};
pub use known::Tolerant;
pub use memory::{MemoryDisk, MemorySnapshots};
pub use outcome::Outcome;
pub use runner::{Purpose, Runner};
pub use suite::{Script, Suite};

/// The suites of a driver, one for each engine: `suites!(DRIVER, "mine")` is an array of [`Suite`]s named
/// `mine_sequence`, `mine_crash`, `mine_fault` and `mine_race`. It is meant for a `pub static SUITES`: tests
/// that are written for a finding use that name.
#[macro_export]
macro_rules! suites {
    ($driver:expr, $name:literal) => {
        [
            $crate::suites!(@one $driver, $name, "_sequence", "0", requests),
            $crate::suites!(@one $driver, $name, "_crash", "1", crashes),
            $crate::suites!(@one $driver, $name, "_fault", "2", faults),
            $crate::suites!(@one $driver, $name, "_race", "3", races).within($crate::generate::Limits::racing),
        ]
    };
    (@one $driver:expr, $name:literal, $engine:literal, $index:literal, $start:ident) => {
        $crate::Suite::new(concat!($name, $engine), |purpose| $crate::runner::$start(&$driver, purpose))
            .of_space(|| $crate::driver::Driver::space(&$driver))
            .with_expression(concat!(module_path!(), "::SUITES[", $index, "]"))
    };
}

/// The space of a driver without options that allocates in units: `units!(4096, table 4 << 20)`, both in
/// bytes, for one that allocates blocks of 4 KiB and has tables that map 4 MiB each. Sizes and offsets are
/// drawn around their edges then. It is meant for [`FormatDriver::space`]:
///
/// ```
/// # use std::sync::Arc;
/// # use blk_core::{Disk, Result, Storage};
/// # use blk_harness::{FormatDriver, units};
/// # fn create(storage: &Arc<dyn Storage>, size: u64) -> Result<()> { storage.set_len(size) }
/// # fn open(_: Arc<dyn Storage>) -> Result<Disk> { Err(blk_core::Error::unsupported("an example")) }
/// static DRIVER: FormatDriver =
///     FormatDriver::of_functions("mine", create, open).space(units!(4096, table 4 << 20));
/// ```
#[macro_export]
macro_rules! units {
    ($unit:expr, table $reach:expr) => {{
        static SPACE: $crate::space::Space = $crate::space::Space {
            geometry: |_| $crate::space::Geometry {
                unit_bytes: $unit,
                table_reach_bytes: $reach,
                compressed_unit_bytes: None,
                alignment_bytes: 1,
                size_is_file_length: false,
                snapshots: false,
                bitmaps: false,
                is_dense: false,
                amendments: &[],
            },
            ..$crate::space::Space::WITHOUT_OPTIONS
        };
        || &SPACE
    }};
}

/// A fuzz target: its entry point, mutator and crossover. The crate that uses it depends on `libfuzzer-sys`
/// and begins with `#![no_main]`; the suite is an expression, the limits of mutation are optional.
///
/// ```text
/// blk_harness::fuzz_target!(log_disk_tests::SUITES[1]);
/// ```
#[macro_export]
macro_rules! fuzz_target {
    ($suite:expr) => {
        $crate::fuzz_target!($suite, $suite.limits());
    };
    // What mutation makes stays within these limits.
    ($suite:expr, $limits:expr) => {
        libfuzzer_sys::fuzz_target!(init: $crate::fuzzing::begin(&$suite), |data: &[u8]| -> libfuzzer_sys::Corpus {
            if $crate::fuzzing::scenario(&$suite, data) {
                libfuzzer_sys::Corpus::Keep
            } else {
                libfuzzer_sys::Corpus::Reject
            }
        });

        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            let limits = $limits;
            $crate::mutate::mutate_within(
                $suite.space(),
                &limits,
                data,
                size,
                max_size,
                seed,
                libfuzzer_sys::fuzzer_mutate,
            )
        });

        libfuzzer_sys::fuzz_crossover!(|first: &[u8], second: &[u8], out: &mut [u8], seed: u32| {
            $crate::mutate::crossover_within($suite.space(), &$limits, first, second, out, seed)
        });
    };
}

/// A test that replays every trace of a folder, given from the crate's root: `regressions!("regressions",
/// SUITES)`.
#[macro_export]
macro_rules! regressions {
    ($folder:literal, $suites:expr) => {
        #[test]
        fn regressions() {
            let folder = ::std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join($folder);
            $crate::tests::replay_all(&folder, &$suites);
        }
    };
}

/// A test that holds a [`FormatDriver`] to the rules of [`blk_core::testing`].
#[macro_export]
macro_rules! conformance {
    ($driver:expr) => {
        #[test]
        fn conformance() {
            $crate::tests::conforms(&$driver);
        }
    };
}

/// A test named `name` that runs so many generated scenarios of a seed: `explore!(crashes, SUITES[1], seed 1,
/// 100 scenarios)`. The same seed generates the same scenarios. Between suite and seed may stand the
/// [`Limits`](crate::generate::Limits) of the scenarios, in place of those that the suite has.
#[macro_export]
macro_rules! explore {
    ($name:ident, $suite:expr, seed $seed:literal, $count:literal scenarios) => {
        $crate::explore!($name, $suite, $suite.limits(), seed $seed, $count scenarios);
    };
    ($name:ident, $suite:expr, $limits:expr, seed $seed:literal, $count:literal scenarios) => {
        #[test]
        fn $name() {
            $crate::tests::explore(&$suite, &$limits, $seed, $count);
        }
    };
}
