//! What a client asks of a server before the first request.

use std::io::{self, Read, Write};

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32, U64};

use super::ClientOptions;
use super::receive::broken;
use crate::address::Address;
use crate::socket::Until;
use crate::wire::{
    self, GREETING, Greeting, Headers, OPTION_MAGIC, OPTION_REPLY_MAGIC, OptionHeader, OptionReply,
    PAYLOAD_BYTES_MAX, RESERVED_BYTES, STRING_BYTES_MAX, export, handshake, info, option, reply,
};

/// Longest data of a reply, bytes: two strings and numbers.
const REPLY_BYTES_MAX: u32 = 2 * STRING_BYTES_MAX as u32 + 64;
/// Replies to one option, at most: a server that lists more is given up.
const REPLIES_MAX: usize = 10_000;
const ALLOCATION: &str = "base:allocation";

/// An export, as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportInfo {
    /// Its name.
    pub name: String,
    /// What the server says about it to people.
    pub description: String,
    /// Its size, bytes.
    pub size: u64,
    /// The transmission flags.
    pub flags: u16,
    /// The smallest, the best and the largest request, bytes, where the server has said so.
    pub block_sizes: Option<[u32; 3]>,
    /// The contexts that a block status may be asked in.
    pub contexts: Vec<String>,
    /// Lengths of requests have 64 bits.
    pub long_requests: bool,
}

impl ExportInfo {
    /// Whether it can only be read.
    pub fn is_read_only(&self) -> bool {
        self.has(export::READ_ONLY)
    }

    pub(super) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// What was agreed on.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    pub(super) info: ExportInfo,
    pub(super) headers: Headers,
    /// The number of the context that a block status is asked in, and whether it is a dirty bitmap.
    pub(super) context: Option<(u32, bool)>,
}

impl Agreed {
    /// Whether a block status is that of a dirty bitmap; `None` where none is told.
    pub(super) fn dirty_bitmap(&self) -> Option<bool> {
        self.context.map(|(_, is_dirty_bitmap)| is_dirty_bitmap)
    }
}

/// Agrees on an export.
pub(super) fn negotiate(
    io: &mut Until<'_>,
    address: &Address,
    options: &ClientOptions,
) -> io::Result<Agreed> {
    let name = &address.export;
    let mut talk = begin(io, address, options)?;
    let agreed = talk.agree(name, options);
    if talk.is_fixed && agreed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Other) {
        // It was refused, and leaves in order. The server may not wait for that.
        let _ = talk.ask(option::ABORT, &[]);
    }
    agreed
}

/// Asks what there is.
pub(super) fn list(
    io: &mut Until<'_>,
    address: &Address,
    options: &ClientOptions,
) -> io::Result<Vec<ExportInfo>> {
    let mut talk = begin(io, address, options)?;
    if !talk.is_fixed {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the server is too old to list its exports"));
    }
    let headers = talk.choose_headers(options)?;
    let mut exports = talk.list()?;
    for export in &mut exports {
        // Of one that the server does not describe, the name is known.
        if let Err(error) = talk.go(option::INFO, export, options)
            && error.kind() != io::ErrorKind::Other
        {
            return Err(error);
        }
        export.long_requests = headers == Headers::Extended;
        if headers >= Headers::Structured {
            export.contexts = talk.list_contexts(&export.name.clone())?;
        }
    }
    // It may not wait for the end.
    let _ = talk.ask(option::ABORT, &[]);
    Ok(exports)
}

pub(super) fn no_certificates() -> io::Error {
    io::Error::other("an encrypted connection needs certificates (tls-creds)")
}

/// Says hello, and encrypts the connection if that is wanted.
fn begin<'a, 'b>(
    io: &'a mut Until<'b>,
    address: &Address,
    options: &ClientOptions,
) -> io::Result<Talk<'a, Until<'b>>> {
    let mut talk = Talk::begin(io)?;
    if !address.tls {
        return Ok(talk);
    }
    let tls = options.tls.as_ref().ok_or_else(no_certificates)?;
    if !talk.is_fixed {
        return Err(io::Error::other("the server is too old to encrypt"));
    }
    let connection = tls.connection(address.location.host())?;
    talk.ask(option::START_TLS, &[])?;
    accepted(talk.answer(option::START_TLS, |_, _| Ok(()))?, "to encrypt the connection")?;
    talk.io.encrypt(connection)?;
    Ok(talk)
}

/// How an option was answered in the end.
enum Answer {
    Accepted,
    /// By a server that does not know it.
    Unknown,
    Refused(u32, String),
}

struct Talk<'a, S> {
    io: &'a mut S,
    /// Options are answered.
    is_fixed: bool,
    has_zeroes: bool,
}

impl<'a, S: Read + Write> Talk<'a, S> {
    fn begin(io: &'a mut S) -> io::Result<Self> {
        let greeting = wire::receive::<Greeting>(io)?;
        if greeting.password != GREETING {
            return Err(broken(format!("it begins with {:#x}", greeting.password.get())));
        }
        if greeting.magic != OPTION_MAGIC {
            return Err(io::Error::other("the server speaks only the oldstyle handshake"));
        }
        let known = greeting.flags.get() & (handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES);
        io.write_all(&u32::from(known).to_be_bytes())?;
        let is_fixed = known & handshake::FIXED_NEWSTYLE != 0;
        Ok(Self { io, is_fixed, has_zeroes: known & handshake::NO_ZEROES == 0 })
    }

