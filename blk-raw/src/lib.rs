#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! [`FORMAT`] is all that a program needs. [`steps`] names what the driver does to its storage, for tests
//! that crash it or let it fail.

mod allocate;
mod disk;
mod format;
pub mod steps;

pub use format::FORMAT;
