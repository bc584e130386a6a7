//! How large a scenario may be, in each of its forms.
//!
//! The bytes form is bounded so that anything a fuzzer comes up with runs in milliseconds. Text and JSON are written by people
//! and by the minimiser; they may say anything that fits into memory.

/// Lanes, in every form.
pub const LANES_MAX: u8 = 8;

/// Requests in the bytes form; records beyond are ignored.
pub const REQUESTS_MAX: usize = 256;

/// Largest disk of the bytes form, in bytes, at creation, below and after a resize: eight of the largest clusters.
pub const DISK_BYTES_MAX: u64 = 16 << 20;

/// Bytes that all reads and writes of the bytes form may move together; a request that goes beyond is ignored.
pub const DATA_BYTES_MAX: u64 = 16 << 20;

/// Offsets and lengths of the bytes form are below this, bytes.
pub const OFFSET_BYTES_END: u64 = 1 << 48;

/// Largest text or JSON document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 32 << 20;

/// Requests in a text or JSON document.
pub const DOCUMENT_REQUESTS_MAX: usize = 1 << 19;
