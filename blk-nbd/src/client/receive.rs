//! Replies, read from the wire and judged: a server may be hostile.

use std::io::{self, Read};

use zerocopy::FromBytes;

use crate::wire::{
    self, CHUNK_MAGIC, ChunkHeader, EXTENDED_CHUNK_MAGIC, ExtendedChunkHeader, Headers, Run32, Run64,
    SIMPLE_REPLY_MAGIC, STRING_BYTES_MAX, SimpleReply, chunk, command,
};

/// Chunks of one reply, at most.
const CHUNKS_MAX: usize = 1 << 16;
/// Longest list of runs, bytes.
const STATUS_BYTES_MAX: u64 = 16 << 20;

/// A request, as far as its reply has to fit it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) command: u16,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// The context that a block status was asked in.
    pub(super) context: u32,
}

/// What has come of a reply.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) is_complete: bool,
    /// The first error: its number, and what the server said.
    pub(super) error: Option<(u32, String)>,
    /// Runs of a block status.
    pub(super) runs: Vec<(u64, u64)>,
    /// Parts of a read that have come, from the start of the request, in order and apart.
    covered: Vec<(u64, u64)>,
    chunks: usize,
}

/// How a message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Simple { error: u32 },
    Chunk { is_last: bool, kind: u16, length: u64 },
}

pub(super) fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server breaks the protocol: {}", what.into()))
}

/// Reads how a message begins, and to which request it belongs.
pub(super) fn head(input: &mut impl Read, headers: Headers) -> io::Result<(u64, Head)> {
    if headers == Headers::Extended {
        let header = wire::receive::<ExtendedChunkHeader>(input)?;
        if header.magic != EXTENDED_CHUNK_MAGIC {
            return Err(broken(format!("a reply begins with {:#x}", header.magic.get())));
        }
        return Ok((
            header.cookie.get(),
            chunk_head(header.flags.get(), header.kind.get(), header.length.get()),
        ));
    }
    let magic: [u8; 4] = wire::receive(input)?;
    match (u32::from_be_bytes(magic), headers) {
        (SIMPLE_REPLY_MAGIC, _) => {
            let rest: [u8; size_of::<SimpleReply>() - 4] = wire::receive(input)?;
            let header = SimpleReply::read_from_bytes(&[&magic[..], &rest].concat()).expect("it is as long");
            Ok((header.cookie.get(), Head::Simple { error: header.error.get() }))
        }
        (CHUNK_MAGIC, Headers::Structured) => {
            let rest: [u8; size_of::<ChunkHeader>() - 4] = wire::receive(input)?;
            let header = ChunkHeader::read_from_bytes(&[&magic[..], &rest].concat()).expect("it is as long");
            let length = header.length.get().into();
            Ok((header.cookie.get(), chunk_head(header.flags.get(), header.kind.get(), length)))
        }
        (other, _) => Err(broken(format!("a reply begins with {other:#x}"))),
    }
}

fn chunk_head(flags: u16, kind: u16, length: u64) -> Head {
    Head::Chunk { is_last: flags & chunk::DONE != 0, kind, length }
}

impl Reply {
    /// Takes what follows the head of a message. The bytes of a read go to `buf`, which is as long as the
    /// request.
    pub(super) fn take(
        &mut self,
        input: &mut impl Read,
        asked: Asked,
        head: Head,
        headers: Headers,
        buf: &mut [u8],
    ) -> io::Result<()> {
        match head {
            Head::Simple { error } => self.simple(input, asked, error, headers, buf),
            Head::Chunk { is_last, kind, length } => {
                self.chunks += 1;
                if self.chunks > CHUNKS_MAX {
                    return Err(broken(format!("more than {CHUNKS_MAX} chunks in a reply")));
                }
                self.chunk(input, asked, kind, length, buf)?;
                if is_last { self.end(asked) } else { Ok(()) }
            }
        }
    }

    fn simple(
        &mut self,
        input: &mut impl Read,
        asked: Asked,
        error: u32,
        headers: Headers,
        buf: &mut [u8],
    ) -> io::Result<()> {
        let reads = asked.command == command::READ;
        let lacks_runs = asked.command == command::BLOCK_STATUS && error == 0;
        if (reads && headers != Headers::Simple) || lacks_runs || self.chunks > 0 {
            let name = command::name(asked.command);
            return Err(broken(format!("a simple reply to {name}")));
        }
        if error != 0 {
            self.error = Some((error, String::new()));
        } else if reads {
            input.read_exact(buf)?;
        }
        self.is_complete = true;
        Ok(())
    }

