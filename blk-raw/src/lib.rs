//! Raw disk images: the bytes of the disk are the bytes of the file, or of a window of it.
//!
//! Over a regular file holes are kept as holes; over a block device the size is the device's. Options when
//! opening: `offset` and `size` choose a window, `discard` says whether a discard gives space back.

mod allocate;
mod disk;
mod format;
pub mod steps;

pub use format::FORMAT;
