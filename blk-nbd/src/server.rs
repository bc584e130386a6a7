//! A server that exports disks.
//!
//! ```text
//! accept ─► a thread for each connection: handshake ─► Session: up to `threads` of them
//!                                                        one reads a request, then lets the next one read
//!                                                        makes it of the disk, and replies
//! ```
//!
//! A connection costs a thread while it waits, and as many more as it has had requests in flight, up to a
//! bound; and memory for the bytes that are in flight, up to another.

mod errors;
mod export;
mod handshake;
mod running;
mod session;
mod status;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blk_core::{Disconnection, Error, Result};

use crate::socket::{Socket, Until};
use crate::tls::ServerTls;

pub use export::{Export, ExportedBitmap};
pub use running::{Listener, Running};

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// How many connections there are at a time; others wait. 0 for as many as come.
    pub connections_max: usize,
    /// How many requests of a connection are in flight at a time.
    pub requests_max: usize,
    /// How many bytes of a connection are in flight at a time, unless one request alone has more.
    pub bytes_max: u64,
    /// How long a handshake may take.
    pub handshake_time: Option<Duration>,
    /// How long a server that stops waits for clients to take the answers to what they have asked.
    pub stop_time: Duration,
    /// Encrypted connections only.
    pub tls: Option<ServerTls>,
    /// What the names of its threads begin with, so that they can be told from those of another server.
    pub thread_name: String,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: 0,
            requests_max: 16,
            bytes_max: 64 << 20,
            handshake_time: Some(Duration::from_secs(10)),
            stop_time: Duration::from_secs(10),
            tls: None,
            thread_name: "nbd".to_owned(),
        }
    }
}

/// Exports, and how they are served. Every connection to an export uses the same disk, so a flush of one
/// covers what all of them have completed.
#[derive(Debug)]
pub struct Server {
    exports: Vec<Arc<Export>>,
    options: ServerOptions,
    buffers: session::Buffers,
}

impl Server {
    /// A server of these exports.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where two have the same name, a name or a description is longer than the
    /// protocol allows, or no request may be in flight.
    pub fn new(exports: impl IntoIterator<Item = Export>, options: ServerOptions) -> Result<Arc<Self>> {
        let exports: Vec<Arc<Export>> = exports.into_iter().map(Arc::new).collect();
        for (index, export) in exports.iter().enumerate() {
            export.check()?;
            if exports[..index].iter().any(|other| other.name == export.name) {
                return Err(Error::invalid_option("export", format!("'{}' is there twice", export.name)));
            }
        }
        if options.requests_max == 0 {
            return Err(Error::invalid_option("requests", "at least one request is in flight"));
        }
        Ok(Arc::new(Self { exports, options, buffers: session::Buffers::default() }))
    }

    /// Serves a client that is connected, until it leaves. Returns the name of the export that it has used,
    /// if it has come so far.
    ///
    /// # Errors
    /// [`Error::Disconnected`] where the client has broken the protocol, or gone without a word.
    pub fn serve(&self, socket: Socket) -> Result<Option<String>> {
        self.serve_noting(socket, &mut false)
    }

    /// As [`Server::serve`]; says whether the client has chosen an export, however it ends.
    fn serve_noting(&self, mut socket: Socket, has_chosen: &mut bool) -> Result<Option<String>> {
        let gone = |error: std::io::Error| Error::Disconnected {
            how: Disconnection::Broken,
            what: format!("the client: {error}").into(),
        };
        let mut until = Until::new(&mut socket, self.options.handshake_time);
        let is_shared = self.options.connections_max != 1;
        let tls = self.options.tls.as_ref();
        let agreed = handshake::negotiate(&mut until, &self.exports, is_shared, tls).map_err(gone)?;
        drop(until);
        let Some(agreed) = agreed else { return Ok(None) };
        *has_chosen = true;
        let name = agreed.export.name.clone();
        session::serve(socket, &agreed, &self.options, &self.buffers).map_err(gone)?;
        Ok(Some(name))
    }

    /// Listens on a socket in the file system. One that no program listens on any more is replaced.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where that cannot be done, or another server listens there.
    pub fn listen_unix(self: &Arc<Self>, path: &Path) -> Result<Running> {
        Running::unix(Arc::clone(self), path)
    }

    /// Listens on an address and a port; port 0 is any that is free.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where that cannot be done.
    pub fn listen_tcp(self: &Arc<Self>, host: &str, port: u16) -> Result<Running> {
        Running::tcp(Arc::clone(self), host, port)
    }

    /// Listens on a socket that is open already, such as one that a service manager has passed on. A file in
    /// which it lies stays when the server stops.
    ///
    /// # Errors
    /// [`Error::Unresolved`] where that cannot be done, or the socket does not listen.
    pub fn listen_on(self: &Arc<Self>, listener: Listener) -> Result<Running> {
        Running::passed(Arc::clone(self), listener)
    }
}
