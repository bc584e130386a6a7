#![doc = include_str!("../README.md")]

mod algorithm;
mod amend;
mod cipher;
mod disk;
mod environment;
mod format;
mod hash;
mod header;
mod info;
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
pub use slots::{KeySlots, Parameters, STRIPES};
pub use wrap::unwrap_secret;
