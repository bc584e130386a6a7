//! Encrypted connections: who is let in, and other people's programs.

mod certificates;
mod peers;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_core::{Access, DenyResolver, Disk, MemoryStorage, Options, Result, Storage, WriteFlags};
use blk_nbd::{
    Address, Certificates, ClientOptions, ClientTls, Export, Running, Server, ServerOptions, ServerTls,
    connect, list,
};
use blk_raw::FORMAT;

use certificates::{folder, read};
use peers::{Theirs, ok, run, there_are};

const SIZE: u64 = 8 << 20;

fn disk() -> Arc<Disk> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    FORMAT.create(&storage, SIZE, Options::new()).unwrap();
    Arc::new(FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap())
}

fn serve(tls: Option<ServerTls>) -> (Running, Address) {
    let options =
        ServerOptions { tls, handshake_time: Some(Duration::from_secs(2)), ..ServerOptions::default() };
    let running =
        Server::new([Export::new("disk", disk())], options).unwrap().listen_tcp("127.0.0.1", 0).unwrap();
    let address = Address::parse(&format!("nbds://{}/disk", running.local_addr().unwrap())).unwrap();
    (running, address)
}

fn server_tls(verifies: bool) -> ServerTls {
    ServerTls::new(&read("ours", "server"), verifies).unwrap()
}

/// A client that trusts one authority, and shows what another one has signed.
fn client(trusts: &str, shows: Option<&str>, name: Option<&str>) -> ClientOptions {
    let own = shows.map(|authority| read(authority, "client").own.unwrap());
    let certificates = Certificates { authorities: read(trusts, "client").authorities, own };
    let tls = ClientTls::new(&certificates, name.map(str::to_owned)).unwrap();
    ClientOptions { tls: Some(tls), ..ClientOptions::default() }
}

/// Opens and reads: a client that the server does not want may hear of it only then.
fn used(address: &Address, options: &ClientOptions) -> Result<()> {
    let disk = connect(address, Access::ReadWrite, options)?;
    disk.write(4096, &[7; 4096], WriteFlags::default())?;
    let mut bytes = [0; 4096];
    disk.read(4096, &mut bytes)?;
    assert_eq!(bytes, [7; 4096]);
    disk.close()
}

#[test]
fn who_has_no_right_certificate_is_not_let_in() {
    for verifies in [false, true] {
        let (running, address) = serve(Some(server_tls(verifies)));
        for (trusts, shows, name, is_let_in) in [
            ("ours", Some("ours"), None, true),
            ("ours", Some("ours"), Some("localhost"), true),
            ("ours", None, None, !verifies),
            ("ours", Some("other"), None, !verifies),
            ("other", Some("ours"), None, false),
            ("ours", Some("ours"), Some("other.example"), false),
        ] {
            let came = used(&address, &client(trusts, shows, name));
            assert_eq!(came.is_ok(), is_let_in, "{verifies} {trusts} {shows:?} {name:?}: {came:?}");
        }
        running.stop().unwrap();
    }
}

#[test]
fn both_sides_have_to_want_it() {
    let (running, address) = serve(Some(server_tls(false)));
    let plain = Address { tls: false, ..address.clone() };
    let error = used(&plain, &ClientOptions::default()).unwrap_err().to_string();
    assert!(error.contains("it wants an encrypted connection"), "{error}");
    let error = used(&address, &ClientOptions::default()).unwrap_err().to_string();
    assert!(error.contains("needs certificates"), "{error}");
    assert_eq!(list(&address, &client("ours", None, None)).unwrap().len(), 1);
    assert!(list(&plain, &ClientOptions::default()).is_err());
    running.stop().unwrap();
    let (running, address) = serve(None);
    let error = used(&address, &client("ours", None, None)).unwrap_err().to_string();
    assert!(error.contains("refuses to encrypt the connection"), "{error}");
    running.stop().unwrap();
}

#[test]
fn certificates_that_are_none_are_refused_by_name() {
    let good = read("ours", "server");
    let (chain, key) = good.own.clone().unwrap();
    let other_key = read("ours", "client").own.unwrap().1;
    for (certificates, said) in [
        (Certificates { own: None, ..good.clone() }, "cert"),
        (Certificates { own: Some((b"no".to_vec(), key.clone())), ..good.clone() }, "'cert'"),
        (Certificates { own: Some((chain.clone(), b"no".to_vec())), ..good.clone() }, "'key'"),
        (Certificates { own: Some((chain, other_key)), ..good.clone() }, "cert"),
        (Certificates { authorities: b"no".to_vec(), ..good.clone() }, "'ca-cert'"),
    ] {
        let error = ServerTls::new(&certificates, true).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    assert!(!format!("{good:?}").contains("PRIVATE"), "{good:?}");
}

/// Requests of many threads at once: reads and writes of one connection go on beside each other.
#[test]
fn many_requests_in_flight_are_encrypted() {
    let (running, address) = serve(Some(server_tls(false)));
    let disk = connect(&address, Access::ReadWrite, &client("ours", None, None)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let disk = &disk;
            scope.spawn(move || {
                let offset = u64::from(thread) << 20;
                for round in 0..16 {
                    let bytes = vec![thread * 16 + round; 1 << 20];
                    disk.write(offset, &bytes, WriteFlags::default()).unwrap();
                    let mut back = vec![0; 1 << 20];
                    disk.read(offset, &mut back).unwrap();
                    assert!(back == bytes, "thread {thread}, round {round}");
                }
            });
        }
    });
    disk.close().unwrap();
    running.stop().unwrap();
}

