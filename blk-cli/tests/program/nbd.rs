//! `blk nbd`, beside qemu-nbd; and NBD addresses wherever images are taken.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::qemu;

pub(crate) const BLK: &str = env!("CARGO_BIN_EXE_blk");

pub(crate) fn run(folder: &Path, program: &str, words: &str) -> Output {
    let mut command = Command::new(program);
    command.args(words.split_whitespace()).current_dir(folder);
    command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

pub(crate) fn ok(folder: &Path, program: &str, words: &str) -> String {
    let output = run(folder, program, words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {words}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A server in the background, which ends with this.
pub(crate) struct Served<'a> {
    folder: &'a Path,
    pub(crate) socket: String,
}

impl<'a> Served<'a> {
    /// Starts `blk nbd`, or with the program's name qemu-nbd, with these words.
    pub(crate) fn start(folder: &'a Path, program: &str, words: &str) -> Self {
        let socket = folder.join("socket").display().to_string();
        let words = format!("--fork --pid-file=pid -k {socket} {words}");
        match program {
            "blk" => ok(folder, BLK, &format!("nbd {words}")),
            other => ok(folder, other, &words),
        };
        Self { folder, socket }
    }

    pub(crate) fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket)
    }

    /// Whether the process is still there: one that has ended has no program, though nobody has waited for
    /// it.
    fn lives(&self) -> bool {
        fs::read_to_string(self.folder.join("pid"))
            .is_ok_and(|pid| Path::new("/proc").join(pid.trim()).join("exe").exists())
    }

    fn wait_for_end(&self) {
        let begun = Instant::now();
        while self.lives() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the server goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.folder.join("pid")) {
            let _ = Command::new("kill").arg(pid.trim()).output();
        }
        // The next one listens at the same place.
        let begun = Instant::now();
        while self.lives() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn images_are_copied_through_a_server_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, BLK, "img create -q -f qcow2 served.qcow2 3M");
    let bytes: Vec<u8> =
        (0..3 << 20).map(|at: u32| if at < 1 << 20 { (at / 512) as u8 } else { 0 }).collect();
    fs::write(folder.join("source.raw"), bytes).unwrap();
    let served = Served::start(folder, "blk", "-t -f qcow2 -x disk -D described served.qcow2");
    let uri = served.uri("disk");
    ok(folder, BLK, &format!("img convert -n -f raw -O raw source.raw {uri}"));
    ok(folder, BLK, &format!("img compare -f raw -F raw source.raw {uri}"));
    ok(folder, BLK, &format!("img convert -f raw -O raw {uri} copy.raw"));
    assert_eq!(fs::read(folder.join("copy.raw")).unwrap(), fs::read(folder.join("source.raw")).unwrap());
    let map = ok(folder, BLK, &format!("img map --output=json -f raw {uri}"));
    assert!(map.contains(r#""start": 1048576, "length": 2097152"#), "{map}");
    ok(
        folder,
        BLK,
        &format!("verify --requests 300 --reference-format raw --test-format raw copy.raw {uri}"),
    );
    if qemu::available() {
        let info = qemu::qemu_img(folder, &["info", "-f", "raw", &uri]);
        assert!(info.contains("virtual size: 3 MiB"), "{info}");
        let list = |program: &str, first: &str| {
            ok(folder, program, &format!("{first} -L -k {}", served.socket)).replace("blk", "")
        };
        assert_eq!(list(BLK, "nbd"), list("qemu-nbd", ""));
    }
    // What was written is there when it has been told to end.
    let pid = fs::read_to_string(folder.join("pid")).unwrap();
    ok(folder, "kill", pid.trim());
    served.wait_for_end();
    assert!(!Path::new(&served.socket).exists(), "the socket goes with the server");
    assert!(folder.join("pid").exists(), "the file stays, as qemu-nbd's does");
    ok(folder, BLK, "img check served.qcow2");
    ok(folder, BLK, "img compare -f qcow2 -F raw served.qcow2 copy.raw");
}

#[test]
fn a_server_ends_with_its_last_client_unless_it_is_persistent() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, BLK, "img create -q -f raw a.raw 1M");
    let served = Served::start(folder, "blk", "-f raw a.raw");
    assert!(served.lives());
    ok(folder, BLK, &format!("img info -f raw {}", served.uri("")));
    served.wait_for_end();
    let served = Served::start(folder, "blk", "-t -r -f raw a.raw");
    for _ in 0..3 {
        ok(folder, BLK, &format!("img info -f raw {}", served.uri("")));
    }
    assert!(served.lives());
    let refused = run(folder, BLK, &format!("io -f raw -c flush {}", served.uri("")));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("read-only"), "{said}");
}

