//! Which failures are refusals: one table for every engine that has no reference disk to ask.
//!
//! | error | requests that may meet it on healthy storage |
//! |---|---|
//! | out of range | those that reach past the end; resizes |
//! | misaligned | those with a range; resizes |
//! | unsupported | those that change content, resizes among them |
//! | invalid option | the same, and a block status of 0 bytes |
//! | no space | resizes: no image can address what they ask for; snapshots, whose references no count holds; bitmaps, of which the header has no room for the first |
//! | unresolved | snapshots and bitmaps that are not there; those that are, where one is to be made, are an invalid option |
//! | unsupported, invalid option, no space | amendments: what an image has decides |
//! | any other | none |
//!
//! [`blk_verify::Verify`] asks its reference instead: docs/permitted-differences.md.

use blk_core::{Error, ErrorKind, Extent};

use crate::scenario::{OnBitmap, OnSnapshot, Request};

/// Disks of which any driver has to keep a dirty bitmap are smaller than this, bytes.
const BITMAP_BYTES_MAX: u64 = 1 << 40;

/// Whether a correct driver may answer `request` so, on a disk of `size` bytes whose storage has not failed.
/// `is_possible`: of a request about a snapshot or a bitmap, that it is there, or that the place of a new one
/// is free.
pub(crate) fn may_refuse(request: Request, size: u64, is_possible: bool, error: ErrorKind) -> bool {
    if let Request::Snapshot { act, .. } = request {
        return match error {
            ErrorKind::Unsupported => true,
            ErrorKind::Unresolved => !is_possible && act != OnSnapshot::Create,
            ErrorKind::InvalidOption => !is_possible && act == OnSnapshot::Create,
            ErrorKind::NoSpace => matches!(act, OnSnapshot::Create | OnSnapshot::Apply),
            _ => false,
        };
    }
    if matches!(request, Request::Amend { .. }) {
        return matches!(error, ErrorKind::Unsupported | ErrorKind::InvalidOption | ErrorKind::NoSpace);
    }
    if let Request::Bitmap { act, .. } = request {
        return match error {
            ErrorKind::Unsupported => true,
            ErrorKind::Unresolved => !is_possible && act != OnBitmap::Add,
            // A disk of so many bytes may need too many bits.
            ErrorKind::InvalidOption => act == OnBitmap::Add && (!is_possible || size >= BITMAP_BYTES_MAX),
            ErrorKind::NoSpace => act == OnBitmap::Add,
            _ => false,
        };
    }
    let is_resize = matches!(request, Request::Resize { .. });
    match error {
        ErrorKind::OutOfRange => is_resize || !is_inside(request, size),
        ErrorKind::Misaligned => is_resize || request.range().is_some(),
        ErrorKind::Unsupported => request.kind().changes_content(),
        ErrorKind::InvalidOption => {
            request.kind().changes_content() || matches!(request, Request::Status { length: 0, .. })
        }
        ErrorKind::NoSpace => is_resize,
        _ => false,
    }
}

/// Whether the range of `request`, if it has one, lies in a disk of `size` bytes.
pub(crate) fn is_inside(request: Request, size: u64) -> bool {
    request.range().is_none_or(|(offset, length)| {
        Extent::new(offset, length).checked_end().is_some_and(|end| end <= size)
    })
}

