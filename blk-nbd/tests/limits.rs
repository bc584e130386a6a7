//! What a server holds back, and for whom: memory that is scarce, and requests that a client cannot know to
//! be refused.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_core::sync::{Condvar, Mutex};
use blk_core::{
    Access, DenyResolver, DirtyBitmap, Disk, Limits, MemoryStorage, Options, PassThrough, Result, Storage,
};
use blk_nbd::{Address, ClientOptions, Export, ExportedBitmap, Server, ServerOptions, connect};
use blk_raw::FORMAT;

const SIZE: u64 = 1 << 20;
const TIME_MAX: Duration = Duration::from_secs(20);
/// The protocol's simple handshake: the flags, and the option `NBD_OPT_GO` for the export without a name.
const GO: &[u8] = b"\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x08\0\0\0\0\0\x01\0\x03";
/// The oldest way: the option `NBD_OPT_EXPORT_NAME`.
const EXPORT_NAME: &[u8] = b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0";

fn disk() -> Disk {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    FORMAT.create(&storage, SIZE, Options::new()).unwrap();
    FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap()
}

/// A disk on which a read waits for another one.
#[derive(Debug)]
struct Meeting {
    inner: Disk,
    reads: Mutex<u32>,
    another: Condvar,
}

impl PassThrough for Meeting {
    fn inner(&self) -> &Disk {
        &self.inner
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = Instant::now() + TIME_MAX;
        let mut reads = self.reads.lock();
        *reads += 1;
        self.another.notify_all();
        while *reads < 2 {
            assert!(!self.another.wait_until(&mut reads, end), "one read alone is in flight");
        }
        drop(reads);
        self.inner.read(offset, buf)
    }
}

/// Clients that announce more bytes than a server has room for, and send none, make nobody wait: the next one
/// still has two requests in flight.
#[test]
fn what_is_only_announced_makes_nobody_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let meeting = Meeting { inner: disk(), reads: Mutex::new(0), another: Condvar::new() };
    let disk = Disk::new(meeting, Access::ReadWrite);
    let server = Server::new([Export::new("", Arc::new(disk))], ServerOptions::default()).unwrap();
    let running = server.listen_unix(&path).unwrap();
    let silent: Vec<UnixStream> = (0..16)
        .map(|cookie: u64| {
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(GO).unwrap();
            client.write_all(b"\x25\x60\x95\x13\0\0\0\x01").unwrap();
            client.write_all(&cookie.to_be_bytes()).unwrap();
            client.write_all(&0_u64.to_be_bytes()).unwrap();
            client.write_all(&(32_u32 << 20).to_be_bytes()).unwrap();
            client
        })
        .collect();
    let address = Address::unix(&path, "");
    let used = connect(&address, Access::ReadWrite, &ClientOptions::default()).unwrap();
    while running.clients() < 17 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(100));
    std::thread::scope(|scope| {
        let reads = [0, 4096].map(|offset| {
            let used = &used;
            scope.spawn(move || used.read(offset, &mut [1; 512]))
        });
        for read in reads {
            read.join().unwrap().unwrap();
        }
    });
    drop(silent);
}

/// A disk of sectors.
#[derive(Debug)]
struct Sectors(Disk);

impl PassThrough for Sectors {
    fn inner(&self) -> &Disk {
        &self.0
    }

    fn limits(&self) -> Limits {
        Limits { request_alignment: 4096, ..*self.0.limits() }
    }
}

/// Who asks in the oldest way cannot hear that requests are multiples of 4 KiB, and is sent away instead of
/// having its requests refused; one that can is served.
#[test]
fn a_client_that_cannot_hear_of_sectors_is_sent_away() {
    for (disk, is_served) in [(disk(), true), (Disk::new(Sectors(disk()), Access::ReadWrite), false)] {
        let server = Server::new([Export::new("", Arc::new(disk))], ServerOptions::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let running = server.listen_unix(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(EXPORT_NAME).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).unwrap();
        // The greeting, and where it is served a size and flags.
        assert_eq!(said.len(), if is_served { 18 + 10 } else { 18 }, "{said:x?}");
        let address = Address::unix(&path, "");
        let used = connect(&address, Access::ReadOnly, &ClientOptions::default()).unwrap();
        used.read(0, &mut [1; 4096]).unwrap();
        drop(used);
        running.stop().unwrap();
    }
}

#[test]
fn bitmaps_have_names_that_clients_can_ask_for() {
    let bitmap = Arc::new(DirtyBitmap::new(1 << 16, 8, Vec::new()));
    let served = |names: &[&str]| {
        let bitmaps = names
            .iter()
            .map(|name| ((*name).to_owned(), ExportedBitmap::Frozen(Arc::clone(&bitmap))))
            .collect();
        let export = Export { bitmaps, ..Export::new("", Arc::new(disk())) };
        Server::new([export], ServerOptions::default()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(served(&["one", "two"]), Ok(()));
    assert!(served(&["one", "two", "one"]).unwrap_err().contains("'one' is there twice"));
    for name in ["a\0b", "a".repeat(4097).as_str()] {
        assert!(served(&[name]).unwrap_err().contains("bitmap"), "{}", name.len());
    }
}

/// Who drops the last handle of a disk when the server has stopped closes it: no thread of a client that has
/// left still holds one.
#[test]
fn a_server_that_has_stopped_holds_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    for _ in 0..100 {
        let disk = Arc::new(disk());
        let server = Server::new([Export::new("", Arc::clone(&disk))], ServerOptions::default()).unwrap();
        let running = server.listen_unix(&path).unwrap();
        drop(server);
        let address = Address::unix(&path, "");
        let used: Vec<Disk> =
            (0..3).map(|_| connect(&address, Access::ReadOnly, &ClientOptions::default()).unwrap()).collect();
        drop(used);
        while running.clients() > 0 {
            std::thread::yield_now();
        }
        running.stop().unwrap();
        assert!(Arc::into_inner(disk).is_some(), "a thread holds the disk");
    }
}
