//! Requests of one client, and their replies.
//!
//! Threads take turns at reading: whoever has read a request lets the next one read, and then makes the
//! request of the disk. So one request at a time costs no change of threads, and many are in flight together.

mod perform;
mod receive;
mod reply;

use std::io::{self, BufReader};
use std::net::Shutdown;
use std::thread::Scope;

use blk_core::sync::atomic::{AtomicUsize, Ordering};
use blk_core::sync::{Condvar, Mutex};

use super::ServerOptions;
use super::handshake::Agreed;
use crate::socket::Socket;
use receive::Request;
use reply::Replies;

/// What is read at once, bytes: small requests come together.
const READ_BYTES: usize = 1 << 16;

/// A client that makes requests.
struct Session<'a> {
    agreed: &'a Agreed,
    options: &'a ServerOptions,
    /// `None` when no more requests come.
    input: Mutex<Option<BufReader<Socket>>>,
    replies: Replies,
    /// Ends the connection.
    socket: Socket,
    /// Threads that wait for their turn to read.
    idle: AtomicUsize,
    threads: AtomicUsize,
    /// Bytes in flight.
    bytes: Mutex<u64>,
    fewer_bytes: Condvar,
    /// Why the session has ended, if the client did not say that it leaves.
    failure: Mutex<Option<io::Error>>,
}

/// Answers a client's requests until it leaves. All requests that were read have been answered then, or could
/// not be.
pub(super) fn serve(socket: Socket, agreed: &Agreed, options: &ServerOptions) -> io::Result<()> {
    let session = Session {
        agreed,
        options,
        input: Mutex::new(Some(BufReader::with_capacity(READ_BYTES, socket.try_clone()?))),
        replies: Replies::new(socket.try_clone()?, agreed.headers),
        socket,
        idle: AtomicUsize::new(0),
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
        while let Some((request, held)) = self.next(scope) {
            let answered = perform::perform(self.agreed, &self.replies, request);
            drop(held);
            if let Err(error) = answered {
                // The client hears nothing any more.
                self.fail(error);
            }
        }
    }

    /// The next request, once it is this thread's turn. Another one takes its place, so that the request
    /// after it is read, too.
    fn next<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Option<(Request, Held<'scope>)> {
        self.idle.fetch_add(1, Ordering::Relaxed);
        let mut input = self.input.lock();
        let idle = self.idle.fetch_sub(1, Ordering::Relaxed) - 1;
        let reader = input.as_mut()?;
        let received = receive::receive(reader, self.agreed.headers, |bytes| self.hold(bytes));
        match received {
            Ok(Some(received)) => {
                if idle == 0 {
                    self.add_thread(scope);
                }
                Some(received)
            }
            Ok(None) => {
                *input = None;
                None
            }
            Err(error) => {
                *input = None;
                // What is in flight is answered yet.
                self.failure.lock().get_or_insert(error);
                None
            }
        }
    }

    fn add_thread<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let one_more = |threads: usize| (threads < self.options.requests_max).then_some(threads + 1);
        if self.threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return;
        }
        let thread = std::thread::Builder::new().name("nbd".to_owned());
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
        while *held > 0 && *held + bytes > self.options.bytes_max {
            self.fewer_bytes.wait(&mut held);
        }
        *held += bytes;
        drop(held);
        Held { bytes, all: &self.bytes, fewer: &self.fewer_bytes }
    }
}

/// Bytes in flight, until this is dropped.
struct Held<'a> {
    bytes: u64,
    all: &'a Mutex<u64>,
    fewer: &'a Condvar,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.all.lock() -= self.bytes;
        self.fewer.notify_all();
    }
}
