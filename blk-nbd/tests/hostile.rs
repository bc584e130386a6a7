//! Peers that break the protocol: whatever they send, and wherever they stop, nothing panics, hangs, or takes
//! memory for bytes that have not come; and what others have is left alone.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use blk_core::bytes::mix;
use blk_core::{Access, DenyResolver, Disk, Extent, MemoryStorage, Options, Storage, WriteFlags, ZeroFlags};
use blk_nbd::{Address, ClientOptions, Export, Server, ServerOptions, Socket, connect, connect_over};
use blk_raw::FORMAT;

const SIZE: u64 = 1 << 20;
/// How long a peer that has stopped may keep the other side busy.
const TIME_MAX: Duration = Duration::from_secs(20);

fn disk() -> Arc<Disk> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    FORMAT.create(&storage, SIZE, Options::new()).unwrap();
    Arc::new(FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap())
}

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = mix(self.0);
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number as hostile peers like them.
    fn number(&mut self) -> u64 {
        let usual = [
            0,
            1,
            8,
            511,
            512,
            4096,
            SIZE,
            SIZE - 1,
            SIZE + 1,
            1 << 25,
            1 << 31,
            (1 << 32) - 1,
            1 << 63,
            u64::MAX,
        ];
        match self.below(3) {
            0 => self.next(),
            1 => usual[self.below(usual.len() as u64) as usize],
            _ => self.below(2 * SIZE),
        }
    }
}

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"IHAVEOPT".to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// A handshake that a server accepts, up to and with the choice of an export.
fn handshake(headers: u64) -> Vec<u8> {
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    match headers {
        1 => bytes.extend(option(8, &[])),
        2 => bytes.extend(option(11, &[])),
        _ => {}
    }
    if headers > 0 {
        let query = b"base:allocation";
        let mut data = [0, 0, 0, 0, 0, 0, 0, 1].to_vec();
        data.extend((query.len() as u32).to_be_bytes());
        data.extend(query);
        bytes.extend(option(10, &data));
    }
    bytes.extend(option(7, &[0, 0, 0, 0, 0, 1, 0, 3]));
    bytes
}

/// Requests, some of them right.
fn requests(random: &mut Random, headers: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(8) {
        let is_extended = headers == 2;
        let magic: u32 = if is_extended { 0x21e4_1c71 } else { 0x2560_9513 };
        let command = random.below(10) as u16;
        let length = random.number();
        bytes.extend(magic.to_be_bytes());
        bytes.extend((random.below(64) as u16).to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(random.next().to_be_bytes());
        bytes.extend(random.number().to_be_bytes());
        if is_extended {
            bytes.extend(length.to_be_bytes());
        } else {
            bytes.extend((length as u32).to_be_bytes());
        }
        let payload = if random.below(4) == 0 { length.min(1 << 16) } else { random.below(64) };
        bytes.extend((0..payload).map(|at| at as u8));
    }
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len().max(1) as u64) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = random.next() as u8;
        }
    }
    bytes
}

/// Gives a server these bytes, and waits until it has had enough of the client.
fn give(server: &Arc<Server>, bytes: &[u8]) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (ended, end) = mpsc::channel();
    let server = Arc::clone(server);
    std::thread::spawn(move || {
        let _ = server.serve(Socket::Unix(theirs));
        let _ = ended.send(());
    });
    let mut reading = ours.try_clone().unwrap();
    let reader = std::thread::spawn(move || reading.read_to_end(&mut Vec::new()));
    let _ = ours.write_all(bytes);
    let _ = ours.shutdown(Shutdown::Write);
    end.recv_timeout(TIME_MAX).unwrap_or_else(|_| panic!("the server hangs: {bytes:02x?}"));
    let _ = ours.shutdown(Shutdown::Both);
    let _ = reader.join();
}

#[test]
fn a_server_survives_whatever_a_client_sends() {
    let server = Server::new([Export::new("", disk())], ServerOptions::default()).unwrap();
    for seed in 0..600 {
        let mut random = Random(seed);
        let headers = random.below(3);
        let mut bytes = handshake(headers);
        if random.below(4) == 0 {
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next() as u8;
            }
        }
        bytes.extend(requests(&mut random, headers));
        bytes.truncate(bytes.len() - random.below(4).min(bytes.len() as u64) as usize);
        give(&server, &bytes);
    }
}

/// A server's words up to the first reply: the fixed newstyle handshake, extended headers, an export.
fn accepting_handshake() -> Vec<u8> {
    let mut bytes = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    let reply = |option: u32, kind: u32, data: &[u8]| {
        let mut reply = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
        reply.extend(option.to_be_bytes());
        reply.extend(kind.to_be_bytes());
        reply.extend((data.len() as u32).to_be_bytes());
        reply.extend(data);
        reply
    };
    bytes.extend(reply(11, 1, &[]));
    bytes.extend(reply(10, 4, b"\0\0\0\x01base:allocation"));
    bytes.extend(reply(10, 1, &[]));
    let mut export = vec![0, 0];
    export.extend(SIZE.to_be_bytes());
    export.extend(0x0f7d_u16.to_be_bytes());
    bytes.extend(reply(7, 3, &export));
    bytes.extend(reply(7, 1, &[]));
    bytes
}

