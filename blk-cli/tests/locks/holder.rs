//! A process that has an image open.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How it has the image open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `qemu-io`
    Write,
    /// `qemu-io -r`
    Read,
    /// `qemu-io -r -U`
    Shared,
    /// As the disk of a running machine: a writable export of qemu-storage-daemon.
    Daemon,
}

/// Ends with the value.
#[derive(Debug)]
pub(crate) struct Holder(Child);

impl Holder {
    /// Opens an image, and waits until it is open. `None`, and a word about it, if there is no such program
    /// here.
    pub(crate) fn new(folder: &Path, file: &str, format: &str, mode: Mode, is_ours: bool) -> Option<Self> {
        if mode == Mode::Daemon {
            return Self::daemon(folder, file, format);
        }
        let mut command = if is_ours {
            let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
            command.arg("io");
            command
        } else {
            Command::new("qemu-io")
        };
        let flags: &[&str] = match mode {
            Mode::Read => &["-r"],
            Mode::Shared => &["-r", "-U"],
            Mode::Write | Mode::Daemon => &[],
        };
        command.args(flags).args(["-f", format, file]).current_dir(folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
        let mut answer = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut answer).unwrap();
        assert!(answer.contains("1 MiB"), "{file} {mode:?}: {answer}");
        child.stdout = Some(stdout.into_inner());
        Some(Self(child))
    }

    fn daemon(folder: &Path, file: &str, format: &str) -> Option<Self> {
        let mut command = Command::new("qemu-storage-daemon");
        command.args([
            "--blockdev",
            &format!("driver={format},node-name=d,file.driver=file,file.filename={file}"),
        ]);
        command.args(["--nbd-server", "addr.type=unix,addr.path=socket"]);
        command.args(["--export", "type=nbd,id=e,node-name=d,writable=on", "--pidfile", "pid"]);
        let child = command.current_dir(folder).stdin(Stdio::null()).spawn();
        let Ok(child) = child else {
            eprintln!("SKIPPED: qemu-storage-daemon is missing");
            return None;
        };
        let holder = Self(child);
        let started = Instant::now();
        // The file is written when all is set up.
        while !folder.join("pid").exists() {
            assert!(started.elapsed() < Duration::from_secs(20), "the daemon does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        match self.0.stdin.take() {
            // The program ends when it has nothing more to read.
            Some(stdin) => drop(stdin),
            None => self.0.kill().unwrap_or_default(),
        }
        if let Some(mut stdout) = self.0.stdout.take() {
            let _ = stdout.read_to_end(&mut Vec::new());
        }
        let _ = self.0.wait();
    }
}
