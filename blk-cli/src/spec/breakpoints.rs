//! Break points: requests that stop at a step of the driver until they are told to go on.

use std::fmt::Debug;

use blk_core::{Error, Result};

/// What can be stopped and let go on: `blkdebug`. Tags name break points, and the requests that they have
/// stopped.
pub trait Breakpoints: Debug + Send + Sync {
    /// Stops the next request that takes the step `event`. A break point stops one request and is gone then.
    ///
    /// # Errors
    /// One with errno 2 (ENOENT) if there is no event of that name.
    fn set(&self, event: &str, tag: &str) -> Result<()>;

    /// Takes the break points `tag` away, and lets the requests that they have stopped go on.
    ///
    /// # Errors
    /// One with errno 2 (ENOENT) if there is no break point `tag`.
    fn remove(&self, tag: &str) -> Result<()>;

    /// Lets the oldest request go on that stopped at `tag`.
    ///
    /// # Errors
    /// One with errno 2 (ENOENT) if none has.
    fn resume(&self, tag: &str) -> Result<()>;

    /// Whether a request has stopped at `tag`.
    fn is_suspended(&self, tag: &str) -> bool;

    /// Returns once a request has stopped at `tag`.
    fn wait_suspended(&self, tag: &str);
}

/// "No such file or directory", which is how QEMU says that there is no such tag or event.
pub(super) fn not_found(operation: &'static str) -> Error {
    const ENOENT: i32 = 2;
    Error::io(operation, 0, std::io::Error::from_raw_os_error(ENOENT))
}
