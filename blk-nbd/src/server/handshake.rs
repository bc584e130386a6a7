//! What client and server agree on before the first request.

use std::io::{self, Read, Write};
use std::sync::Arc;

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32};

use super::Export;
use super::status::Context;
use crate::socket::Until;
use crate::tls::ServerTls;
use crate::wire::{
    self, GREETING, Greeting, Headers, OPTION_MAGIC, OPTION_REPLY_MAGIC, OptionHeader, OptionReply,
    PAYLOAD_BYTES_MAX, RESERVED_BYTES, STRING_BYTES_MAX, handshake, info, option, reply,
};

/// Longest data of an option that are looked at, bytes.
const OPTION_BYTES_MAX: u32 = 1 << 16;

/// What was agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) export: Arc<Export>,
    pub(super) headers: Headers,
    /// What a block status tells.
    pub(super) contexts: Vec<Context>,
}

/// A broken protocol: nothing that follows could be understood.
pub(super) fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Talks to a client until it has chosen an export. `None` if it has chosen to leave.
///
/// `is_shared`: several clients may be connected at a time.
pub(super) fn negotiate(
    io: &mut Until<'_>,
    exports: &[Arc<Export>],
    is_shared: bool,
    tls: Option<&ServerTls>,
) -> io::Result<Option<Agreed>> {
    let flags = handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES;
    let greeting = Greeting { password: GREETING.into(), magic: OPTION_MAGIC.into(), flags: flags.into() };
    io.write_all(greeting.as_bytes())?;
    let answered = wire::receive::<U32>(io)?.get();
    if answered & !u32::from(flags) != 0 {
        return Err(broken(format!("client flags {answered:#x}, of which {flags:#x} are known")));
    }
    let is_fixed = answered & u32::from(handshake::FIXED_NEWSTYLE) != 0;
    let has_zeroes = answered & u32::from(handshake::NO_ZEROES) == 0;
    let headers = Headers::default();
    let is_encrypted = tls.is_some();
    if let Some(tls) = tls {
        if !is_fixed || !wait_for_tls(io)? {
            return Ok(None);
        }
        io.encrypt(tls.connection()?)?;
    }
    Talk {
        io,
        exports,
        is_shared,
        is_encrypted,
        is_fixed,
        has_zeroes,
        headers,
        contexts: None,
        asked_sizes: false,
    }
    .run()
}

/// Refuses all that a client asks for until it asks for an encrypted connection. Returns whether it has.
fn wait_for_tls(io: &mut Until<'_>) -> io::Result<bool> {
    loop {
        let header = option_header(io)?;
        let (option, length) = (header.option.get(), header.length.get());
        match option {
            option::START_TLS if length == 0 => {
                reply_to(io, option, reply::ACK, &[])?;
                return Ok(true);
            }
            option::ABORT => {
                let _ = reply_to(io, option, reply::ACK, &[]);
                return Ok(false);
            }
            // There is no answer to that.
            option::EXPORT_NAME => return Ok(false),
            _ => {}
        }
        if length > PAYLOAD_BYTES_MAX {
            return Err(broken(format!("option {option} with {length} bytes")));
        }
        wire::skip(io, length.into())?;
        let (kind, reason) = match option {
            option::START_TLS => (reply::INVALID, "the option has no data"),
            _ => (reply::TLS_REQUIRED, "this server talks to encrypted connections only"),
        };
        reply_to(io, option, kind, reason.as_bytes())?;
    }
}

fn option_header(io: &mut impl Read) -> io::Result<OptionHeader> {
    let header = wire::receive::<OptionHeader>(io)?;
    if header.magic == OPTION_MAGIC {
        Ok(header)
    } else {
        Err(broken(format!("an option begins with {:#x}", header.magic.get())))
    }
}

fn reply_to(io: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let head = OptionReply {
        magic: OPTION_REPLY_MAGIC.into(),
        option: option.into(),
        reply: kind.into(),
        length: (data.len() as u32).into(),
    };
    io.write_all(&[head.as_bytes(), data].concat())
}

/// What an option leads to.
enum Next {
    /// Another option.
    Option,
    /// Requests to an export.
    Transmission(Arc<Export>),
    End,
}

/// A handshake.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
struct Talk<'a, S> {
    io: &'a mut S,
    exports: &'a [Arc<Export>],
    /// Several clients may be connected at a time.
    is_shared: bool,
    is_encrypted: bool,
    /// The client has asked for block sizes, and so keeps to them.
    asked_sizes: bool,
    /// Options are answered; if not, there is only one.
    is_fixed: bool,
    has_zeroes: bool,
    headers: Headers,
    /// The contexts that were chosen, and for which export.
    contexts: Option<(String, Vec<Context>)>,
}

