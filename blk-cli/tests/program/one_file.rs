//! One file by two names: a command that reads one and writes the other refuses, and loses nothing.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Output};

/// A file `a` of a format, and names for it.
struct Names {
    folder: tempfile::TempDir,
    /// What each is, and the name.
    of_file: Vec<(&'static str, String)>,
    _open: File,
    device: Option<String>,
}

impl Names {
    fn new(format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        run(folder.path(), &["img", "create", "-q", "-f", format, "a", "1M"]);
        run(folder.path(), &["io", "-f", format, "-c", "write -P 7 0 1M", "a"]);
        fs::hard_link(path("a"), path("hard")).unwrap();
        std::os::unix::fs::symlink("a", path("soft")).unwrap();
        fs::create_dir(path("dir")).unwrap();
        let open = File::open(path("a")).unwrap();
        let mut names = vec![
            ("the same name", "a".to_owned()),
            ("a relative path", "./a".to_owned()),
            ("a path through a folder", "dir/../a".to_owned()),
            ("an absolute path", path("a").display().to_string()),
            ("a hard link", "hard".to_owned()),
            ("a symbolic link", "soft".to_owned()),
            ("a protocol", "file:a".to_owned()),
            ("an open file", format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd())),
        ];
        let device = loop_device(&path("a"));
        names.extend(device.iter().map(|device| ("a loop device", device.clone())));
        Self { folder, of_file: names, _open: open, device }
    }

    fn content(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("a")).unwrap()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            let detached = Command::new("losetup").args(["--detach", device]).status();
            assert!(detached.is_ok_and(|status| status.success()) || std::thread::panicking(), "{device}");
        }
    }
}

/// A loop device over the file, where one can be made. Says so if not.
fn loop_device(file: &Path) -> Option<String> {
    let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        _ => {
            let required = std::env::var_os("BLK_REQUIRE_LOOP").is_some();
            assert!(!required, "loop devices are required here: {output:?}");
            eprintln!("SKIPPED: no loop device can be made here");
            None
        }
    }
}

fn blk(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_blk")).args(words).current_dir(folder).output().unwrap()
}

fn run(folder: &Path, words: &[&str]) {
    let output = blk(folder, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// Commands that read `a`, or an overlay of it, and write NAME; or the other way round.
const COMMANDS: [&str; 17] = [
    "img convert -f FORMAT -O raw a NAME",
    "img convert -f FORMAT -O qcow2 a NAME",
    "img convert -U -f FORMAT -O raw a NAME",
    "img convert -n -f FORMAT -O FORMAT a NAME",
    "img convert -n -U -f FORMAT -O FORMAT a NAME",
    "img convert -f FORMAT -O raw other a NAME",
    "img convert -f FORMAT -O raw NAME a",
    "img convert -f qcow2 -O raw overlay NAME",
    "img convert -f FORMAT -O qcow2 -B FOLDER/a -F FORMAT other NAME",
    "img convert -f FORMAT -O qcow2 -B FOLDER/overlay -F qcow2 other NAME",
    "img dd -f FORMAT -O raw if=a of=NAME",
    "img dd -U -f FORMAT -O qcow2 if=NAME of=a",
    "img dd -f qcow2 -O raw if=overlay of=NAME",
    "img create -q -f qcow2 -b a -F FORMAT NAME",
    "img create -q -f qcow2 -b overlay -F qcow2 NAME",
    "img create -q -f qcow2 -u -b NAME -F FORMAT a 1M",
    "io -c write_0_512 blkverify:a:NAME",
];

/// 17 commands by 9 names by 2 formats.
#[test]
fn what_is_read_is_not_written_by_another_name() {
    let mut wrong = Vec::new();
    for format in ["raw", "qcow2"] {
        let names = Names::new(format);
        let folder = names.folder.path();
        run(folder, &["img", "create", "-q", "-f", format, "other", "1M"]);
        run(folder, &["img", "create", "-q", "-f", "qcow2", "-b", "a", "-F", format, "overlay"]);
        let before = names.content();
        for (kind, name) in &names.of_file {
            for line in COMMANDS {
                let line = line.replace("NAME", name).replace("FORMAT", format);
                let line = line.replace("FOLDER", &folder.display().to_string());
                let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let output = blk(folder, &words);
                let message = String::from_utf8_lossy(&output.stderr).into_owned();
                if output.status.code() != Some(1) || names.content() != before || message.is_empty() {
                    wrong.push(format!("{kind}: {line}: {} {message}", output.status));
                    fs::write(folder.join("a"), &before).unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// An image that would become its own backing file, by each name: rebase, and a chain that comes back.
#[test]
fn an_image_does_not_become_its_own_backing_file() {
    let names = Names::new("qcow2");
    let folder = names.folder.path();
    run(folder, &["img", "create", "-q", "-f", "qcow2", "-b", "a", "-F", "qcow2", "overlay"]);
    let before = names.content();
    for (kind, name) in &names.of_file {
        for below in [name.as_str(), "overlay"] {
            let output = blk(folder, &["img", "rebase", "-f", "qcow2", "-b", below, "-F", "qcow2", "a"]);
            assert_eq!(output.status.code(), Some(1), "{kind}: {below}: {output:?}");
            assert!(names.content() == before, "{kind}: {below}");
        }
        if name.starts_with("file:") {
            // No protocol is looked for in the name of a file node.
            continue;
        }
        let spec = format!("driver=qcow2,file.filename=a,backing.driver=qcow2,backing.file.filename={name}");
        let output = blk(folder, &["io", "-r", "--image-opts", "-c", "length", &spec]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains("comes back to it"), "{kind}: {output:?}");
    }
}

/// Different parts of one disk are different files.
#[test]
fn two_loop_devices_over_different_parts_are_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("disk");
    fs::write(&file, vec![5; 2 << 20]).unwrap();
    let part = |offset: &str| {
        let arguments = ["--find", "--show", "--sizelimit", "1048576", "--offset", offset];
        let output = Command::new("losetup").args(arguments).arg(&file).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let parts: Vec<String> = ["0", "1048576", "524288"].iter().filter_map(|offset| part(offset)).collect();
    let [first, second, between] = &parts[..] else {
        assert!(std::env::var_os("BLK_REQUIRE_LOOP").is_none(), "loop devices are required here");
        eprintln!("SKIPPED: no loop device can be made here");
        return;
    };
    let copy = |from: &str, to: &str| {
        blk(folder.path(), &["img", "convert", "-n", "-f", "raw", "-O", "raw", from, to]).status.success()
    };
    let found = [
        copy(first, second),
        copy(second, first),
        copy(first, between),
        copy(between, second),
        copy(first, &file.display().to_string()),
    ];
    for device in &parts {
        Command::new("losetup").args(["--detach", device]).status().unwrap();
    }
    assert_eq!(found, [true, true, false, false, false]);
}
