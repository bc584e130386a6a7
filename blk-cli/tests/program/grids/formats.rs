//! Images of formats that we do not open: no command takes one for a raw image.

use std::fs;

use super::headers::{HEADERS, Header};
use super::tools::{Tools, compare};
use crate::qemu;

const LENGTH: usize = 1 << 20;

/// What the tools take an image for that begins with `start`: "raw", or "another format".
fn taken_for(tools: &Tools, start: &[u8]) -> &'static str {
    let mut image = start.to_vec();
    image.resize(LENGTH.min(64 << 10), 0);
    fs::write(tools.path("image"), image).unwrap();
    match tools.img(&["info", "image"]) {
        Some(printed) if printed.contains("file format: raw\n") => "raw",
        _ => "another format",
    }
}

const TEXTS: &[&[u8]] = &[
    b"version=1\n",
    b"version=2\n",
    b"version=3\n",
    b"version=4\n",
    b"version=0\n",
    b"version=1",
    b"version=1\r\n",
    b"version=1\r",
    b"version=1x\n",
    b"version=10\n",
    b"version=1 \n",
    b"# x\nversion=1\n",
    b"#\nversion=1\n",
    b"# x\r\nversion=1\r\n",
    b"\nversion=1\n",
    b"  \nversion=1\n",
    b"  version=1\n",
    b" \r\nversion=1\n",
    b"\r\nversion=1\n",
    b"\t\nversion=1\n",
    b" \t\nversion=1\n",
    b"#x\n#y\n \nversion=1\n",
    b"#x\nfoo\nversion=1\n",
    b"VERSION=1\n",
    b"version =1\n",
    b"version=\"1\"\n",
    b"encoding=\"UTF-8\"\nversion=1\n",
    b"# x\n\nversion=1\n",
    b"# x\n \n  \nversion=1\n",
    b"\xef\xbb\xbf# x\nversion=1\n",
    b"#a\r\n \r\nversion=1\r\n",
    b"#\0\nversion=1\n",
    b" # x\nversion=1\n",
    b"#",
    b" ",
    b"#\r\n \r\r\nversion=1\n",
    b"# \n#",
    b"QFI\xfb\0\0\0\0",
    b"QFI\xfb\0\0\0\x04",
    b"QFI\xfb\x80\0\0\0",
    b"QFI\xfb\0\0\x01\0",
    b"LUKS\xba\xbe\0\x02",
    b"LUKS\xba\xbe\x01\x01",
    b"QED",
    b"conectiy",
];

/// Every header with each of its bytes wrong in turn, and texts that nearly describe a vmdk image.
#[test]
fn an_image_is_taken_for_raw_where_qemu_does_so() {
    if !qemu::available() {
        return;
    }
    let mut cells: Vec<Vec<u8>> = TEXTS.iter().map(|text| text.to_vec()).collect();
    for length in [480, 500, 501, 502, 503, 520] {
        cells.push([&vec![b'#'; length], &b"\nversion=1\n"[..]].concat());
    }
    for header in HEADERS {
        cells.push(header.sector().to_vec());
        for at in header.places() {
            let mut sector = header.sector();
            sector[at] ^= 0x20;
            cells.push(sector.to_vec());
        }
    }
    // QEMU goes by the version alone.
    let says_so_otherwise = |start: &[u8]| start.starts_with(b"# Disk DescriptorFile");
    cells.retain(|start| !says_so_otherwise(start));
    compare(cells, |_| (), |tools, start| taken_for(tools, start), |_| false);
}

