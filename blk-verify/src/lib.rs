#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! [`Verify`] is the driver, and [`Policy`] says what follows a [`Finding`]. [`stamp`] makes data that names
//! its origin, [`journal`] keeps what was asked, [`report`] makes text of a finding. [`testing`] has drivers
//! with planted bugs.
//!
//! Scenarios, engines and the minimiser are blk-harness; who wants nothing but a verifying filter takes this
//! crate alone.

pub mod finding;
pub mod journal;
mod kind;
pub mod report;
pub mod stamp;
pub mod testing;
pub mod verify;

pub use finding::{Finding, Signature};
pub use kind::RequestKind;
pub use verify::{Policy, Verify};
