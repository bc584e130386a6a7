//! The same scripts for QEMU's real tools and for ours: output, exit codes and what is left in the folder
//! have to be the same.
//!
//! A script is plain sh in `tests/scripts/`, run in an empty folder with `qemu-io` and `qemu-img` on its
//! path: the real ones, then links to `blk`; functions that several share stand in `scripts/prelude`. Times
//! and rates are masked; the wording of errors is ours, so of a line that begins with a program's name only
//! the name counts. `BLK_SCRIPTS=check cargo test -p blk-cli --test differential` runs those with that text
//! in their path.

#[path = "common/left.rs"]
mod left;
#[path = "common/mask.rs"]
mod mask;

mod qemu;

use std::collections::VecDeque;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Fewest scripts that have to be there, so that a lost folder does not pass.
const SCRIPTS_MIN: usize = 640;
/// A script that takes longer hangs.
const SECONDS_MAX: &str = "60";

struct Ran {
    output: String,
    folder: tempfile::TempDir,
}

#[test]
fn scripts_do_the_same_with_our_program() {
    if !qemu::available() {
        return;
    }
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut all = Vec::new();
    find(&scripts, &mut all);
    all.sort();
    assert!(all.len() >= SCRIPTS_MIN, "{} scripts in {}", all.len(), scripts.display());
    if let Ok(wanted) = std::env::var("BLK_SCRIPTS") {
        all.retain(|path| path.to_string_lossy().contains(&wanted));
        assert!(!all.is_empty(), "no script has '{wanted}' in its path");
    }
    let count = all.len();
    let links = links();
    let todo = Mutex::new(VecDeque::from(all));
    let differing = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(script) = next(&todo) {
                    let name = script.strip_prefix(&scripts).unwrap_or(&script).display().to_string();
                    if let Some(difference) = difference(&script, links.path()) {
                        differing.lock().expect("no thread panics with it").push((name, difference));
                    }
                }
            });
        }
    });
    let mut differing = differing.into_inner().expect("no thread panics with it");
    differing.sort();
    for (name, difference) in &differing {
        eprintln!("==== {name}\n{difference}");
    }
    let names: Vec<&str> = differing.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.is_empty(), "{} of {count} scripts differ: {}", names.len(), names.join(" "));
}

fn next(todo: &Mutex<VecDeque<PathBuf>>) -> Option<PathBuf> {
    todo.lock().expect("no thread panics with it").pop_front()
}

fn find(folder: &Path, scripts: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the scripts are there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, scripts);
        } else if path.extension().is_some_and(|extension| extension == "sh") {
            scripts.push(path);
        }
    }
}

/// A folder in which `qemu-io`, `qemu-img` and `qemu-nbd` are our program.
fn links() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["qemu-io", "qemu-img", "qemu-nbd"] {
        symlink(env!("CARGO_BIN_EXE_blk"), folder.path().join(name)).expect("a link");
    }
    folder
}

/// What differs between both runs of a script.
fn difference(script: &Path, links: &Path) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let theirs = run(script, &path);
    let ours = run(script, &format!("{}:{path}", links.display()));
    let mut difference = String::new();
    if theirs.output != ours.output {
        difference += &side_by_side(&theirs.output, &ours.output);
    }
    for line in left::differences(theirs.folder.path(), ours.folder.path()) {
        let _ = writeln!(difference, "  left behind: {line}");
    }
    (!difference.is_empty()).then_some(difference)
}

fn run(script: &Path, path: &str) -> Ran {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new("timeout");
    command.args([SECONDS_MAX, "sh"]).arg(script).current_dir(folder.path());
    command.env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    command.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
    let mut child = command.spawn().expect("sh runs");
    // The writing ends that this process holds go, so that reading ends with the script.
    drop(command);
    let mut output = Vec::new();
    reader.read_to_end(&mut output).expect("the output is read");
    let status = child.wait().expect("the script ends");
    let text = String::from_utf8_lossy(&output);
    let real = fs::canonicalize(folder.path()).expect("the folder is there");
    let output = mask::masked(&text, &[folder.path(), &real]) + &format!("script: {status}\n");
    Ran { output, folder }
}

/// The lines of both outputs; those that differ are marked.
fn side_by_side(theirs: &str, ours: &str) -> String {
    let (theirs, ours): (Vec<&str>, Vec<&str>) = (theirs.lines().collect(), ours.lines().collect());
    let mut text = String::new();
    let same = theirs.iter().zip(&ours).take_while(|(a, b)| a == b).count();
    for line in &theirs[same.saturating_sub(2)..same] {
        let _ = writeln!(text, "   {line}");
    }
    for line in theirs[same..].iter().take(12) {
        let _ = writeln!(text, "  -{line}");
    }
    for line in ours[same..].iter().take(12) {
        let _ = writeln!(text, "  +{line}");
    }
    text
}
