//! A server that listens.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use blk_core::sync::{Condvar, Mutex};
use blk_core::{Error, Result};

use super::Server;
use crate::socket::Socket;

/// A client leaves, however its thread ends.
struct Leaving<'a> {
    shared: &'a Shared,
    number: u64,
    /// It has chosen an export.
    has_used: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let client = state.clients.remove(&self.number);
        state.ending.extend(client.map(|client| client.thread));
        state.served += u64::from(self.has_used);
        self.shared.changed.notify_all();
    }
}

/// A server that listens, until it is stopped or dropped.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    /// Where it listens, if that is a port.
    port: Option<SocketAddr>,
    /// Where it listens, if that is a file.
    path: Option<PathBuf>,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// In the file system.
    Unix(UnixListener),
    /// On a port.
    Tcp(TcpListener),
}

#[derive(Debug)]
struct Shared {
    server: Arc<Server>,
    listener: Listener,
    state: Mutex<State>,
    /// A client has come or gone, or the server is to stop.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    clients: BTreeMap<u64, Client>,
    /// Threads of clients that have left. Each holds the disks until it has ended.
    ending: Vec<JoinHandle<()>>,
    /// Clients that have come so far.
    came: u64,
    /// How many of them have used an export and left.
    served: u64,
}

/// A connection, and the thread that serves it.
#[derive(Debug)]
struct Client {
    socket: Socket,
    thread: JoinHandle<()>,
}

fn unresolved(place: &str, error: &io::Error) -> Error {
    Error::Unresolved { name: place.to_owned(), reason: format!("cannot listen there: {error}") }
}

impl Running {
    pub(super) fn unix(server: Arc<Server>, path: &Path) -> Result<Self> {
        let failed = |error: &io::Error| unresolved(&path.display().to_string(), error);
        remove_dead(path).map_err(|error| failed(&error))?;
        let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
        Self::start(server, Listener::Unix(listener), None, Some(path.to_owned()))
    }

    pub(super) fn tcp(server: Arc<Server>, host: &str, port: u16) -> Result<Self> {
        let failed = |error: &io::Error| unresolved(&format!("{host}:{port}"), error);
        let listener = TcpListener::bind((host, port)).map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        Self::start(server, Listener::Tcp(listener), Some(address), None)
    }

    /// On a socket that is open already. Its file stays when the server stops.
    pub(super) fn passed(server: Arc<Server>, listener: Listener) -> Result<Self> {
        let failed = |error: &io::Error| unresolved("a socket that is passed on", error);
        let listens = rustix::net::sockopt::socket_acceptconn(listener.fd());
        if !listens.map_err(|error| failed(&error.into()))? {
            return Err(failed(&io::Error::new(io::ErrorKind::InvalidInput, "it does not listen")));
        }
        let port = match &listener {
            Listener::Unix(_) => None,
            Listener::Tcp(listener) => listener.local_addr().ok(),
        };
        Self::start(server, listener, port, None)
    }

