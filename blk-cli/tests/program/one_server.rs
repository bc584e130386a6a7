//! One disk of a server by two spellings: a command that reads one and writes the other refuses, and loses
//! nothing.

use std::fs;

use crate::nbd::{BLK, Served, ok, run};

/// Commands that read the disk ONE and write the disk TWO.
const COMMANDS: [&str; 9] = [
    "img convert -f raw -O qcow2 ONE TWO",
    "img convert -f raw -O raw ONE TWO",
    "img convert -n -f raw -O raw ONE TWO",
    "img convert -n -U -f raw -O raw ONE TWO",
    "img convert -f raw -O raw other ONE TWO",
    "img convert -f raw -O qcow2 -B ONE -F raw other TWO",
    "img dd -f raw -O raw if=ONE of=TWO",
    "img create -q -f qcow2 -b ONE -F raw TWO",
    "img create -q -f qcow2 -u -b ONE -F raw TWO 1M",
];

/// 9 commands by 4 by 4 spellings.
#[test]
fn a_disk_of_a_server_is_not_read_and_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, BLK, "img create -q -f raw other 64k");
    fs::write(folder.join("a.raw"), vec![7; 1 << 20]).unwrap();
    let served = Served::start(folder, "blk", "-t -e 9 -f raw a.raw");
    std::os::unix::fs::symlink("socket", folder.join("soft")).unwrap();
    let spellings = [
        served.uri(""),
        format!("nbd:unix:{}", served.socket),
        format!("nbd+unix:///?socket={}", folder.join("soft").display()),
        "nbd+unix:///?socket=socket".to_owned(),
    ];
    let mut wrong = Vec::new();
    for (one, two) in spellings.iter().flat_map(|one| spellings.iter().map(move |two| (one, two))) {
        for line in COMMANDS {
            let output = run(folder, BLK, &line.replace("ONE", one).replace("TWO", two));
            let is_kept = fs::read(folder.join("a.raw")).unwrap().iter().all(|byte| *byte == 7);
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_told = message.contains("same disk of a server") || message.contains("its own backing");
            if output.status.code() != Some(1) || !is_kept || !is_told {
                wrong.push(format!("{line}: {one} {two}: kept: {is_kept}, {} {message}", output.status));
                fs::write(folder.join("a.raw"), vec![7; 1 << 20]).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What one server has is copied to another, and to another export of the same.
#[test]
fn two_disks_of_servers_are_two() {
    let one = tempfile::tempdir().unwrap();
    let two = tempfile::tempdir().unwrap();
    for (folder, byte) in [(one.path(), 7), (two.path(), 0)] {
        fs::write(folder.join("a.raw"), vec![byte; 1 << 20]).unwrap();
    }
    let (from, to) = (
        Served::start(one.path(), "blk", "-t -x disk -f raw a.raw"),
        Served::start(two.path(), "blk", "-t -x disk -f raw a.raw"),
    );
    let words = format!("img convert -f raw -O raw {} {}", from.uri("disk"), to.uri("disk"));
    ok(one.path(), BLK, &words);
    drop((from, to));
    assert!(fs::read(two.path().join("a.raw")).unwrap() == vec![7; 1 << 20]);
}

/// A server that has one client at a time is the backing file of a new image: what is in use keeps no
/// connection.
#[test]
fn a_backing_disk_is_connected_to_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("a.raw"), vec![7; 1 << 20]).unwrap();
    fs::write(folder.join("other"), vec![5; 1 << 20]).unwrap();
    let served = Served::start(folder, "blk", "-t -f raw a.raw");
    let uri = served.uri("");
    ok(folder, BLK, &format!("img convert -f raw -O qcow2 -B {uri} -F raw other over"));
    ok(folder, BLK, "img compare -f qcow2 -F raw over other");
}

/// A server whose disk is too small keeps what it has, and so does a file of the same name.
#[test]
fn what_does_not_fit_a_server_deletes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, BLK, "img create -q -f raw a.raw 64k");
    ok(folder, BLK, "img create -q -f raw large 1M");
    let _served = Served::start(folder, "blk", "-t -f raw a.raw");
    // As a path, the name leads to a file.
    let name = "nbd:unix:socket";
    fs::write(folder.join(name), "precious").unwrap();
    for line in ["img create -q -f qcow2 NAME 1M", "img dd -f raw -O raw if=large of=NAME"] {
        let output = run(folder, BLK, &line.replace("NAME", name));
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        assert_eq!(fs::read(folder.join(name)).unwrap(), b"precious".to_vec(), "{line}");
    }
}

/// A file that is a backing file holds no data of the overlay, though nobody looks into it.
#[test]
fn a_backing_file_is_no_data_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::os::unix::fs::symlink("base.raw", folder.join("soft")).unwrap();
    for (unchecked, data, backing) in [
        ("-u", "base.raw", "base.raw"),
        ("-u", "soft", "base.raw"),
        ("-u", "base.raw", "soft"),
        ("-u", "file:base.raw", "file:soft"),
        ("-u", "base.raw", "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"soft\"}}"),
        ("", "soft", "base.raw"),
    ] {
        fs::write(folder.join("base.raw"), vec![7; 1 << 20]).unwrap();
        let words =
            format!("img create -q -f qcow2 {unchecked} -b {backing} -F raw -o data_file={data} t 1M");
        let output = run(folder, BLK, &words);
        assert_eq!(output.status.code(), Some(1), "{words}: {output:?}");
        assert!(fs::read(folder.join("base.raw")).unwrap() == vec![7; 1 << 20], "{words}");
        assert!(!folder.join("t").exists(), "{words}");
    }
}