/// Whether an error says that the handle is of no use any more: what it has not made durable may be lost, and
/// the image has to be opened again. So says a driver of itself, or its process has dropped the connection.
pub(crate) fn is_handle_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Poisoned | ErrorKind::Disconnected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Request =
        Request::Write { offset: 512, length: 512, fill: crate::scenario::Fill::Stamp, fua: false };

    #[test]
    fn a_refusal_needs_a_reason_in_the_request() {
        assert!(!may_refuse(WRITE, 1024, true, ErrorKind::OutOfRange), "the write fits");
        assert!(may_refuse(WRITE, 1023, true, ErrorKind::OutOfRange));
        assert!(!may_refuse(WRITE, 1024, true, ErrorKind::NoSpace), "memory does not run out");
        let resize = Request::Resize { size: 1 << 60 };
        let kinds =
            [ErrorKind::NoSpace, ErrorKind::OutOfRange, ErrorKind::Misaligned, ErrorKind::Unsupported];
        assert!(kinds.into_iter().all(|error| may_refuse(resize, 1024, true, error)));
        assert!(
            may_refuse(WRITE, 1024, true, ErrorKind::Misaligned)
                && may_refuse(WRITE, 1024, true, ErrorKind::InvalidOption)
        );
        assert!(!may_refuse(Request::Flush, 1024, true, ErrorKind::Misaligned));
        assert!(!may_refuse(Request::Flush, 1024, true, ErrorKind::OutOfRange));
        for (length, may_be) in [(0, true), (1, false)] {
            let status = Request::Status { offset: 0, length };
            assert_eq!(may_refuse(status, 1024, true, ErrorKind::InvalidOption), may_be, "{length}");
        }
        for request in [Request::Flush, Request::Read { offset: 0, length: 512 }] {
            assert!(!may_refuse(request, 1024, true, ErrorKind::Unsupported), "{request}");
        }
        for error in [ErrorKind::Io, ErrorKind::Poisoned, ErrorKind::Corrupt, ErrorKind::ReadOnly] {
            assert!(!may_refuse(WRITE, 0, true, error), "{error:?}");
        }
    }

    #[test]
    fn a_snapshot_that_is_not_there_is_refused_and_one_that_is_has_no_twin() {
        let fits = |act, is_possible, error| {
            may_refuse(Request::Snapshot { act, slot: 0 }, 1024, is_possible, error)
        };
        for act in OnSnapshot::ALL {
            let is_new = act == OnSnapshot::Create;
            assert!(fits(act, true, ErrorKind::Unsupported), "{act:?}");
            assert!(!fits(act, true, ErrorKind::Unresolved) && !fits(act, true, ErrorKind::InvalidOption));
            assert_eq!(fits(act, false, ErrorKind::Unresolved), !is_new, "{act:?}");
            assert_eq!(fits(act, false, ErrorKind::InvalidOption), is_new, "{act:?}");
            assert!(!fits(act, false, ErrorKind::Io), "{act:?}");
        }
        assert!(fits(OnSnapshot::Create, true, ErrorKind::NoSpace));
        assert!(!fits(OnSnapshot::Delete, true, ErrorKind::NoSpace));
    }

    #[test]
    fn a_bitmap_that_is_not_there_is_refused_and_one_that_is_has_no_twin() {
        let fits = |act, is_possible, size, error| {
            may_refuse(Request::Bitmap { act, slot: 0 }, size, is_possible, error)
        };
        for act in OnBitmap::ALL {
            let is_new = act == OnBitmap::Add;
            assert!(fits(act, true, 1024, ErrorKind::Unsupported), "{act:?}");
            for error in [ErrorKind::Unresolved, ErrorKind::InvalidOption, ErrorKind::Io] {
                assert!(!fits(act, true, 1024, error), "{act:?} {error:?}");
            }
            assert_eq!(fits(act, false, 1024, ErrorKind::Unresolved), !is_new, "{act:?}");
            assert_eq!(fits(act, false, 1024, ErrorKind::InvalidOption), is_new, "{act:?}");
            assert_eq!(fits(act, true, BITMAP_BYTES_MAX, ErrorKind::InvalidOption), is_new, "{act:?}");
            assert_eq!(fits(act, true, 1024, ErrorKind::NoSpace), is_new, "{act:?}");
        }
    }

    #[test]
    fn a_range_that_wraps_around_lies_outside() {
        assert!(!is_inside(Request::Read { offset: u64::MAX, length: 2 }, u64::MAX));
        assert!(is_inside(Request::Flush, 0));
    }
}
