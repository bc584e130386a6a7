//! The network block device protocol, on both sides.
//!
//! ```text
//! any disk ◄── Server ◄── socket ◄── Client ◄── Disk: whoever uses disks
//! ```
//!
//! [`connect`] opens an export of any server as a [`Disk`](blk_core::Disk), and so every NBD server can be
//! put under test. [`Server`] exports any disk, to every NBD client. Both speak the newstyle handshake,
//! simple, structured and extended replies, as the protocol's document describes them
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>).

mod address;
mod client;
mod server;
mod socket;
mod tls;
mod wire;

pub use address::{Address, Location};
pub use client::{ClientOptions, ExportInfo, connect, connect_over, list};
pub use server::{Export, ExportedBitmap, Running, Server, ServerOptions};
pub use socket::Socket;
pub use tls::{Certificates, ClientTls, ServerTls, TlsSocket};
