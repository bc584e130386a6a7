//! Compares any two block drivers request by request.
//!
//! [`Verify`] is the heart: a [`blk_core::BlockDriver`] over a reference and a disk under test, which stops at the first answer
//! that differs and says where the wrong bytes came from. Around it: [`scenario`]s and what makes, changes and shrinks them
//! ([`generate`], [`mutate`], [`minimise`](mod@minimise)) out of the [`space`] that a driver describes; the [`engine`] that runs them
//! on a [`target`] and asks the oracles.

pub mod crash;
pub mod engine;
pub mod fault;
pub mod generate;
pub mod journal;
pub mod medium;
pub mod minimise;
pub mod mutate;
mod oracle;
mod perform;
pub mod progress;
pub mod race;
pub mod random;
mod range_lock;
mod refusal;
pub mod report;
pub mod reproduce;
pub mod scenario;
pub mod session;
pub mod space;
pub mod stamp;
pub mod stats;
pub mod target;
pub mod testing;
pub mod verify;

pub use engine::{Engine, Outcome, RunOptions};
pub use report::{Finding, Signature};
pub use verify::{Policy, Verify};
