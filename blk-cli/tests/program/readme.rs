//! README's console blocks, from top to bottom, with the program of this build.
//!
//! Plain `cargo test`, as in CI, shortens the times and leaves out what cargo is called for: that builds for
//! minutes, and CI runs every fuzz target itself. With `BLK_README=all` nothing is left out but the
//! installation.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What README promises for the commands of `blk`, on two cores: what cargo builds takes as long as it takes.
const TIME_MAX: Duration = Duration::from_mins(5);
/// How long what has a time takes in plain `cargo test`.
const SHORT_TIME: &str = "--time 2s";

/// A command, and what the block shows of its output.
#[derive(Debug, Default)]
struct Step {
    command: String,
    output: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn steps() -> Vec<Step> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if is_console && let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), output: Vec::new() });
        } else if is_console {
            steps.last_mut().expect("a block begins with a command").output.push(line.to_owned());
        }
    }
    steps
}

/// Runs a command of a block. Returns what it printed.
fn run(command: &str, folder: &Path, path: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(folder).env("PATH", path).env_remove("BLK_README");
    if folder != root() {
        // What goes to the user's own folder goes there.
        shell.env("HOME", folder);
    }
    let output = shell.output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "$ {command}\n{said}");
    said.into_owned()
}

/// The same with its time shortened.
fn shortened(command: &str) -> String {
    let Some((before, after)) = command.split_once("--time ") else { return command.to_owned() };
    let rest = after.split_once(' ').map_or("", |(_, rest)| rest);
    format!("{before}{SHORT_TIME} {rest}")
}

#[test]
fn every_block_runs_from_top_to_bottom() {
    let program = Path::new(env!("CARGO_BIN_EXE_blk")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let is_whole = std::env::var_os("BLK_README").is_some_and(|which| which == "all");
    let folder = tempfile::tempdir().unwrap();
    let (mut spent, mut made) = (Duration::ZERO, 0);
    for step in steps() {
        let command = step.command.as_str();
        // The program of this build is tested, not one that is installed; and the folder is one of its own.
        if command.starts_with("cargo install ") || command.starts_with("mkdir ") {
            continue;
        }
        let is_cargo = command.starts_with("cargo ");
        if is_cargo && !is_whole {
            println!("left out: {command}");
            continue;
        }
        let folder = if is_cargo { root() } else { folder.path() };
        let started = Instant::now();
        let said =
            if is_whole { run(command, folder, &path) } else { run(&shortened(command), folder, &path) };
        spent += if is_cargo { Duration::ZERO } else { started.elapsed() };
        made += 1;
        for line in &step.output {
            assert!(said.contains(line), "$ {command}\nhas to say: {line}\n{said}");
        }
    }
    assert!(made >= 15, "only {made} commands were found");
    assert!(spent < TIME_MAX, "{spent:?}");
}
