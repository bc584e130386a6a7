//! Comparing the results of a request: whether both disks did it, both refused it alike, or one of them alone failed.

use blk_core::{Disk, Error, ErrorKind, Result};

use super::Verify;
use super::permitted::Permitted;
use crate::report::{self, Signature};
use crate::scenario::Request;

impl Verify {
    /// Compares the outcome of a request that was made on the disk under test with that on the reference, where
    /// `on_reference` makes it.
    pub(super) fn settle(
        &self,
        number: u32,
        request: Request,
        tested: Result<()>,
        permitted: Permitted<'_>,
        on_reference: impl FnOnce(&Disk) -> Result<()>,
    ) -> Result<()> {
        let error = match tested {
            Ok(()) => return self.follow(number, request, on_reference(&self.reference)),
            Err(error) => error,
        };
        if permitted.refusal(&error) {
            self.adopt(number, request, permitted)?;
            return Err(error);
        }
        match on_reference(&self.reference) {
            Ok(()) => {
                let what = format!("failed on the disk under test alone: {error}");
                self.result_differs(number, request, format!("test {:?}", error.kind()), &what)
            }
            Err(other) if alike(&error, &other) => {
                self.adopt(number, request, permitted.failed_on_both())?;
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

    /// The outcome of a request that the disk under test has done.
    #[inline]
    fn follow(&self, number: u32, request: Request, referred: Result<()>) -> Result<()> {
        match referred {
            Ok(()) => Ok(()),
            Err(error) => self.only_reference_failed(number, request, error),
        }
    }

    pub(super) fn only_reference_failed(&self, number: u32, request: Request, error: Error) -> Result<()> {
        let what = format!("failed on the reference alone: {error}");
        self.result_differs(number, request, format!("reference {:?}", error.kind()), &what)?;
        Err(error)
    }

    pub(super) fn read_back_failed(&self, number: u32, request: Request, error: &Error) -> Result<()> {
        let what = format!("left bytes on the disk under test that cannot be read: {error}");
        self.result_differs(number, request, format!("read back {:?}", error.kind()), &what)
    }

    #[cold]
    fn result_differs(&self, number: u32, request: Request, error: String, what: &str) -> Result<()> {
        let signature = Signature::Result { request: request.kind(), error };
        self.mismatch(report::request_finding(number, self.noted(number, request), signature, what))
    }
}

/// Whether two drivers that failed mean the same: details such as offsets legitimately differ between them, and one may
/// refuse later requests after a failure that the other forgets.
pub(super) fn alike(one: &Error, other: &Error) -> bool {
    let class = |error: &Error| match error.kind() {
        ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::Poisoned => ErrorKind::Io,
        ErrorKind::Corrupt | ErrorKind::Malformed => ErrorKind::Corrupt,
        kind => kind,
    };
    let class_of_both = class(one);
    class_of_both == class(other) && class_of_both != ErrorKind::Mismatch
}
