//! Hostile qcow2 images: the judge of the `open_qcow2` fuzz target, its templates and its mutator.

pub(crate) mod bytes;
mod judge;
mod metadata;
mod mutator;
pub(crate) mod others;
mod reproduce;
mod shrink;
mod templates;

pub use judge::{ImageStats, judge};
pub use mutator::mutate;
pub use reproduce::{page, reproduce};
pub use shrink::{Shrunk, nearest_template};
#[cfg(test)]
pub(crate) use templates::SHARED;
pub use templates::{Template, templates};