impl<S: Read + Write> Talk<'_, S> {
    fn run(mut self) -> io::Result<Option<Agreed>> {
        loop {
            let header = option_header(self.io)?;
            let (option, length) = (header.option.get(), header.length.get());
            match self.option(option, length)? {
                Next::Option => {}
                Next::End => return Ok(None),
                Next::Transmission(export) => {
                    let contexts = self.contexts.filter(|(name, _)| *name == export.name);
                    let contexts = contexts.map_or_else(Vec::new, |(_, contexts)| contexts);
                    return Ok(Some(Agreed { export, headers: self.headers, contexts }));
                }
            }
        }
    }

    fn option(&mut self, option: u32, length: u32) -> io::Result<Next> {
        if !self.is_fixed && option != option::EXPORT_NAME {
            return Err(broken(format!("option {option} of a client that knows no replies")));
        }
        if length > OPTION_BYTES_MAX {
            if option == option::EXPORT_NAME || length > PAYLOAD_BYTES_MAX {
                return Err(broken(format!("option {option} with {length} bytes")));
            }
            wire::skip(self.io, length.into())?;
            let reason = format!("{length} bytes of data, at most {OPTION_BYTES_MAX} are read");
            return self.refuse(option, reply::TOO_BIG, &reason);
        }
        let data = wire::receive_bytes(self.io, length as usize)?;
        match option {
            option::EXPORT_NAME => self.export_name(&data).map(Next::Transmission),
            option::ABORT => {
                // It may have gone without waiting for the answer.
                let _ = self.reply(option, reply::ACK, &[]);
                Ok(Next::End)
            }
            option::LIST => self.list(&data),
            option::START_TLS if self.is_encrypted => {
                self.refuse(option, reply::INVALID, "the connection is encrypted already")
            }
            option::START_TLS => self.refuse(option, reply::POLICY, "this server does not encrypt"),
            option::INFO | option::GO => self.go(option, &data),
            option::STRUCTURED_REPLY | option::EXTENDED_HEADERS => self.choose_headers(option, &data),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.meta_context(option, &data),
            _ => self.refuse(option, reply::UNSUPPORTED, "this server does not know the option"),
        }
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        reply_to(self.io, option, kind, data)
    }

    fn refuse(&mut self, option: u32, kind: u32, reason: &str) -> io::Result<Next> {
        let reason = &reason[..reason.floor_char_boundary(STRING_BYTES_MAX)];
        self.reply(option, kind, reason.as_bytes()).map(|()| Next::Option)
    }

    fn accept(&mut self, option: u32) -> io::Result<Next> {
        self.reply(option, reply::ACK, &[]).map(|()| Next::Option)
    }

    /// The export of that name; the only one has the empty name, too.
    fn find(&self, name: &str) -> Option<Arc<Export>> {
        let named = self.exports.iter().find(|export| export.name == name);
        let only = self.exports.first().filter(|_| name.is_empty() && self.exports.len() == 1);
        named.or(only).cloned()
    }

    /// The oldest way, in which there is no answer but that the connection ends.
    fn export_name(&mut self, data: &[u8]) -> io::Result<Arc<Export>> {
        let name = String::from_utf8_lossy(data);
        let export = self.find(&name).ok_or_else(|| broken(format!("there is no export '{name}'")))?;
        let [least, ..] = export.block_sizes();
        if least > 1 && !self.asked_sizes {
            return Err(broken(format!(
                "the client asks for '{name}' in a way in which it cannot be told that requests are multiples of \
                 {least} bytes"
            )));
        }
        let mut bytes = self.size_and_flags(&export, false);
        if self.has_zeroes {
            bytes.extend_from_slice(&[0; RESERVED_BYTES]);
        }
        self.io.write_all(&bytes)?;
        Ok(export)
    }

    /// `describes`: it is told what the export can do, whatever has been agreed on.
    fn size_and_flags(&self, export: &Export, describes: bool) -> Vec<u8> {
        let has_contexts = self.contexts.as_ref().is_some_and(|(_, contexts)| !contexts.is_empty());
        let takes_payload = self.headers == Headers::Extended && (has_contexts || describes);
        let flags = export.flags(self.is_shared, self.headers >= Headers::Structured, takes_payload);
        [&export.disk.size().to_be_bytes()[..], &flags.to_be_bytes()].concat()
    }

    fn list(&mut self, data: &[u8]) -> io::Result<Next> {
        if !data.is_empty() {
            return self.refuse(option::LIST, reply::INVALID, "a list has no data");
        }
        for export in self.exports {
            let mut bytes = Vec::new();
            wire::put_string(&mut bytes, &export.name);
            bytes.extend_from_slice(export.description.as_bytes());
            self.reply(option::LIST, reply::SERVER, &bytes)?;
        }
        self.accept(option::LIST)
    }

    fn go(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        let Some((name, wanted)) = parse_go(data) else {
            return self.refuse(option, reply::INVALID, "no name and list of information");
        };
        let Some(export) = self.find(&name) else {
            return self.refuse(option, reply::UNKNOWN, &format!("there is no export '{name}'"));
        };
        let [least, best, most] = export.block_sizes();
        let sizes = [U32::new(least), U32::new(best), U32::new(most)];
        let tell = |talk: &mut Self, kind: u16, data: &[u8]| {
            talk.reply(option, reply::INFO, &[&kind.to_be_bytes(), data].concat())
        };
        self.asked_sizes |= wanted.contains(&info::BLOCK_SIZE);
        if least > 1 && option == option::GO && !self.asked_sizes {
            tell(self, info::BLOCK_SIZE, sizes.as_bytes())?;
            let reason = format!("requests are multiples of {least} bytes");
            return self.refuse(option, reply::BLOCK_SIZE_REQUIRED, &reason);
        }
        let export_info = self.size_and_flags(&export, option == option::INFO);
        tell(self, info::EXPORT, &export_info)?;
        if wanted.contains(&info::NAME) {
            tell(self, info::NAME, export.name.as_bytes())?;
        }
        if wanted.contains(&info::DESCRIPTION) && !export.description.is_empty() {
            tell(self, info::DESCRIPTION, export.description.as_bytes())?;
        }
        tell(self, info::BLOCK_SIZE, sizes.as_bytes())?;
        self.accept(option)?;
        Ok(if option == option::GO { Next::Transmission(export) } else { Next::Option })
    }

    fn choose_headers(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        if !data.is_empty() {
            return self.refuse(option, reply::INVALID, "the option has no data");
        }
        if option == option::EXTENDED_HEADERS {
            self.headers = Headers::Extended;
        } else if self.headers == Headers::Extended {
            let reason = "extended headers were chosen before";
            return self.refuse(option, reply::EXTENDED_HEADERS_REQUIRED, reason);
        } else {
            self.headers = Headers::Structured;
        }
        self.accept(option)
    }

    fn meta_context(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        let sets = option == option::SET_META_CONTEXT;
        if sets {
            self.contexts = None;
        }
        if self.headers == Headers::Simple {
            return self.refuse(option, reply::INVALID, "block status needs structured replies");
        }
        let Some((name, queries)) = parse_queries(data) else {
            return self.refuse(option, reply::INVALID, "no name and list of contexts");
        };
        let Some(export) = self.find(&name) else {
            return self.refuse(option, reply::UNKNOWN, &format!("there is no export '{name}'"));
        };
        let mut chosen = Context::of(&export);
        if sets || !queries.is_empty() {
            chosen.retain(|context| queries.iter().any(|query| context.is_meant_by(query, &export, !sets)));
        }
        for context in &chosen {
            // What is listed has no number yet.
            let id = if sets { context.id() } else { 0 };
            let bytes = [&id.to_be_bytes()[..], context.name(&export).as_bytes()].concat();
            self.reply(option, reply::META_CONTEXT, &bytes)?;
        }
        if sets {
            self.contexts = Some((export.name.clone(), chosen));
        }
        self.accept(option)
    }
}

/// The name of an export, and which information about it is wanted.
fn parse_go(mut data: &[u8]) -> Option<(String, Vec<u16>)> {
    let name = wire::take_string(&mut data)?;
    let count = usize::from(wire::take::<U16>(&mut data)?.get());
    let wanted = (0..count).map(|_| wire::take::<U16>(&mut data).map(U16::get)).collect::<Option<_>>()?;
    data.is_empty().then_some((name, wanted))
}

/// The name of an export, and the contexts that are asked for.
fn parse_queries(mut data: &[u8]) -> Option<(String, Vec<String>)> {
    let name = wire::take_string(&mut data)?;
    let count = wire::take::<U32>(&mut data)?.get();
    // Each has a length at least.
    if count as usize > data.len() / size_of::<u32>() {
        return None;
    }
    let queries = (0..count).map(|_| wire::take_string(&mut data)).collect::<Option<_>>()?;
    data.is_empty().then_some((name, queries))
}