/// Chunks of extended replies, some of them right.
fn replies(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for cookie in 1..6 {
        let length = if random.below(2) == 0 { random.below(64) } else { random.number() };
        let kinds: [u16; 9] = [0, 1, 2, 5, 6, 0x8001, 0x8002, 7, 0x8fff];
        bytes.extend(0x6e8a_278c_u32.to_be_bytes());
        bytes.extend((random.below(2) as u16).to_be_bytes());
        bytes.extend(kinds[random.below(9) as usize].to_be_bytes());
        bytes.extend((if random.below(8) == 0 { random.next() } else { cookie }).to_be_bytes());
        bytes.extend(random.number().to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend((0..length.min(4200)).map(|_| random.below(3) as u8));
    }
    bytes
}

#[test]
fn a_client_survives_whatever_a_server_sends() {
    for seed in 0..600 {
        let mut random = Random(seed);
        let mut bytes = accepting_handshake();
        bytes.extend(replies(&mut random));
        for _ in 0..random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut reading = theirs.try_clone().unwrap();
        let reader = std::thread::spawn(move || reading.read_to_end(&mut Vec::new()));
        let writer = std::thread::spawn(move || {
            let _ = theirs.write_all(&bytes);
            let _ = theirs.shutdown(Shutdown::Write);
        });
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            let address = Address::unix("pair", "");
            let options = ClientOptions::default();
            if let Ok(disk) = connect_over(Socket::Unix(ours), &address, Access::ReadWrite, &options) {
                let _ = disk.read(0, &mut vec![0; 4096]);
                let _ = disk.write(4096, &[1; 4096], WriteFlags::default());
                let _ = disk.write_zeroes(Extent::new(0, 4096), ZeroFlags::default());
                let _ = disk.block_status(Extent::new(0, SIZE));
                let _ = disk.flush();
            }
            let _ = ended.send(());
        });
        end.recv_timeout(TIME_MAX)
            .unwrap_or_else(|_| panic!("the client hangs, or has panicked: seed {seed}"));
        writer.join().unwrap();
        let _ = reader.join();
    }
}

/// Clients that say nothing, or half of something, keep no others away, and are sent away in time.
#[test]
fn many_silent_clients_keep_no_others_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let options = ServerOptions { handshake_time: Some(Duration::from_secs(5)), ..ServerOptions::default() };
    let server = Server::new([Export::new("", disk())], options).unwrap();
    let running = server.listen_unix(&path).unwrap();
    let silent: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let address = Address::unix(&path, "");
    let used = connect(&address, Access::ReadWrite, &ClientOptions::default()).unwrap();
    used.write(0, &[7; 4096], WriteFlags { fua: true, compressed: false }).unwrap();
    // Half a request, of a client that is killed then.
    let mut half = UnixStream::connect(&path).unwrap();
    half.write_all(&handshake(0)).unwrap();
    half.write_all(&[0x25, 0x60, 0x95, 0x13, 0, 0, 0, 1]).unwrap();
    drop(half);
    let begun = Instant::now();
    while running.clients() > 1 {
        assert!(begun.elapsed() < TIME_MAX, "{} clients are still there", running.clients());
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut bytes = [0; 4096];
    used.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 4096]);
    drop(silent);
    running.stop().unwrap();
    // The server is gone: that is an error, not a wait.
    assert!(used.read(0, &mut bytes).is_err());
}

/// A server that does not answer is given up in time, and told so.
#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&accepting_handshake()).unwrap();
    let options = ClientOptions { answer_time: Some(Duration::from_millis(300)), ..ClientOptions::default() };
    let address = Address::unix("pair", "");
    let disk = connect_over(Socket::Unix(ours), &address, Access::ReadWrite, &options).unwrap();
    let begun = Instant::now();
    let error = disk.read(0, &mut [0; 512]).unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    assert!(begun.elapsed() < TIME_MAX);
    let error = disk.flush().unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
}

/// A client that asks for much and takes nothing does not keep a server from ending.
#[test]
fn a_server_ends_though_a_client_takes_no_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let options = ServerOptions { stop_time: Duration::from_secs(1), ..ServerOptions::default() };
    let server = Server::new([Export::new("", disk())], options).unwrap();
    let running = server.listen_unix(&path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(&handshake(0)).unwrap();
    for cookie in 0..64_u64 {
        let mut read = 0x2560_9513_u32.to_be_bytes().to_vec();
        read.extend([0; 4]);
        read.extend(cookie.to_be_bytes());
        read.extend(0_u64.to_be_bytes());
        read.extend((SIZE as u32).to_be_bytes());
        client.write_all(&read).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(running.stop()));
    end.recv_timeout(TIME_MAX).expect("the server ends").unwrap();
}