/// A snapshot keeps what is written to it elsewhere, and a window is a part of the disk.
#[test]
fn a_snapshot_and_a_window_are_exported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("a.raw"), vec![7; 1 << 20]).unwrap();
    {
        let served = Served::start(folder, "blk", "-s -f raw a.raw");
        let write =
            ["io", "-f", "raw", "-c", "write -P 9 0 64k", "-c", "read -P 9 0 64k", "-c", "read -P 7 64k 64k"];
        let output = Command::new(BLK).args(write).arg(served.uri("")).output().unwrap();
        assert!(output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("failed"));
        served.wait_for_end();
    }
    assert_eq!(fs::read(folder.join("a.raw")).unwrap(), vec![7; 1 << 20]);
    let served = Served::start(folder, "blk", "-o 512k -f raw a.raw");
    let info = ok(folder, BLK, &format!("img info --output=json -f raw {}", served.uri("")));
    assert!(info.contains("\"virtual-size\": 524288"), "{info}");
}

/// What is wrong is said in a line, with exit code 1, by both programs.
#[test]
fn wrong_command_lines_fail_as_qemu_nbd_s_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, BLK, "img create -q -f raw a.raw 1M");
    let with_qemu = qemu::available();
    for (words, said) in [
        ("", "Invalid number of arguments"),
        ("a b", "Invalid number of arguments"),
        ("-k relative a.raw", "socket path must be absolute"),
        ("-k /s -p 33 a.raw", "a Unix socket has no port"),
        ("-p x a.raw", "port 'x'"),
        ("-e -1 a.raw", "Invalid shared device number"),
        ("-k /nowhere/s -f raw a.raw", "/nowhere/s"),
        ("-k /nowhere/s -f raw missing.raw", "missing.raw"),
        ("-k /nowhere/s -f unheard a.raw", "unheard"),
        ("--cache=foo a.raw", "Invalid cache mode"),
        ("--aio=foo a.raw", "Invalid aio mode"),
        ("--discard=foo a.raw", "Invalid discard mode"),
        ("--detect-zeroes=foo a.raw", "detect_zeroes"),
        ("--detect-zeroes=unmap a.raw", "detect-zeroes to unmap"),
        ("-o x a.raw", "Invalid offset"),
        ("-k /nowhere/s -f raw -o 1M a.raw", "Offset"),
        ("-L a.raw", "List mode is incompatible"),
        ("-L -k /nowhere/s", "/nowhere/s"),
        ("--unheard-of", "--unheard-of"),
        ("--image-opts -f raw driver=raw", "mutually exclusive"),
        ("--tls-authz x a.raw", "--tls-authz is not permitted without --tls-creds"),
        ("-k /nowhere/s -f raw -l s a.raw", "'snapshot'"),
        ("-k /nowhere/s -f raw --selinux-label x a.raw", "SELinux"),
    ] {
        let mut programs = vec![(BLK, format!("nbd {words}"))];
        // Where qemu-nbd goes on, it would not come back.
        let differs = words.contains("-p 33") || words.contains("driver=raw");
        programs.extend(Some(("qemu-nbd", words.to_owned())).filter(|_| with_qemu && !differs));
        for (program, words) in programs {
            let output = run(folder, program, &words);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{program} {words}: {text}");
            if program == BLK {
                assert!(text.contains(said), "{words}: {text}");
            }
        }
    }
}

/// Whoever leaves the port to the host is told which one it is.
#[test]
fn a_port_that_the_host_chooses_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, BLK, "img create -q -f raw a.raw 1M");
    let output = run(folder, BLK, "nbd --fork --pid-file=pid -t -p 0 -f raw a.raw");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let served = Served { folder, socket: String::new() };
    let address = said.trim().rsplit(' ').next().unwrap();
    assert!(said.contains("listening on 127.0.0.1:") && served.lives(), "{said}");
    let info = ok(folder, BLK, &format!("img info -f raw nbd://{address}/"));
    assert!(info.contains("virtual size: 1 MiB"), "{info}");
}

/// Where a command stands in square brackets in the place of an address, libnbd starts it and passes its
/// socket on, as systemd does.
#[test]
fn a_socket_is_passed_on_as_to_qemu_nbd() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("a.raw"), [7; 4096]).unwrap();
    ok(folder, BLK, "img convert -f raw -O qcow2 a.raw a.qcow2");
    for program in [format!("{BLK} nbd"), "qemu-nbd".to_owned()] {
        let server = format!("[ {program} -r -f qcow2 a.qcow2 ]");
        assert_eq!(ok(folder, "nbdinfo", &format!("--size -- {server}")), "4096\n", "{program}");
        ok(folder, "nbdcopy", &format!("-- {server} copy.raw"));
        assert!(fs::read(folder.join("copy.raw")).unwrap() == [7; 4096], "{program}");
        for (words, said) in [("-k /tmp/s", "-k"), ("-p 1", "-p"), ("-b ::1", "-b"), ("-L", "--list")] {
            let server = format!("[ {program} {words} -f qcow2 a.qcow2 ]");
            let output = run(folder, "nbdinfo", &format!("--size -- {server}"));
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{program} {words}: {text}");
            assert!(
                program == "qemu-nbd" || text.contains(&format!("{said}: the socket is passed on")),
                "{words}: {text}"
            );
        }
    }
    // Whom they are for is not said: they are not this program's.
    let mut alone = Command::new(BLK);
    let alone = alone.args(["nbd", "--list", "-k", "/nowhere/s"]).env("LISTEN_FDS", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&alone.stderr).contains("/nowhere/s"), "{alone:?}");
}

