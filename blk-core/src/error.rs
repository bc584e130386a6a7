//! The one error type of the workspace.
//!
//! Fields are structured so that the verifier can compare what two drivers answered ([`Error::kind`]), NBD
//! and the command line can report it ([`Error::errno`]), and a reader learns what, where and which value.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// What every fallible operation of the workspace returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request, an open or a create failed.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// The request reaches past the end of the disk. Bytes.
    OutOfRange {
        /// First byte of the request.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// Size of the disk.
        size: u64,
    },
    /// The request is not a multiple of the driver's request alignment. Bytes.
    Misaligned {
        /// First byte of the request.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// What both have to be a multiple of.
        alignment: u64,
    },
    /// A writing request on a disk that was opened read-only.
    ReadOnly,
    /// The driver, or this format, cannot do that.
    Unsupported {
        /// What was asked for, in the field's usual words.
        what: Cow<'static, str>,
    },
    /// The image is of a format that nobody here opens.
    UnknownFormat {
        /// The format's name.
        name: &'static str,
    },
    /// An option's name or value is wrong; the text says which value and what would be right.
    InvalidOption {
        /// The option's name.
        name: Cow<'static, str>,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that are not this format: a header field outside what the specification allows.
    Malformed {
        /// The on-disk structure.
        structure: &'static str,
        /// Where it lies in the image file, in bytes.
        offset: u64,
        /// Which field has which value, and what is allowed.
        reason: String,
    },
    /// Well-formed structures that contradict one another, such as a table inside another table.
    Corrupt {
        /// The on-disk structure.
        structure: &'static str,
        /// Where it lies in the image file, in bytes.
        offset: u64,
        /// What contradicts what.
        reason: String,
    },
    /// No room is left: on the host, or in what the format can address.
    NoSpace {
        /// What ran out.
        what: Cow<'static, str>,
    },
    /// The host refused an operation.
    Io {
        /// The operation, such as "read" or "sync".
        operation: &'static str,
        /// Where, in bytes of the file that it happened to.
        offset: u64,
        /// What the host said.
        source: io::Error,
    },
    /// A server refused a request with an error number that says no more than that. What it says in a number
    /// that has a kind here is that kind: see [`Error::from_errno`].
    Remote {
        /// The Linux error number that it sent.
        errno: i32,
        /// Which request, and what else it said.
        what: Cow<'static, str>,
    },
    /// The connection to a server is gone, and with it the answers to all requests that were in flight: each
    /// was done, in part or as a whole, or not at all.
    Disconnected {
        /// How it has gone.
        how: Disconnection,
        /// From what, and why.
        what: Cow<'static, str>,
    },
    /// An earlier failure left the state of this handle unknown; only a reopen helps.
    Poisoned {
        /// The earlier failure.
        cause: String,
    },
    /// A name found inside an image may not, or cannot, be opened.
    Unresolved {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Two drivers answered the same request differently; the text is the whole report.
    Mismatch {
        /// The report, many lines.
        report: String,
    },
}

/// How a connection has gone.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disconnection {
    /// The other side has closed it.
    Closed,
    /// The other side does not answer in time.
    Silent,
    /// In another way: one of the two has broken the protocol, or the machine between them has failed.
    Broken,
}

/// The kind of an [`Error`], for comparing answers: details such as offsets legitimately differ between
/// drivers.
///
/// It is written out and not derived from the variants: several of them are one kind, and what a server said
/// has the kind that its number has here.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// [`Error::OutOfRange`]
    OutOfRange,
    /// [`Error::Misaligned`]
    Misaligned,
    /// [`Error::ReadOnly`]
    ReadOnly,
    /// [`Error::Unsupported`], [`Error::UnknownFormat`]
    Unsupported,
    /// [`Error::InvalidOption`]
    InvalidOption,
    /// [`Error::Malformed`]
    Malformed,
    /// [`Error::Corrupt`]
    Corrupt,
    /// [`Error::NoSpace`]
    NoSpace,
    /// [`Error::Io`], [`Error::Remote`]
    Io,
    /// [`Error::Disconnected`]
    Disconnected,
    /// [`Error::Poisoned`]
    Poisoned,
    /// [`Error::Unresolved`]
    Unresolved,
    /// [`Error::Mismatch`]
    Mismatch,
}

