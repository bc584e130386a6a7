//! A client: an export of a server, as a disk.

mod connection;
mod driver;
mod handshake;
mod link;
mod receive;

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use blk_core::{Access, Disk, Error, Result};

use crate::address::Address;
use crate::socket::{Socket, Until};
use crate::tls::ClientTls;
use connection::Connection;
use driver::Nbd;
use handshake::Agreed;
use link::{Link, Redial};

pub use handshake::ExportInfo;

/// How a client talks to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct ClientOptions {
    /// How long connecting, to each address that the host has, and then the handshake may take.
    pub connect_time: Option<Duration>,
    /// How long a server may say nothing while requests wait for answers. The connection is given up then.
    pub answer_time: Option<Duration>,
    /// How long a request waits for a connection that was lost and is made again; then it is made again, too,
    /// so the server may do it twice. The flush after that fails, if something was written before and not
    /// flushed. `None` for no other connection.
    pub reconnect_time: Option<Duration>,
    /// Ask for structured replies.
    pub structured: bool,
    /// Ask for extended headers.
    pub extended: bool,
    /// Ask for the block status.
    pub block_status: bool,
    /// A context that says what a block status knows, in place of `base:allocation`: the name of a dirty
    /// bitmap, such as `qemu:dirty-bitmap:b0`. Dirty bytes are data then, and all others are holes.
    pub dirty_context: Option<String>,
    /// Ask for the smallest and largest requests. A server may refuse a client that does not.
    pub block_sizes: bool,
    /// How an address that has to be encrypted is.
    pub tls: Option<ClientTls>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_time: Some(Duration::from_secs(30)),
            answer_time: None,
            reconnect_time: None,
            structured: true,
            extended: true,
            block_status: true,
            dirty_context: None,
            block_sizes: true,
            tls: None,
        }
    }
}

fn unresolved(address: &Address, error: &io::Error) -> Error {
    Error::Unresolved { name: address.to_string(), reason: connection::in_words(error) }
}

fn dial(address: &Address, options: &ClientOptions) -> Result<Socket> {
    if address.tls && options.tls.is_none() {
        return Err(unresolved(address, &handshake::no_certificates()));
    }
    Socket::connect(&address.location, options.connect_time).map_err(|error| unresolved(address, &error))
}

/// Opens an export.
///
/// # Errors
/// [`Error::Unresolved`] where the server cannot be reached, has no such export or does not speak the
/// protocol; [`Error::ReadOnly`] where the export may only be read and `access` is for more.
pub fn connect(address: &Address, access: Access, options: &ClientOptions) -> Result<Disk> {
    let (connection, agreed) = open(dial(address, options)?, address, access, options)?;
    let redial = options.reconnect_time.map(|time| Redial {
        address: address.clone(),
        access,
        options: options.clone(),
        time,
        info: agreed.info.clone(),
        context: agreed.dirty_bitmap(),
    });
    Ok(Disk::new(Nbd::new(Link::new(connection, &agreed, redial), agreed)?, access))
}

/// Opens an export over a socket that is connected. It is not made again when it is lost.
///
/// # Errors
/// As [`connect`].
pub fn connect_over(
    socket: Socket,
    address: &Address,
    access: Access,
    options: &ClientOptions,
) -> Result<Disk> {
    let (connection, agreed) = open(socket, address, access, options)?;
    Ok(Disk::new(Nbd::new(Link::new(connection, &agreed, None), agreed)?, access))
}

fn open(
    mut socket: Socket,
    address: &Address,
    access: Access,
    options: &ClientOptions,
) -> Result<(Connection, Agreed)> {
    let mut until = Until::new(&mut socket, options.connect_time);
    let agreed = handshake::negotiate(&mut until, address, options);
    drop(until);
    let agreed = agreed.map_err(|error| {
        socket.shutdown(Shutdown::Both);
        unresolved(address, &error)
    })?;
    // From here on the server is told when the client leaves.
    let connection = Connection::new(socket, agreed.headers, address.to_string(), options.answer_time)
        .map_err(|error| unresolved(address, &error))?;
    if agreed.info.is_read_only() && access == Access::ReadWrite {
        return Err(Error::ReadOnly);
    }
    Ok((connection, agreed))
}

/// What a server exports.
///
/// # Errors
/// As [`connect`]; [`Error::Unsupported`] where the server does not tell.
pub fn list(address: &Address, options: &ClientOptions) -> Result<Vec<ExportInfo>> {
    let mut socket = dial(address, options)?;
    let mut until = Until::new(&mut socket, options.connect_time);
    let exports = handshake::list(&mut until, address, options).map_err(|error| unresolved(address, &error));
    drop(until);
    socket.shutdown(Shutdown::Both);
    exports
}
