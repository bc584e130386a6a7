//! Our client hears a server. Whatever that says, the client ends; what it takes for read is what the server
//! has sent, and what a right server says is understood.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use arbitrary::Arbitrary;
use blk_core::{Access, DiscardFlags, Disk, Extent, WriteFlags, ZeroFlags};
use blk_nbd::{Address, ClientOptions, Socket, connect_over};

use super::wire::{self, Form, Heard};
use super::{Counts, Number, SIZE, first_byte};

/// What a server says.
#[derive(Debug, Arbitrary)]
pub(super) struct Said {
    form: Form,
    has_context: bool,
    /// Says of the export.
    flags: u16,
    /// A reply to an option that is another than the right one.
    wrong_option: Option<(u8, u32, Vec<u8>)>,
    /// What the client asks for, in this order.
    asked: Vec<Asked>,
    /// How the requests are answered, in this order; those behind are answered rightly.
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Asked {
    Read(u16, u16),
    Write(u16, u16),
    Zero(u16, u16),
    Discard(u16, u16),
    Status(u16, u16),
    Flush,
}

#[derive(Debug, Clone, Arbitrary)]
enum Answer {
    Right,
    /// In pieces of about so many sectors, last ones first, some as holes.
    Pieces(u8, bool, u8),
    Refused(u32, Vec<u8>),
    /// With another number.
    Cookie(u64),
    /// A chunk of any kind before the right answer.
    Chunk {
        flags: u16,
        kind: u16,
        offset: Number,
        length: Number,
        data: Vec<u8>,
    },
    /// The end, in the middle of the right answer.
    Cut(u8),
    /// Bytes, whatever they are.
    Noise(Vec<u8>),
}

impl Answer {
    /// Whether a client has to understand it.
    fn is_right(&self) -> bool {
        matches!(self, Self::Right | Self::Pieces(..))
    }
}

/// How long a client may wait for a server that has said what it says.
const TIME_MAX: Duration = Duration::from_secs(30);

pub(super) fn judge(said: &Said, counts: &mut Counts) -> Result<(), String> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| format!("a pair of sockets: {error}"))?;
    std::thread::scope(|scope| {
        let serving = scope.spawn(move || serve(said, &theirs));
        let options = ClientOptions { answer_time: Some(TIME_MAX), ..ClientOptions::default() };
        let address = Address::unix("pair", "");
        let access = if said.flags & READ_ONLY == 0 { Access::ReadWrite } else { Access::ReadOnly };
        let used = match connect_over(Socket::Unix(ours), &address, access, &options) {
            Ok(disk) => use_it(said, &disk, counts),
            Err(error) if said.wrong_option.is_none() => Err(format!("the export is not opened: {error}")),
            Err(_) => Ok(()),
        };
        serving.join().map_err(|_| "the server of this test has panicked".to_owned())?;
        used
    })
}

const HAS_FLAGS: u16 = 1;
const READ_ONLY: u16 = 1 << 1;
/// Flush, FUA, trim, zeroes, fast ones: what is not offered is not asked for.
const FLAGS: u16 = READ_ONLY | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 11;

/// Asks for everything; what is answered rightly is right.
fn use_it(said: &Said, disk: &Disk, counts: &mut Counts) -> Result<(), String> {
    counts.agreed += 1;
    let is_right = said.answers.iter().all(Answer::is_right);
    let has_holes = said.answers.iter().any(|answer| matches!(answer, Answer::Pieces(_, _, 1..)));
    // Of wrong answers nobody knows what they say.
    let zero = if has_holes { Some(0) } else { None };
    let is_understood = said.wrong_option.is_none() && is_right;
    for asked in said.asked.iter().take(16) {
        counts.requests += 1;
        let failed = match *asked {
            Asked::Read(at, length) => read(disk, range(at, length), is_right.then_some(zero), counts)?,
            Asked::Write(at, length) => {
                let range = range(at, length);
                disk.write(range.offset, &vec![7; range.length as usize], WriteFlags::default()).err()
            }
            Asked::Zero(at, length) => disk.write_zeroes(range(at, length), ZeroFlags::default()).err(),
            Asked::Discard(at, length) => disk.discard(range(at, length), DiscardFlags::default()).err(),
            Asked::Status(at, length) => {
                let range = range(at, length.max(1));
                let found = disk.block_status(range);
                if let Ok(run) = &found
                    && (run.length == 0 || run.length > range.length)
                {
                    return Err(format!("a run of {} bytes in {range:?}", run.length));
                }
                found.err()
            }
            Asked::Flush => disk.flush().err(),
        };
        counts.accepted += u64::from(failed.is_none());
        let is_offered = matches!(asked, Asked::Read(..) | Asked::Status(..));
        if let Some(error) = failed.filter(|_| is_understood && is_offered) {
            return Err(format!("{asked:?} was answered rightly, and has failed: {error}"));
        }
    }
    Ok(())
}

