//! Calls QEMU's real tools.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::path::Path;
use std::process::{Command, Output};

/// Whether QEMU's tools are there. Says so if not; with `BLK_REQUIRE_QEMU=1`, as in CI, that is a failure.
pub(crate) fn available() -> bool {
    let runs = |program: &str| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    if runs("qemu-img") && runs("qemu-io") {
        return true;
    }
    let required = std::env::var_os("BLK_REQUIRE_QEMU").is_some();
    assert!(!required, "qemu-img and qemu-io are required here and missing: install qemu-utils");
    eprintln!("SKIPPED: qemu-img and qemu-io are missing (Debian package qemu-utils)");
    false
}

fn run(folder: &Path, program: &str, arguments: &[String]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs qemu-img, which has to succeed; returns what it printed.
pub(crate) fn qemu_img(folder: &Path, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let output = run(folder, "qemu-img", &arguments);
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", text(&output));
    text(&output)
}

fn io_arguments(arguments: &[&str], commands: &[String]) -> Vec<String> {
    let mut all: Vec<String> =
        commands.iter().flat_map(|command| ["-c".to_owned(), command.clone()]).collect();
    all.extend(arguments.iter().map(|word| (*word).to_owned()));
    all
}

/// Runs qemu-io with these commands, which have to succeed silently.
pub(crate) fn qemu_io(folder: &Path, arguments: &[&str], commands: &[String]) {
    let output = run(folder, "qemu-io", &io_arguments(arguments, commands));
    let printed = text(&output);
    assert!(output.status.success() && printed.is_empty(), "qemu-io {arguments:?} {commands:?}: {printed}");
}

/// Runs qemu-io with commands that end in its death.
pub(crate) fn qemu_io_killed(folder: &Path, arguments: &[&str], commands: &[String]) {
    let output = run(folder, "qemu-io", &io_arguments(arguments, commands));
    assert!(output.status.code().is_none(), "qemu-io was to die: {}", text(&output));
}
