//! What goes over the wire: numbers and headers. All of them are big-endian.

use std::io::{self, Read};

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a server says first.
pub(crate) const GREETING: u64 = 0x4e42_444d_4147_4943;
/// What follows in the newstyle handshake, and begins every option of a client.
pub(crate) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Begins every reply to an option.
pub(crate) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(crate) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(crate) const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
pub(crate) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub(crate) const CHUNK_MAGIC: u32 = 0x668e_33ef;
pub(crate) const EXTENDED_CHUNK_MAGIC: u32 = 0x6e8a_278c;

/// Longest string of the protocol, bytes.
pub(crate) const STRING_BYTES_MAX: usize = 4096;
/// Largest payload of a message that either side accepts unless it has said otherwise, bytes.
pub(crate) const PAYLOAD_BYTES_MAX: u32 = 32 << 20;
/// The reserved bytes at the end of the old handshake.
pub(crate) const RESERVED_BYTES: usize = 124;

/// Flags of the handshake, in both directions.
pub(crate) mod handshake {
    pub(crate) const FIXED_NEWSTYLE: u16 = 1;
    pub(crate) const NO_ZEROES: u16 = 2;
}

/// Options that a client asks for.
pub(crate) mod option {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const START_TLS: u32 = 5;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
    pub(crate) const EXTENDED_HEADERS: u32 = 11;
}

/// Replies to options.
pub(crate) mod reply {
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    /// Set in every reply that refuses.
    pub(crate) const ERROR: u32 = 1 << 31;
    pub(crate) const UNSUPPORTED: u32 = ERROR | 1;
    pub(crate) const POLICY: u32 = ERROR | 2;
    pub(crate) const INVALID: u32 = ERROR | 3;
    pub(crate) const TLS_REQUIRED: u32 = ERROR | 5;
    pub(crate) const UNKNOWN: u32 = ERROR | 6;
    pub(crate) const SHUTDOWN: u32 = ERROR | 7;
    pub(crate) const BLOCK_SIZE_REQUIRED: u32 = ERROR | 8;
    pub(crate) const TOO_BIG: u32 = ERROR | 9;
    pub(crate) const EXTENDED_HEADERS_REQUIRED: u32 = ERROR + 10;
}

/// What a server tells of an export.
pub(crate) mod info {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const NAME: u16 = 1;
    pub(crate) const DESCRIPTION: u16 = 2;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags: what an export can do.
pub(crate) mod export {
    pub(crate) const HAS_FLAGS: u16 = 1;
    pub(crate) const READ_ONLY: u16 = 1 << 1;
    pub(crate) const SEND_FLUSH: u16 = 1 << 2;
    pub(crate) const SEND_FUA: u16 = 1 << 3;
    pub(crate) const ROTATIONAL: u16 = 1 << 4;
    pub(crate) const SEND_TRIM: u16 = 1 << 5;
    pub(crate) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(crate) const SEND_DF: u16 = 1 << 7;
    pub(crate) const CAN_MULTI_CONN: u16 = 1 << 8;
    pub(crate) const SEND_CACHE: u16 = 1 << 10;
    pub(crate) const SEND_FAST_ZERO: u16 = 1 << 11;
    pub(crate) const BLOCK_STATUS_PAYLOAD: u16 = 1 << 12;
}

/// Commands of a client.
pub(crate) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISCONNECT: u16 = 2;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const CACHE: u16 = 5;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;

    pub(crate) const FLAG_FUA: u16 = 1;
    pub(crate) const FLAG_NO_HOLE: u16 = 1 << 1;
    pub(crate) const FLAG_DF: u16 = 1 << 2;
    pub(crate) const FLAG_REQ_ONE: u16 = 1 << 3;
    pub(crate) const FLAG_FAST_ZERO: u16 = 1 << 4;
    pub(crate) const FLAG_PAYLOAD_LENGTH: u16 = 1 << 5;