/// A range of whole sectors inside the disk.
fn range(at: u16, length: u16) -> Extent {
    let sectors = SIZE / 512;
    let start = u64::from(at) % sectors;
    Extent::new(start * 512, (u64::from(length) % (sectors - start) + 1) * 512)
}

/// Reads. Of right answers it is known what they say: a byte of the disk, or `hole` in its place.
fn read(
    disk: &Disk,
    range: Extent,
    right: Option<Option<u8>>,
    counts: &mut Counts,
) -> Result<Option<blk_core::Error>, String> {
    let mut bytes = vec![0xee; range.length as usize];
    if let Err(error) = disk.read(range.offset, &mut bytes) {
        return Ok(Some(error));
    }
    let Some(hole) = right else { return Ok(None) };
    counts.compared += 1;
    let is_wrong = |(at, byte): (u64, &u8)| *byte != first_byte(at) && Some(*byte) != hole;
    match (range.offset..).zip(&bytes).position(is_wrong) {
        None => Ok(None),
        Some(at) => Err(format!("byte {at} of {range:?} is {:#x}, which the server has not sent", bytes[at])),
    }
}

/// Speaks as a server until the client has left.
fn serve(said: &Said, stream: &UnixStream) {
    // Each side may go at any time: then there is nothing more to be said.
    let _ = talk(said, stream);
    let _ = stream.shutdown(Shutdown::Both);
}

fn talk(said: &Said, mut stream: &UnixStream) -> std::io::Result<()> {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    heard::<4>(stream)?;
    let mut form = Form::Simple;
    for number in 0_u8.. {
        let head = heard::<16>(stream)?;
        let mut head = Heard(&head[8..]);
        let (option, length) = (head.u32().unwrap_or_default(), head.u32().unwrap_or_default());
        std::io::copy(&mut stream.take(length.into()), &mut std::io::sink())?;
        if let Some((at, kind, data)) = &said.wrong_option
            && at % 8 == number
        {
            stream.write_all(&wire::option_reply(option, *kind, data))?;
        }
        let accepts = match option {
            wire::EXTENDED => said.form == Form::Extended,
            wire::STRUCTURED => said.form == Form::Structured,
            wire::SET_CONTEXT => {
                if said.has_context {
                    stream.write_all(&wire::option_reply(
                        option,
                        wire::META_CONTEXT,
                        b"\0\0\0\x01base:allocation",
                    ))?;
                }
                true
            }
            wire::GO => {
                let flags = said.flags & FLAGS | HAS_FLAGS;
                let info = [&[0, 0][..], &SIZE.to_be_bytes(), &flags.to_be_bytes()].concat();
                stream.write_all(&wire::option_reply(option, wire::INFO, &info))?;
                true
            }
            _ => false,
        };
        let kind = if accepts { wire::ACK } else { wire::REFUSED | 1 };
        stream.write_all(&wire::option_reply(option, kind, &[]))?;
        match option {
            wire::EXTENDED | wire::STRUCTURED if accepts => form = said.form,
            wire::GO => break,
            _ => {}
        }
    }
    for number in 0.. {
        let request = Request::hear(stream, form)?;
        if request.command == wire::DISCONNECT {
            break;
        }
        let answer = said.answers.get(number).unwrap_or(&Answer::Right);
        if !request.answer(stream, form, answer)? {
            break;
        }
    }
    Ok(())
}

fn heard<const N: usize>(mut stream: &UnixStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).map(|()| bytes)
}

/// What the client has asked for.
struct Request {
    command: u16,
    cookie: u64,
    offset: u64,
    length: u64,
}

