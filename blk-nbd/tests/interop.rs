//! Against other people's clients and servers: QEMU's, libnbd's, nbdkit's.
//!
//! `BLK_REQUIRE_QEMU=1`, as in CI, turns a missing program into a failure.

mod peers;

use std::path::Path;
use std::sync::Arc;

use blk_core::{
    Access, DenyResolver, DiscardFlags, Disk, ErrorKind, Extent, FileStorage, MemoryStorage, Options,
    Storage, WriteFlags, ZeroFlags,
};
use blk_nbd::{Address, ClientOptions, Export, Running, Server, ServerOptions, connect, list};
use blk_raw::FORMAT;

use peers::{Theirs, ok, run, there_are};

/// Size of the disks, bytes: no multiple of a page.
const SIZE: u64 = (8 << 20) + 512;

fn memory_disk(size: u64) -> (Arc<dyn Storage>, Arc<Disk>) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    FORMAT.create(&storage, size, Options::new()).unwrap();
    let disk = FORMAT.open(Arc::clone(&storage), Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    (storage, Arc::new(disk))
}

/// A server of ours with a writable disk, the same again read-only, and its address.
fn ours(folder: &Path) -> (Running, Arc<Disk>, String) {
    let (_, disk) = memory_disk(SIZE);
    let writable = Export { description: "a disk".to_owned(), ..Export::new("disk", Arc::clone(&disk)) };
    let read_only = Export { read_only: true, ..Export::new("locked", Arc::clone(&disk)) };
    let server = Server::new([writable, read_only], ServerOptions::default()).unwrap();
    let path = folder.join("socket");
    let running = server.listen_unix(&path).unwrap();
    (running, disk, Address::unix(path, "disk").to_string())
}