/// What a server was asked before it was told to end is answered.
#[test]
fn a_server_that_ends_answers_what_is_in_flight() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let server = Server::new([Export::new("", disk())], ServerOptions::default()).unwrap();
        let running = server.listen_unix(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(&handshake(0)).unwrap();
        // Greeting, flags, three pieces of information with their headers, and the acceptance.
        let mut said = vec![0; 18 + (20 + 12) + (20 + 14) + 20];
        client.read_exact(&mut said).unwrap();
        let mut read = 0x2560_9513_u32.to_be_bytes().to_vec();
        read.extend([0; 4]);
        read.extend(7_u64.to_be_bytes());
        read.extend(0_u64.to_be_bytes());
        read.extend((SIZE as u32).to_be_bytes());
        client.write_all(&read).unwrap();
        let mut head = [0; 16];
        let reader = std::thread::spawn(move || {
            client.read_exact(&mut head[..1])?;
            std::thread::sleep(Duration::from_millis(20));
            client.read_exact(&mut head[1..])?;
            client.read_exact(&mut vec![0; SIZE as usize])
        });
        std::thread::sleep(Duration::from_millis(5));
        running.stop().unwrap();
        reader.join().unwrap().expect("the whole answer");
    }
}

/// Who connects and says nothing is no client; and a socket belongs to the server that listens on it.
#[test]
fn a_connection_that_is_dropped_is_no_last_client() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = Server::new([Export::new("", disk())], ServerOptions::default()).unwrap();
    let running = server.listen_unix(&path).unwrap();
    drop(UnixStream::connect(&path).unwrap());
    let error = server.listen_unix(&path).unwrap_err();
    assert!(error.to_string().contains("another server listens there"), "{error}");
    let running = Arc::new(running);
    let (ended, end) = mpsc::channel();
    let waiting = Arc::clone(&running);
    let waiter = std::thread::spawn(move || {
        waiting.wait_for_last_client();
        drop(waiting);
        let _ = ended.send(());
    });
    assert!(end.recv_timeout(Duration::from_millis(300)).is_err(), "it has had no client yet");
    drop(connect(&Address::unix(&path, ""), Access::ReadWrite, &ClientOptions::default()).unwrap());
    end.recv_timeout(TIME_MAX).expect("the last client has left");
    waiter.join().unwrap();
    drop(running);
    assert!(!path.exists());
}

/// A server that dies and comes back: requests wait for it and are made again, and a flush tells once what
/// may have been lost with it.
#[test]
fn a_connection_that_is_lost_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let disk = disk();
    let start = |disk: &Arc<Disk>| {
        let options = ServerOptions { stop_time: Duration::ZERO, ..ServerOptions::default() };
        let server = Server::new([Export::new("", Arc::clone(disk))], options).unwrap();
        server.listen_unix(&path).unwrap()
    };
    let running = start(&disk);
    let options = ClientOptions { reconnect_time: Some(TIME_MAX), ..ClientOptions::default() };
    let address = Address::unix(&path, "");
    let used = connect(&address, Access::ReadWrite, &options).unwrap();
    let plain = WriteFlags::default();
    used.write(0, &[1; 512], plain).unwrap();
    used.flush().unwrap();
    drop(running);
    // Several threads wait for it while it is away.
    let running = std::thread::scope(|scope| {
        for thread in 1..5_u64 {
            let used = &used;
            scope.spawn(move || used.write(thread * 512, &[2; 512], plain).unwrap());
        }
        std::thread::sleep(Duration::from_millis(200));
        // It stays until all of them are through.
        start(&disk)
    });
    // What was flushed needs no complaint.
    used.write(8192, &[3; 512], plain).unwrap();
    used.flush().unwrap();
    drop(running);
    let running = start(&disk);
    let mut bytes = [0; 2560];
    used.read(0, &mut bytes).unwrap();
    assert_eq!(bytes.to_vec(), [vec![1; 512], vec![2; 2048]].concat());
    used.flush().unwrap();
    used.write(0, &[4; 512], plain).unwrap();
    drop(running);
    let running = start(&disk);
    let error = used.flush().unwrap_err();
    assert!(error.to_string().contains("not flushed"), "{error}");
    used.flush().unwrap();
    drop(running);
    // One that stays away is given up in time; after that nobody waits. On a busy machine that takes a
    // moment.
    let reconnect_time = Duration::from_secs(2);
    let options = ClientOptions { reconnect_time: Some(reconnect_time), ..ClientOptions::default() };
    let running = start(&disk);
    let used = connect(&address, Access::ReadWrite, &options).unwrap();
    drop(running);
    let gone = used.read(0, &mut bytes).unwrap_err();
    assert!(
        matches!(gone, blk_core::Error::Disconnected { how: blk_core::Disconnection::Closed, .. }),
        "{gone}"
    );
    let begun = Instant::now();
    assert!(used.read(0, &mut bytes).is_err());
    assert!(begun.elapsed() < reconnect_time / 2, "{:?}", begun.elapsed());
    // Another export under the same name is not the disk any more.
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    FORMAT.create(&storage, 2 * SIZE, Options::new()).unwrap();
    let other = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    let running = start(&Arc::new(other));
    assert!(used.read(0, &mut bytes).is_err());
    drop(used);
    drop(running);
}
