//! A request of a client, made of the disk and answered.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use blk_core::{Data, DiscardFlags, Error, Extent, Op, OpKind, Result, WriteFlags, ZeroFlags, bytes};
use zerocopy::byteorder::big_endian::{U32, U64};

use super::receive::{Payload, Request};
use super::reply::{Replies, To};
use crate::server::errors;
use crate::server::handshake::Agreed;
use crate::server::status::Context;
use crate::wire::{self, Headers, PAYLOAD_BYTES_MAX, command, errno};

/// Runs that a block status tells at most.
const RUNS_MAX: usize = 4096;
/// Of what was read, parts as long as this that are zero are not sent. Bytes.
const SPARSE_BYTES: usize = 1 << 16;

/// Why a request was not done: a number for the client, and words.
struct Refusal {
    number: u32,
    message: String,
}

impl Refusal {
    fn invalid(message: impl Into<String>) -> Self {
        Self { number: errno::EINVAL, message: message.into() }
    }

    fn of(error: &Error, kind: OpKind) -> Self {
        Self { number: errors::number(error, kind), message: error.to_string() }
    }
}

/// Makes the request, and answers it. `buffer` has the request's payload; what is read goes there, too.
pub(super) fn perform(
    agreed: &Agreed,
    replies: &Replies,
    request: Request,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let to = To { cookie: request.cookie, offset: request.offset };
    let answered = match check(agreed, &request) {
        Ok(()) => match request.command {
            command::READ => read(agreed, replies, to, request, buffer),
            command::BLOCK_STATUS => status(agreed, replies, to, request, buffer),
            _ => change(agreed, request, buffer).map(|()| replies.done(to)),
        },
        Err(refusal) => Err(refusal),
    };
    answered.unwrap_or_else(|refusal| replies.error(to, refusal.number, &refusal.message))
}

/// Whether the request may be made, and has only flags that it can have.
fn check(agreed: &Agreed, request: &Request) -> std::result::Result<(), Refusal> {
    let mut known = match request.command {
        command::READ => command::FLAG_DF,
        command::WRITE => command::FLAG_PAYLOAD_LENGTH,
        command::WRITE_ZEROES => command::FLAG_NO_HOLE | command::FLAG_FAST_ZERO,
        command::BLOCK_STATUS => command::FLAG_REQ_ONE | command::FLAG_PAYLOAD_LENGTH,
        command::TRIM | command::FLUSH | command::CACHE => 0,
        other => return Err(Refusal::invalid(format!("command {other} is unknown"))),
    };
    known |= command::FLAG_FUA;
    if agreed.headers < Headers::Extended {
        known &= !command::FLAG_PAYLOAD_LENGTH;
    }
    if agreed.headers < Headers::Structured {
        known &= !command::FLAG_DF;
    }
    let name = command::name(request.command);
    if request.flags & !known != 0 {
        return Err(Refusal::invalid(format!("{name} with flags {:#x}", request.flags)));
    }
    if let Payload::TooLong(bytes) = request.payload {
        return Err(Refusal::invalid(format!("{name} of {bytes} bytes, at most {PAYLOAD_BYTES_MAX}")));
    }
    let writes = matches!(request.command, command::WRITE | command::WRITE_ZEROES | command::TRIM);
    if writes && agreed.export.is_read_only() {
        return Err(Refusal { number: errno::EPERM, message: Error::ReadOnly.to_string() });
    }
    Ok(())
}

/// Calls a driver. One that panics has failed the request.
fn guarded<T>(kind: OpKind, call: impl FnOnce() -> Result<T>) -> std::result::Result<T, Refusal> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(made) => made.map_err(|error| Refusal::of(&error, kind)),
        Err(payload) => {
            let message = format!("the driver has panicked: {}", words(&*payload));
            Err(Refusal { number: errno::EIO, message })
        }
    }
}

fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// All that answers no more than that it is done.
fn change(agreed: &Agreed, request: Request, payload: &[u8]) -> std::result::Result<(), Refusal> {
    let extent = Extent::new(request.offset, request.length);
    let has = |flag: u16| request.flags & flag != 0;
    let fua = has(command::FLAG_FUA);
    let op = match request.command {
        command::WRITE => Op::Write { extent, flags: WriteFlags { fua, compressed: false } },
        command::WRITE_ZEROES => {
            let may_unmap = !has(command::FLAG_NO_HOLE);
            let fast_only = has(command::FLAG_FAST_ZERO);
            Op::WriteZeroes { extent, flags: ZeroFlags { fua, may_unmap, no_fallback: false, fast_only } }
        }
        command::TRIM => Op::Discard { extent, flags: DiscardFlags { fua } },
        command::CACHE => Op::Prefetch { extent },
        _ => Op::Flush,
    };
    let disk = &agreed.export.disk;
    let data = if request.command == command::WRITE { Data::Write(payload) } else { Data::None };
    guarded(op.kind(), || disk.perform(op, data)).map(drop)
}