/// A command on `image` that has no format, with its exit code.
const COMMANDS: &[(&str, &[&str], i32)] = &[
    ("qemu-img", &["info", "image"], 1),
    ("qemu-img", &["info", "--output=json", "image"], 1),
    ("qemu-img", &["info", "-U", "image"], 1),
    ("qemu-img", &["check", "image"], 1),
    ("qemu-img", &["check", "-r", "all", "image"], 1),
    ("qemu-img", &["map", "image"], 1),
    ("qemu-img", &["measure", "-O", "qcow2", "image"], 1),
    ("qemu-img", &["convert", "-O", "qcow2", "image", "new"], 1),
    ("qemu-img", &["convert", "-O", "raw", "other", "image", "new"], 1),
    ("qemu-img", &["convert", "-O", "qcow2", "-B", "image", "-F", "raw", "image", "new"], 1),
    ("qemu-img", &["convert", "-n", "--target-image-opts", "other", "file.filename=image"], 1),
    ("qemu-img", &["resize", "image", "+1M"], 1),
    ("qemu-img", &["resize", "--shrink", "image", "1k"], 1),
    ("qemu-img", &["dd", "if=image", "of=new"], 1),
    // Of compare, 1 says that images differ.
    ("qemu-img", &["compare", "image", "other"], 2),
    ("qemu-img", &["compare", "other", "image"], 2),
    ("qemu-img", &["bench", "-c", "1", "image"], 1),
    ("qemu-img", &["bench", "-w", "-c", "1", "image"], 1),
    ("qemu-img", &["snapshot", "-l", "image"], 1),
    ("qemu-img", &["amend", "-o", "lazy_refcounts=on", "image"], 1),
    ("qemu-img", &["commit", "image"], 1),
    ("qemu-img", &["rebase", "-b", "", "image"], 1),
    ("qemu-img", &["create", "-f", "qcow2", "-b", "image", "new"], 1),
    ("qemu-img", &["info", "json:{\"file\":{\"driver\":\"file\",\"filename\":\"image\"}}"], 1),
    ("qemu-img", &["info", "--image-opts", "file.filename=image"], 1),
    ("qemu-io", &["-c", "read 0 512", "image"], 1),
    ("qemu-io", &["-r", "-c", "read 0 512", "image"], 1),
    ("qemu-io", &["-s", "-c", "write 0 512", "image"], 1),
    ("qemu-io", &["-c", "write 0 512", "image"], 1),
    ("qemu-io", &["-c", "truncate 0", "image"], 1),
    ("qemu-io", &["-c", "discard 0 512", "image"], 1),
    ("qemu-io", &["-c", "write 0 512", "blkdebug::image"], 1),
    ("qemu-io", &["-c", "write 0 512", "blkverify:other:image"], 1),
    ("qemu-io", &["-r", "-c", "read 0 512", "over.qcow2"], 1),
    ("qemu-img", &["convert", "-O", "raw", "over.qcow2", "new"], 1),
    ("qemu-img", &["map", "over.qcow2"], 1),
    ("qemu-img", &["commit", "over.qcow2"], 1),
    ("qemu-img", &["info", "--backing-chain", "over.qcow2"], 1),
];

/// With `-f raw` its bytes are what they are.
const RAW_COMMANDS: &[(&str, &[&str])] = &[
    ("qemu-img", &["info", "-f", "raw", "image"]),
    ("qemu-img", &["map", "-f", "raw", "image"]),
    ("qemu-img", &["convert", "-f", "raw", "-O", "raw", "image", "new"]),
    ("qemu-img", &["dd", "-f", "raw", "-O", "raw", "if=image", "of=new"]),
    ("qemu-img", &["compare", "-f", "raw", "-F", "raw", "image", "image"]),
    ("qemu-io", &["-f", "raw", "-c", "read -P 0 200k 512", "image"]),
];

