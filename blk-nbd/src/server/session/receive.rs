//! Requests, read from the wire.

use std::io::{self, BufRead, Read};

use crate::server::handshake::broken;
use crate::wire::{
    self, CompactRequest, EXTENDED_REQUEST_MAGIC, ExtendedRequest, Headers, PAYLOAD_BYTES_MAX, REQUEST_MAGIC,
    command,
};

/// A payload longer than that is not even skipped: the connection ends. Bytes.
const SKIPPED_BYTES_MAX: u64 = 2 * PAYLOAD_BYTES_MAX as u64;

/// A request of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) payload: Payload,
}

/// The bytes that follow a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// All of them are in the request's buffer.
    Taken,
    /// There were more than are taken.
    TooLong(u64),
}

/// Memory for the bytes that a request moves.
pub(super) trait Room {
    /// Where its payload goes.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// So many more bytes need memory.
    fn count(&mut self, bytes: u64);
}

/// Reads a request; `hold` waits for room for its bytes, and gives the buffer into which its payload is read.
/// `None` when the client leaves.
pub(super) fn receive<H: Room>(
    input: &mut impl BufRead,
    headers: Headers,
    hold: impl FnOnce(u64) -> H,
) -> io::Result<Option<(Request, H)>> {
    if input.fill_buf()?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has gone without saying so"));
    }
    let mut request = if headers == Headers::Extended { extended(input)? } else { compact(input)? };
    if request.command == command::DISCONNECT {
        return Ok(None);
    }
    let payload = request.payload_bytes(headers);
    if payload > SKIPPED_BYTES_MAX {
        return Err(broken(format!("a payload of {payload} bytes")));
    }
    let read = if request.command == command::READ { request.length } else { 0 };
    let [read, written] = [read, payload].map(|bytes| bytes.min(PAYLOAD_BYTES_MAX.into()));
    let mut room = hold(read.max(written));
    room.count(read);
    if payload > PAYLOAD_BYTES_MAX.into() {
        wire::skip(input, payload)?;
        request.payload = Payload::TooLong(payload);
    } else if payload > 0 {
        let mut bytes = std::mem::take(room.buffer());
        wire::receive_into(input, payload as usize, &mut bytes, |taken| room.count(taken))?;
        *room.buffer() = bytes;
    }
    Ok(Some((request, room)))
}

fn compact(input: &mut impl Read) -> io::Result<Request> {
    let header = wire::receive::<CompactRequest>(input)?;
    expect_magic(header.magic.get(), REQUEST_MAGIC)?;
    Ok(Request {
        flags: header.flags.get(),
        command: header.command.get(),
        cookie: header.cookie.get(),
        offset: header.offset.get(),
        length: header.length.get().into(),
        payload: Payload::Taken,
    })
}

fn extended(input: &mut impl Read) -> io::Result<Request> {
    let header = wire::receive::<ExtendedRequest>(input)?;
    expect_magic(header.magic.get(), EXTENDED_REQUEST_MAGIC)?;
    Ok(Request {
        flags: header.flags.get(),
        command: header.command.get(),
        cookie: header.cookie.get(),
        offset: header.offset.get(),
        length: header.length.get(),
        payload: Payload::Taken,
    })
}

fn expect_magic(is: u32, expected: u32) -> io::Result<()> {
    if is == expected {
        Ok(())
    } else {
        Err(broken(format!("a request begins with {is:#x}, not {expected:#x}")))
    }
}

impl Request {
    /// Whether requests of its kind take about the same time, so that some say how long others will.
    pub(super) fn is_quick(&self) -> bool {
        /// To move more takes long enough by itself, bytes.
        const BYTES_MAX: u64 = 64 << 10;
        let moves = matches!(self.command, command::READ | command::WRITE);
        moves && self.length <= BYTES_MAX && self.flags & command::FLAG_FUA == 0
    }

    /// How many bytes follow it. With extended headers a flag says so; a write has them in any case.
    fn payload_bytes(&self, headers: Headers) -> u64 {
        let says_so = headers == Headers::Extended && self.flags & command::FLAG_PAYLOAD_LENGTH != 0;
        if says_so || self.command == command::WRITE { self.length } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    fn write_of(length: u32) -> Vec<u8> {
        let header = CompactRequest {
            magic: REQUEST_MAGIC.into(),
            flags: 0.into(),
            command: command::WRITE.into(),
            cookie: 7.into(),
            offset: 512.into(),
            length: length.into(),
        };
        header.as_bytes().to_vec()
    }

    /// A buffer that was used before.
    struct Used {
        buffer: Vec<u8>,
        counted: u64,
    }

    impl Room for Used {
        fn buffer(&mut self) -> &mut Vec<u8> {
            &mut self.buffer
        }

        fn count(&mut self, bytes: u64) {
            self.counted += bytes;
        }
    }

    fn received(bytes: &[u8]) -> io::Result<Option<(Request, Vec<u8>)>> {
        let received = receive(&mut &*bytes, Headers::Simple, |_| Used { buffer: vec![9; 2], counted: 0 })?;
        if let Some((request, room)) = &received {
            let taken = if request.payload == Payload::Taken { request.length } else { 0 };
            assert_eq!(room.counted, taken, "what has memory is counted");
        }
        Ok(received.map(|(request, room)| (request, room.buffer)))
    }

    #[test]
    fn a_payload_has_its_bounds() {
        let bytes = [write_of(3), vec![1, 2, 3]].concat();
        let (request, buffer) = received(&bytes).unwrap().unwrap();
        assert_eq!((request.cookie, request.offset, request.length), (7, 512, 3));
        assert_eq!((request.payload, buffer), (Payload::Taken, vec![1, 2, 3]));
        let length = PAYLOAD_BYTES_MAX + 1;
        let bytes = [write_of(length), vec![0; length as usize]].concat();
        assert_eq!(received(&bytes).unwrap().unwrap().0.payload, Payload::TooLong(length.into()));
        assert_eq!(received(&write_of(u32::MAX)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn half_a_request_is_an_error() {
        let bytes = [write_of(3), vec![1, 2, 3]].concat();
        for length in 0..bytes.len() {
            assert!(received(&bytes[..length]).is_err(), "{length}");
        }
        let mut wrong = bytes;
        wrong[0] ^= 1;
        assert_eq!(received(&wrong).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
