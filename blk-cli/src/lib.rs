#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! [`main_with`] is the program with formats of your own. [`spec`] turns what a command line says about an
//! image into an open disk; [`io`], [`img`] and [`nbd`] are the programs inside; [`program`] decides, by the
//! name that it is called by, which one it is.

pub mod formats;
pub mod img;
pub mod io;
pub mod nbd;
pub mod program;
mod share;
mod snapshots;
pub mod spec;
mod suggest;
pub mod verify;

pub use program::main_with;
