#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! ```text
//! driver ── Storage ──► Host: live bytes, a log of operations, a fault that is planned
//!                         │ log
//!                         ▼
//!                       Durability: what is durable, what is pending ──► States: images that a crash may leave
//!
//! requests in flight ──► Scheduler: coroutines of one thread; each Turn names the point at which one gives way
//! ```
//!
//! Crashes, faults and races are settings of one [`Host`] ([`Settings`]), and combine. A [`Fault`] says which
//! operation fails and how; [`Durability`] and [`States`] are for crashes, [`scheduler`] and [`Turn`] for
//! races. The crate knows neither scenarios nor reports.

pub mod durability;
pub mod fault;
pub mod host;
pub mod in_flight;
pub mod operation;
pub mod progress;
pub mod random;
pub mod ranges;
pub mod scheduler;
pub mod settings;
pub mod states;
pub mod turn;
pub mod unsynced;
pub mod windows;

pub use durability::{Durability, Item, Pending};
pub use fault::Fault;
pub use host::{Host, Points};
pub use in_flight::Missing;
pub use operation::{Call, Change, Operation};
pub use ranges::Ranges;
pub use settings::Settings;
pub use states::{Kept, States};
pub use turn::{POINTS_MAX, Turn};
pub use unsynced::Unsynced;

/// Bytes of a sector: what a host writes whole or not at all, at least.
pub const SECTOR_BYTES: u64 = 512;