    /// Its name, for messages.
    pub(crate) const fn name(command: u16) -> &'static str {
        match command {
            READ => "read",
            WRITE => "write",
            DISCONNECT => "disconnect",
            FLUSH => "flush",
            TRIM => "trim",
            CACHE => "cache",
            WRITE_ZEROES => "write zeroes",
            BLOCK_STATUS => "block status",
            _ => "unknown command",
        }
    }
}

/// Chunks of a structured reply.
pub(crate) mod chunk {
    /// Flag: no other chunk follows.
    pub(crate) const DONE: u16 = 1;

    pub(crate) const NONE: u16 = 0;
    pub(crate) const OFFSET_DATA: u16 = 1;
    pub(crate) const OFFSET_HOLE: u16 = 2;
    pub(crate) const BLOCK_STATUS: u16 = 5;
    pub(crate) const BLOCK_STATUS_EXTENDED: u16 = 6;
    /// Set in every chunk that tells of an error.
    pub(crate) const ERROR: u16 = 1 << 15;
    pub(crate) const ERROR_OFFSET: u16 = ERROR | 2;
}

/// Flags of `base:allocation`.
pub(crate) mod allocation {
    pub(crate) const HOLE: u64 = 1;
    pub(crate) const ZERO: u64 = 2;
}

/// The error numbers that the protocol has.
pub(crate) mod errno {
    pub(crate) const EPERM: u32 = 1;
    pub(crate) const EIO: u32 = 5;
    pub(crate) const ENOMEM: u32 = 12;
    pub(crate) const EINVAL: u32 = 22;
    pub(crate) const ENOSPC: u32 = 28;
    pub(crate) const ENOTSUP: u32 = 95;
}

/// How requests and replies look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Headers {
    /// One reply for a request, in which a read cannot fail half way.
    #[default]
    Simple,
    /// Replies in chunks.
    Structured,
    /// The same, with lengths of 64 bits.
    Extended,
}

/// The first words of a server.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Greeting {
    pub(crate) password: U64,
    pub(crate) magic: U64,
    pub(crate) flags: U16,
}

/// Begins an option of a client.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct OptionHeader {
    pub(crate) magic: U64,
    pub(crate) option: U32,
    pub(crate) length: U32,
}

/// Begins the reply to an option.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct OptionReply {
    pub(crate) magic: U64,
    pub(crate) option: U32,
    pub(crate) reply: U32,
    pub(crate) length: U32,
}

/// A request in its compact form.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct CompactRequest {
    pub(crate) magic: U32,
    pub(crate) flags: U16,
    pub(crate) command: U16,
    pub(crate) cookie: U64,
    pub(crate) offset: U64,
    pub(crate) length: U32,
}

/// A request with extended headers.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtendedRequest {
    pub(crate) magic: U32,
    pub(crate) flags: U16,
    pub(crate) command: U16,
    pub(crate) cookie: U64,
    pub(crate) offset: U64,
    pub(crate) length: U64,
}

/// A simple reply; the data of a read follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct SimpleReply {
    pub(crate) magic: U32,
    pub(crate) error: U32,
    pub(crate) cookie: U64,
}

/// Begins a chunk of a structured reply.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ChunkHeader {
    pub(crate) magic: U32,
    pub(crate) flags: U16,
    pub(crate) kind: U16,
    pub(crate) cookie: U64,
    pub(crate) length: U32,
}

/// Begins a chunk of an extended reply.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtendedChunkHeader {
    pub(crate) magic: U32,
    pub(crate) flags: U16,
    pub(crate) kind: U16,
    pub(crate) cookie: U64,
    pub(crate) offset: U64,
    pub(crate) length: U64,
}

/// One run of a block status.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Run32 {
    pub(crate) length: U32,
    pub(crate) flags: U32,
}

/// One run of a block status with extended headers.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Run64 {
    pub(crate) length: U64,
    pub(crate) flags: U64,
}

