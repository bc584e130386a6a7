//! `blk verify --crash --faults --race`: copies of an image are broken, the image is not.

use std::path::Path;
use std::process::{Command, Output};

fn blk(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.args(words.split_whitespace()).current_dir(folder);
    command.output().expect("the program starts")
}

fn ok(folder: &Path, words: &str) -> String {
    let output = blk(folder, words);
    assert!(output.status.success(), "blk {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An overlay with content of its own over one with content, and a raw image that shows the same.
fn images(folder: &Path) {
    ok(folder, "img create -q below.raw 200k");
    std::fs::write(folder.join("below.raw"), vec![0xb5; 200 << 10]).unwrap();
    ok(folder, "img create -q -f qcow2 -o cluster_size=4k -b below.raw -F raw test.qcow2 256k");
    let disk = folder.join("commands");
    std::fs::write(&disk, "write -P 1 1000 20000\nwrite -z 64k 8k\nwrite -c -P 7 128k 4k\n").unwrap();
    let mut io = Command::new(env!("CARGO_BIN_EXE_blk"));
    io.args(["io", "test.qcow2"]).current_dir(folder).stdin(std::fs::File::open(&disk).unwrap());
    assert!(io.output().unwrap().status.success());
    ok(folder, "img convert -O raw test.qcow2 raw.img");
}

/// Each oracle has done what its name says.
fn assert_reached(said: &str) {
    let facts: serde_json::Value =
        serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"));
    for (title, claims) in [
        ("crashes", &["scenarios", "distinct_states", "with_losses"][..]),
        ("faults", &["scenarios", "faults", "surfaced"]),
        ("races", &["scenarios", "interleaved", "met"]),
    ] {
        for claim in claims {
            let count = facts[title][claim].as_u64();
            assert!(count.is_some_and(|count| count > 0), "{title} {claim} was not reached: {said}");
        }
    }
}

#[test]
fn a_sound_image_passes_all_three_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    let before = std::fs::read(folder.join("test.qcow2")).unwrap();
    let said = ok(
        folder,
        "verify raw.img test.qcow2 --crash --faults --race --requests 600 --reference-format raw --output=json",
    );
    assert_eq!(std::fs::read(folder.join("test.qcow2")).unwrap(), before, "the image is not touched");
    assert_reached(&said);
}

/// Copies have the key and the data file of the image, and neither file is touched.
#[test]
fn an_encrypted_image_and_one_with_a_data_file_pass_all_three() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = "--object secret,id=k,data=x";
    ok(folder, "img create -q -f raw raw.img 64k");
    let opened = |driver: &str, key: &str, name: &str| {
        format!(r#"json:{{"driver":"{driver}","{key}":"k","file":{{"driver":"file","filename":"{name}"}}}}"#)
    };
    let encrypted = |name| opened("qcow2", "encrypt.key-secret", name);
    for (format, options, name) in [
        ("qcow2", "data_file=data", "image".to_owned()),
        ("qcow2", "data_file=raw-data,data_file_raw=on", "image".to_owned()),
        ("qcow2", "encrypt.format=aes,encrypt.key-secret=k", encrypted("image")),
        ("qcow2", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=1", encrypted("image")),
        (
            "qcow2",
            "data_file=cipher,encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=1",
            encrypted("image"),
        ),
        ("luks", "key-secret=k,iter-time=1", opened("luks", "key-secret", "image")),
    ] {
        // A new LUKS disk shows noise.
        ok(folder, &format!("img convert -f raw -O {format} {key} -o {options} raw.img image"));
        let content = || {
            ["image", "data", "raw-data", "cipher"]
                .map(|name| std::fs::read(folder.join(name)).unwrap_or_default())
        };
        let before = content();
        let all = "--crash --faults --race --requests 300 --reference-format raw --output=json";
        assert_reached(&ok(folder, &format!("verify raw.img {name} {all} {key}")));
        assert!(content() == before, "{options}: the files are not touched");
    }
}

#[test]
fn images_that_differ_and_images_that_are_too_large_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    ok(folder, "img create -q -f raw other.img 256k");
    let differs = blk(folder, "verify other.img test.qcow2 --crash --reference-format raw");
    assert_eq!(differs.status.code(), Some(1));
    assert!(text(&differs).contains("differ before the first request"), "{}", text(&differs));
    ok(folder, "img create -q -f qcow2 large.qcow2 1G");
    ok(folder, "img create -q -f raw large.raw 1G");
    let large = blk(folder, "verify large.raw large.qcow2 --race --reference-format raw");
    assert_eq!(large.status.code(), Some(2));
    assert!(text(&large).contains("1073741824 bytes"), "{}", text(&large));
    let nothing = blk(folder, "verify null-co:// null-co:// --crash");
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing));
}