impl Request {
    fn hear(mut stream: &UnixStream, form: Form) -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        let bytes = &mut bytes[..if form == Form::Extended { 32 } else { 28 }];
        stream.read_exact(bytes)?;
        let mut head = Heard(&bytes[6..]);
        let read = |head: &mut Heard<'_>| {
            let (command, cookie, offset) = (head.u16()?, head.u64()?, head.u64()?);
            let length = if form == Form::Extended { head.u64()? } else { head.u32()?.into() };
            Ok::<_, String>(Self { command, cookie, offset, length })
        };
        let request = read(&mut head).map_err(std::io::Error::other)?;
        if request.command == wire::WRITE {
            std::io::copy(&mut stream.take(request.length), &mut std::io::sink())?;
        }
        Ok(request)
    }

    /// Answers; whether the client may go on.
    fn answer(&self, mut stream: &UnixStream, form: Form, answer: &Answer) -> std::io::Result<bool> {
        let right = self.right(form, 0, false, 0);
        match answer {
            Answer::Right => stream.write_all(&right)?,
            Answer::Pieces(sectors, last_first, holes) => {
                stream.write_all(&self.right(form, u64::from(*sectors) * 512, *last_first, *holes))?;
            }
            Answer::Refused(number, text) => {
                let number = (*number).max(1);
                let bytes = if form == Form::Simple {
                    self.simple(number)
                } else {
                    let length = text.len() as u16;
                    let payload = [&number.to_be_bytes()[..], &length.to_be_bytes(), text].concat();
                    self.chunk(form, wire::DONE, wire::ERROR, &payload)
                };
                stream.write_all(&bytes)?;
            }
            Answer::Cookie(cookie) => {
                stream.write_all(&Self { cookie: *cookie, ..*self }.right(form, 0, false, 0))?;
            }
            Answer::Chunk { flags, kind, offset, length, data } => {
                let payload = [&offset.value().to_be_bytes()[..], data].concat();
                let mut chunk = self.chunk(form.max(Form::Structured), *flags, *kind, &payload);
                let at = if form == Form::Extended { 24..32 } else { 16..20 };
                // Some say another length than they have.
                if *flags & 0x8000 != 0 {
                    let length = length.value().to_be_bytes();
                    chunk[at.clone()].copy_from_slice(&length[8 - at.len()..]);
                }
                stream.write_all(&chunk)?;
                stream.write_all(&right)?;
                // The client may wait for more than it has been told of.
                return Ok(*flags & 0x8000 == 0);
            }
            Answer::Cut(count) => {
                stream.write_all(&right[..right.len().saturating_sub(1 + usize::from(*count))])?;
                return Ok(false);
            }
            Answer::Noise(bytes) => {
                stream.write_all(bytes)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn simple(&self, error: u32) -> Vec<u8> {
        let magic = wire::SIMPLE_REPLY_MAGIC.to_be_bytes();
        [&magic[..], &error.to_be_bytes(), &self.cookie.to_be_bytes()].concat()
    }

    fn chunk(&self, form: Form, flags: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
        let is_extended = form == Form::Extended;
        let magic = if is_extended { wire::EXTENDED_CHUNK_MAGIC } else { wire::CHUNK_MAGIC };
        let mut bytes = [&magic.to_be_bytes()[..], &flags.to_be_bytes(), &kind.to_be_bytes()].concat();
        bytes.extend(self.cookie.to_be_bytes());
        if is_extended {
            bytes.extend(self.offset.to_be_bytes());
            bytes.extend((payload.len() as u64).to_be_bytes());
        } else {
            bytes.extend((payload.len() as u32).to_be_bytes());
        }
        bytes.extend(payload);
        bytes
    }

    /// What a right server says; a read in pieces of `piece` bytes, of which some are holes.
    fn right(&self, form: Form, piece: u64, last_first: bool, holes: u8) -> Vec<u8> {
        let is_read = self.command == wire::READ;
        if form == Form::Simple {
            let mut bytes = self.simple(0);
            if is_read {
                bytes.extend(self.bytes(self.offset, self.length));
            }
            return bytes;
        }
        if self.command == wire::BLOCK_STATUS {
            let run = if form == Form::Extended {
                [&1_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), &self.length.to_be_bytes(), &[0; 8]].concat()
            } else {
                [&1_u32.to_be_bytes()[..], &(self.length as u32).to_be_bytes(), &[0; 4]].concat()
            };
            let kind = if form == Form::Extended { wire::STATUS_EXTENDED } else { wire::STATUS };
            return self.chunk(form, wire::DONE, kind, &run);
        }
        if !is_read {
            return self.chunk(form, wire::DONE, wire::NONE, &[]);
        }
        let piece = if piece == 0 { self.length } else { piece };
        let starts = (0..self.length.div_ceil(piece)).map(|number| number * piece);
        let mut starts: Vec<u64> = starts.collect();
        if last_first {
            starts.reverse();
        }
        let mut bytes = Vec::new();
        for (number, start) in starts.iter().enumerate() {
            let offset = self.offset + start;
            let length = piece.min(self.length - start);
            if holes >> (number % 8) & 1 != 0 {
                let payload = [&offset.to_be_bytes()[..], &(length as u32).to_be_bytes()].concat();
                bytes.extend(self.chunk(form, 0, wire::OFFSET_HOLE, &payload));
            } else {
                let payload = [&offset.to_be_bytes()[..], &self.bytes(offset, length)].concat();
                bytes.extend(self.chunk(form, 0, wire::OFFSET_DATA, &payload));
            }
        }
        bytes.extend(self.chunk(form, wire::DONE, wire::NONE, &[]));
        bytes
    }

    fn bytes(&self, offset: u64, length: u64) -> Vec<u8> {
        (offset..offset + length).map(first_byte).collect()
    }
}