type Answered = std::result::Result<io::Result<()>, Refusal>;

fn read(agreed: &Agreed, replies: &Replies, to: To, request: Request, data: &mut Vec<u8>) -> Answered {
    let disk = &agreed.export.disk;
    let Request { offset, length, .. } = request;
    if length > PAYLOAD_BYTES_MAX.into() {
        return Err(Refusal::invalid(format!("read of {length} bytes, at most {PAYLOAD_BYTES_MAX}")));
    }
    if offset.checked_add(length).is_none_or(|end| end > disk.size()) {
        // Before memory is taken for it.
        let error = Error::OutOfRange { offset, length, size: disk.size() };
        return Err(Refusal::of(&error, OpKind::Read));
    }
    data.resize(length as usize, 0);
    guarded(OpKind::Read, || disk.read(offset, data))?;
    let may_split = replies.headers() >= Headers::Structured && request.flags & command::FLAG_DF == 0;
    if may_split && data.len() >= SPARSE_BYTES {
        return Ok(send_sparse(replies, to, data));
    }
    Ok(replies.data(to, data))
}

/// Sends what is not zero, and where there are zeroes. The data say it, and not the disk's block status: that
/// may take longer to ask than the data to read, and most disks are read where they are full.
fn send_sparse(replies: &Replies, to: To, data: &[u8]) -> io::Result<()> {
    let mut parts = data.chunks(SPARSE_BYTES).map(|part| (part.len(), bytes::is_zero(part))).peekable();
    let mut start = 0;
    while let Some((mut length, is_hole)) = parts.next() {
        while let Some((more, _)) = parts.next_if(|(_, is_zero)| *is_zero == is_hole) {
            length += more;
        }
        let offset = to.offset + start as u64;
        let is_last = start + length == data.len();
        if is_hole {
            replies.hole(to, offset, length as u64, is_last)?;
        } else {
            replies.part(to, offset, &data[start..start + length], is_last)?;
        }
        start += length;
    }
    Ok(())
}

fn status(agreed: &Agreed, replies: &Replies, to: To, request: Request, payload: &[u8]) -> Answered {
    let (length, contexts) = asked(agreed, request, payload)?;
    let disk = &agreed.export.disk;
    if length == 0 || contexts.is_empty() {
        return Err(Refusal::invalid(format!("block status of {length} bytes, {} contexts", contexts.len())));
    }
    let size = disk.size();
    if request.offset.checked_add(length).is_none_or(|end| end > size) {
        let error = Error::OutOfRange { offset: request.offset, length, size };
        return Err(Refusal::of(&error, OpKind::BlockStatus));
    }
    let extent = Extent::new(request.offset, length);
    let runs_max = if request.flags & command::FLAG_REQ_ONE == 0 { RUNS_MAX } else { 1 };
    for (index, context) in contexts.iter().enumerate() {
        let runs = guarded(OpKind::BlockStatus, || context.runs(&agreed.export, extent, runs_max))?;
        let is_last = index + 1 == contexts.len();
        let sent = replies.status(to, context.id(), &runs, is_last);
        if sent.is_err() {
            return Ok(sent);
        }
    }
    Ok(Ok(()))
}

/// How many bytes a block status is of, and in which contexts: all that were agreed on, or those that its
/// payload names.
fn asked(
    agreed: &Agreed,
    request: Request,
    mut bytes: &[u8],
) -> std::result::Result<(u64, Vec<Context>), Refusal> {
    if request.flags & command::FLAG_PAYLOAD_LENGTH == 0 {
        return Ok((request.length, agreed.contexts.clone()));
    }
    let length = wire::take::<U64>(&mut bytes).ok_or_else(|| Refusal::invalid("the length is missing"))?;
    let mut contexts = Vec::new();
    while !bytes.is_empty() {
        let id = wire::take::<U32>(&mut bytes).ok_or_else(|| Refusal::invalid("half a context"))?.get();
        let named = agreed.contexts.iter().find(|context| context.id() == id);
        let context = *named.ok_or_else(|| Refusal::invalid(format!("context {id} was not agreed on")))?;
        if contexts.contains(&context) {
            return Err(Refusal::invalid(format!("context {id} is named twice")));
        }
        contexts.push(context);
    }
    Ok((length.get(), contexts))
}
