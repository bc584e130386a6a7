#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! [`FORMAT`] opens and makes images. A format that encrypts its data takes [`KeySlots`] and
//! [`SectorCipher`]; [`Environment`] says where random bytes and times come from.

mod algorithm;
mod amend;
mod cipher;
mod disk;
mod environment;
mod format;
mod hash;
mod header;
mod info;
mod keyslots;
mod ondisk;
mod one_sync;
mod slots;
mod split;
pub mod steps;
mod wrap;

pub use algorithm::{Algorithms, Cipher, Family, IvGenerator, Mode};
pub use cipher::{SECTOR_BYTES, SectorCipher};
pub use environment::{Environment, Repeatable, System};
pub use format::{FORMAT, LuksFormat};
pub use hash::Hash;
pub use header::{Header, ROUNDS_MAX, Slot};
pub use info::details;
pub use keyslots::KeyslotChange;
pub use slots::{ITERATIONS_MIN, KeySlots, Parameters, STRIPES, check_new_passphrase};
pub use wrap::unwrap_secret;
