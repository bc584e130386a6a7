//! Drivers and verifier wired together.
//!
//! This is the one library that sees every driver: it makes pairs of disks for the verifier
//! ([`Qcow2Target`], [`RawTarget`]), knows the suites by name ([`suite`]), and replays traces
//! ([`replay_text`]). The fuzz targets, the tests and the benches are thin shells around it.

mod chained;
mod data_file;
pub mod exhaust;
#[cfg(test)]
mod gauntlet;
pub mod hostile;
mod hostile_luks;
mod images;
mod initial;
mod kept;
mod luks_target;
mod old_header;
mod opinion;
mod plain_text;
mod qcow2_space;
mod qcow2_target;
mod qemu_io;
mod raw_target;
mod replay;
mod shared_host;
mod tall;
mod unvouched;

pub use hostile_luks::{LuksStats, judge_luks};
pub use luks_target::{LUKS, LuksTarget};
pub use opinion::has_qemu;
pub use qcow2_space::QCOW2;
pub use qcow2_target::Qcow2Target;
pub use qemu_io::qemu_io_script;
pub use raw_target::{RAW, RawTarget};
pub use replay::{replay_text, suite, suite_names};
