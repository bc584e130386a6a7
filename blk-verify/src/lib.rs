//! Compares any two block drivers request by request.
//!
//! [`Verify`] is the heart: a [`blk_core::BlockDriver`] over a reference and a disk under test, which stops at the first answer
//! that differs and says where the wrong bytes came from. Around it: [`scenario`]s and what makes, changes and shrinks them
//! ([`generate`], [`mutate`], [`minimise`](mod@minimise)) out of the [`space`] that a driver describes; the [`engine`] that runs them
//! on a [`target`] and asks the oracles.

mod checker;
pub mod crash;
pub mod engine;
mod execute;
mod explain;
pub mod fault;
mod follow_up;
pub mod generate;
mod images;
mod inspect;
pub mod journal;
mod judge;
pub mod minimise;
mod model;
pub mod mutate;
mod oracle;
pub mod promise;
pub mod race;
mod range_lock;
mod refusal;
pub mod report;
pub mod reproduce;
mod run;
pub mod scenario;
pub mod session;
pub mod space;
pub mod stamp;
pub mod statistics;
pub mod target;
pub mod testing;
pub mod verify;

pub use blk_sim::{progress, random};
pub use engine::{Engine, Outcome, RunOptions};
pub use report::{Finding, Signature};
pub use verify::{Policy, Verify};
