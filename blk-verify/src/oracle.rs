//! What is held to be true of a disk once a scenario has run. An oracle a module.

pub(crate) mod content;
pub(crate) mod image;
pub(crate) mod touched;