    fn chunk(
        &mut self,
        input: &mut impl Read,
        asked: Asked,
        kind: u16,
        length: u64,
        buf: &mut [u8],
    ) -> io::Result<()> {
        let wrong = || {
            broken(format!("a chunk of kind {kind} and {length} bytes to {}", command::name(asked.command)))
        };
        match kind {
            chunk::NONE if length == 0 => Ok(()),
            chunk::OFFSET_DATA if asked.command == command::READ && length > 8 => {
                let part = self.part(input, asked, length - 8)?;
                input.read_exact(&mut buf[part])
            }
            chunk::OFFSET_HOLE if asked.command == command::READ && length == 12 => {
                let offset: [u8; 8] = wire::receive(input)?;
                let hole: [u8; 4] = wire::receive(input)?;
                let part = self.cover(asked, u64::from_be_bytes(offset), u32::from_be_bytes(hole).into())?;
                buf[part].fill(0);
                Ok(())
            }
            chunk::BLOCK_STATUS | chunk::BLOCK_STATUS_EXTENDED
                if asked.command == command::BLOCK_STATUS && length <= STATUS_BYTES_MAX =>
            {
                let bytes = wire::receive_bytes(input, length as usize)?;
                self.status(asked, kind == chunk::BLOCK_STATUS_EXTENDED, &bytes)
            }
            _ if kind & chunk::ERROR != 0 && (6..=STRING_BYTES_MAX as u64 + 14).contains(&length) => {
                let bytes = wire::receive_bytes(input, length as usize)?;
                self.failed(kind, &bytes)
            }
            _ => Err(wrong()),
        }
    }

    /// The part of the buffer that a chunk of data fills.
    fn part(
        &mut self,
        input: &mut impl Read,
        asked: Asked,
        length: u64,
    ) -> io::Result<std::ops::Range<usize>> {
        let offset: [u8; 8] = wire::receive(input)?;
        self.cover(asked, u64::from_be_bytes(offset), length)
    }

    /// Notes that a part has come: inside the request, and for the first time.
    fn cover(&mut self, asked: Asked, offset: u64, length: u64) -> io::Result<std::ops::Range<usize>> {
        let wrong =
            || broken(format!("bytes {offset}, {length} of a read of {}, {}", asked.offset, asked.length));
        let start = offset.checked_sub(asked.offset).ok_or_else(wrong)?;
        let end =
            start.checked_add(length).filter(|end| *end <= asked.length && length > 0).ok_or_else(wrong)?;
        let at = self.covered.partition_point(|(other, _)| *other < start);
        let is_free = at.checked_sub(1).is_none_or(|before| self.covered[before].1 <= start)
            && self.covered.get(at).is_none_or(|after| end <= after.0);
        if !is_free {
            return Err(broken(format!("bytes {offset}, {length} come twice in a read")));
        }
        self.covered.insert(at, (start, end));
        Ok(start as usize..end as usize)
    }

    fn status(&mut self, asked: Asked, is_extended: bool, mut bytes: &[u8]) -> io::Result<()> {
        let wrong = || broken("a block status that is no list of runs");
        let id: [u8; 4] = wire::take(&mut bytes).ok_or_else(wrong)?;
        if u32::from_be_bytes(id) != asked.context || !self.runs.is_empty() {
            return Err(broken("a block status of another context"));
        }
        if is_extended {
            let count: [u8; 4] = wire::take(&mut bytes).ok_or_else(wrong)?;
            let runs = <[Run64]>::ref_from_bytes(bytes).map_err(|_| wrong())?;
            if runs.len() as u64 != u64::from(u32::from_be_bytes(count)) {
                return Err(wrong());
            }
            self.runs = runs.iter().map(|run| (run.length.get(), run.flags.get())).collect();
        } else {
            let runs = <[Run32]>::ref_from_bytes(bytes).map_err(|_| wrong())?;
            self.runs = runs.iter().map(|run| (run.length.get().into(), run.flags.get().into())).collect();
        }
        let is_right = !self.runs.is_empty() && self.runs.iter().all(|(length, _)| *length > 0);
        if is_right { Ok(()) } else { Err(wrong()) }
    }

    fn failed(&mut self, kind: u16, mut bytes: &[u8]) -> io::Result<()> {
        let wrong = || broken("an error without a number and a text");
        let number: [u8; 4] = wire::take(&mut bytes).ok_or_else(wrong)?;
        let length: [u8; 2] = wire::take(&mut bytes).ok_or_else(wrong)?;
        let text = wire::take_bytes(&mut bytes, u16::from_be_bytes(length).into()).ok_or_else(wrong)?;
        let rest = if kind == chunk::ERROR_OFFSET { 8 } else { bytes.len() };
        let number = u32::from_be_bytes(number);
        if number == 0 || bytes.len() != rest {
            return Err(wrong());
        }
        self.error.get_or_insert_with(|| (number, String::from_utf8_lossy(text).into_owned()));
        Ok(())
    }

    /// Whether a reply is whole that says it has ended.
    fn end(&mut self, asked: Asked) -> io::Result<()> {
        self.is_complete = true;
        if self.error.is_some() {
            return Ok(());
        }
        let came: u64 = self.covered.iter().map(|(start, end)| end - start).sum();
        if asked.command == command::READ && came != asked.length {
            return Err(broken(format!("{came} bytes of a read of {}", asked.length)));
        }
        if asked.command == command::BLOCK_STATUS && self.runs.is_empty() {
            return Err(broken("a block status without runs"));
        }
        Ok(())
    }
}
