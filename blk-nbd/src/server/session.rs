//! Requests of one client, and their replies.
//!
//! Threads take turns at reading: whoever has read a request lets the next one read, and then makes the
//! request of the disk. So one request at a time costs no change of threads, and many are in flight together.
//! Where requests are quick, the next one is only called if one takes long after all ([`turns`]).

mod buffers;
mod perform;
mod receive;
mod reply;
mod turns;

use std::io::{self, BufReader};
use std::net::Shutdown;
use std::thread::Scope;
use std::time::Instant;

use blk_core::sync::atomic::{AtomicUsize, Ordering};
use blk_core::sync::{Condvar, Mutex};

use super::ServerOptions;
use super::handshake::Agreed;
use crate::socket::Socket;
pub(super) use buffers::Buffers;
use buffers::Spare;
use receive::{Request, Room};
use reply::Replies;
use turns::{Called, Turns};

/// What is read at once, bytes: small requests come together.
const READ_BYTES: usize = 1 << 16;

/// A client that makes requests.
struct Session<'a> {
    agreed: &'a Agreed,
    options: &'a ServerOptions,
    spare: Spare<'a>,
    /// `None` when no more requests come.
    input: Mutex<Option<BufReader<Socket>>>,
    replies: Replies,
    /// Ends the connection.
    socket: Socket,
    turns: Turns,
    threads: AtomicUsize,
    /// Bytes in flight.
    bytes: Mutex<u64>,
    fewer_bytes: Condvar,
    /// Why the session has ended, if the client did not say that it leaves.
    failure: Mutex<Option<io::Error>>,
}

/// Answers a client's requests until it leaves. All requests that were read have been answered then, or could
/// not be.
pub(super) fn serve(
    socket: Socket,
    agreed: &Agreed,
    options: &ServerOptions,
    buffers: &Buffers,
) -> io::Result<()> {
    let session = Session {
        agreed,
        options,
        spare: Spare::new(buffers),
        input: Mutex::new(Some(BufReader::with_capacity(READ_BYTES, socket.try_clone()?))),
        replies: Replies::new(socket.try_clone()?, agreed.headers),
        socket,
        turns: Turns::default(),
        threads: AtomicUsize::new(1),
        bytes: Mutex::new(0),
        fewer_bytes: Condvar::new(),
        failure: Mutex::new(None),
    };
    std::thread::scope(|scope| session.work(scope));
    session.socket.shutdown(Shutdown::Both);
    session.failure.into_inner().map_or(Ok(()), Err)
}

impl Session<'_> {
    /// What each thread does.
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        while let Some((request, mut held)) = self.next(scope) {
            let begun = request.is_quick().then(Instant::now);
            let answered = perform::perform(self.agreed, &self.replies, request, &mut held.buffer);
            drop(held);
            if let Some(begun) = begun {
                self.turns.note(begun.elapsed());
            }
            if let Err(error) = answered {
                // The client hears nothing any more.
                self.fail(error);
            }
        }
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// The next request, once it is this thread's turn. Another one reads the request after it. `None` where
    /// no more come, or this thread is not needed.
    fn next<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Option<(Request, Held<'scope>)> {
        let mut input = loop {
            if let Some(input) = self.input.try_lock() {
                break input;
            }
            if self.turns.stand_by() == Called::End {
                return None;
            }
        };
        let reader = input.as_mut()?;
        self.turns.begin_reading();
        let received = receive::receive(reader, self.agreed.headers, |bytes| self.hold(bytes));
        self.turns.end_reading();
        match received {
            Ok(Some((request, held))) => {
                drop(input);
                if !self.turns.provide(request.is_quick()) {
                    self.add_thread(scope);
                }
                return Some((request, held));
            }
            Ok(None) => {}
            Err(error) => {
                // What is in flight is answered yet.
                self.failure.lock().get_or_insert(error);
            }
        }
        *input = None;
        drop(input);
        self.turns.end();
        None
    }

    fn add_thread<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let one_more = |threads: usize| (threads < self.options.requests_max).then_some(threads + 1);
        if self.threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return;
        }
        let thread = std::thread::Builder::new().name(self.options.thread_name.clone());
        if thread.spawn_scoped(scope, || self.work(scope)).is_err() {
            // Fewer requests are in flight then.
            self.threads.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn fail(&self, error: io::Error) {
        self.failure.lock().get_or_insert(error);
        self.socket.shutdown(Shutdown::Both);
    }

    /// Waits until so many bytes may be in flight, too.
    fn hold(&self, bytes: u64) -> Held<'_> {
        let mut held = self.bytes.lock();
        while *held > 0 && (*held + bytes > self.options.bytes_max || self.spare.is_scarce()) {
            self.fewer_bytes.wait(&mut held);
        }
        *held += bytes;
        drop(held);
        let buffer = self.spare.take(bytes);
        Held { bytes, counted: 0, buffer, all: &self.bytes, fewer: &self.fewer_bytes, spare: &self.spare }
    }
}

/// Bytes in flight, until this is dropped, and memory for them.
struct Held<'a> {
    bytes: u64,
    /// How many of them have memory.
    counted: u64,
    buffer: Vec<u8>,
    all: &'a Mutex<u64>,
    fewer: &'a Condvar,
    spare: &'a Spare<'a>,
}

impl Room for Held<'_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    fn count(&mut self, bytes: u64) {
        self.counted += bytes;
        self.spare.count(bytes);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.spare.give_back(self.counted, std::mem::take(&mut self.buffer));
        *self.all.lock() -= self.bytes;
        self.fewer.notify_all();
    }
}
