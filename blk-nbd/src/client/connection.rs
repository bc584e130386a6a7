//! A connection that many threads share.
//!
//! One thread that waits for its reply reads from the socket. Its own reply goes to its own buffer; replies
//! to other threads are kept for them. Once its reply is complete, another waiting thread takes over. So a
//! single request in flight costs no context switch.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use blk_core::sync::atomic::{AtomicU64, Ordering};
use blk_core::sync::{Condvar, Mutex};
use blk_core::{Disconnection, Error, Result};
use zerocopy::IntoBytes;

use super::receive::{self, Asked, Reply, broken};
use crate::socket::{Socket, send};
use crate::wire::{CompactRequest, EXTENDED_REQUEST_MAGIC, ExtendedRequest, Headers, REQUEST_MAGIC, command};

/// What is read at once, bytes.
const READ_BYTES: usize = 1 << 16;

/// What has become of a connection.
pub(super) fn how(error: &io::Error) -> Disconnection {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Disconnection::Silent,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            Disconnection::Closed
        }
        _ => Disconnection::Broken,
    }
}

/// The same in words.
pub(super) fn in_words(error: &io::Error) -> String {
    match how(error) {
        Disconnection::Silent => "the server does not answer".to_owned(),
        Disconnection::Closed => "the server has closed it".to_owned(),
        _ => error.to_string(),
    }
}

/// A request of a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) asked: Asked,
    pub(super) flags: u16,
}

/// The bytes that a request moves.
pub(super) enum Transfer<'a> {
    None,
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