/// Ours alone: for QEMU these are images like others.
#[test]
fn no_command_takes_it_for_a_raw_image() {
    let tools = Tools::ours();
    let mut cells = 0;
    let mut wrong = Vec::new();
    fs::write(tools.path("other"), vec![0; LENGTH]).unwrap();
    make_overlay(&tools);
    let dmg: (&str, Vec<u8>) = ("dmg", dmg());
    let whole = |header: &Header| (header.format, [&header.sector()[..], &vec![0; LENGTH - 512]].concat());
    for (format, image) in HEADERS.iter().map(whole).chain([dmg]) {
        fs::write(tools.path("image"), &image).unwrap();
        for (program, arguments, code) in COMMANDS {
            let output = tools.run(program, arguments);
            let errors = String::from_utf8_lossy(&output.stderr);
            let says = errors.contains(&format!("looks like {format}, which is not supported; -f raw takes"));
            if output.status.code() != Some(*code) || !says {
                wrong.push(format!("{format}: {program} {arguments:?}: {:?} {errors}", output.status));
            }
            cells += 1;
        }
        for (program, arguments) in RAW_COMMANDS {
            let output = tools.run(program, arguments);
            if !output.status.success() {
                wrong.push(format!(
                    "{format}: {program} {arguments:?}: {}",
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
            cells += 1;
        }
        assert_eq!(fs::read(tools.path("image")).unwrap(), image, "{format}: no command has changed it");
    }
    assert!(wrong.is_empty(), "{} of {cells} cells:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("{cells} cells");
}

/// An image over `image` that does not say its format, as old programs made them.
fn make_overlay(tools: &Tools) {
    const BACKING_FORMAT: [u8; 4] = [0xe2, 0x79, 0x2a, 0xca];
    let create = ["create", "-q", "-f", "qcow2", "-u", "-b", "image", "-F", "raw", "over.qcow2", "1M"];
    assert!(tools.img(&create).is_some());
    let mut bytes = fs::read(tools.path("over.qcow2")).unwrap();
    let at = bytes.windows(4).position(|four| four == BACKING_FORMAT).unwrap();
    // An extension that nobody knows is passed over.
    bytes[at..at + 4].copy_from_slice(b"none");
    fs::write(tools.path("over.qcow2"), bytes).unwrap();
}

fn dmg() -> Vec<u8> {
    let mut image = vec![0; LENGTH];
    image[LENGTH - 512..][..12].copy_from_slice(b"koly\0\0\0\x04\0\0\x02\0");
    image
}

/// Images as QEMU makes them: each is recognised by what it calls itself.
#[test]
fn images_that_qemu_makes_are_recognised() {
    if !qemu::available() {
        return;
    }
    let (theirs, ours) = (Tools::of_qemu(), Tools::ours());
    let kinds: &[&[&str]] = &[
        &["vmdk"],
        &["vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
        &["vmdk", "-o", "subformat=streamOptimized"],
        &["vmdk", "-o", "subformat=monolithicFlat"],
        &["vdi"],
        &["vdi", "-o", "static=on"],
        &["vhdx"],
        &["vhdx", "-o", "subformat=fixed"],
        &["vpc"],
        &["qcow"],
        &["qed"],
        &["parallels"],
    ];
    for kind in kinds {
        let create = [&["create", "-q", "-f"], *kind, &["image", "1M"]].concat();
        assert!(theirs.img(&create).is_some(), "{create:?}");
        let output = ours.run("qemu-img", &["info", theirs.path("image").to_str().unwrap()]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{kind:?}");
        assert!(
            errors.contains(&format!("looks like {}, which is not supported", kind[0])),
            "{kind:?}: {errors}"
        );
    }
}

/// The footer of this one is past the end of its disk. QEMU takes it for a raw image, footer included.
#[test]
fn a_vpc_image_of_fixed_size_is_recognised_by_its_footer() {
    if !qemu::available() {
        return;
    }
    let (theirs, ours) = (Tools::of_qemu(), Tools::ours());
    assert!(theirs.img(&["create", "-q", "-f", "vpc", "-o", "subformat=fixed", "image", "1M"]).is_some());
    let image = theirs.path("image");
    let output = ours.run("qemu-img", &["info", image.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("looks like vpc, which is not supported; -f raw takes"), "{errors}");
    assert!(ours.img(&["info", "-f", "raw", image.to_str().unwrap()]).is_some());
    // A footer that is damaged is none.
    let mut bytes = fs::read(&image).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    fs::write(&image, bytes).unwrap();
    assert!(ours.img(&["info", image.to_str().unwrap()]).is_some());
}

/// Whoever vets images that others have made reads what the format is; a guess is no statement about it.
#[test]
fn info_says_that_a_format_was_guessed() {
    let tools = Tools::ours();
    assert!(tools.img(&["create", "-q", "-f", "raw", "r", "1M"]).is_some());
    assert!(tools.img(&["create", "-q", "-f", "qcow2", "q", "1M"]).is_some());
    let json = |arguments: &[&str]| {
        let printed = tools.img(&[&["info", "--output=json"], arguments].concat()).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&printed).unwrap();
        (parsed["format"].as_str().map(str::to_owned), parsed["format-guessed"].as_bool())
    };
    assert_eq!(json(&["r"]), (Some("raw".to_owned()), Some(true)));
    assert_eq!(json(&["-f", "raw", "r"]), (Some("raw".to_owned()), None));
    assert_eq!(json(&["q"]), (Some("qcow2".to_owned()), None));
    // The form for people is QEMU's, line for line.
    assert!(!tools.img(&["info", "r"]).unwrap().contains("guessed"));
}
