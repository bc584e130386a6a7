//! The driver's steps, which it names to its storage: as QEMU's `blkdebug` calls them.

use blk_core::storage::Step;

/// Guest data is read.
pub static READ_AIO: Step = Step::new("read_aio", "data");
/// Guest data is written.
pub static WRITE_AIO: Step = Step::new("write_aio", "data");
/// A flush begins; this driver has nothing cached.
pub static FLUSH_TO_OS: Step = Step::new("flush_to_os", "metadata");
/// The host is asked to put everything on stable storage.
pub static FLUSH_TO_DISK: Step = Step::new("flush_to_disk", "everything");

/// All of them.
pub static ALL: [&Step; 4] = [&READ_AIO, &WRITE_AIO, &FLUSH_TO_OS, &FLUSH_TO_DISK];
