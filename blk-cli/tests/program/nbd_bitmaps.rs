//! Dirty bitmaps by `blk nbd -B`, beside qemu-nbd: the same contexts, and the same runs in each.

use std::fs;
use std::path::Path;

use crate::nbd::{BLK, Served, ok, run};
use crate::qemu;

/// What both servers tell of an image: the list of exports, and the runs of each context.
fn told(folder: &Path, words: &str, contexts: &[String]) -> [Vec<String>; 2] {
    ["blk", "qemu-nbd"].map(|program| {
        let served = Served::start(folder, program, &format!("-t -e 0 {words}"));
        let list = ok(folder, "qemu-nbd", &format!("-L -k {}", served.socket));
        let listed = list.lines().skip_while(|line| !line.contains("meta contexts")).collect::<Vec<_>>();
        let mut told = vec![listed.join("\n")];
        for context in contexts {
            let map = ok(folder, "nbdinfo", &format!("--map={context} --json {}", served.uri("")));
            told.push(format!("{context}: {map}"));
        }
        told
    })
}

/// The images: size, granularity, and what is written while the bitmap follows.
const IMAGES: [(&str, &str, &[&str]); 7] = [
    ("1M", "64k", &["write 64k 64k"]),
    ("1M", "512", &["write 0 512", "write 1024 512", "write 4k 512", "write 1048064 512"]),
    // More bits than a cluster of the bitmap has, with parts that have none, and a part that is full.
    ("600M", "512", &["write 255M 2M", "write 300M 512", "write 599M 1M"]),
    ("600M", "512", &["write -z 0 300M"]),
    // A size that is no multiple of the granularity.
    ("1049600", "1M", &["write 1048576 1024"]),
    ("3M", "4k", &["write 0 3M"]),
    ("3M", "4k", &[]),
];

#[test]
fn bitmaps_are_told_as_qemu_nbd_tells_them() {
    if !qemu::available() {
        return;
    }
    let mut cells = 0;
    for (size, granularity, writes) in IMAGES {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        qemu::qemu_img(folder, &["create", "-q", "-f", "qcow2", "a.qcow2", size]);
        qemu::qemu_img(folder, &["bitmap", "--add", "--enable", "-g", granularity, "a.qcow2", "live"]);
        for write in writes {
            qemu::qemu_io(folder, &["-f", "qcow2", "a.qcow2"], &[write.replacen("write", "write -q", 1)]);
        }
        qemu::qemu_img(folder, &["bitmap", "--add", "--disable", "-g", "1M", "a.qcow2", "still"]);
        let contexts =
            |names: &[&str]| names.iter().map(|name| format!("qemu:dirty-bitmap:{name}")).collect();
        let mut all: Vec<String> = contexts(&["live", "still"]);
        all.push("qemu:allocation-depth".to_owned());
        for (words, asked) in [
            ("-B live", contexts(&["live"])),
            ("-B still -B live -A", all),
            ("-s -B live", contexts(&["live"])),
        ] {
            let words = format!("-r -f qcow2 {words} a.qcow2");
            let [ours, theirs] = told(folder, &words, &asked);
            assert_eq!(ours, theirs, "{size} {granularity} {writes:?}: {words}");
            cells += ours.len();
        }
    }
    println!("{cells} answers are the same");
}

/// What cannot be exported is refused by both, or by us with the reason.
#[test]
fn bitmaps_that_cannot_be_exported_are_refused() {
    if !qemu::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, bitmap) in [("a.qcow2", "live"), ("used.qcow2", "used")] {
        qemu::qemu_img(folder, &["create", "-q", "-f", "qcow2", name, "1M"]);
        qemu::qemu_img(folder, &["bitmap", "--add", "-g", "64k", name, bitmap]);
    }
    // Flag 0 of its entry: a program that followed it has died. The entry ends with the name.
    let mut bytes = fs::read(folder.join("used.qcow2")).unwrap();
    let name = bytes.windows(4).rposition(|window| window == b"used").unwrap();
    bytes[name - 24 + 15] |= 1;
    fs::write(folder.join("used.qcow2"), bytes).unwrap();
    fs::write(folder.join("a.raw"), [0; 4096]).unwrap();
    let socket = folder.join("socket").display().to_string();
    for (words, said, also_qemu) in [
        ("-r -f qcow2 -B missing a.qcow2", "Bitmap 'missing' is not found", true),
        ("-r -f qcow2 -B live -B missing a.qcow2", "Bitmap 'missing' is not found", true),
        ("-r -f raw -B live a.raw", "Bitmap 'live' is not found", true),
        ("-r -f qcow2 -B used used.qcow2", "inconsistent", true),
        ("-r -o 512 -f qcow2 -B live a.qcow2", "offset", true),
    ] {
        let mut programs = vec![(BLK, format!("nbd -k {socket} {words}"))];
        programs.extend(also_qemu.then(|| ("qemu-nbd", format!("-k {socket} {words}"))));
        for (program, words) in programs {
            let output = run(folder, program, &words);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{program} {words}: {text}");
            assert!(program != BLK || text.contains(said), "{words}: {text}");
        }
    }
}
