//! Which parts of two disks are compared, and how.

pub(crate) mod content;
pub(crate) mod touched;