#[test]
fn qemu_s_client_reads_and_writes_our_server() {
    if !there_are(&["qemu-io", "qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (running, disk, uri) = ours(folder.path());
    let commands = [
        "write -P 0xa1 0 1M",
        "write -P 0xa2 -f 3M 64k",
        "write -z 512k 64k",
        "write -z -u 640k 64k",
        "discard 768k 64k",
        "write -P 0xa3 8388608 512",
        "read -P 0xa1 0 512k",
        "read -P 0 512k 64k",
        "read -P 0xa2 3M 64k",
        "read -P 0 4M 4M",
        "aio_write -P 0xa4 5M 1M",
        "aio_write -P 0xa5 6M 1M",
        "aio_flush",
        "flush",
    ];
    let words: Vec<&str> = commands.iter().flat_map(|command| ["-c", command]).collect();
    ok("qemu-io", &[&words[..], &["-f", "raw", &uri]].concat());
    let read = |offset: u64, length: usize| {
        let mut bytes = vec![0; length];
        disk.read(offset, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(read(0, 512 << 10), vec![0xa1; 512 << 10]);
    assert_eq!(read(512 << 10, 64 << 10), vec![0; 64 << 10]);
    assert_eq!(read(8 << 20, 512), vec![0xa3; 512]);
    assert_eq!(read(5 << 20, 1 << 20), vec![0xa4; 1 << 20]);
    assert_eq!(read(6 << 20, 1 << 20), vec![0xa5; 1 << 20]);
    let map = ok("qemu-img", &["map", "--output=json", "-f", "raw", &uri]);
    assert!(
        map.contains(
            r#""start": 1048576, "length": 2097152, "depth": 0, "present": true, "zero": true, "data": false"#
        ),
        "{map}"
    );
    let locked = uri.replace("/disk?", "/locked?");
    let refused = run("qemu-io", &["-c", "write 0 512", "-f", "raw", &locked]);
    assert!(!refused.status.success(), "a read-only export was opened for writing");
    let missing = run("qemu-img", &["info", &uri.replace("/disk?", "/other?")]);
    assert!(!missing.status.success(), "there is no export of that name");
    running.stop().unwrap();
}

#[test]
fn libnbd_s_programs_understand_our_server() {
    if !there_are(&["nbdinfo", "nbdcopy"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (running, disk, uri) = ours(folder.path());
    disk.write(1 << 20, &vec![7; 1 << 20], WriteFlags::default()).unwrap();
    let info = ok("nbdinfo", &[&uri]);
    for said in [
        "structured packets",
        "export-size: 8389120",
        "is_read_only: false",
        "can_flush: true",
        "can_fua: true",
        "can_multi_conn: true",
        "can_trim: true",
        "can_zero: true",
        "base:allocation",
        "block_size_minimum: 1",
    ] {
        assert!(info.contains(said), "{said}: {info}");
    }
    let all = ok("nbdinfo", &["--list", &uri]);
    assert!(
        all.contains(r#"export="disk""#) && all.contains(r#"export="locked""#) && all.contains("a disk"),
        "{all}"
    );
    let map = ok("nbdinfo", &["--map", &uri]);
    let lines: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..3], ["0", "1048576", "3"], "{map}");
    assert_eq!(lines[1][..3], ["1048576", "1048576", "0"], "{map}");
    let copy = folder.path().join("copy");
    ok("nbdcopy", &[&uri, copy.to_str().unwrap()]);
    let copied = std::fs::read(&copy).unwrap();
    assert!(copied.len() as u64 == SIZE && copied[1 << 20..2 << 20].iter().all(|byte| *byte == 7));
    std::fs::write(&copy, vec![9; SIZE as usize]).unwrap();
    ok("nbdcopy", &["--flush", copy.to_str().unwrap(), &uri]);
    let mut bytes = vec![0; SIZE as usize];
    disk.read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 9));
    running.stop().unwrap();
}

fn open(server: &Theirs, export: &str, options: &ClientOptions) -> Disk {
    connect(&Address::unix(&server.socket, export), Access::ReadWrite, options).unwrap()
}

/// All forms of replies that a client may ask for.
fn forms() -> [ClientOptions; 3] {
    let all = ClientOptions::default();
    let structured = ClientOptions { extended: false, ..all.clone() };
    [ClientOptions { structured: false, ..all.clone() }, structured, all]
}

/// Uses all requests of a disk that is all zeroes, and leaves it so.
fn exercise(disk: &Disk) {
    let read = |offset: u64, length: usize| {
        let mut bytes = vec![0xee; length];
        disk.read(offset, &mut bytes).unwrap();
        bytes
    };
    disk.write(4096, &[1; 8192], WriteFlags { fua: true, compressed: false }).unwrap();
    disk.write(1 << 20, &vec![2; 3 << 20], WriteFlags::default()).unwrap();
    assert_eq!(read(0, 16384), [vec![0; 4096], vec![1; 8192], vec![0; 4096]].concat());
    assert_eq!(read(1 << 20, 3 << 20), vec![2; 3 << 20]);
    disk.write_zeroes(Extent::new(1 << 20, 1 << 20), ZeroFlags { may_unmap: true, ..ZeroFlags::default() })
        .unwrap();
    assert_eq!(read(1 << 20, 2 << 20), [vec![0; 1 << 20], vec![2; 1 << 20]].concat());
    if disk.limits().can_discard {
        disk.discard(Extent::new(2 << 20, 1 << 20), DiscardFlags { fua: true }).unwrap();
    }
    disk.flush().unwrap();
    disk.prefetch(Extent::new(0, 65536)).unwrap();
    let mut at = 0;
    while at < disk.size() {
        at += disk.block_status(Extent::between(at, disk.size())).unwrap().length;
    }
    assert_eq!(at, disk.size());
    let past = disk.read(disk.size(), &mut [0; 4096]).unwrap_err();
    assert_eq!(past.kind(), ErrorKind::OutOfRange);
    let all = Extent::new(0, disk.size());
    disk.write_zeroes(all, ZeroFlags { may_unmap: true, ..ZeroFlags::default() }).unwrap();
}

#[test]
fn our_client_uses_qemu_nbd() {
    if !there_are(&["qemu-nbd", "qemu-img"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.qcow2");
    let image = image.to_str().unwrap();
    ok("qemu-img", &["create", "-q", "-f", "qcow2", image, "10M"]);
    let words = [
        "-t",
        "-e",
        "4",
        "-k",
        "SOCKET",
        "-f",
        "qcow2",
        "-x",
        "name",
        "-D",
        "described",
        "--discard=unmap",
        image,
    ];
    let server = Theirs::start(folder.path(), "qemu-nbd", &words);
    for options in forms() {
        let disk = open(&server, "name", &options);
        exercise(&disk);
        disk.close().unwrap();
    }
    let exports = list(&Address::unix(&server.socket, ""), &ClientOptions::default()).unwrap();
    let [export] = &exports[..] else { panic!("{exports:?}") };
    assert_eq!(
        (export.name.as_str(), export.description.as_str(), export.size),
        ("name", "described", 10 << 20)
    );
    assert!(export.contexts.iter().any(|context| context == "base:allocation"), "{export:?}");
    let address = Address::unix(&server.socket, "nothing");
    let error = connect(&address, Access::ReadWrite, &ClientOptions::default()).unwrap_err();
    assert!(error.to_string().contains("it has no such export"), "{error}");
    drop(server);
    assert_eq!(ok("qemu-img", &["check", image]).lines().next(), Some("No errors were found on the image."));
}

#[test]
fn our_client_uses_nbdkit() {
    if !there_are(&["nbdkit"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for filters in [
        &[][..],
        &["--filter=cow"],
        &["--filter=cache"],
        &["--filter=noextents", "--filter=nozero"],
        &["--filter=blocksize-policy"],
    ] {
        let _ = std::fs::remove_file(folder.path().join("nbdkit.socket"));
        let last = if filters.contains(&"--filter=blocksize-policy") {
            &["memory", "10M", "blocksize-minimum=4096", "blocksize-error-policy=error"][..]
        } else {
            &["memory", "10M"]
        };
        let words = [&["-f", "-U", "SOCKET"], filters, last].concat();
        let server = Theirs::start(folder.path(), "nbdkit", &words);
        for options in forms() {
            let disk = open(&server, "", &options);
            exercise(&disk);
            disk.close().unwrap();
        }
    }
}

/// What was written through one connection is seen by another, and survives the server once it was flushed.
#[test]
fn connections_share_a_disk_and_a_stop_flushes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.raw");
    std::fs::write(&path, vec![0; SIZE as usize]).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(FileStorage::open(&path, Access::ReadWrite).unwrap());
    let disk = FORMAT.open(storage, Access::ReadWrite, Options::new(), &DenyResolver).unwrap();
    let server = Server::new([Export::new("", Arc::new(disk))], ServerOptions::default()).unwrap();
    let running = server.listen_tcp("127.0.0.1", 0).unwrap();
    let uri = format!("nbd://{}/", running.local_addr().unwrap());
    let address = Address::parse(&uri).unwrap();
    let open = || connect(&address, Access::ReadWrite, &ClientOptions::default()).unwrap();
    let disks: Vec<Disk> = (0..8).map(|_| open()).collect();
    std::thread::scope(|scope| {
        for (index, disk) in disks.iter().enumerate() {
            scope.spawn(move || {
                let offset = index as u64 * (1 << 20);
                disk.write(offset, &vec![index as u8 + 1; 1 << 20], WriteFlags::default()).unwrap();
            });
        }
    });
    let mut bytes = vec![0; 8 << 20];
    disks[0].read(0, &mut bytes).unwrap();
    assert!(
        bytes
            .chunks(1 << 20)
            .enumerate()
            .all(|(index, part)| part.iter().all(|byte| *byte == index as u8 + 1))
    );
    drop(disks);
    running.wait_for_last_client();
    running.stop().unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[..8 << 20], bytes);
    assert!(
        connect(&address, Access::ReadWrite, &ClientOptions::default()).is_err(),
        "nobody listens any more"
    );
}

/// Several connections are offered only where they are let in.
#[test]
fn a_server_of_one_client_at_a_time_says_so() {
    if !there_are(&["nbdinfo"]) {
        return;
    }
    for (connections_max, said) in [(1, "can_multi_conn: false"), (2, "can_multi_conn: true")] {
        let folder = tempfile::tempdir().unwrap();
        let (_, disk) = memory_disk(SIZE);
        let options = ServerOptions { connections_max, ..ServerOptions::default() };
        let server = Server::new([Export::new("", disk)], options).unwrap();
        let path = folder.path().join("socket");
        let running = server.listen_unix(&path).unwrap();
        let info = ok("nbdinfo", &["--no-content", &Address::unix(&path, "").to_string()]);
        assert!(info.contains(said), "{info}");
        running.stop().unwrap();
    }
}

/// A server whose runs end inside of sectors, and that says no block sizes: what is data is not called zero.
#[test]
fn runs_that_end_inside_a_sector_are_not_taken_for_others() {
    if !there_are(&["nbdkit"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "-f",
        "-U",
        "SOCKET",
        "eval",
        "get_size=echo 1536",
        "can_extents=exit 0",
        "pread=dd if=/dev/zero bs=$3 count=1 status=none | tr '\\0' x",
        "extents=echo 0 700; echo 700 836 hole,zero",
    ];
    let server = Theirs::start(folder.path(), "nbdkit", &words);
    let address = Address::unix(&server.socket, "");
    let disk = connect(&address, Access::ReadOnly, &ClientOptions::default()).unwrap();
    let runs = disk.block_status_runs(Extent::new(0, 1536), 8).unwrap();
    assert!(runs.iter().all(|run| !run.zero), "{runs:?}");
    let last = disk.block_status(Extent::new(1024, 512)).unwrap();
    assert!(last.zero && last.length == 512, "{last:?}");
}
