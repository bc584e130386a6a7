//! The part of docs/test-your-driver.md about drivers in other processes, followed word for word by somebody
//! who has the program and nothing but the document. The other part is a test of cargo-blk.

mod qemu;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What following the document may take: reading it takes longer.
const TIME_MAX: Duration = Duration::from_mins(15);

/// What stands behind the three backticks of a block of code, its text, and its line in the document.
fn blocks(document: &str) -> Vec<(String, String, usize)> {
    let mut blocks: Vec<(String, String, usize)> = Vec::new();
    let mut is_open = false;
    for (line, text) in (1..).zip(document.lines()) {
        match (text.strip_prefix("```"), is_open) {
            (Some(head), false) => {
                blocks.push((head.to_owned(), String::new(), line));
                is_open = true;
            }
            (Some(_), true) => is_open = false,
            (None, true) => {
                let (_, block, _) = blocks.last_mut().expect("an open block is the last one");
                block.push_str(text);
                block.push('\n');
            }
            (None, false) => {}
        }
    }
    blocks
}

/// Runs a block as `sh -e`, with the program in its path; returns whether it ended well, and what it said.
fn run(folder: &Path, text: &str) -> (bool, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_blk")).parent().expect("the program lies in a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    // A server in the background keeps what it inherits open: files, not pipes, whose end would be awaited.
    let said = fs::File::create(folder.join("said")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-ec", text]).current_dir(folder).env("PATH", path).env("RUST_BACKTRACE", "0");
    let status = command.stdout(said.try_clone().unwrap()).stderr(said).status().expect("sh starts");
    (status.success(), fs::read_to_string(folder.join("said")).unwrap())
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_guide_does_what_it_says_of_other_processes() {
    if !qemu::available() || !is_there("nbdkit") {
        assert!(std::env::var_os("BLK_REQUIRE_QEMU").is_none(), "nbdkit is missing");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(root.join("docs/test-your-driver.md")).unwrap();
    let (_, document) =
        document.split_once("\n# A driver in another process\n").expect("there are two parts");
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let (mut files, mut failing, mut reports) = (0, 0, Vec::new());
    for (head, text, line) in blocks(document) {
        if let Some((_, file)) = head.split_once("file=") {
            fs::write(folder.path().join(file), text).unwrap();
            files += 1;
        } else if head.starts_with("sh") {
            let is_to_fail = head == "sh fails";
            failing += usize::from(is_to_fail);
            let (good, said) = run(folder.path(), &text);
            assert!(good != is_to_fail, "line {line} of the part:\n{text}\n{said}");
            reports.extend(is_to_fail.then_some(said));
        }
    }
    assert_eq!((files, failing), (2, 3), "the guide has other blocks than this test expects");
    assert!(
        reports[0].contains("contents mismatch at offset") && reports[0].contains("not shrunk"),
        "{reports:?}"
    );
    assert!(
        reports[1].contains("proven: 3 replays") && reports[1].contains("wrote found/"),
        "{}",
        reports[1]
    );
    assert!(reports[2].contains("THE BUG SHOWS"), "{}", reports[2]);
    assert!(started.elapsed() < TIME_MAX, "it took {} s", started.elapsed().as_secs());
}
