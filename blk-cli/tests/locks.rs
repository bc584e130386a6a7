//! Who may use a file that somebody else has in use: the same answers as QEMU's tools give, whoever of the
//! two programs holds it.

#[path = "locks/holder.rs"]
mod holder;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use holder::{Holder, Mode};

/// A folder with chains over a qcow2 and over a raw base, which every cell of the grid finds as they were
/// made.
struct Images {
    folder: tempfile::TempDir,
    saved: Vec<(PathBuf, Vec<u8>)>,
}

/// Name and backing file. Those that begin with `raw` are raw.
const IMAGES: [(&str, Option<&str>); 10] = [
    ("raw", None),
    ("raw2", None),
    ("base", None),
    ("mid", Some("base")),
    ("top", Some("mid")),
    ("sibling", Some("base")),
    ("over-raw", Some("raw")),
    ("over-over-raw", Some("over-raw")),
    ("raw-sibling", Some("raw")),
    ("other", None),
];

fn format(name: &str) -> &'static str {
    if matches!(name, "raw" | "raw2") { "raw" } else { "qcow2" }
}

impl Images {
    fn new() -> Self {
        // In memory where that can be: thousands of commands put on stable storage what they write.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut saved = Vec::new();
        for (name, backing) in IMAGES {
            let mut words = vec!["create", "-q", "-f", format(name), name, "1M"];
            if let Some(backing) = backing {
                words.extend(["-b", backing, "-F", format(backing)]);
            }
            let made = ours(folder.path(), "img", &words);
            assert!(made.status.success(), "{words:?}: {made:?}");
            let path = folder.path().join(name);
            let bytes = fs::read(&path).unwrap();
            saved.push((path, bytes));
        }
        Self { folder, saved }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts back what a command has changed, in place, so that locks of others stay where they are.
    fn restore(&self) {
        for (path, bytes) in &self.saved {
            if fs::read(path).unwrap() != *bytes {
                fs::write(path, bytes).unwrap();
            }
        }
        let _ = fs::remove_file(self.path().join("new"));
    }

    /// Runs a line such as `img info top` as one of the two programs, then puts everything back. Whether it
    /// succeeded.
    fn run(&self, line: &str, is_ours: bool) -> (bool, String) {
        let mut words = line.split_whitespace().map(|word| word.replace('_', " "));
        let program = words.next().unwrap();
        let mut command = if is_ours {
            let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
            command.arg(program);
            command
        } else {
            Command::new(format!("qemu-{program}"))
        };
        let output = command.args(words).current_dir(self.path()).stdin(Stdio::null()).output().unwrap();
        self.restore();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn ours(folder: &Path, program: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.arg(program).args(words).current_dir(folder).output().unwrap()
}

/// Commands for the files of both chains; `_` stands for a blank inside a word.
const COMMANDS: [&str; 39] = [
    "img info top",
    "img info raw",
    "img check top",
    "img check -r all mid",
    "img check -U base",
    "img map over-over-raw",
    "img map -U top",
    "img map -f raw raw",
    "img compare top other",
    "img measure -O qcow2 top",
    "img snapshot -l mid",
    "img resize base 2M",
    "img resize -f raw raw 2M",
    "img bench -w -c 1 -d 1 top",
    "img create -q -f qcow2 base 1M",
    "img create -q -f raw raw 1M",
    "img create -q -f qcow2 -b top -F qcow2 new",
    "img create -q -f qcow2 -u -b base -F qcow2 new 1M",
    "img convert -O qcow2 top new",
    "img convert -U -O qcow2 top other",
    "img convert -f raw -O raw raw raw2",
    "img convert -U -f raw -O raw raw raw2",
    "img convert -O raw over-over-raw raw2",
    "img convert -n -O qcow2 top other",
    "img convert -n -f raw -O raw raw2 raw",
    "img dd -O qcow2 if=top of=other",
    "img dd -f raw -O raw if=raw2 of=raw",
    "img commit -q top",
    "img commit -q -b base top",
    "img commit -q -d mid",
    "img commit -q over-raw",
    "img commit -q -b raw over-over-raw",
    "img rebase -b base -F qcow2 top",
    "img rebase -b raw -F raw top",
    "io -f qcow2 -c length top",
    "io -r -U -f qcow2 -c length mid",
    "io -f raw -c truncate_2M raw",
    "io -c length blkverify:raw2:raw",
    "io -f qcow2 -r -c reopen_-w top",
];

/// What is held meanwhile: a file, and how.
const HOLDERS: [Option<(&str, Mode)>; 10] = [
    None,
    Some(("top", Mode::Write)),
    Some(("mid", Mode::Read)),
    Some(("base", Mode::Shared)),
    Some(("base", Mode::Read)),
    Some(("sibling", Mode::Write)),
    Some(("raw", Mode::Write)),
    Some(("raw", Mode::Read)),
    Some(("raw-sibling", Mode::Read)),
    Some(("top", Mode::Daemon)),
];

/// Every command against every kind of holder, QEMU's commands against our holders too. 39 commands, 10
/// holders.
#[test]
fn a_file_in_use_is_refused_and_shared_as_qemu_does() {
    if !qemu::available() {
        return;
    }
    let todo = Mutex::new(HOLDERS.to_vec());
    let wrong = Mutex::new(Vec::new());
    let next = || todo.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(holder) = next() {
                    let found = differences(holder);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What the commands do in another way than QEMU's against QEMU's holder.
fn differences(holder: Option<(&str, Mode)>) -> Vec<String> {
    let images = Images::new();
    let mut wrong = Vec::new();
    let mut expected = Vec::new();
    {
        let Ok(_held) = hold(&images, holder, false) else { return wrong };
        for line in COMMANDS {
            let theirs = images.run(line, false);
            let ours = images.run(line, true);
            if theirs.0 != ours.0 {
                wrong.push(format!("{line} while QEMU holds {holder:?}: {theirs:?}, ours {ours:?}"));
            }
            expected.push(theirs);
        }
    }
    if matches!(holder, None | Some((_, Mode::Daemon))) {
        return wrong;
    }
    let _held = hold(&images, holder, true);
    for (line, theirs) in COMMANDS.into_iter().zip(expected) {
        let found = images.run(line, false);
        if theirs.0 != found.0 {
            wrong.push(format!("qemu's {line} while we hold {holder:?}: {found:?}, with QEMU {theirs:?}"));
        }
    }
    wrong
}

/// A holder that cannot be had here.
struct Unavailable;

/// The holder, if there is to be one.
fn hold(images: &Images, holder: Option<(&str, Mode)>, is_ours: bool) -> Result<Option<Holder>, Unavailable> {
    let Some((file, mode)) = holder else { return Ok(None) };
    Holder::new(images.path(), file, format(file), mode, is_ours).map(Some).ok_or(Unavailable)
}

/// A file that somebody writes is not emptied before that is known; QEMU's tool even removes it.
#[test]
fn a_new_image_does_not_take_the_place_of_one_in_use() {
    let images = Images::new();
    let path = images.path().join("raw");
    fs::write(&path, vec![3; 1 << 20]).unwrap();
    let _held = Holder::new(images.path(), "raw", "raw", Mode::Write, true);
    for words in [
        ["create", "-q", "-f", "qcow2", "raw", "1M"].as_slice(),
        &["convert", "-f", "qcow2", "-O", "qcow2", "other", "raw"],
        &["dd", "-f", "qcow2", "-O", "qcow2", "if=other", "of=raw"],
    ] {
        let output = ours(images.path(), "img", words);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && message.contains("lock"), "{words:?}: {output:?}");
        assert!(fs::read(&path).unwrap() == vec![3; 1 << 20], "{words:?}");
    }
}

/// Two commits of two overlays of one base at the same time: each one is done whole, or refused and changes
/// nothing.
#[test]
fn two_commits_to_one_base_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| ours(folder.path(), "img", words);
    let check = |words: &[&str]| {
        let output = run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
    };
    let mut both = 0;
    for round in 0..12 {
        check(&["create", "-q", "-f", "qcow2", "base", "64M"]);
        for (name, command) in [("a", "write -P 1 0 16M"), ("b", "write -P 2 32M 16M")] {
            check(&["create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", name]);
            let wrote = ours(folder.path(), "io", &["-f", "qcow2", "-c", command, name]);
            assert!(wrote.status.success(), "{wrote:?}");
        }
        let mut commits = ["a", "b"].map(|name| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
            let command = command.args(["img", "commit", "-q", "-d", name]).current_dir(folder.path());
            command.stderr(Stdio::null()).spawn().unwrap()
        });
        let done = commits.each_mut().map(|commit| commit.wait().unwrap().success());
        check(&["check", "-q", "base"]);
        both += usize::from(done == [true, true]);
        for (is_done, command) in done.into_iter().zip(["read -P 1 0 16M", "read -P 2 32M 16M"]) {
            let command = if is_done { command.to_owned() } else { zeroes(command) };
            let read = ours(folder.path(), "io", &["-r", "-f", "qcow2", "-c", &command, "base"]);
            let text = String::from_utf8_lossy(&read.stdout);
            assert!(
                read.status.success() && !text.contains("failed"),
                "round {round}, {done:?}: {command}: {text}"
            );
        }
    }
    assert!(both < 12, "they never met, so nothing was tried");
}

/// The same range, which has to be zeroes.
fn zeroes(command: &str) -> String {
    command.replacen("-P 1", "-P 0", 1).replacen("-P 2", "-P 0", 1)
}