    /// Agrees on everything, an export last.
    fn agree(&mut self, name: &str, options: &ClientOptions) -> io::Result<Agreed> {
        let mut agreed = Agreed::default();
        name.clone_into(&mut agreed.info.name);
        if self.is_fixed {
            agreed.headers = self.choose_headers(options)?;
            agreed.info.long_requests = agreed.headers == Headers::Extended;
            if options.block_status && agreed.headers >= Headers::Structured {
                let context = options.dirty_context.as_deref().unwrap_or(ALLOCATION);
                let id = self.set_context(name, context)?;
                agreed.context = id.map(|id| (id, options.dirty_context.is_some()));
            }
        }
        if let Some(context) = options.dirty_context.as_deref().filter(|_| agreed.context.is_none()) {
            return Err(io::Error::other(format!("the export has no context '{context}'")));
        }
        // An old one gives an export only by its name.
        if !self.is_fixed || !self.go(option::GO, &mut agreed.info, options)? {
            self.export_name(&mut agreed.info)?;
        }
        Ok(agreed)
    }

    fn ask(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u32).into();
        let head = OptionHeader { magic: OPTION_MAGIC.into(), option: option.into(), length };
        self.io.write_all(&[head.as_bytes(), data].concat())
    }

    /// Hears the replies to an option; `each` gets those before the last.
    fn answer(
        &mut self,
        option: u32,
        mut each: impl FnMut(u32, &[u8]) -> io::Result<()>,
    ) -> io::Result<Answer> {
        for _ in 0..REPLIES_MAX {
            let head = wire::receive::<OptionReply>(self.io)?;
            if head.magic != OPTION_REPLY_MAGIC || head.option != option {
                let (magic, to) = (head.magic.get(), head.option.get());
                return Err(broken(format!("a reply {magic:#x} to option {to}, asked was {option}")));
            }
            let (kind, length) = (head.reply.get(), head.length.get());
            if length > REPLY_BYTES_MAX {
                return Err(broken(format!("a reply of {length} bytes to option {option}")));
            }
            let data = wire::receive_bytes(self.io, length as usize)?;
            match kind {
                reply::ACK => return Ok(Answer::Accepted),
                reply::UNSUPPORTED => return Ok(Answer::Unknown),
                _ if kind & reply::ERROR != 0 => {
                    return Ok(Answer::Refused(kind, String::from_utf8_lossy(&data).into_owned()));
                }
                _ => each(kind, &data)?,
            }
        }
        Err(broken(format!("more than {REPLIES_MAX} replies to option {option}")))
    }

    fn choose_headers(&mut self, options: &ClientOptions) -> io::Result<Headers> {
        if options.structured && options.extended && self.is_accepted(option::EXTENDED_HEADERS)? {
            return Ok(Headers::Extended);
        }
        if options.structured && self.is_accepted(option::STRUCTURED_REPLY)? {
            return Ok(Headers::Structured);
        }
        Ok(Headers::Simple)
    }

    fn is_accepted(&mut self, option: u32) -> io::Result<bool> {
        self.ask(option, &[])?;
        Ok(matches!(self.answer(option, |_, _| Ok(()))?, Answer::Accepted))
    }

    fn list(&mut self) -> io::Result<Vec<ExportInfo>> {
        self.ask(option::LIST, &[])?;
        let mut exports = Vec::new();
        let answer = self.answer(option::LIST, |kind, mut data| {
            if kind != reply::SERVER {
                return Ok(());
            }
            let name = wire::take_string(&mut data).ok_or_else(|| broken("an export without a name"))?;
            let description = String::from_utf8_lossy(data).into_owned();
            exports.push(ExportInfo { name, description, ..ExportInfo::default() });
            Ok(())
        })?;
        accepted(answer, "to list its exports")?;
        Ok(exports)
    }

    fn list_contexts(&mut self, export: &str) -> io::Result<Vec<String>> {
        let mut contexts = Vec::new();
        self.ask(option::LIST_META_CONTEXT, &queries(export, &[]))?;
        let answer = self.answer(option::LIST_META_CONTEXT, |kind, data| {
            if kind == reply::META_CONTEXT {
                contexts.push(context_of(data)?.1);
            }
            Ok(())
        })?;
        Ok(if matches!(answer, Answer::Accepted) { contexts } else { Vec::new() })
    }

    /// Chooses one context, if the export has it.
    fn set_context(&mut self, export: &str, context: &str) -> io::Result<Option<u32>> {
        let mut found = None;
        self.ask(option::SET_META_CONTEXT, &queries(export, &[context]))?;
        let answer = self.answer(option::SET_META_CONTEXT, |kind, data| {
            if kind == reply::META_CONTEXT {
                let (id, name) = context_of(data)?;
                if name != context || found.is_some() {
                    return Err(broken(format!("context '{name}', asked was '{context}'")));
                }
                found = Some(id);
            }
            Ok(())
        })?;
        Ok(found.filter(|_| matches!(answer, Answer::Accepted)))
    }

    /// Asks for an export, or about one. Returns whether the server knows how to answer.
    fn go(&mut self, option: u32, export: &mut ExportInfo, options: &ClientOptions) -> io::Result<bool> {
        let mut data = Vec::new();
        wire::put_string(&mut data, &export.name);
        let wanted: &[u16] = if options.block_sizes { &[info::BLOCK_SIZE] } else { &[] };
        data.extend_from_slice(&(wanted.len() as u16).to_be_bytes());
        data.extend(wanted.iter().flat_map(|wanted| wanted.to_be_bytes()));
        self.ask(option, &data)?;
        let mut has_size = false;
        let answer = self.answer(option, |kind, data| {
            if kind == reply::INFO {
                has_size |= export.learn(data)?;
            }
            Ok(())
        })?;
        match answer {
            Answer::Accepted if has_size => Ok(true),
            Answer::Accepted => Err(broken("an export without a size")),
            Answer::Unknown => Ok(false),
            refused @ Answer::Refused(..) => {
                let what = format!("to open '{}'", export.name);
                accepted(refused, &what).map(|()| true)
            }
        }
    }

    fn export_name(&mut self, export: &mut ExportInfo) -> io::Result<()> {
        self.ask(option::EXPORT_NAME, export.name.as_bytes())?;
        let size = wire::receive::<U64>(self.io).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                io::Error::other(format!("the server has no export '{}', or does not give it", export.name))
            }
            _ => error,
        })?;
        let flags = wire::receive::<U16>(self.io)?;
        if self.has_zeroes {
            wire::skip(self.io, RESERVED_BYTES as u64)?;
        }
        (export.size, export.flags) = (size.get(), flags.get());
        Ok(())
    }
}

