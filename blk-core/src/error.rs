//! The one error type of the workspace.
//!
//! Fields are structured so that the verifier can compare what two drivers answered ([`Error::kind`]), NBD and the
//! command line can report it ([`Error::errno`]), and a reader learns what, where and which value.

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

/// The kind of an [`Error`], for comparing answers: details such as offsets legitimately differ between drivers.
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
    /// [`Error::Io`]
    Io,
    /// [`Error::Poisoned`]
    Poisoned,
    /// [`Error::Unresolved`]
    Unresolved,
    /// [`Error::Mismatch`]
    Mismatch,
}

impl Error {
    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange { .. } => ErrorKind::OutOfRange,
            Self::Misaligned { .. } => ErrorKind::Misaligned,
            Self::ReadOnly => ErrorKind::ReadOnly,
            Self::Unsupported { .. } | Self::UnknownFormat { .. } => ErrorKind::Unsupported,
            Self::InvalidOption { .. } => ErrorKind::InvalidOption,
            Self::Malformed { .. } => ErrorKind::Malformed,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Io { .. } => ErrorKind::Io,
            Self::Poisoned { .. } => ErrorKind::Poisoned,
            Self::Unresolved { .. } => ErrorKind::Unresolved,
            Self::Mismatch { .. } => ErrorKind::Mismatch,
        }
    }

    /// The Linux error number that a kernel or an NBD server would report for this.
    pub fn errno(&self) -> i32 {
        const EIO: i32 = 5;
        const EPERM: i32 = 1;
        const EINVAL: i32 = 22;
        const ENOSPC: i32 = 28;
        const ENOTSUP: i32 = 95;
        match self {
            Self::OutOfRange { .. } | Self::Misaligned { .. } | Self::InvalidOption { .. } => EINVAL,
            Self::ReadOnly => EPERM,
            Self::Unsupported { .. } | Self::UnknownFormat { .. } => ENOTSUP,
            Self::NoSpace { .. } => ENOSPC,
            Self::Io { source, .. } => source.raw_os_error().unwrap_or(EIO),
            Self::Malformed { .. }
            | Self::Corrupt { .. }
            | Self::Poisoned { .. }
            | Self::Unresolved { .. }
            | Self::Mismatch { .. } => EIO,
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
