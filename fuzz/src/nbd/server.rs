//! Our server hears a client. Each request that it has understood is answered exactly once; a right one
//! succeeds, a wrong one does not, and what is read is what was written.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use arbitrary::Arbitrary;
use blk_core::{Access, DenyResolver, MemoryStorage, Options, Storage};
use blk_nbd::{Export, Server, ServerOptions, Socket};

use super::wire::{self, Form, Heard};
use super::{Counts, Number, PAYLOAD_BYTES_MAX, SIZE, first_byte, hear};

/// What a client says.
#[derive(Debug, Arbitrary)]
pub(super) struct Said {
    form: Form,
    has_context: bool,
    /// Options that are said before an export is chosen.
    options: Vec<(u8, Vec<u8>)>,
    /// How many requests may be in flight.
    in_flight: u8,
    /// One conversation in eight is damaged.
    is_whole: u8,
    damage: Damage,
    requests: Vec<Request>,
}

#[derive(Debug, Arbitrary)]
enum Damage {
    /// A byte that is another.
    Byte(u16, u8),
    /// The end, as far from the end.
    Cut(u16),
}

#[derive(Debug, Clone, Arbitrary)]
struct Request {
    command: u8,
    flags: Flags,
    place: Place,
    /// What is written.
    fill: u8,
}

/// Where a request is; mostly on the disk.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Place {
    Sectors(u8, u8),
    Bytes(u32, u16),
    Near(u8, u8),
    Anywhere(Number, Number),
}