/// An answer that has to be yes.
fn accepted(answer: Answer, what: &str) -> io::Result<()> {
    let (kind, text) = match answer {
        Answer::Accepted => return Ok(()),
        Answer::Unknown => (reply::UNSUPPORTED, String::new()),
        Answer::Refused(kind, text) => (kind, text),
    };
    let reason = match kind {
        reply::UNSUPPORTED => "it does not support that",
        reply::POLICY => "its policy forbids it",
        reply::INVALID => "it calls the request invalid",
        reply::TLS_REQUIRED => "it wants an encrypted connection",
        reply::UNKNOWN => "it has no such export",
        reply::SHUTDOWN => "it is shutting down",
        reply::BLOCK_SIZE_REQUIRED => "it wants to be asked for its block sizes",
        _ => "for a reason of its own",
    };
    let text = if text.is_empty() { text } else { format!(": {text}") };
    Err(io::Error::other(format!("the server refuses {what}: {reason} ({:#x}){text}", kind & !reply::ERROR)))
}

fn queries(export: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    wire::put_string(&mut data, export);
    data.extend_from_slice(&(queries.len() as u32).to_be_bytes());
    for query in queries {
        wire::put_string(&mut data, query);
    }
    data
}

fn context_of(mut data: &[u8]) -> io::Result<(u32, String)> {
    let id = wire::take::<U32>(&mut data).ok_or_else(|| broken("a context without a number"))?;
    Ok((id.get(), String::from_utf8_lossy(data).into_owned()))
}

impl ExportInfo {
    /// Takes what a server tells about an export. Returns whether it was the size.
    fn learn(&mut self, mut data: &[u8]) -> io::Result<bool> {
        let wrong = || broken(format!("information of {} bytes", data.len()));
        let kind = wire::take::<U16>(&mut data).ok_or_else(wrong)?.get();
        match kind {
            info::EXPORT => {
                let size = wire::take::<U64>(&mut data);
                let flags = wire::take::<U16>(&mut data);
                let (Some(size), Some(flags), true) = (size, flags, data.is_empty()) else {
                    return Err(broken("an export without size and flags"));
                };
                (self.size, self.flags) = (size.get(), flags.get());
                return Ok(true);
            }
            info::DESCRIPTION => self.description = String::from_utf8_lossy(data).into_owned(),
            info::BLOCK_SIZE => self.block_sizes = Some(block_sizes(data)?),
            _ => {}
        }
        Ok(false)
    }
}

/// The three sizes, which have to be ones that a client can keep to.
fn block_sizes(mut data: &[u8]) -> io::Result<[u32; 3]> {
    let mut next = || wire::take::<U32>(&mut data).map(U32::get);
    let (Some(least), Some(best), Some(most)) = (next(), next(), next()) else {
        return Err(broken("block sizes that are not three"));
    };
    let is_possible = least.is_power_of_two()
        && least <= (64 << 10)
        && best >= least
        && most >= best.min(PAYLOAD_BYTES_MAX)
        && (most == u32::MAX || most.is_multiple_of(least));
    if !is_possible {
        return Err(broken(format!("block sizes {least}, {best}, {most}")));
    }
    Ok([least, best, most])
}
