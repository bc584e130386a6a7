//! Names that are not UTF-8 in `blk verify` and `blk replay`, readers that go away, and words that are nearly
//! right.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn blk(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.current_dir(folder);
    command
}

type Word<'a> = &'a dyn AsRef<[u8]>;

fn run(folder: &Path, words: &[Word<'_>]) -> Output {
    blk(folder)
        .args(words.iter().map(|word| OsStr::from_bytes(word.as_ref())))
        .output()
        .expect("the program starts")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

const GOOD: &[u8] = b"good\xff \xc3'.raw";
const BAD: &[u8] = b"bad\xfe\n.qcow2";

/// A raw image and a qcow2 image with the same content, both with names of odd bytes.
fn images(folder: &Path) {
    let words: [[Word<'_>; 7]; 2] = [
        [&"img", &"create", &"-q", &"-f", &"raw", &GOOD, &"1M"],
        [&"img", &"create", &"-q", &"-f", &"qcow2", &BAD, &"1M"],
    ];
    for words in &words {
        let output = run(folder, words);
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn verify_and_replay_take_names_that_are_not_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    let output = run(folder, &[&"verify", &GOOD, &BAD, &"--reference-format", &"raw", &"--requests", &"500"]);
    assert!(output.status.success(), "{output:?}");

    let trace = OsString::from_vec(b"trace\x80".to_vec());
    std::fs::write(folder.join(&trace), "blk-scenario 1\nwrite 0 64k\nread 0 64k\n").unwrap();
    let trace = trace.as_bytes();
    let formats: Word<'_> = &"--reference-format=raw";
    let words: [Word<'_>; 7] = [&"replay", &trace, &"--reference", &GOOD, &"--test", &BAD, formats];
    let output = run(folder, &words);
    assert!(output.status.success(), "{output:?}");

    let output = run(folder, &[&"verify", &GOOD, &b"none\xf0", formats]);
    assert_eq!(output.status.code(), Some(2));
    assert!(contains(&output.stderr, b"none\xf0"), "{output:?}");
    let output = run(folder, &[&"replay", &b"none\xf0", &"--reference", &GOOD, &"--test", &BAD]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_line_that_replays_a_finding_works_for_names_that_are_not_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    // The same content, but the image under test fails to write: a finding.
    let rules = "[inject-error]\nevent = \"none\"\niotype = \"write\"\nerrno = \"5\"\nonce = \"off\"\n";
    std::fs::write(folder.join("rules"), rules).unwrap();
    let test = [b"driver=raw,file.driver=blkdebug,file.config=rules,file.image.filename=", GOOD].concat();
    let reference = [b"driver=qcow2,file.filename=", BAD].concat();
    let traces: &[u8] = b"found\xfd";
    std::fs::create_dir(folder.join(OsStr::from_bytes(traces))).unwrap();
    let output = run(
        folder,
        &[
            &"verify",
            &reference,
            &test,
            &"--image-opts",
            &"--traces",
            &traces,
            &"--requests=200",
            &"--in-place",
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("the line is text");
    let line = said.lines().rev().find_map(|line| line.strip_prefix("replay: blk ")).expect("a line");
    let script = format!("'{}' {line}", env!("CARGO_BIN_EXE_blk"));
    let replayed = Command::new("sh").args(["-c", &script]).current_dir(folder).output().unwrap();
    assert_eq!(replayed.status.code(), Some(1), "{script}: {replayed:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(run(folder, &[&"img", &"create", &"-q", &"-f", &"qcow2", &"t.qcow2", &"1M"]).status.success());
    let lines = [
        "io -c help t.qcow2",
        "io --help",
        "io -V",
        "img --help",
        "img info t.qcow2",
        "img info --output=json t.qcow2",
        "img map t.qcow2",
        "img map --output=json t.qcow2",
        "img check t.qcow2",
        "img measure --size 1G -O qcow2",
        "img compare t.qcow2 t.qcow2",
        "img snapshot -l t.qcow2",
        "img create -f qcow2 u.qcow2 1M",
        "img convert -p -O raw t.qcow2 u.raw",
        "verify t.qcow2 t.qcow2 --requests 10",
        "verify t.qcow2 t.qcow2 --requests 10 --output=json",
        "verify t.qcow2 none",
        "verify --help",
        "replay none --reference t.qcow2 --test t.qcow2 --output=json",
        "completions bash",
        "man pages",
        "share prefix",
        "--help",
        "nosuch",
    ];
    for line in lines {
        for closes_errors in [false, true] {
            let mut command = blk(folder);
            command.args(line.split(' ')).stdin(Stdio::null()).stdout(closed_pipe());
            command.stderr(if closes_errors { closed_pipe() } else { Stdio::piped() });
            let output = command.output().expect("the program starts");
            assert_ne!(output.status.code(), Some(101), "{line}: {output:?}");
            assert!(output.status.code().is_some(), "{line}: {output:?}");
        }
    }
}

/// A pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

#[test]
fn a_word_that_is_nearly_right_gets_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let errors = |line: &[&str]| {
        let output = blk(folder.path()).args(line).output().expect("the program starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert_eq!(
        errors(&["io", "-c", "raed 0 512"]),
        "command \"raed\" not found\nblk io: did you mean 'read'?\n"
    );
    assert_eq!(errors(&["io", "-c", "xyzzy"]), "command \"xyzzy\" not found\n");
    assert!(errors(&["io", "--read-onli"]).contains("did you mean '--read-only'?"));
    assert!(errors(&["io", "--formta", "raw"]).contains("did you mean '--format'?"));
}
