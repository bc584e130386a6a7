//! Compares any two block drivers request by request.
//!
//! [`Verify`] is a [`blk_core::BlockDriver`] over a reference and a disk under test, which stops at the first
//! answer that differs and says where the wrong bytes came from: data that is written with [`stamp`]s names
//! its request and its place.
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
