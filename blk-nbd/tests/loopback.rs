//! Client and server over one another: the conformance suite, through a socket, with all forms of replies,
//! and encrypted.

mod certificates;

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use blk_core::testing::{Maker, conformance};
use blk_core::{Access, DenyResolver, Disk, MemoryStorage, Options, Result, Storage};
use blk_nbd::{
    Address, ClientOptions, ClientTls, Export, Listener, Server, ServerOptions, ServerTls, Socket, connect,
    connect_over,
};
use blk_raw::FORMAT;

/// Raw disks, exported and opened by a client.
struct Nbd {
    client: ClientOptions,
    server: ServerOptions,
}

impl Maker for Nbd {
    type Medium = Arc<dyn Storage>;

    fn make(&self, size: u64) -> Result<Self::Medium> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        FORMAT.create(&storage, size, Options::new())?;
        Ok(storage)
    }

    fn open(&self, medium: &Self::Medium, access: Access) -> Result<Disk> {
        let disk = FORMAT.open(Arc::clone(medium), access, Options::new(), &DenyResolver)?;
        let server = Server::new([Export::new("disk", Arc::new(disk))], self.server.clone())?;
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        std::thread::spawn(move || server.serve(Socket::Unix(theirs)));
        let address = Address { tls: self.client.tls.is_some(), ..Address::unix("pair", "disk") };
        connect_over(Socket::Unix(ours), &address, access, &self.client)
    }

    fn large_bytes(&self) -> u64 {
        (1 << 41) + 513
    }
}

#[test]
fn a_disk_through_nbd_conforms() {
    let all = ClientOptions::default();
    for client in [
        all.clone(),
        ClientOptions { extended: false, ..all.clone() },
        ClientOptions { structured: false, ..all.clone() },
        ClientOptions { block_status: false, block_sizes: false, ..all },
    ] {
        for requests_max in [1, 16] {
            let server = ServerOptions { requests_max, bytes_max: 1 << 20, ..ServerOptions::default() };
            conformance(&Nbd { client: client.clone(), server });
        }
    }
}

#[test]
fn an_encrypted_disk_conforms() {
    let client_tls = ClientTls::new(&certificates::read("ours", "client"), None).unwrap();
    let server_tls = ServerTls::new(&certificates::read("ours", "server"), true).unwrap();
    let client = ClientOptions { tls: Some(client_tls), ..ClientOptions::default() };
    let server = ServerOptions { bytes_max: 1 << 20, tls: Some(server_tls), ..ServerOptions::default() };
    conformance(&Nbd { client, server });
}

/// A socket that is open already is served if it listens, and its file stays.
#[test]
fn a_socket_that_is_open_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    FORMAT.create(&storage, 4096, Options::new()).unwrap();
    let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    let server = Server::new([Export::new("disk", Arc::new(disk))], ServerOptions::default()).unwrap();
    let running = server.listen_on(Listener::Unix(UnixListener::bind(&path).unwrap())).unwrap();
    let client = connect(&Address::unix(&path, "disk"), Access::ReadWrite, &ClientOptions::default());
    assert_eq!(client.unwrap().size(), 4096);
    running.stop().unwrap();
    assert!(path.exists());
    let connected = UnixStream::pair().unwrap().0;
    let error = server.listen_on(Listener::Unix(OwnedFd::from(connected).into())).unwrap_err().to_string();
    assert!(error.contains("it does not listen"), "{error}");
}
