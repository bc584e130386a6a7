//! Grids: every input of a class, given to QEMU's tools and to ours, whose answers have to be the same.

mod check;
mod fields;
mod formats;
mod guard;
mod headers;
mod images;
mod options;
mod sizes;
mod tools;
