//! Why a command was not done, and where that is said.

use blk_core::Error;

/// What a command's step returns.
pub(crate) type Done<T = ()> = Result<T, Refusal>;

/// A command that was not done. Which stream and which form the message has is part of the command language.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The command's synopsis tells what is right.
    Usage,
    /// A complaint about the spelling of an option, on standard error, and the synopsis.
    Misspelt(String),
    /// A line on standard output.
    Line(String),
    /// A line on standard error.
    Complaint(String),
    /// A line on standard error behind the program's name.
    Error(String),
    /// A request that failed; said on standard output, in the system's words.
    Failed {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: Error,
    },
    /// All has been said.
    Said,
}

/// The reason in the words that the system has for its number.
pub(crate) fn reason(error: &Error) -> String {
    const EIO: i32 = 5;
    let number = match error {
        // A request past the end is refused as by a device, not as a caller's mistake.
        Error::OutOfRange { .. } => EIO,
        _ => error.errno(),
    };
    system_text(&std::io::Error::from_raw_os_error(number))
}

/// What the system says about an error, without its number.
pub(crate) fn system_text(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}

/// Whether the reason leaves out what somebody has to know: where an image is damaged, or how two disks
/// differ.
pub(crate) fn deserves_detail(error: &Error) -> bool {
    matches!(
        error,
        Error::Malformed { .. } | Error::Corrupt { .. } | Error::Poisoned { .. } | Error::Mismatch { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_the_systems_words() {
        let past_end = Error::OutOfRange { offset: 0, length: 1, size: 0 };
        assert_eq!(reason(&past_end), "Input/output error");
        assert_eq!(reason(&Error::unsupported("discard")), "Operation not supported");
        assert_eq!(reason(&Error::NoSpace { what: "host".into() }), "No space left on device");
        let misaligned = Error::Misaligned { offset: 1, length: 1, alignment: 512 };
        assert_eq!(reason(&misaligned), "Invalid argument");
    }
}
