//! The driver's steps, which it names to its storage.

use blk_core::storage::Step;

/// Sectors are read.
pub static READ_AIO: Step = Step::new("read_aio", "data");
/// Sectors are written.
pub static WRITE_AIO: Step = Step::new("write_aio", "data");
/// The host is asked to put everything on stable storage.
pub static FLUSH_TO_DISK: Step = Step::new("flush_to_disk", "everything");

/// All of them.
pub static ALL: [&Step; 3] = [&READ_AIO, &WRITE_AIO, &FLUSH_TO_DISK];
