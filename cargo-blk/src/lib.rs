#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! [`Command`] is the subcommands, to be flattened into those of a program of your own; [`Project`] is the
//! folder that they work in. Each command is a module that can be called by itself.

mod arguments;
mod build;
mod command;
pub mod corpus;
pub mod cover;
pub mod coverage;
pub mod exhaust;
pub mod findings;
pub mod fuzz;
pub mod job;
mod kept;
mod ledger;
pub mod libfuzzer;
mod process;
mod project;
pub mod repro;
pub mod ship;
pub mod soak;
mod status;
// A link to the file of blk-core: this crate depends on no driver and no engine, so that it is built in a
// moment, and `cargo package` puts the file itself in.
pub mod units;

pub use build::{build_fuzz_target, build_fuzz_targets, host_triple, need_cargo_fuzz, runs, target_folder};
pub use command::Command;
pub use project::Project;
