//! The header as it is on disk: 592 bytes, numbers with the highest byte first, names padded with zeroes.
//!
//! ```text
//!   0  magic        "LUKS" ba be        104  payload offset   sectors
//!   6  version      1                   108  key bytes
//!   8  cipher name  32 bytes            112  digest of the key, 20 bytes; 132 its salt, 32 bytes
//!  40  cipher mode  32 bytes            164  its iterations
//!  72  hash         32 bytes            168  UUID, 40 bytes as text
//! 208  8 key slots of 48 bytes: state, iterations, salt of 32 bytes, material offset (sectors), stripes
//! ```
//!
//! LUKS On-Disk Format Specification 1.2.3, section 2.3. The header lies in two sectors, and slot 6 in both:
//! `slots.rs` has the order in which they are written.

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 592;
/// Key slots.
pub(crate) const SLOTS: usize = 8;
/// Bytes of a salt.
pub(crate) const SALT_BYTES: usize = 32;
/// Bytes of the digest of a volume's key.
pub(crate) const DIGEST_BYTES: usize = 20;

/// What a file begins with.
pub(crate) const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
/// The state of a slot that opens the volume.
pub(crate) const ACTIVE: u32 = 0x00ac_71f3;
/// The state of one that does not.
pub(crate) const INACTIVE: u32 = 0x0000_dead;

/// The header.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawHeader {
    pub(crate) magic: [u8; 6],
    pub(crate) version: U16,
    pub(crate) cipher_name: [u8; 32],
    pub(crate) cipher_mode: [u8; 32],
    pub(crate) hash_spec: [u8; 32],
    pub(crate) payload_offset: U32,
    pub(crate) key_bytes: U32,
    pub(crate) mk_digest: [u8; DIGEST_BYTES],
    pub(crate) mk_digest_salt: [u8; SALT_BYTES],
    pub(crate) mk_digest_iterations: U32,
    pub(crate) uuid: [u8; 40],
    pub(crate) slots: [RawSlot; SLOTS],
}

/// A key slot.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawSlot {
    pub(crate) state: U32,
    pub(crate) iterations: U32,
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) material_offset: U32,
    pub(crate) stripes: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES && size_of::<RawSlot>() == 48);

/// Where slot `index` stands in the header.
pub(crate) const fn slot_offset(index: usize) -> usize {
    HEADER_BYTES - (SLOTS - index) * size_of::<RawSlot>()
}

/// A text in a field: up to the first zero byte. `None` if it is no printable ASCII.
pub(crate) fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = std::str::from_utf8(&field[..end]).ok()?;
    text.bytes().all(|byte| byte.is_ascii_graphic()).then_some(text)
}

/// A field with a text that fits.
pub(crate) fn field<const BYTES: usize>(text: &str) -> [u8; BYTES] {
    assert!(text.len() <= BYTES, "'{text}' fits its field");
    let mut field = [0; BYTES];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}
