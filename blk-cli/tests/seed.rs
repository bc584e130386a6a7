//! The examples of blkverify's own description, word for word, with our program.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn blk(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_blk")).args(arguments).current_dir(folder).output().expect("blk runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both streams of an output.
fn text(output: &Output) -> String {
    stdout(output) + &String::from_utf8_lossy(&output.stderr)
}

/// raw.img has 0xcd in its first sector, where test.img has been zeroed.
fn images(folder: &Path) {
    for (name, first) in [("raw.img", 0xcd), ("test.img", 0)] {
        let mut bytes = vec![0x11; 1 << 20];
        bytes[..512].fill(first);
        fs::write(folder.join(name), bytes).expect("the folder can be written");
    }
}

#[test]
fn a_sector_is_shown_on_each_side() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    for (name, byte, letter) in [("raw.img", "cd", "."), ("test.img", "00", ".")] {
        let output = blk(folder.path(), &["io", "-c", "read -v 0 512", name]);
        assert!(output.status.success(), "{}", text(&output));
        let shown = stdout(&output);
        let lines: Vec<&str> = shown.lines().collect();
        for (number, line) in lines[..32].iter().enumerate() {
            let bytes = [byte; 16].join(" ");
            assert_eq!(*line, format!("{:08x}:  {bytes}  {}", number * 16, letter.repeat(16)));
        }
        assert_eq!(lines[32], "read 512/512 bytes at offset 0");
        assert!(lines[33].starts_with("512 bytes, 1 ops; ") && lines[33].ends_with(" ops/sec)"), "{shown}");
        assert_eq!(lines.len(), 34);
    }
}

#[test]
fn blkverify_stops_at_the_first_sector_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let output = blk(folder.path(), &["io", "-c", "read 0 512", "blkverify:raw.img:test.img"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)\n"),
        "{said}"
    );
    assert!(
        said.contains("expected:  00000000: cd cd") && said.contains("found:     00000000: 00 00"),
        "{said}"
    );
    // Behind it, both are the same; without a format, it would be probed in the first sector.
    let arguments = ["io", "-f", "raw", "-c", "read 512 512", "blkverify:raw.img:test.img"];
    let output = blk(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output));
    assert!(stdout(&output).starts_with("read 512/512 bytes at offset 512\n"), "{}", text(&output));
}

#[test]
fn disks_of_16_gib_are_made_and_verified_while_they_are_used() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&["img", "create", "raw.img", "16G"][..], &["img", "create", "-f", "qcow2", "test.qcow2", "16G"]]
    {
        let output = blk(folder.path(), arguments);
        assert!(output.status.success(), "{}", text(&output));
        assert!(stdout(&output).starts_with("Formatting '"), "{}", stdout(&output));
    }
    assert!(fs::metadata(folder.path().join("test.qcow2")).unwrap().len() < 1 << 20);
    let commands = ["-c", "write -P 7 8G 1M", "-c", "read -P 7 8G 1M", "-c", "read -P 0 15G 64k"];
    let arguments: Vec<&str> = [&["io"][..], &commands, &["blkverify:raw.img:test.qcow2"]].concat();
    let output = blk(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        stdout(&output).contains("read 1048576/1048576 bytes at offset 8589934592"),
        "{}",
        stdout(&output)
    );
    let output = blk(folder.path(), &["io", "-r", "-c", "read -P 7 8G 1M", "test.qcow2"]);
    assert!(output.status.success(), "{}", text(&output));
}

/// Any two drivers: raw against raw, qcow2 against qcow2 of another geometry, a verifier in a verifier.
#[test]
fn any_two_drivers_are_composed_and_so_are_verifiers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, options) in
        [("small.qcow2", "cluster_size=512"), ("large.qcow2", "cluster_size=2M,compat=0.10")]
    {
        assert!(
            blk(folder, &["img", "create", "-q", "-f", "qcow2", "-o", options, name, "4M"]).status.success()
        );
    }
    for name in ["a.img", "b.img"] {
        assert!(blk(folder, &["img", "create", "-q", name, "4M"]).status.success());
    }
    let nested = "blkverify:a.img:blkverify:b.img:small.qcow2";
    let commands = ["-c", "write -P 3 1000 70000", "-c", "read -P 3 1000 70000", "-c", "discard 0 64k"];
    let output = blk(folder, &[&["io"][..], &commands, &[nested]].concat());
    assert!(output.status.success(), "{}", text(&output));
    let options = "driver=blkverify,raw.driver=qcow2,raw.file.filename=small.qcow2,test.driver=qcow2,\
                   test.file.filename=large.qcow2";
    // The verifier compared one of them alone so far: the other still has zeroes.
    let output = blk(folder, &["io", "--image-opts", "-c", "read 0 128k", options]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("contents mismatch at offset 65536"), "{}", text(&output));
    let commands = ["-c", "write -P 9 0 128k", "-c", "read -P 9 0 128k"];
    let output = blk(folder, &[&["io", "--image-opts"][..], &commands, &[options]].concat());
    assert!(output.status.success(), "{}", text(&output));
    for pair in [["a.img", "b.img"], ["small.qcow2", "large.qcow2"]] {
        let output = blk(folder, &["verify", "--requests", "2000", "--quiet", pair[0], pair[1]]);
        assert!(output.status.success(), "{pair:?}: {}", text(&output));
        assert!(stdout(&output).starts_with("requests  "), "{}", stdout(&output));
    }
}

/// What the verifier says is enough to go and look.
#[test]
fn verify_and_replay_end_with_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    let output = blk(folder, &["verify", "raw.img", "test.img"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("contents mismatch at offset 0 (sector 0)"), "{}", text(&output));
    fs::copy(folder.join("raw.img"), folder.join("test.img")).unwrap();
    fs::write(
        folder.join("trace"),
        "blk-scenario 1\nwrite 0 4k\nread 0 8k\ndiscard 4k 4k\nreopen\nmap 0 1M\n",
    )
    .unwrap();
    let arguments = ["replay", "trace", "--reference", "raw.img", "--test", "test.img"];
    let output = blk(folder, &arguments);
    assert!(output.status.success(), "{}", text(&output));
    let broken = ["replay", "trace", "--reference", "raw.img", "--test", "blkdebug:rules:test.img"];
    fs::write(folder.join("rules"), "[inject-error]\nevent = \"none\"\niotype = \"read\"\nsector = \"64\"\n")
        .unwrap();
    let output = blk(folder, &broken);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("reading the disk under test failed"), "{}", text(&output));
}