    fn start(
        server: Arc<Server>,
        listener: Listener,
        port: Option<SocketAddr>,
        path: Option<PathBuf>,
    ) -> Result<Self> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { server, listener, state, changed });
        let accepting = Arc::clone(&shared);
        let name = format!("{}-accept", shared.server.options.thread_name);
        let thread = std::thread::Builder::new().name(name);
        let thread = thread.spawn(move || accept(&accepting));
        let thread = thread.map_err(|error| unresolved("a thread", &error))?;
        Ok(Self { shared, accepting: Some(thread), port, path })
    }

    /// The address that it listens on, if it listens on a port.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.port
    }

    /// Waits until a client has used an export and left, and no other one is connected.
    pub fn wait_for_last_client(&self) {
        let mut state = self.shared.state.lock();
        while !state.is_stopping && (state.served == 0 || !state.clients.is_empty()) {
            self.shared.changed.wait(&mut state);
        }
    }

    /// Takes no more clients, and ends [`Running::wait_for_last_client`], which another thread is in.
    pub fn interrupt(&self) {
        self.shared.state.lock().is_stopping = true;
        self.shared.changed.notify_all();
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.shared.state.lock().clients.len()
    }

    /// Takes no more requests, answers those that it has, and flushes all disks. Clients that do not take
    /// their answers are waited for as long as [`ServerOptions::stop_time`](super::ServerOptions::stop_time)
    /// says. No thread of the server holds a disk afterwards: who lets go of the last handle then closes it.
    ///
    /// # Errors
    /// That of a flush.
    pub fn stop(mut self) -> Result<()> {
        self.end();
        let exports = self.shared.server.exports.iter();
        let flushed: Vec<Result<()>> = exports.map(|export| export.disk.flush()).collect();
        flushed.into_iter().collect()
    }

    fn end(&mut self) {
        self.interrupt();
        // As long as it listens, the name is its own: later it may be another server's.
        if let Some(path) = self.path.take() {
            let _ = fs::remove_file(path);
        }
        // An accept that waits returns.
        let _ = rustix::net::shutdown(self.shared.listener.fd(), rustix::net::Shutdown::Both);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        let mut state = self.shared.state.lock();
        for client in state.clients.values() {
            client.socket.shutdown(Shutdown::Read);
        }
        let end = Instant::now().checked_add(self.shared.server.options.stop_time);
        // A time that is too far away to be a time is for ever.
        let mut is_late = false;
        while !state.clients.is_empty() && !is_late {
            if let Some(end) = end {
                is_late = self.shared.changed.wait_until(&mut state, end);
            } else {
                self.shared.changed.wait(&mut state);
            }
        }
        for client in state.clients.values() {
            client.socket.shutdown(Shutdown::Both);
        }
        while !state.clients.is_empty() {
            self.shared.changed.wait(&mut state);
        }
        drop(state);
        self.shared.join_ending();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.accepting.is_some() {
            self.end();
        }
    }
}

/// Removes a socket that no program listens on.
fn remove_dead(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is a file, and no socket"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

impl Listener {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }

    fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener) => listener.accept().map(|(stream, _)| Socket::Unix(stream)),
            Self::Tcp(listener) => listener.accept().and_then(|(stream, _)| Socket::tcp(stream)),
        }
    }
}

/// Takes clients until the server stops.
fn accept(shared: &Arc<Shared>) {
    /// What passes by itself, such as too many open files, is tried again after so long.
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
    while shared.wait_for_room() {
        match shared.listener.accept() {
            Ok(socket) => shared.add(socket),
            Err(_) if shared.state.lock().is_stopping => return,
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

impl Shared {
    /// Waits until another client may come. Returns whether one may.
    fn wait_for_room(&self) -> bool {
        let max = self.server.options.connections_max;
        let mut state = self.state.lock();
        while !state.is_stopping && max > 0 && state.clients.len() >= max {
            self.changed.wait(&mut state);
        }
        !state.is_stopping
    }

    /// Waits for the threads of clients that have left, which takes no time to speak of.
    fn join_ending(&self) {
        let ending = std::mem::take(&mut self.state.lock().ending);
        for thread in ending {
            let _ = thread.join();
        }
    }

    /// Serves a client by a thread. One for which there is no thread is sent away.
    fn add(self: &Arc<Self>, socket: Socket) {
        let Ok(served) = socket.try_clone() else { return };
        self.join_ending();
        let mut state = self.state.lock();
        if state.is_stopping {
            return;
        }
        let number = state.came;
        state.came += 1;
        let shared = Arc::clone(self);
        let name = format!("{}-client", self.server.options.thread_name);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut leaving = Leaving { shared: &shared, number, has_used: false };
            // Why it has left is nobody's business here.
            let _ = shared.server.serve_noting(served, &mut leaving.has_used);
        });
        if let Ok(thread) = thread {
            state.clients.insert(number, Client { socket, thread });
        }
    }
}
