//! The program and image specifications: what only shows from outside, by exit codes, output and other
//! processes.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::qemu;

/// A folder with links to the program, in which it runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["qemu-io", "qemu-img"] {
            symlink(env!("CARGO_BIN_EXE_blk"), folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path().join(program));
        command.args(arguments).current_dir(self.path());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that has to succeed.
    fn done(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_mismatch_ends_the_program_with_a_report() {
    let folder = Folder::new();
    folder.done("qemu-img", &["create", "-q", "-f", "raw", "a.raw", "1M"]);
    folder.done("qemu-img", &["create", "-q", "-f", "qcow2", "b.qcow2", "1M"]);
    folder.done("qemu-io", &["-f", "raw", "-c", "write -P 1 4k 512", "a.raw"]);
    let output = folder.run(
        "qemu-io",
        &[
            "-f",
            "raw",
            "-c",
            "read 0 512",
            "-c",
            "read 4k 512",
            "-c",
            "read 8k 512",
            "blkverify:a.raw:b.qcow2",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let report = stderr(&output);
    let first = "blkverify: read offset=4096 bytes=512 contents mismatch at offset 4096 (sector 8)";
    assert_eq!(report.lines().next(), Some(first));
    assert!(
        report.contains("  expected:  00001000: 01 01") && report.contains("  found:     00001000: 00 00")
    );
    let printed = stdout(&output);
    assert!(printed.contains("read 512/512 bytes at offset 0"), "what came before is printed: {printed}");
    assert!(!printed.contains("8192"), "nothing follows: {printed}");
}

/// A process that has an image open until it is told to end.
struct Holder(Child);

impl Holder {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // An answer means that the image is open.
        child.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
        let mut byte = [0];
        let mut seen = String::new();
        while !seen.contains("MiB") {
            let read = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
            assert!(read > 0, "the program has ended: {seen}");
            seen.push(char::from(byte[0]));
        }
        Self(child)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn two_processes_do_not_write_one_image() {
    let folder = Folder::new();
    folder.done("qemu-img", &["create", "-q", "-f", "qcow2", "a.qcow2", "1M"]);
    let holder = Holder::new(folder.command("qemu-io", &["a.qcow2"]));
    let second = folder.run("qemu-io", &["-c", "length", "a.qcow2"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("Failed to get \"write\" lock"), "{}", stderr(&second));
    assert!(!folder.run("qemu-img", &["info", "a.qcow2"]).status.success());
    folder.done("qemu-img", &["info", "-U", "a.qcow2"]);
    holder.end();
    folder.done("qemu-io", &["-c", "length", "a.qcow2"]);
}

/// QEMU's programs respect our locks, and we theirs.
#[test]
fn locks_hold_between_our_program_and_qemu() {
    if !qemu::available() {
        return;
    }
    let folder = Folder::new();
    folder.done("qemu-img", &["create", "-q", "-f", "qcow2", "a.qcow2", "1M"]);
    let theirs = |arguments: &[&str]| {
        let mut command = Command::new("qemu-io");
        command.args(arguments).current_dir(folder.path());
        command
    };
    let ours = Holder::new(folder.command("qemu-io", &["a.qcow2"]));
    let refused = theirs(&["-c", "length", "a.qcow2"]).output().unwrap();
    assert!(stderr(&refused).contains("\"write\" lock"), "{}", stderr(&refused));
    let refused = theirs(&["-r", "-c", "length", "a.qcow2"]).output().unwrap();
    assert!(stderr(&refused).contains("shared \"write\" lock"), "{}", stderr(&refused));
    ours.end();
    let holder = Holder::new(theirs(&["a.qcow2"]));
    assert!(stderr(&folder.run("qemu-io", &["-c", "length", "a.qcow2"])).contains("\"write\" lock"));
    assert!(folder.run("qemu-io", &["-r", "-U", "-c", "length", "a.qcow2"]).status.success());
    holder.end();
    let reader = Holder::new(theirs(&["-r", "a.qcow2"]));
    assert!(folder.run("qemu-io", &["-r", "-c", "length", "a.qcow2"]).status.success());
    assert!(!folder.run("qemu-io", &["-c", "length", "a.qcow2"]).status.success());
    reader.end();
}

#[test]
fn injected_errors_and_an_image_that_survives_them() {
    let folder = Folder::new();
    let events = [
        "l2_alloc_write",
        "cluster_alloc",
        "write_aio",
        "refblock_load",
        "refblock_update_part",
        "l2_update",
        "l1_update",
        "flush_to_os",
        "flush_to_disk",
        "pwritev",
    ];
    for event in events {
        folder.done("qemu-img", &["create", "-q", "-f", "qcow2", "a.qcow2", "1M"]);
        let image = format!(
            "driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.qcow2,\
             file.inject-error.0.event={event},file.inject-error.0.once=on"
        );
        let output =
            folder.run("qemu-io", &["--image-opts", "-c", "write -P 1 0 128k", "-c", "flush", &image]);
        let all = stdout(&output) + &stderr(&output);
        assert!(all.contains("Input/output error"), "{event}: {all}");
        let check = folder.run("qemu-img", &["check", "a.qcow2"]);
        assert!(matches!(check.status.code(), Some(0 | 3)), "{event}: leaks at most: {}", stdout(&check));
    }
}

#[test]
fn a_request_that_has_stopped_lets_others_pass() {
    let folder = Folder::new();
    folder.done("qemu-img", &["create", "-q", "-f", "qcow2", "a.qcow2", "1M"]);
    folder.done("qemu-io", &["-c", "write -P 1 0 128k", "a.qcow2"]);
    let mut commands = vec!["break read_aio A", "aio_read -P 1 0 64k", "wait_break A", "read -P 1 64k 64k"];
    commands.extend(["resume A", "aio_flush", "read -P 1 0 64k"]);
    let arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", command]).collect();
    let printed = folder.done("qemu-io", &[&arguments[..], &["blkdebug::a.qcow2"]].concat());
    let at = |text: &str| printed.find(text).unwrap_or_else(|| panic!("no '{text}' in {printed}"));
    assert!(at("Suspended request 'A'") < at("at offset 65536"));
    assert!(at("at offset 65536") < at("Resuming request 'A'"));
    assert!(at("Resuming request 'A'") < at("bytes at offset 0"));
}

#[test]
fn a_verified_disk_grows_in_the_modes_that_the_disk_under_test_knows() {
    let folder = Folder::new();
    let grow = |mode: &str, test: &str| {
        folder.done("qemu-img", &["create", "-q", "-f", "raw", "a.raw", "1M"]);
        folder.done("qemu-img", &["create", "-q", "-f", test, "b", "1M"]);
        let truncate = format!("truncate -m {mode} 2M");
        let name = format!(
            "driver=blkverify,raw.driver=raw,raw.file.filename=a.raw,test.driver={test},test.file.filename=b"
        );
        let output = folder.run(
            "qemu-io",
            &["--image-opts", "-c", &truncate, "-c", "read -P 0 0 1M", "-c", "length", &name],
        );
        let length = stdout(&output).lines().last().unwrap_or_default().to_owned();
        (output.status.success(), length, std::fs::metadata(folder.path().join("a.raw")).unwrap().len())
    };
    for mode in ["off", "metadata", "falloc", "full"] {
        assert_eq!(grow(mode, "qcow2"), (true, "2 MiB".to_owned(), 2 << 20), "{mode}");
    }
    // The reference has not grown either.
    assert_eq!(grow("metadata", "raw"), (false, "1 MiB".to_owned(), 1 << 20));
}

/// A copy is left to the host by default, as qemu-img leaves it. A flush that fails when the target is closed
/// fails the copy.
#[test]
fn convert_asks_for_a_flush_only_where_the_cache_mode_does() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("src"), vec![7; 65536]).unwrap();
    let target = "driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=out,\
                  file.inject-error.0.event=flush_to_disk";
    for (mode, is_flushed) in [(None, false), (Some("unsafe"), false), (Some("writeback"), true)] {
        folder.done("qemu-img", &["create", "-q", "-f", "raw", "out", "64K"]);
        let mut arguments = vec!["convert", "-n", "--target-image-opts"];
        arguments.extend(mode.into_iter().flat_map(|mode| ["-t", mode]));
        let output = folder.run("qemu-img", &[arguments, vec!["src", target]].concat());
        assert_eq!(output.status.success(), !is_flushed, "{mode:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).contains("flush failed"), is_flushed, "{mode:?}: {}", stderr(&output));
    }
}