impl Transfer<'_> {
    /// The same bytes, for a request that is made once more.
    pub(super) fn again(&mut self) -> Transfer<'_> {
        match self {
            Self::None => Transfer::None,
            Self::Read(buf) => Transfer::Read(buf),
            Self::Write(buf) => Transfer::Write(buf),
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Connection {
    /// The address, for messages.
    name: String,
    headers: Headers,
    cookies: AtomicU64,
    output: Mutex<Socket>,
    /// Held by the thread that reads.
    input: Mutex<BufReader<Socket>>,
    state: Mutex<State>,
    socket: Socket,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<u64, Pending>,
    /// A thread reads.
    has_reader: bool,
    /// Why there is no connection any more.
    failure: Option<(Disconnection, String)>,
}

/// A request that has no answer yet.
#[derive(Debug)]
struct Pending {
    asked: Asked,
    reply: Reply,
    /// What another thread has read for this one.
    data: Vec<u8>,
    /// It waits, and could read itself.
    is_waiting: bool,
    /// Wakes it.
    woken: Arc<Condvar>,
}

impl Connection {
    pub(super) fn new(
        socket: Socket,
        headers: Headers,
        name: String,
        answer_time: Option<Duration>,
    ) -> io::Result<Self> {
        socket.set_read_timeout(answer_time)?;
        socket.set_write_timeout(answer_time)?;
        Ok(Self {
            name,
            headers,
            cookies: AtomicU64::new(1),
            output: Mutex::new(socket.try_clone()?),
            input: Mutex::new(BufReader::with_capacity(READ_BYTES, socket.try_clone()?)),
            state: Mutex::default(),
            socket,
        })
    }

    /// Makes a request, and waits for its answer. Returns the runs of a block status.
    pub(super) fn transact(&self, request: Request, mut transfer: Transfer<'_>) -> Result<Vec<(u64, u64)>> {
        let cookie = self.cookies.fetch_add(1, Ordering::Relaxed);
        let woken = Arc::new(Condvar::new());
        {
            let mut state = self.state.lock();
            if let Some(failure) = &state.failure {
                return Err(self.gone(failure));
            }
            let (asked, woken) = (request.asked, Arc::clone(&woken));
            let pending =
                Pending { asked, reply: Reply::default(), data: Vec::new(), is_waiting: false, woken };
            state.pending.insert(cookie, pending);
        }
        if let Err(error) = self.send(cookie, request, &transfer) {
            self.fail(&error);
        }
        let reply = self.wait(cookie, &woken, &mut transfer)?;
        match reply.error {
            None => Ok(reply.runs),
            Some((number, message)) => {
                let Asked { command, offset, length, .. } = request.asked;
                let said = if message.is_empty() { message } else { format!(": {message}") };
                let what = format!("{} of {length} bytes at {offset}{said}", command::name(command));
                Err(Error::from_errno(i32::try_from(number).unwrap_or(i32::MAX), what))
            }
        }
    }

    fn send(&self, cookie: u64, request: Request, transfer: &Transfer<'_>) -> io::Result<()> {
        let Request { asked, mut flags } = request;
        let payload = if let Transfer::Write(bytes) = transfer { bytes } else { &[][..] };
        let mut output = self.output.lock();
        if self.headers == Headers::Extended {
            if asked.command == command::WRITE {
                flags |= command::FLAG_PAYLOAD_LENGTH;
            }
            let head = ExtendedRequest {
                magic: EXTENDED_REQUEST_MAGIC.into(),
                flags: flags.into(),
                command: asked.command.into(),
                cookie: cookie.into(),
                offset: asked.offset.into(),
                length: asked.length.into(),
            };
            return send(&mut *output, head.as_bytes(), payload);
        }
        let head = CompactRequest {
            magic: REQUEST_MAGIC.into(),
            flags: flags.into(),
            command: asked.command.into(),
            cookie: cookie.into(),
            offset: asked.offset.into(),
            length: u32::try_from(asked.length).expect("the limits keep to 32 bits").into(),
        };
        send(&mut *output, head.as_bytes(), payload)
    }

    /// Waits for the reply, and reads from the socket if no other thread does.
    fn wait(&self, cookie: u64, woken: &Condvar, transfer: &mut Transfer<'_>) -> Result<Reply> {
        let mut state = self.state.lock();
        loop {
            let pending = state.pending.get_mut(&cookie).expect("it is there until it is answered");
            if pending.reply.is_complete {
                let pending = state.pending.remove(&cookie).expect("it was there");
                if let (Transfer::Read(buf), false) = (transfer, pending.data.is_empty()) {
                    buf.copy_from_slice(&pending.data);
                }
                return Ok(pending.reply);
            }
            if let Some(failure) = &state.failure {
                let error = self.gone(failure);
                state.pending.remove(&cookie);
                return Err(error);
            }
            if state.has_reader {
                state.pending.get_mut(&cookie).expect("it is there").is_waiting = true;
                woken.wait(&mut state);
                continue;
            }
            state.has_reader = true;
            drop(state);
            let read = self.read_until(cookie, transfer);
            if let Err(error) = read {
                self.fail(&error);
            }
            state = self.state.lock();
            state.has_reader = false;
            if let Some(next) = state.pending.values().find(|next| next.is_waiting && !next.reply.is_complete)
            {
                next.woken.notify_one();
            }
        }
    }

    /// Reads messages until the reply to this request is whole.
    fn read_until(&self, cookie: u64, transfer: &mut Transfer<'_>) -> io::Result<()> {
        let mut input = self.input.lock();
        loop {
            let (to, head) = receive::head(&mut *input, self.headers)?;
            let Some((asked, mut reply, mut data)) = self.begin(to) else {
                return Err(broken(format!("a reply to request {to}, which waits for none")));
            };
            // What others have read of it is in a buffer of its own: the rest goes there, too.
            let is_own = to == cookie && data.is_empty();
            if let (true, Transfer::Read(buf)) = (is_own, &mut *transfer) {
                reply.take(&mut *input, asked, head, self.headers, buf)?;
            } else {
                if data.is_empty() && asked.command == command::READ {
                    data.resize(asked.length as usize, 0);
                }
                reply.take(&mut *input, asked, head, self.headers, &mut data)?;
            }
            let is_complete = reply.is_complete;
            let mut state = self.state.lock();
            if let Some(pending) = state.pending.get_mut(&to) {
                (pending.reply, pending.data) = (reply, data);
                if is_complete && to != cookie {
                    pending.woken.notify_one();
                }
            }
            if is_complete && to == cookie {
                return Ok(());
            }
        }
    }

    /// Takes what is known of a reply that goes on.
    fn begin(&self, cookie: u64) -> Option<(Asked, Reply, Vec<u8>)> {
        let mut state = self.state.lock();
        let pending = state.pending.get_mut(&cookie).filter(|pending| !pending.reply.is_complete)?;
        Some((pending.asked, std::mem::take(&mut pending.reply), std::mem::take(&mut pending.data)))
    }

    /// Whether there is no connection any more.
    pub(super) fn is_lost(&self) -> bool {
        self.state.lock().failure.is_some()
    }

    fn gone(&self, (how, failure): &(Disconnection, String)) -> Error {
        Error::Disconnected { how: *how, what: format!("{}: {failure}", self.name).into() }
    }

    /// Nothing more can be asked: whoever waits hears it.
    fn fail(&self, error: &io::Error) {
        let failure = (how(error), in_words(error));
        self.socket.shutdown(Shutdown::Both);
        let mut state = self.state.lock();
        state.failure.get_or_insert(failure);
        for pending in state.pending.values() {
            pending.woken.notify_one();
        }
    }

    /// Tells the server that the client leaves. That is also done when the connection is dropped.
    pub(super) fn leave(&self) {
        if self.state.lock().failure.is_some() {
            return;
        }
        let asked = Asked { command: command::DISCONNECT, offset: 0, length: 0, context: 0 };
        // It may be gone already.
        let _ = self.send(0, Request { asked, flags: 0 }, &Transfer::None);
        self.fail(&io::Error::other("it was closed here"));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
    }
}
