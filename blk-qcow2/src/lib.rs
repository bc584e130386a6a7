//! The qcow2 disk-image format, versions 2 and 3.
//!
//! [`FORMAT`] is all that a program needs: it opens and creates images over any [`blk_core::Storage`]. What
//! the format is can be read in QEMU's `docs/interop/qcow2.txt`; each module of this crate is a noun of that
//! document.
//!
//! **Invariant:** a crash at any point leaves an image without corruption; at worst clusters have leaked. The
//! module `metadata` states the order of writes that guarantees this.

mod allocate;
mod backing;
mod bitmap;
mod cache;
mod check;
mod compress;
mod control;
mod cow;
mod create;
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
mod snapshot;
mod status;
pub mod steps;
mod write;
mod write_back;
mod write_compressed;
mod zero;

pub use format::FORMAT;
pub use options::{CREATE_OPTIONS, OPEN_OPTIONS};