impl Place {
    fn range(self) -> (u64, u64) {
        let within = |start: u64, length: u64| (start, length % (SIZE - start) + 1);
        match self {
            Self::Sectors(start, count) => {
                let (start, count) = (u64::from(start) * 512, u64::from(count) * 512 + 512);
                (start, count.min(SIZE - start))
            }
            Self::Bytes(start, length) => within(u64::from(start) % SIZE, length.into()),
            Self::Near(start, length) => within(start.into(), length.into()),
            Self::Anywhere(offset, length) => (offset.value(), length.value()),
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Flags {
    None,
    /// Those that the command can have.
    Known(u8),
    Any(u16),
}

/// A request as it is on the wire, with what is expected of it.
struct Sent {
    command: u16,
    flags: u16,
    offset: u64,
    length: u64,
    fill: u8,
}

impl Request {
    fn sent(&self, form: Form) -> Sent {
        // Of the numbers that are left, some are no command at all.
        let command = match self.command % 64 {
            63 => u16::from(self.command),
            62 => wire::DISCONNECT,
            number => [
                wire::READ,
                wire::WRITE,
                wire::FLUSH,
                wire::TRIM,
                wire::CACHE,
                wire::WRITE_ZEROES,
                wire::BLOCK_STATUS,
            ][usize::from(number % 7)],
        };
        let known: u16 = match command {
            wire::READ => wire::FUA | if form == Form::Simple { 0 } else { wire::DF },
            wire::WRITE_ZEROES => wire::FUA | wire::NO_HOLE | wire::FAST_ZERO,
            wire::BLOCK_STATUS => wire::FUA | wire::REQ_ONE,
            _ => wire::FUA,
        };
        let flags = match self.flags {
            Flags::None => 0,
            Flags::Known(bits) => u16::from(bits) & known,
            // A payload would have to follow, which not every command has.
            Flags::Any(flags) => flags & !wire::PAYLOAD_LENGTH,
        };
        let flags = if command == wire::WRITE && form == Form::Extended {
            flags | wire::PAYLOAD_LENGTH
        } else {
            flags
        };
        let (offset, mut length) = self.place.range();
        if form < Form::Extended {
            length &= u64::from(u32::MAX);
        }
        if command == wire::WRITE {
            length %= PAYLOAD_BYTES_MAX + 1;
        }
        if command == wire::FLUSH && !matches!(self.flags, Flags::Any(_)) {
            return Sent { command, flags, offset: 0, length: 0, fill: self.fill };
        }
        Sent { command, flags, offset, length, fill: self.fill }
    }
}

impl Sent {
    fn put(&self, form: Form, cookie: u64, bytes: &mut Vec<u8>) {
        let magic = if form == Form::Extended { wire::EXTENDED_REQUEST_MAGIC } else { wire::REQUEST_MAGIC };
        bytes.extend(magic.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.command.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        if form == Form::Extended {
            bytes.extend(self.length.to_be_bytes());
        } else {
            bytes.extend((self.length as u32).to_be_bytes());
        }
        if self.command == wire::WRITE {
            bytes.extend(std::iter::repeat_n(self.fill, self.length as usize));
        }
    }

    fn is_inside(&self) -> bool {
        self.offset.checked_add(self.length).is_some_and(|end| end <= SIZE)
    }

    /// Whether it has to succeed, or must not; `None` where either is right.
    fn has_to_succeed(&self, said: &Said) -> Option<bool> {
        let known = match self.command {
            wire::READ => wire::FUA | if said.form == Form::Simple { 0 } else { wire::DF },
            wire::WRITE => wire::FUA | wire::PAYLOAD_LENGTH,
            wire::WRITE_ZEROES => wire::FUA | wire::NO_HOLE,
            wire::BLOCK_STATUS => wire::FUA | wire::REQ_ONE,
            wire::TRIM | wire::FLUSH => wire::FUA,
            wire::CACHE => 0,
            _ => return Some(false),
        };
        let has_range = self.command != wire::FLUSH;
        if has_range && !self.is_inside() {
            return Some(false);
        }
        let has_status = said.has_context && said.form > Form::Simple;
        if self.command == wire::BLOCK_STATUS && !has_status {
            return Some(false);
        }
        let is_plain = self.flags & !known == 0 && (self.length > 0 || !has_range);
        is_plain.then_some(true)
    }
}

/// A byte of the disk; `None` where a trim leaves open what is there.
type Byte = Option<u8>;

/// A reply, put together.
#[derive(Debug, Default)]
struct Reply {
    error: Option<u32>,
    data: BTreeMap<u64, Vec<u8>>,
    runs: Vec<(u64, u64)>,
    is_done: bool,
}

pub(super) fn judge(said: &Said, counts: &mut Counts) -> Result<(), String> {
    let all: Vec<Sent> = said.requests.iter().map(|request| request.sent(said.form)).collect();
    // What follows a goodbye is said, and not answered.
    let last = all.iter().position(|request| request.command == wire::DISCONNECT);
    let sent = &all[..last.unwrap_or(all.len())];
    let mut bytes = handshake(said);
    for (cookie, request) in all.iter().enumerate() {
        request.put(said.form, cookie as u64, &mut bytes);
    }
    let is_damaged = said.is_whole % 8 == 1;
    match said.damage {
        _ if !is_damaged => {}
        Damage::Byte(at, byte) => {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        Damage::Cut(count) => bytes.truncate(bytes.len().saturating_sub(1 + usize::from(count))),
    }
    let in_flight = usize::from(said.in_flight % 4) + 1;
    let heard = talk(&bytes, in_flight)?;
    let mut heard = Heard(&heard);
    if is_damaged {
        // Which requests were understood is not known. That nothing hangs or panics has been seen.
        return Ok(());
    }
    skip_handshake(&mut heard).map_err(|why| format!("the handshake: {why}"))?;
    counts.agreed += 1;
    counts.requests += sent.len() as u64;
    let replies = replies(said.form, sent, &mut heard)?;
    let mut disk: Option<Vec<Byte>> =
        (in_flight == 1).then(|| (0..SIZE).map(|at| Some(first_byte(at))).collect());
    for (number, request) in sent.iter().enumerate() {
        let name = || {
            format!(
                "request {number}, command {} of {} at {}",
                request.command, request.length, request.offset
            )
        };
        let reply = replies.get(&(number as u64)).filter(|reply| reply.is_done);
        let reply = reply.ok_or_else(|| format!("{} has no answer", name()))?;
        compare(said, request, reply, disk.as_deref_mut(), counts)
            .map_err(|why| format!("{}: {why}", name()))?;
    }
    Ok(())
}

/// Options, in good order, and the choice of the export.
fn handshake(said: &Said) -> Vec<u8> {
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    match said.form {
        Form::Simple => {}
        Form::Structured => bytes.extend(wire::option(wire::STRUCTURED, &[])),
        Form::Extended => bytes.extend(wire::option(wire::EXTENDED, &[])),
    }
    for (number, data) in said.options.iter().take(8) {
        // Not those that end the handshake, or change the form.
        let number = u32::from(*number);
        if ![1, 2, wire::STRUCTURED, wire::EXTENDED, wire::GO, wire::SET_CONTEXT].contains(&number) {
            bytes.extend(wire::option(number, data));
        }
    }
    if said.has_context {
        let query = b"base:allocation";
        let length = query.len() as u32;
        let data = [&0_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), &length.to_be_bytes(), query].concat();
        bytes.extend(wire::option(wire::SET_CONTEXT, &data));
    }
    bytes.extend(wire::option(wire::GO, &[0, 0, 0, 0, 0, 1, 0, 3]));
    bytes
}

/// Gives the server all that is said at once, and hears all that it says.
fn talk(bytes: &[u8], requests_max: usize) -> Result<Vec<u8>, String> {
    let contents: Vec<u8> = (0..SIZE).map(first_byte).collect();
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&contents));
    let disk = blk_raw::FORMAT
        .open(storage, Access::ReadWrite, Options::new(), &DenyResolver)
        .map_err(|error| format!("the disk cannot be opened: {error}"))?;
    let options = ServerOptions { requests_max, handshake_time: None, ..ServerOptions::default() };
    let server =
        Server::new([Export::new("", Arc::new(disk))], options).map_err(|error| error.to_string())?;
    let (mut ours, theirs) = UnixStream::pair().map_err(|error| format!("a pair of sockets: {error}"))?;
    let reading = ours.try_clone().map_err(|error| format!("a pair of sockets: {error}"))?;
    std::thread::scope(|scope| {
        let served = scope.spawn(move || drop(server.serve(Socket::Unix(theirs))));
        let heard = scope.spawn(move || hear(reading));
        // The server may have had enough before.
        let _ = ours.write_all(bytes);
        let _ = ours.shutdown(Shutdown::Write);
        served.join().map_err(|_| "the server has panicked".to_owned())?;
        let _ = ours.shutdown(Shutdown::Both);
        heard.join().map_err(|_| "hearing has panicked".to_owned())
    })
}

fn skip_handshake(heard: &mut Heard<'_>) -> Result<(), String> {
    heard.take(18)?;
    loop {
        let magic = heard.u64()?;
        if magic != wire::OPTION_REPLY_MAGIC {
            return Err(format!("a reply to an option begins with {magic:#x}"));
        }
        let (option, kind, length) = (heard.u32()?, heard.u32()?, heard.u32()?);
        heard.take(length.into())?;
        if option == wire::GO && kind == wire::ACK {
            return Ok(());
        }
        if option == wire::GO && kind >= wire::REFUSED {
            return Err(format!("the export is refused: {kind:#x}"));
        }
    }
}

/// All replies, by the number of their request.
fn replies(form: Form, sent: &[Sent], heard: &mut Heard<'_>) -> Result<BTreeMap<u64, Reply>, String> {
    let mut replies: BTreeMap<u64, Reply> = BTreeMap::new();
    while !heard.0.is_empty() {
        let magic = heard.u32()?;
        let simple = magic == wire::SIMPLE_REPLY_MAGIC && form < Form::Extended;
        let (flags, kind, error) = if simple {
            (wire::DONE, wire::NONE, heard.u32()?)
        } else if magic == if form == Form::Extended { wire::EXTENDED_CHUNK_MAGIC } else { wire::CHUNK_MAGIC }
        {
            (heard.u16()?, heard.u16()?, 0)
        } else {
            return Err(format!("a reply begins with {magic:#x}"));
        };
        let cookie = heard.u64()?;
        let request = usize::try_from(cookie).ok().and_then(|number| sent.get(number));
        let request = request.ok_or_else(|| format!("a reply to request {cookie}, which was not made"))?;
        let reply = replies.entry(cookie).or_default();
        if reply.is_done {
            return Err(format!("a second reply to request {cookie}"));
        }
        reply.is_done = flags & wire::DONE != 0;
        if simple {
            reply.error = (error != 0).then_some(error);
            if error == 0 && request.command == wire::READ {
                if form != Form::Simple {
                    return Err(format!("a simple reply to read {cookie}, agreed were structured ones"));
                }
                reply.data.insert(request.offset, heard.take(request.length)?.to_vec());
            }
            continue;
        }
        let length = if form == Form::Extended {
            let offset = heard.u64()?;
            if offset != request.offset {
                return Err(format!("a reply to offset {offset}, asked was {}", request.offset));
            }
            heard.u64()?
        } else {
            heard.u32()?.into()
        };
        reply.chunk(form, kind, &mut Heard(heard.take(length)?))?;
    }
    Ok(replies)
}

impl Reply {
    fn part(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), String> {
        match self.data.insert(offset, bytes) {
            None => Ok(()),
            Some(_) => Err(format!("the bytes at {offset} come twice")),
        }
    }

    fn chunk(&mut self, form: Form, kind: u16, payload: &mut Heard<'_>) -> Result<(), String> {
        match kind {
            wire::NONE => {}
            wire::OFFSET_DATA => {
                let offset = payload.u64()?;
                self.part(offset, payload.0.to_vec())?;
                payload.0 = &[];
            }
            wire::OFFSET_HOLE => {
                let (offset, length) = (payload.u64()?, payload.u32()?);
                self.part(offset, vec![0; length as usize])?;
            }
            wire::STATUS | wire::STATUS_EXTENDED => {
                let is_extended = kind == wire::STATUS_EXTENDED;
                if is_extended != (form == Form::Extended) {
                    return Err(format!("a block status of kind {kind}"));
                }
                payload.u32()?;
                if is_extended {
                    payload.u32()?;
                }
                while !payload.0.is_empty() {
                    self.runs.push(if is_extended {
                        (payload.u64()?, payload.u64()?)
                    } else {
                        (payload.u32()?.into(), payload.u32()?.into())
                    });
                }
            }
            wire::ERROR..=0xffff => {
                self.error = Some(payload.u32()?);
                let length = payload.u16()?;
                payload.take(length.into())?;
                payload.0 = &[];
            }
            _ => return Err(format!("a chunk of kind {kind}")),
        }
        if payload.0.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", payload.0.len())) }
    }
}

/// Whether the reply is what the request has to get; the disk is what earlier ones have made of it, where
/// they were done one after the other.
fn compare(
    said: &Said,
    request: &Sent,
    reply: &Reply,
    disk: Option<&mut [Byte]>,
    counts: &mut Counts,
) -> Result<(), String> {
    let is_done = reply.error.is_none();
    counts.accepted += u64::from(is_done);
    match request.has_to_succeed(said) {
        Some(expected) if expected != is_done => {
            return Err(format!("error {:?}, success is {expected}", reply.error));
        }
        Some(_) => counts.compared += 1,
        None => {}
    }
    if reply.error == Some(0) {
        return Err("error 0".to_owned());
    }
    if !is_done {
        return Ok(());
    }
    let range = request.offset as usize..(request.offset.saturating_add(request.length)) as usize;
    match request.command {
        wire::READ => {
            let mut bytes = Vec::new();
            for (offset, part) in &reply.data {
                if *offset != request.offset + bytes.len() as u64 {
                    return Err(format!("bytes at {offset}, expected at {}", bytes.len()));
                }
                bytes.extend_from_slice(part);
            }
            if bytes.len() as u64 != request.length {
                return Err(format!("{} bytes", bytes.len()));
            }
            let differs = |(expected, read): (&Byte, &u8)| expected.is_some_and(|expected| expected != *read);
            if let Some(at) = disk.and_then(|disk| disk[range].iter().zip(&bytes).position(differs)) {
                return Err(format!("other bytes than were written, from {at} on"));
            }
        }
        wire::BLOCK_STATUS => status(request, reply, disk)?,
        wire::WRITE => {
            if let Some(disk) = disk {
                disk[range].fill(Some(request.fill));
            }
        }
        wire::WRITE_ZEROES | wire::TRIM => {
            if let Some(disk) = disk {
                disk[range].fill(if request.command == wire::TRIM { None } else { Some(0) });
            }
        }
        _ => {}
    }
    Ok(())
}

fn status(request: &Sent, reply: &Reply, disk: Option<&mut [Byte]>) -> Result<(), String> {
    const ZERO: u64 = 2;
    let total: u64 = reply.runs.iter().map(|(length, _)| length).sum();
    let has_empty = reply.runs.iter().any(|(length, _)| *length == 0);
    // The last run may be told beyond what was asked, but not beyond the disk.
    if reply.runs.is_empty() || has_empty || request.offset + total > SIZE {
        return Err(format!("runs {:?}", reply.runs));
    }
    if request.flags & wire::REQ_ONE != 0 && (reply.runs.len() > 1 || total > request.length) {
        return Err(format!("runs {:?}, asked was for one inside of the request", reply.runs));
    }
    let Some(disk) = disk else { return Ok(()) };
    let mut at = request.offset as usize;
    for (length, flags) in &reply.runs {
        let run = &disk[at..at + *length as usize];
        if flags & ZERO != 0 && run.iter().any(|byte| byte.is_some_and(|byte| byte != 0)) {
            return Err(format!("the run at {at} of {length} is said to be zero and is not"));
        }
        at += *length as usize;
    }
    Ok(())
}
