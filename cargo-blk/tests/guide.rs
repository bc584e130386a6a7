//! docs/test-your-driver.md, followed word for word by somebody who has nothing but the document: its part
//! about drivers in Rust. The other part is a test of blk-cli, whose program it needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A block of code of the document.
struct Block {
    /// What stands behind the three backticks.
    head: String,
    text: String,
    line: usize,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (line, text) in (1..).zip(document.lines()) {
        match (text.strip_prefix("```"), is_open) {
            (Some(head), false) => {
                blocks.push(Block { head: head.to_owned(), text: String::new(), line });
                is_open = true;
            }
            (Some(_), true) => is_open = false,
            (None, true) => {
                let block = blocks.last_mut().expect("an open block is the last one");
                block.text.push_str(text);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    blocks
}

/// Runs a block as `sh -e`; returns whether it ended well, and what it said.
fn run(folder: &Path, target: &Path, text: &str) -> (bool, String) {
    let mut command = Command::new("sh");
    command
        .args(["-ec", text])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_INCREMENTAL", "0")
        .env("RUST_BACKTRACE", "0");
    let output = command.output().expect("sh starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_guide_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(root.join("docs/test-your-driver.md")).unwrap();
    let (document, _) =
        document.split_once("\n# A driver in another process\n").expect("there are two parts");
    let folder = tempfile::tempdir().unwrap();
    // What is built stays for the next time, and for the other tests that build a project.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("outside");
    let (mut files, mut failing) = (0, 0);
    for Block { head, text, line } in blocks(document) {
        let text = text.replace("/path/to/blk", root.to_str().unwrap());
        if let Some((_, file)) = head.split_once("file=") {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            files += 1;
        } else if head.starts_with("sh") {
            let is_to_fail = head == "sh fails";
            failing += usize::from(is_to_fail);
            let (good, said) = run(folder.path(), &target, &text);
            assert!(good != is_to_fail, "line {line} of the guide:\n{text}\n{said}");
            assert!(!is_to_fail || said.contains("wrote repros/"), "line {line}: nothing was found\n{said}");
        }
    }
    assert_eq!((files, failing), (5, 4), "the guide has other blocks than this test expects");
    let kept = fs::read_dir(folder.path().join("regressions")).unwrap().count();
    assert_eq!(kept, 4);
    let (good, said) = run(folder.path(), &target, "cargo check --manifest-path fuzz/Cargo.toml");
    assert!(good, "{said}");
}
