//! Hostile qcow2 images: the judge of the `open_qcow2` fuzz target, its templates and its mutator.

mod judge;
mod mutator;
mod shrink;
mod templates;

pub use judge::{ImageStats, judge};
pub use mutator::mutate;
pub use shrink::{Shrunk, nearest_template};
pub use templates::{Template, templates};
