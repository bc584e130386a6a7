//! How large a scenario may be, in each of its forms.
//!
//! The bytes form is bounded so that anything a fuzzer comes up with runs in milliseconds. Text and JSON are
//! written by people and by the minimiser; they may say anything that fits into memory.

use super::RequestKind;

/// Lanes, in every form.
pub const LANES_MAX: u8 = 8;

/// The last flush after which a scenario can have space looked at.
pub const PROBE_FLUSH_MAX: u8 = 15;

/// Largest number of a snapshot.
pub const SLOT_MAX: u8 = 63;

/// Largest number of a dirty bitmap.
pub const BITMAP_SLOT_MAX: u8 = 31;

/// Requests in the bytes form; records beyond are ignored.
pub const REQUESTS_MAX: usize = 256;

/// Largest disk of the bytes form, in bytes, at creation, below and after a resize, unless it is far
/// ([`FAR_BYTES_MIN`]): eight of the largest clusters.
pub const DISK_BYTES_MAX: u64 = 16 << 20;

/// Of a disk of the bytes form that is larger than this, bytes, only what requests have touched is compared:
/// one that says so in its header, and a resize that says so, may be as large. There is none
/// between [`DISK_BYTES_MAX`] and this.
pub const FAR_BYTES_MIN: u64 = 1 << 30;

/// Largest disk of the bytes form, in bytes, that says so.
pub const FAR_BYTES_MAX: u64 = 1 << 46;

/// Units of allocation that one write of zeroes covers at most in the bytes form, on a disk that was made so
/// large; each may become an entry of a table.
pub const FAR_UNITS_MAX: u64 = 1 << 17;

/// What a discard or a block status of such a disk covers at most in the bytes form, bytes: all of it is
/// read. So do zeroes on a disk that has become so large: they may be written as data.
pub const FAR_READ_BYTES_MAX: u64 = 16 << 20;

/// What a request that moves no data covers at most on a far disk of such units in the bytes form, bytes.
/// `starts_far`: it was made so large.
pub(crate) fn far_length_max(kind: RequestKind, starts_far: bool, unit_bytes: u64) -> u64 {
    match kind {
        RequestKind::WriteZeroes if starts_far => FAR_UNITS_MAX.saturating_mul(unit_bytes),
        RequestKind::WriteZeroes | RequestKind::Discard | RequestKind::Status => {
            FAR_READ_BYTES_MAX.max(unit_bytes)
        }
        _ => FAR_UNITS_MAX.saturating_mul(unit_bytes),
    }
}

/// Bytes that all reads and writes of the bytes form may move together; a request that goes beyond is
/// ignored.
pub const DATA_BYTES_MAX: u64 = 16 << 20;

/// Offsets and lengths of the bytes form are below this, bytes.
pub const OFFSET_BYTES_END: u64 = 1 << 48;

/// Largest text or JSON document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 32 << 20;

/// Requests in a text or JSON document.
pub const DOCUMENT_REQUESTS_MAX: usize = 1 << 19;
