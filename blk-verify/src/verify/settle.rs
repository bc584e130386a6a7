//! Comparing the results of a request: whether both disks did it, both refused it alike, or one of them alone
//! failed.

use std::sync::atomic::Ordering;

use blk_core::{Disk, Error, ErrorKind, Op, Result};

use super::Verify;
use super::permitted::Permitted;
use crate::report::{self, Signature};

impl Verify {
    /// Compares the outcome of a request that was made on the disk under test with that on the reference,
    /// where `on_reference` makes it.
    #[inline]
    pub(super) fn settle(
        &self,
        number: u32,
        request: Op,
        tested: Result<()>,
        permitted: Permitted<'_>,
        on_reference: impl FnOnce(&Disk) -> Result<()>,
    ) -> Result<()> {
        match tested {
            Ok(()) => self.follow(number, request, on_reference(&self.reference)),
            Err(error) => self.settle_failure(number, request, error, permitted, on_reference),
        }
    }

    #[cold]
    fn settle_failure(
        &self,
        number: u32,
        request: Op,
        error: Error,
        permitted: Permitted<'_>,
        on_reference: impl FnOnce(&Disk) -> Result<()>,
    ) -> Result<()> {
        if permitted.refusal(&error) || self.excused(&error) {
            self.adopt(number, request, permitted.after(&error))?;
            return Err(error);
        }
        // The old content is known only until the reference gets the request.
        let third_value = self.third_value(number, request, permitted);
        match on_reference(&self.reference) {
            Ok(()) => {
                let what = format!("failed on the disk under test alone: {error}");
                self.result_differs(number, request, format!("test {:?}", error.kind()), &what)
            }
            Err(other) if alike(&error, &other) => {
                self.note_shared(&error);
                match third_value {
                    Some(finding) => self.mismatch(finding)?,
                    None => self.copy_to_reference(number, request, permitted.extent())?,
                }
                Err(error)
            }
            Err(other) => {
                let what = format!(
                    "failed in different ways: on the disk under test: {error}; on the reference: {other}"
                );
                let kinds = format!("test {:?}, reference {:?}", error.kind(), other.kind());
                self.result_differs(number, request, kinds, &what)?;
                Err(other)
            }
        }
    }

    /// Whether the disk under test refuses a request because of an earlier failure that both disks shared:
    /// only a reopen helps it then, and the reference may have forgotten.
    #[cold]
    pub(super) fn excused(&self, error: &Error) -> bool {
        matches!(error, Error::Poisoned { .. }) && self.shared_failure.load(Ordering::Relaxed)
    }

    fn note_shared(&self, error: &Error) {
        if matches!(class(error), ErrorKind::Io | ErrorKind::Corrupt) {
            self.shared_failure.store(true, Ordering::Relaxed);
        }
    }

    /// Closes both disks whatever happens, and compares how that went.
    pub(super) fn close_both(&self) -> Result<()> {
        let proven = !self.failed.load(Ordering::Relaxed);
        match (self.test.close(), self.reference.close()) {
            (Ok(()), Ok(())) if proven => self.sizes_differ().map_or(Ok(()), |what| {
                self.mismatch(report::oracle_finding(Signature::Size, &what, "noticed when closing"))
            }),
            (tested, referred) if !proven => tested.and(referred),
            (Err(error), _) if Permitted::flush().refusal(&error) || self.excused(&error) => Err(error),
            (Err(error), Err(other)) if alike(&error, &other) => Err(error),
            (Err(error), _) => self.close_differs("closing the disk under test", &error),
            (Ok(()), Err(error)) => {
                self.close_differs("closing the reference", &error)?;
                Err(error)
            }
            (Ok(()), Ok(())) => Ok(()),
        }
    }

    fn close_differs(&self, what: &'static str, error: &Error) -> Result<()> {
        let signature = Signature::Failed { what, error: format!("{:?}", error.kind()) };
        let text = format!("{what} failed, not so that of the other disk");
        self.mismatch(report::oracle_finding(signature, &text, &error.to_string()))
    }

    /// The outcome of a request that the disk under test has done.
    #[inline]
    fn follow(&self, number: u32, request: Op, referred: Result<()>) -> Result<()> {
        match referred {
            Ok(()) => Ok(()),
            Err(error) => self.only_reference_failed(number, request, error),
        }
    }

    pub(super) fn only_reference_failed(&self, number: u32, request: Op, error: Error) -> Result<()> {
        let what = format!("failed on the reference alone: {error}");
        self.result_differs(number, request, format!("reference {:?}", error.kind()), &what)?;
        Err(error)
    }

    pub(super) fn read_back_failed(&self, number: u32, request: Op, error: &Error) -> Result<()> {
        let what = format!("left bytes on the disk under test that cannot be read: {error}");
        self.result_differs(number, request, format!("read back {:?}", error.kind()), &what)
    }

    #[cold]
    fn result_differs(&self, number: u32, request: Op, error: String, what: &str) -> Result<()> {
        let signature = Signature::Result { request: request.kind().into(), error };
        self.mismatch(report::request_finding(number, self.noted(number, request), signature, what))
    }
}

/// Whether two drivers that failed mean the same: details such as offsets legitimately differ between them,
/// and one may refuse later requests after a failure that the other forgets.
pub(super) fn alike(one: &Error, other: &Error) -> bool {
    let class_of_both = class(one);
    class_of_both == class(other) && class_of_both != ErrorKind::Mismatch
}

/// The kind that stands for all kinds of its sort.
fn class(error: &Error) -> ErrorKind {
    match error.kind() {
        ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::Poisoned | ErrorKind::Disconnected => ErrorKind::Io,
        ErrorKind::Corrupt | ErrorKind::Malformed => ErrorKind::Corrupt,
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk behind a server says in a number what one here says in its own words.
    #[test]
    fn errors_of_a_server_are_like_those_of_a_disk_here() {
        let remote = |errno| Error::from_errno(errno, "a request");
        assert!(alike(&remote(28), &Error::NoSpace { what: "full".into() }));
        assert!(alike(&remote(1), &Error::ReadOnly) && alike(&remote(95), &Error::unsupported("it")));
        let host = Error::io("write", 0, std::io::Error::from_raw_os_error(5));
        assert!(alike(&remote(5), &host), "an I/O error");
        assert!(alike(&remote(108), &host), "a connection that is gone leaves what a failed write leaves");
        assert!(
            !alike(&remote(1), &host) && !alike(&remote(22), &host) && !alike(&remote(95), &Error::ReadOnly)
        );
    }
}
