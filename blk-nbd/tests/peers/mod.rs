//! Programs of others.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Whether all these programs are there.
pub(crate) fn there_are(programs: &[&str]) -> bool {
    let is_there = |program: &&&str| {
        let said =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        said.is_err()
    };
    let Some(missing) = programs.iter().find(is_there) else { return true };
    let required = std::env::var_os("BLK_REQUIRE_QEMU").is_some();
    assert!(!required, "{missing} is required here and missing");
    eprintln!("SKIPPED: {missing} is missing (Debian packages qemu-utils, libnbd-bin, nbdkit)");
    false
}

pub(crate) fn run(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

pub(crate) fn ok(program: &str, words: &[&str]) -> String {
    let output = run(program, words);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {text}");
    text
}

/// Whether somebody listens at a socket. Its file is there earlier, when it is bound; and to connect is more
/// than to look, for a server that ends with its first client.
fn listens(path: &str) -> bool {
    /// What the kernel sets, in hexadecimal, among the flags of a socket that listens.
    const LISTENS: &str = "00010000";
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    sockets.lines().any(|line| line.ends_with(path) && line.split_whitespace().nth(3) == Some(LISTENS))
}

/// A server of others, which ends with this.
pub(crate) struct Theirs {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Theirs {
    pub(crate) fn start(folder: &Path, program: &str, words: &[&str]) -> Self {
        let socket = folder.join(format!("{program}.socket"));
        let place = socket.to_str().unwrap();
        let words: Vec<String> = words.iter().map(|word| word.replace("SOCKET", place)).collect();
        let child = Command::new(program).args(words).spawn().unwrap();
        let begun = Instant::now();
        while !listens(place) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{program} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, socket }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
