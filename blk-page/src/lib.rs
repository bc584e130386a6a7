#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! [`Page`] is a whole file. [`Plot`] draws a curve, and [`scrolling`] keeps what is wide from making the
//! page so.

mod page;
mod plot;
#[cfg(feature = "testing")]
pub mod testing;

pub use page::{Page, scrolling};
pub use plot::{Plot, Shape};