/// Every form of an address opens the same export.
#[test]
fn addresses_in_all_forms_open_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("a.raw"), vec![7; 64 << 10]).unwrap();
    let served = Served::start(folder, "blk", "-t -e 0 -x disk -f raw a.raw");
    let socket = &served.socket;
    for words in [
        format!("-f raw nbd+unix:///disk?socket={socket}"),
        format!("nbd:unix:{socket}:exportname=disk"),
        format!("--image-opts driver=nbd,server.type=unix,server.path={socket},export=disk"),
        format!("--image-opts driver=raw,file.driver=nbd,file.path={socket},file.export=disk"),
        format!(
            "json:{{\"driver\":\"nbd\",\"server\":{{\"type\":\"unix\",\"path\":\"{socket}\"}},\"export\":\"disk\"}}"
        ),
    ] {
        let read = format!("io -r -c read\u{a0}-P\u{a0}7\u{a0}0\u{a0}64k {words}");
        let arguments: Vec<String> = read.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
        let output = Command::new(BLK).args(&arguments).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("read 65536/65536"), "{words}: {said}");
    }
    for (address, said) in [
        ("nbd+unix:///disk", "?socket=PATH"),
        ("nbd://127.0.0.1:1/", "cannot open"),
        ("nbd:unix:/nowhere/s", "cannot open"),
        ("nbds://127.0.0.1/", "certificates"),
    ] {
        let output = run(folder, BLK, &format!("img info {address}"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(said), "{address}: {text}");
    }
}

/// Certificates of tests, by QEMU's names.
fn certificates() -> String {
    [env!("CARGO_MANIFEST_DIR"), "..", "blk-nbd", "tests", "certificates", "ours"].join("/")
}

#[test]
fn connections_are_encrypted_with_qemu_s_objects() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, BLK, "img create -q -f qcow2 a.qcow2 4M");
    let pem = certificates();
    let keys = format!("--object tls-creds-x509,id=s,dir={pem},endpoint=server --tls-creds s");
    let client = format!("--object tls-creds-x509,id=c,dir={pem},endpoint=client");
    let programs: &[&str] = if qemu::available() { &["blk", "qemu-nbd"] } else { &["blk"] };
    for program in programs {
        let served = Served::start(folder, program, &format!("-t -f qcow2 -x disk {keys} a.qcow2"));
        let socket = &served.socket;
        let image = format!(
            "driver=nbd,server.type=unix,server.path={socket},export=disk,tls-creds=c,tls-hostname=localhost"
        );
        let mut write = Command::new(BLK);
        write.args(format!("io {client} --image-opts {image} -c").split_whitespace()).arg("write -P 7 1M 1M");
        assert!(write.current_dir(folder).output().unwrap().status.success(), "{program}");
        let info = ok(folder, BLK, &format!("img info {client} --image-opts {image}"));
        assert!(info.contains("virtual size: 4 MiB"), "{info}");
        let uri = format!("nbds+unix:///disk?socket={socket}&tls-certificates={pem}");
        ok(folder, BLK, &format!("img convert -f raw -O raw {uri} copy.raw"));
        ok(folder, BLK, &format!("img compare {client} -f raw -F raw {uri} copy.raw"));
        let list = if *program == "blk" { "qemu-nbd" } else { BLK };
        if list == BLK || qemu::available() {
            let first = if list == BLK { "nbd" } else { "" };
            let listed = ok(
                folder,
                list,
                &format!("{first} -L -k {socket} {client} --tls-creds c --tls-hostname localhost"),
            );
            assert!(listed.contains("export: 'disk'"), "{listed}");
        }
        for (words, said) in [
            (format!("img info -f raw {}", served.uri("disk")), "encrypted"),
            (format!("img info -f raw nbds+unix:///disk?socket={socket}"), "certificates"),
            (format!("img info --image-opts {}", image.replace(",tls-creds=c", "")), "tls-hostname"),
            (format!("img info --image-opts {image}"), "there is no object 'c'"),
        ] {
            let refused = run(folder, BLK, &words);
            let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && reason.contains(said), "{words}: {reason}");
        }
    }
    let refused = run(folder, BLK, &format!("nbd {} --tls-creds s a.qcow2", client.replace("id=c", "id=s")));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not for a server"), "{refused:?}");
}
