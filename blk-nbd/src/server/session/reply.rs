//! Replies, in the form that was agreed on. Each message is written as a whole: threads share the socket.

use std::io;

use blk_core::sync::Mutex;
use zerocopy::IntoBytes;

use crate::socket::{Socket, send};
use crate::wire::{
    CHUNK_MAGIC, ChunkHeader, EXTENDED_CHUNK_MAGIC, ExtendedChunkHeader, Headers, SIMPLE_REPLY_MAGIC,
    SimpleReply, chunk,
};

/// Longest text that comes with an error, bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The way back to a client.
pub(super) struct Replies {
    output: Mutex<Socket>,
    headers: Headers,
}

/// To which request.
#[derive(Debug, Clone, Copy)]
pub(super) struct To {
    pub(super) cookie: u64,
    /// Offset of the request, which extended headers repeat.
    pub(super) offset: u64,
}

impl Replies {
    pub(super) fn new(output: Socket, headers: Headers) -> Self {
        Self { output: Mutex::new(output), headers }
    }

    pub(super) fn headers(&self) -> Headers {
        self.headers
    }

    /// That it is done.
    pub(super) fn done(&self, to: To) -> io::Result<()> {
        match self.headers {
            // A simple reply is shorter, and allowed where nothing is read.
            Headers::Simple | Headers::Structured => self.simple(to, 0, &[]),
            Headers::Extended => self.chunk(to, chunk::NONE, true, &[], &[]),
        }
    }

    /// What was read.
    pub(super) fn data(&self, to: To, data: &[u8]) -> io::Result<()> {
        match self.headers {
            Headers::Simple => self.simple(to, 0, data),
            _ if data.is_empty() => self.chunk(to, chunk::NONE, true, &[], &[]),
            _ => self.part(to, to.offset, data, true),
        }
    }

    /// A part of what was read.
    pub(super) fn part(&self, to: To, offset: u64, data: &[u8], is_last: bool) -> io::Result<()> {
        self.chunk(to, chunk::OFFSET_DATA, is_last, &offset.to_be_bytes(), data)
    }

    /// Zeroes in what was read. Less than 4 GiB.
    pub(super) fn hole(&self, to: To, offset: u64, length: u64, is_last: bool) -> io::Result<()> {
        let payload = [&offset.to_be_bytes()[..], &(length as u32).to_be_bytes()].concat();
        self.chunk(to, chunk::OFFSET_HOLE, is_last, &payload, &[])
    }

    /// The runs of a context.
    pub(super) fn status(&self, to: To, id: u32, runs: &[(u64, u64)], is_last: bool) -> io::Result<()> {
        let mut payload = id.to_be_bytes().to_vec();
        let kind = if self.headers == Headers::Extended {
            payload.extend_from_slice(&(runs.len() as u32).to_be_bytes());
            for (length, flags) in runs {
                payload.extend_from_slice(&length.to_be_bytes());
                payload.extend_from_slice(&flags.to_be_bytes());
            }
            chunk::BLOCK_STATUS_EXTENDED
        } else {
            for (length, flags) in runs {
                payload.extend_from_slice(&(*length as u32).to_be_bytes());
                payload.extend_from_slice(&(*flags as u32).to_be_bytes());
            }
            chunk::BLOCK_STATUS
        };
        self.chunk(to, kind, is_last, &payload, &[])
    }

    /// That it has failed.
    pub(super) fn error(&self, to: To, number: u32, message: &str) -> io::Result<()> {
        if self.headers == Headers::Simple {
            return self.simple(to, number, &[]);
        }
        let mut end = message.len().min(MESSAGE_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let payload =
            [&number.to_be_bytes()[..], &(end as u16).to_be_bytes(), &message.as_bytes()[..end]].concat();
        self.chunk(to, chunk::ERROR | 1, true, &payload, &[])
    }

    fn simple(&self, to: To, error: u32, data: &[u8]) -> io::Result<()> {
        let head =
            SimpleReply { magic: SIMPLE_REPLY_MAGIC.into(), error: error.into(), cookie: to.cookie.into() };
        send(&mut *self.output.lock(), head.as_bytes(), data)
    }

    fn chunk(&self, to: To, kind: u16, is_last: bool, payload: &[u8], data: &[u8]) -> io::Result<()> {
        let flags = if is_last { chunk::DONE } else { 0 };
        let length = payload.len() + data.len();
        let head = if self.headers == Headers::Extended {
            let header = ExtendedChunkHeader {
                magic: EXTENDED_CHUNK_MAGIC.into(),
                flags: flags.into(),
                kind: kind.into(),
                cookie: to.cookie.into(),
                offset: to.offset.into(),
                length: (length as u64).into(),
            };
            [header.as_bytes(), payload].concat()
        } else {
            let header = ChunkHeader {
                magic: CHUNK_MAGIC.into(),
                flags: flags.into(),
                kind: kind.into(),
                cookie: to.cookie.into(),
                length: (length as u32).into(),
            };
            [header.as_bytes(), payload].concat()
        };
        send(&mut *self.output.lock(), &head, data)
    }
}