/// Peers that say half of a TLS handshake, or nonsense: the server gives them up, and lives.
#[test]
fn half_handshakes_end_in_time() {
    let disk = disk();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let options = ServerOptions {
        tls: Some(server_tls(false)),
        // Enough for the good client on a busy machine.
        handshake_time: Some(Duration::from_secs(3)),
        ..ServerOptions::default()
    };
    let running = Server::new([Export::new("disk", disk)], options).unwrap().listen_unix(&path).unwrap();
    let start_tls = |stream: &mut UnixStream| {
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        stream.write_all(&3_u32.to_be_bytes()).unwrap();
        stream.write_all(&[&b"IHAVEOPT"[..], &5_u32.to_be_bytes(), &0_u32.to_be_bytes()].concat()).unwrap();
        let mut answer = [0; 20];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[12..16], 1_u32.to_be_bytes(), "{answer:?}");
    };
    let nonsense =
        [&[][..], &[0x16], &[0x16, 3, 1, 0xff, 0xff], &[0xff; 4096], &b"IHAVEOPT\0\0\0\x07\0\0\0\0"[..]];
    let end_in_time = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        start_tls(&mut stream);
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        let begun = Instant::now();
        let mut rest = Vec::new();
        // An alert, or nothing; then the end.
        let _ = stream.read_to_end(&mut rest);
        assert!(begun.elapsed() < Duration::from_secs(20), "{bytes:?}");
    };
    std::thread::scope(|scope| {
        for bytes in nonsense {
            scope.spawn(|| end_in_time(bytes));
        }
    });
    let address = Address { tls: true, ..Address::unix(&path, "disk") };
    used(&address, &client("ours", None, None)).unwrap();
    running.stop().unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn qemu_and_libnbd_use_our_encrypted_server() {
    if !there_are(&["qemu-img", "qemu-io", "nbdinfo", "nbdcopy"]) {
        return;
    }
    let (running, address) = serve(Some(server_tls(true)));
    let blk_nbd::Location::Tcp { port, .. } = address.location else { panic!("{address}") };
    let ours = folder("ours");
    let object = format!("tls-creds-x509,id=t,dir={},endpoint=client", text(&ours));
    let image = format!(
        "driver=nbd,server.type=inet,server.host=127.0.0.1,server.port={port},export=disk,tls-creds=t"
    );
    let words = ["--object", &object, "--image-opts", &image];
    ok(
        "qemu-io",
        &[&words[..], &["-c", "write -P 9 1M 2M", "-c", "read -P 9 1M 2M", "-c", "flush"]].concat(),
    );
    let info = ok("qemu-img", &["info", "--object", &object, "--image-opts", &image]);
    assert!(info.contains("virtual size: 8 MiB"), "{info}");
    let uri = format!("nbds://localhost:{port}/disk?tls-certificates={}", text(&ours));
    let info = ok("nbdinfo", &[&uri]);
    assert!(info.contains("export-size: 8388608") && info.contains("TLS"), "{info}");
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy");
    ok("nbdcopy", &[&uri, text(&copy)]);
    let copied = std::fs::read(&copy).unwrap();
    assert!(copied.len() as u64 == SIZE && copied[1 << 20..3 << 20].iter().all(|byte| *byte == 9));
    let other = format!("nbds://localhost:{port}/disk?tls-certificates={}", text(&folder("other")));
    assert!(!run("nbdinfo", &[&other]).status.success(), "a stranger is let in");
    running.stop().unwrap();
}

#[test]
fn our_client_uses_encrypted_servers_of_others() {
    if !there_are(&["qemu-nbd", "qemu-img", "nbdkit"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("image.raw");
    std::fs::write(&image, vec![0; SIZE as usize]).unwrap();
    let ours = folder("ours");
    let object = format!("tls-creds-x509,id=t,dir={},endpoint=server,verify-peer=on", text(&ours));
    let qemu = [
        "-t",
        "-k",
        "SOCKET",
        "-f",
        "raw",
        "-x",
        "disk",
        "--object",
        &object,
        "--tls-creds",
        "t",
        text(&image),
    ];
    let certificates = format!("--tls-certificates={}", text(&ours));
    let nbdkit = ["-f", "-U", "SOCKET", "--tls=require", &certificates, "--tls-verify-peer", "memory", "8M"];
    for (program, words) in [("qemu-nbd", &qemu[..]), ("nbdkit", &nbdkit)] {
        let server = Theirs::start(place.path(), program, words);
        let address = Address { tls: true, ..Address::unix(&server.socket, "disk") };
        used(&address, &client("ours", Some("ours"), None))
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(
            used(&address, &client("ours", Some("other"), None)).is_err(),
            "{program} lets a stranger in"
        );
        assert!(used(&address, &client("other", Some("ours"), None)).is_err(), "{program} is another");
    }
}