/// Linux error numbers.
mod errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const EIO: i32 = 5;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EROFS: i32 = 30;
    pub(super) const ENOSYS: i32 = 38;
    pub(super) const ENOTSUP: i32 = 95;
    pub(super) const ESHUTDOWN: i32 = 108;
    pub(super) const EDQUOT: i32 = 122;
}

impl Error {
    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange { .. } => ErrorKind::OutOfRange,
            Self::Misaligned { .. } => ErrorKind::Misaligned,
            Self::ReadOnly => ErrorKind::ReadOnly,
            Self::Unsupported { .. } | Self::UnknownFormat { .. } => ErrorKind::Unsupported,
            Self::InvalidOption { .. } | Self::Remote { errno: errno::EINVAL, .. } => {
                ErrorKind::InvalidOption
            }
            Self::Malformed { .. } => ErrorKind::Malformed,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Io { .. } | Self::Remote { .. } => ErrorKind::Io,
            Self::Disconnected { .. } => ErrorKind::Disconnected,
            Self::Poisoned { .. } => ErrorKind::Poisoned,
            Self::Unresolved { .. } => ErrorKind::Unresolved,
            Self::Mismatch { .. } => ErrorKind::Mismatch,
        }
    }

    /// What a disk above says where the one below, its backing file or its storage, has failed in an
    /// `operation` at `offset`: that the image below is broken is no word about the one above, and so a
    /// failed operation there.
    #[must_use]
    pub fn below(self, operation: &'static str, offset: u64) -> Self {
        match self {
            Self::Malformed { .. } | Self::Corrupt { .. } => {
                let source = io::Error::other(format!("the disk below: {self}"));
                Self::Io { operation, offset, source }
            }
            other => other,
        }
    }

    /// The Linux error number that a kernel or an NBD server would report for this.
    pub fn errno(&self) -> i32 {
        use errno::{EINVAL, EIO, ENOSPC, ENOTSUP, EPERM, ESHUTDOWN};
        match self {
            Self::OutOfRange { .. } | Self::Misaligned { .. } | Self::InvalidOption { .. } => EINVAL,
            Self::ReadOnly => EPERM,
            Self::Unsupported { .. } | Self::UnknownFormat { .. } => ENOTSUP,
            Self::NoSpace { .. } => ENOSPC,
            Self::Io { source, .. } => source.raw_os_error().unwrap_or(EIO),
            Self::Remote { errno, .. } => *errno,
            Self::Disconnected { .. } => ESHUTDOWN,
            Self::Malformed { .. }
            | Self::Corrupt { .. }
            | Self::Poisoned { .. }
            | Self::Unresolved { .. }
            | Self::Mismatch { .. } => EIO,
        }
    }

    /// The error that a server means by a Linux error number: the inverse of [`Error::errno`] as far as there
    /// is one. `what` says which request was refused, and what else the server said.
    ///
    /// A number of which one kind of error is meant becomes that one, so that the answers of a disk here and
    /// of a disk over there can be compared; all others, EINVAL and EIO among them, become [`Error::Remote`].
    pub fn from_errno(errno: i32, what: impl Into<Cow<'static, str>>) -> Self {
        use errno::{EDQUOT, ENOSPC, ENOSYS, ENOTSUP, EPERM, EROFS, ESHUTDOWN};
        let what = what.into();
        match errno {
            EPERM | EROFS => Self::ReadOnly,
            ENOTSUP | ENOSYS => Self::Unsupported { what },
            ENOSPC | EDQUOT => Self::NoSpace { what },
            // The other side has lost its own, and tells no more.
            ESHUTDOWN => Self::Disconnected { how: Disconnection::Broken, what },
            _ => Self::Remote { errno, what },
        }
    }

    /// Whether it says that the driver does not do such a thing, rather than that something went wrong.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::InvalidOption { .. } | Self::Misaligned { .. })
    }

    /// An [`Error::Unsupported`] from a plain text.
    pub fn unsupported(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    /// An [`Error::InvalidOption`] from plain texts.
    pub fn invalid_option(name: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::InvalidOption { name: name.into(), reason: reason.into() }
    }

    /// An [`Error::Malformed`] about `structure` at image offset `offset` (bytes).
    pub fn malformed(structure: &'static str, offset: u64, reason: impl Into<String>) -> Self {
        Self::Malformed { structure, offset, reason: reason.into() }
    }

    /// An [`Error::Corrupt`] about `structure` at image offset `offset` (bytes).
    pub fn corrupt(structure: &'static str, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { structure, offset, reason: reason.into() }
    }

    /// An [`Error::Io`]; "no space left on device" becomes [`Error::NoSpace`].
    pub fn io(operation: &'static str, offset: u64, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::NoSpace { what: Cow::Borrowed("the host file system is full") };
        }
        Self::Io { operation, offset, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { offset, length, size } => {
                write!(
                    f,
                    "request at offset {offset}, {length} bytes, reaches past the end of the disk ({size} bytes)"
                )
            }
            Self::Misaligned { offset, length, alignment } => {
                write!(f, "request at offset {offset}, {length} bytes, is not aligned to {alignment} bytes")
            }
            Self::ReadOnly => f.write_str("the disk is read-only"),
            // A text that says so itself, such as one that scripts look for, stands as it is.
            Self::Unsupported { what } if what.starts_with("Unsupported ") => f.write_str(what),
            Self::Unsupported { what } => write!(f, "not supported: {what}"),
            Self::UnknownFormat { name } => {
                write!(f, "looks like {name}, which is not supported; -f raw takes its bytes as they are")
            }
            Self::InvalidOption { name, reason } => write!(f, "option '{name}': {reason}"),
            Self::Malformed { structure, offset, reason } => {
                write!(f, "malformed {structure} at image offset {offset:#x}: {reason}")
            }
            Self::Corrupt { structure, offset, reason } => {
                write!(f, "corrupt {structure} at image offset {offset:#x}: {reason}")
            }
            Self::NoSpace { what } => write!(f, "no space left: {what}"),
            Self::Io { operation, offset, source } => {
                write!(f, "{operation} failed at offset {offset:#x}: {source}")
            }
            Self::Remote { errno, what } => {
                write!(f, "the server refused: {what}: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Disconnected { what, .. } => write!(f, "the connection is gone: {what}"),
            Self::Poisoned { cause } => {
                write!(f, "refused after an earlier failure, reopen the disk: {cause}")
            }
            Self::Unresolved { name, reason } => write!(f, "cannot open '{name}': {reason}"),
            Self::Mismatch { report } => f.write_str(report),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_server_become_the_error_that_has_them() {
        for (errno, kind) in [
            (1, ErrorKind::ReadOnly),
            (5, ErrorKind::Io),
            (12, ErrorKind::Io),
            (22, ErrorKind::InvalidOption),
            (28, ErrorKind::NoSpace),
            (30, ErrorKind::ReadOnly),
            (38, ErrorKind::Unsupported),
            (75, ErrorKind::Io),
            (95, ErrorKind::Unsupported),
            (108, ErrorKind::Disconnected),
            (122, ErrorKind::NoSpace),
            (-7, ErrorKind::Io),
        ] {
            let error = Error::from_errno(errno, "write of 512 bytes at 0");
            assert_eq!(error.kind(), kind, "{errno}: {error}");
        }
    }

    #[test]
    fn numbers_go_there_and_come_back() {
        let io = Error::io("read", 7, io::Error::from_raw_os_error(5));
        let full = Error::NoSpace { what: "full".into() };
        let gone = Error::Disconnected { how: Disconnection::Closed, what: "server".into() };
        for error in [Error::ReadOnly, Error::unsupported("x"), full, gone, io] {
            let other = Error::from_errno(error.errno(), "there");
            assert_eq!((other.errno(), other.kind()), (error.errno(), error.kind()), "{error}");
        }
        let remote = Error::from_errno(75, "read 0 512");
        assert_eq!(remote.errno(), 75);
        assert!(remote.to_string().starts_with("the server refused: read 0 512: "), "{remote}");
    }
}
