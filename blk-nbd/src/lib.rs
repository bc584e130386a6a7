#![doc = include_str!("../README.md")]
//!
//! ## Where to start
//!
//! ```text
//! any disk ◄── Server ◄── socket ◄── Client ◄── Disk: whoever uses disks
//! ```
//!
//! [`connect`] and [`list`] are the client; [`ClientOptions`] says what it asks for, and [`ClientTls`] how it
//! proves who it is. [`Server`] is the other side: [`Export`]s, [`ServerOptions`], and a [`Running`] server
//! for each address that it listens on. The protocol's document is
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>.

mod address;
mod client;
mod server;
mod socket;
mod tls;
mod wire;

pub use address::{Address, Location};
pub use client::{ClientOptions, ExportInfo, connect, connect_over, list};
pub use server::{Export, ExportedBitmap, Listener, Running, Server, ServerOptions};
pub use socket::Socket;
pub use tls::{Certificates, ClientTls, ServerTls, TlsSocket};
