//! What errors are on the wire.

use blk_core::{Error, OpKind};

use crate::wire::errno;

/// The number that a client is told.
pub(super) fn number(error: &Error, kind: OpKind) -> u32 {
    match error {
        // Past the end of a disk is no room for a write.
        Error::OutOfRange { .. } if matches!(kind, OpKind::Write | OpKind::WriteZeroes) => errno::ENOSPC,
        Error::OutOfRange { .. } | Error::Misaligned { .. } | Error::InvalidOption { .. } => errno::EINVAL,
        Error::ReadOnly => errno::EPERM,
        Error::Unsupported { .. } => errno::ENOTSUP,
        Error::NoSpace { .. } => errno::ENOSPC,
        Error::Remote { errno, .. } => known(*errno),
        Error::Io { source, .. } => known(source.raw_os_error().unwrap_or_default()),
        _ => errno::EIO,
    }
}

/// A number of Linux, where the protocol has it.
fn known(number: i32) -> u32 {
    /// `EFBIG` and `EDQUOT` of Linux: there is no room.
    const FULL: [i32; 2] = [27, 122];
    const KNOWN: [u32; 5] = [errno::EPERM, errno::ENOMEM, errno::EINVAL, errno::ENOSPC, errno::ENOTSUP];
    if FULL.contains(&number) {
        return errno::ENOSPC;
    }
    u32::try_from(number).ok().filter(|number| KNOWN.contains(number)).unwrap_or(errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_end_depends_on_the_request() {
        let error = Error::OutOfRange { offset: 0, length: 2, size: 1 };
        assert_eq!(number(&error, OpKind::Write), errno::ENOSPC);
        assert_eq!(number(&error, OpKind::WriteZeroes), errno::ENOSPC);
        assert_eq!(number(&error, OpKind::Read), errno::EINVAL);
        assert_eq!(number(&error, OpKind::Discard), errno::EINVAL);
    }

    #[test]
    fn numbers_that_the_protocol_does_not_have_become_eio() {
        let io = |number| Error::io("read", 0, std::io::Error::from_raw_os_error(number));
        for (error, expected) in [
            (io(5), 5),
            (io(12), 12),
            (io(28), 28),
            (io(30), 5),
            (io(-1), 5),
            (io(0), 5),
            (io(122), 28),
            (io(27), 28),
            (Error::Disconnected { how: blk_core::Disconnection::Closed, what: "x".into() }, 5),
            (Error::Remote { errno: 75, what: "x".into() }, 5),
            (Error::Remote { errno: 999, what: "x".into() }, 5),
            (Error::ReadOnly, 1),
            (Error::unsupported("x"), 95),
            (Error::Poisoned { cause: "x".to_owned() }, 5),
        ] {
            assert_eq!(number(&error, OpKind::Read), expected, "{error}");
        }
    }
}