/// Reads a structure.
pub(crate) fn receive<T: FromBytes + IntoBytes + FromZeros>(from: &mut impl Read) -> io::Result<T> {
    let mut value = T::new_zeroed();
    from.read_exact(value.as_mut_bytes())?;
    Ok(value)
}

/// Reads so many bytes. Memory is taken as they come, not because somebody has said that they will.
pub(crate) fn receive_bytes(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    receive_into(from, length, &mut bytes, |_| {})?;
    Ok(bytes)
}

/// As [`receive_bytes`], in place of what `bytes` holds, in memory that it may have already. `taken` hears of
/// memory before it is filled, in bytes.
pub(crate) fn receive_into(
    from: &mut impl Read,
    length: usize,
    bytes: &mut Vec<u8>,
    mut taken: impl FnMut(u64),
) -> io::Result<()> {
    /// Taken at once, bytes.
    const STEP: usize = 1 << 18;
    bytes.truncate(length);
    let mut start = 0;
    while start < length {
        // What was taken before is not cleared first.
        let end = if bytes.len() > start { bytes.len() } else { length.min(start + STEP.max(start)) };
        bytes.resize(end, 0);
        taken((end - start) as u64);
        from.read_exact(&mut bytes[start..])?;
        start = end;
    }
    Ok(())
}

/// Reads so many bytes, and forgets them.
pub(crate) fn skip(from: &mut impl Read, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut from.take(length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Takes a structure from the start of some bytes.
pub(crate) fn take<T: FromBytes>(bytes: &mut &[u8]) -> Option<T> {
    let (value, rest) = T::read_from_prefix(bytes).ok()?;
    *bytes = rest;
    Some(value)
}

/// Takes so many bytes from the start of some.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Takes a string with its length before it.
pub(crate) fn take_string(bytes: &mut &[u8]) -> Option<String> {
    let length = take::<U32>(bytes)?.get() as usize;
    let text = take_bytes(bytes, length).filter(|_| length <= STRING_BYTES_MAX)?;
    String::from_utf8(text.to_vec()).ok().filter(|text| !text.contains('\0'))
}

/// Appends a string with its length before it.
pub(crate) fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_sizes_that_the_protocol_gives_them() {
        let sizes = [
            (size_of::<Greeting>(), 18),
            (size_of::<OptionHeader>(), 16),
            (size_of::<OptionReply>(), 20),
            (size_of::<CompactRequest>(), 28),
            (size_of::<ExtendedRequest>(), 32),
            (size_of::<SimpleReply>(), 16),
            (size_of::<ChunkHeader>(), 20),
            (size_of::<ExtendedChunkHeader>(), 32),
            (size_of::<Run32>(), 8),
            (size_of::<Run64>(), 16),
        ];
        for (is, expected) in sizes {
            assert_eq!(is, expected);
        }
    }

    #[test]
    fn memory_is_taken_as_bytes_come() {
        let mut short: &[u8] = &[7; 100];
        assert_eq!(receive_bytes(&mut short, usize::MAX).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let long = vec![7; 1 << 20];
        assert_eq!(receive_bytes(&mut &long[..], 1 << 20).unwrap(), long);
        assert_eq!(receive_bytes(&mut &long[..], 0).unwrap(), []);
    }

    #[test]
    fn strings_are_bounded_and_text() {
        let mut bytes = Vec::new();
        put_string(&mut bytes, "disk");
        assert_eq!(take_string(&mut &bytes[..]).as_deref(), Some("disk"));
        for wrong in [&b"\0\0\0\x05disk"[..], b"\0\0\0\x01\xff", b"\0\0\0\x01\0", b"\0\0\0", b""] {
            assert_eq!(take_string(&mut &*wrong), None, "{wrong:?}");
        }
        let mut long = Vec::new();
        put_string(&mut long, &"x".repeat(STRING_BYTES_MAX + 1));
        assert_eq!(take_string(&mut &long[..]), None);
    }
}
