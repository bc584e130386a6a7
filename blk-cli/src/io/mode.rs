//! How an image is opened: what the options of the program and of the command `open` say besides name and
//! format.

use super::refusal::{Done, Refusal};
use crate::spec::CacheMode;

/// `-n`: the host's cache is to be passed by.
pub(crate) const NO_CACHE: CacheMode = CacheMode { direct: true, no_flush: false, writethrough: false };

/// The cache mode by its name.
pub(crate) fn parse_cache(name: &str) -> Done<CacheMode> {
    name.parse().map_err(|_| Refusal::Error(format!("Invalid cache option: {name}")))
}

/// Whether `-d` lets discards through.
pub(crate) fn parse_discard(name: &str) -> Done<bool> {
    match name {
        "unmap" | "on" => Ok(true),
        "ignore" | "off" => Ok(false),
        _ => Err(Refusal::Error(format!("Invalid discard option: {name}"))),
    }
}

/// Whether the mode of asynchronous I/O that `-i` names is the one that needs the host's cache passed by.
pub(crate) fn parse_aio(name: &str) -> Done<bool> {
    match name {
        "native" => Ok(true),
        "threads" | "io_uring" => Ok(false),
        _ => Err(Refusal::Error(format!("Invalid aio option: {name}"))),
    }
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Mode {
    /// Requests that write are refused.
    pub(crate) read_only: bool,
    /// Writes go to a temporary overlay.
    pub(crate) snapshot: bool,
    /// What is read from below is kept in the top layer.
    pub(crate) copy_on_read: bool,
    /// Others may have the image open for writing.
    pub(crate) force_share: bool,
    /// Asynchronous I/O by the kernel.
    pub(crate) native_aio: bool,
    /// Discards reach the image.
    pub(crate) discard: bool,
    /// What is promised about data that has been written.
    pub(crate) cache: CacheMode,
}

impl Default for Mode {
    fn default() -> Self {
        Self {
            read_only: false,
            snapshot: false,
            copy_on_read: false,
            force_share: false,
            native_aio: false,
            discard: true,
            // Unlike other programs, this one loses nothing that it said it has written.
            cache: CacheMode { writethrough: true, ..CacheMode::default() },
        }
    }
}

impl Mode {
    /// Refuses what does not go together.
    ///
    /// # Errors
    /// What and why.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.native_aio && !self.cache.direct {
            return Err("aio=native needs cache.direct=on, which was not given");
        }
        if self.force_share && !self.read_only {
            return Err("force-share=on is for read-only images only");
        }
        if self.copy_on_read && self.read_only {
            return Err("copy-on-read writes, and the image is opened read-only");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_modes_by_name() {
        assert!(parse_cache("writethrough").is_ok_and(|cache| cache == Mode::default().cache));
        assert!(parse_cache("none").is_ok_and(|cache| cache == NO_CACHE));
        assert!(parse_cache("unsafe").is_ok_and(|cache| cache.no_flush));
        assert!(parse_cache("foo").is_err());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let mode = Mode::default();
        assert_eq!(mode.check(), Ok(()));
        assert!(Mode { native_aio: true, ..mode }.check().is_err());
        assert_eq!(Mode { native_aio: true, cache: NO_CACHE, ..mode }.check(), Ok(()));
        assert!(Mode { force_share: true, ..mode }.check().is_err());
        assert_eq!(Mode { force_share: true, read_only: true, ..mode }.check(), Ok(()));
        assert!(Mode { copy_on_read: true, read_only: true, ..mode }.check().is_err());
    }
}
