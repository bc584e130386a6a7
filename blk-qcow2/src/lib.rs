//! The qcow2 disk-image format.

mod geometry;
