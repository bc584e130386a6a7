#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! [`FORMAT`] is all that a program needs; [`CREATE_OPTIONS`] and [`OPEN_OPTIONS`] list what it takes.
//! Snapshots, bitmaps, check, resize and amend are abilities of the [`Disk`](blk_core::Disk) that it opens.
//! What the format is can be read in QEMU's `docs/interop/qcow2.txt`; each module of this crate is a noun of
//! that document.
//!
//! **Invariant:** a crash at any point leaves an image without corruption; at worst clusters have leaked. The
//! module `metadata` states the order of writes that guarantees this.

mod allocate;
mod amend;
mod backing;
mod bitmap;
mod cache;
mod check;
mod compress;
mod control;
mod corruption;
mod cow;
mod create;
mod crypt;
mod data_file;
mod discard;
mod extension;
mod format;
mod free;
mod free_space;
mod geometry;
mod grow;
mod header;
mod info;
mod l2;
mod l2_tables;
mod lazy;
mod lock;
mod mapping;
mod measure;
mod metadata;
mod offset;
mod ondisk;
mod open_options;
mod options;
mod overlap;
mod overlay;
mod pointer_table;
mod preallocate;
mod qcow2;
mod read;
mod refcount;
mod resize;
mod roles;
mod shrink;
mod snapshot;
mod status;
pub mod steps;
mod vm_state;
mod write;
mod write_back;
mod write_compressed;
mod zero;

pub use format::{FORMAT, Qcow2Format};
pub use options::{CREATE_OPTIONS, OPEN_OPTIONS};
