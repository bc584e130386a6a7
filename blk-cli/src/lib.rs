//! The program `blk`: the grammar of qemu-io and qemu-img on the drivers of this workspace, and the verifier.
//!
//! Called by the name `qemu-io`, `qemu-img` or `qemu-nbd`, it is that program. [`spec`] turns what a command
//! line says about an image into an open disk; [`io`] and [`img`] are the two programs; [`program`] decides
//! which one it is.

pub mod formats;
pub mod img;
pub mod io;
pub mod nbd;
pub mod program;
mod snapshots;
pub mod spec;
mod suggest;
pub mod verify;

pub use program::main_with;
