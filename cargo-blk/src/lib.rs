//! What `cargo blk` does, for programs that do more: builds fuzz targets, runs them, and reproduces what they
//! find.
//!
//! A project is a folder with a `fuzz` folder as cargo-fuzz has it. `[package.metadata.blk]` of
//! `fuzz/Cargo.toml` may say where the regression corpus lies (`regressions`, from that folder), which flags
//! of libFuzzer a target needs (`libfuzzer`), what it is told (`arguments`), and which crates of registries
//! are under test too (`cover`).

mod arguments;
mod build;
mod command;
pub mod corpus;
pub mod cover;
pub mod exhaust;
pub mod fuzz;
pub mod job;
mod kept;
pub mod libfuzzer;
mod process;
mod project;
pub mod repro;
pub mod soak;
// A link to the file of blk-core: this crate depends on no other one of the workspace, so that it is built in
// a moment, and `cargo package` puts the file itself in.
pub mod units;

pub use build::{build_fuzz_target, build_fuzz_targets, host_triple, need_cargo_fuzz, runs, target_folder};
pub use command::Command;
pub use project::Project;
