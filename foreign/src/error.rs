//! Errors of the harness's storage on their way through a driver, and back.

use std::io;

use blk_core::{Error, ErrorKind};

/// What a driver that knows `std::io` gets of an error of the storage.
pub(crate) fn to_io(error: Error) -> io::Error {
    match error.kind() {
        ErrorKind::NoSpace => io::Error::new(io::ErrorKind::StorageFull, error),
        ErrorKind::Unsupported => io::Error::new(io::ErrorKind::Unsupported, error),
        _ => match error {
            Error::Io { source, .. } => source,
            other => io::Error::other(other),
        },
    }
}

/// What a driver has answered.
pub(crate) fn from_io(operation: &'static str, offset: u64, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::Unsupported {
        return Error::unsupported(format!("{operation}: {error}"));
    }
    Error::io(operation, offset, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_through_a_driver_and_come_back() {
        let io = Error::io("read", 7, io::Error::from_raw_os_error(5));
        for error in [Error::NoSpace { what: "x".into() }, Error::unsupported("x"), io] {
            let kind = error.kind();
            assert_eq!(from_io("write", 0, to_io(error)).kind(), kind);
        }
    }
}
