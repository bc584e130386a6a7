#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! ```text
//! engines ──► our NBD client ──► the foreign driver ──► our NBD server ──► the host of the engines
//!                                a process of its own                      crashes, faults, a log
//! ```
//!
//! [`Description`] is the TOML file, with a word on each field; [`description()`] has those that come with us
//! by name. [`ForeignDriver`] is a [`Driver`](blk_harness::driver::Driver): content, crashes, faults and
//! races go through it. Requests in flight take turns by what arrives at the medium, because threads of other
//! processes cannot be scheduled.

mod asleep;
mod bench;
mod cache;
mod daemon;
mod description;
mod deviation;
mod disk;
mod driver;
mod engines;
mod features;
mod fuse;
mod images;
mod known;
mod medium;
mod process;
mod qmp;
mod script;
mod selection;
mod space;
mod template;
mod temporary;

pub use blk_harness::plant::Plant;
pub use description::{
    ConflictDescription, Description, Medium, MediumKind, OptionDescription, OptionKind, OptionUse, Process,
    Program, Reproduce, Step, Units,
};
pub use deviation::{Deviation, Happened};
pub use driver::{ForeignDriver, Formats};
pub use engines::EngineKind;
pub use features::{FEATURES, features};
pub use known::{description, names};
pub use script::script;
pub use selection::Selection;
