//! Interrupted: by ctrl-C in the middle of large work, and by a reader that goes away.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn blk(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.current_dir(folder);
    command
}

/// As [`blk`], with ctrl-C doing what it does at a terminal: a shell that runs tests in the background has it
/// ignored.
fn interruptible(folder: &Path) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_blk")]).current_dir(folder);
    command
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = blk(folder).args(arguments).output().expect("blk runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

/// Runs a program for a while, then interrupts it as ctrl-C does. Whether it had not ended by itself.
fn interrupt(command: &mut Command, after: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("blk runs");
    std::thread::sleep(after);
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    let status = child.wait().expect("it ends");
    killed.success() && status.code().is_none_or(|code| code != 0)
}

/// The metadata are whole whenever it happens: at worst, clusters that were about to be used are lost, and a
/// repair gets them back.
#[test]
fn ctrl_c_leaves_a_consistent_image() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeeds(folder, &["img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "to.qcow2", "1G"]);
    succeeds(folder, &["img", "create", "-q", "raw.img", "1G"]);
    let mut interrupted = 0;
    for turn in 1..=6 {
        let after = Duration::from_millis(40 * turn);
        let verify = ["verify", "-q", "--time", "60", "--seed", &turn.to_string(), "raw.img", "to.qcow2"];
        interrupted += u32::from(interrupt(interruptible(folder).args(verify), after));
        let said = succeeds(folder, &["img", "check", "-r", "leaks", "to.qcow2"]);
        assert!(!said.contains("ERROR"), "turn {turn}: {said}");
        // What was in flight may be on one side only.
        succeeds(folder, &["img", "convert", "-n", "-O", "raw", "to.qcow2", "raw.img"]);
    }
    assert!(interrupted >= 5, "{interrupted} of 6 runs were interrupted");
    // It is hard to compress, so that a busy machine interrupts it long before its end, too.
    let source: Vec<u8> = (0..64_u32 << 20).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 13) as u8).collect();
    fs::write(folder.join("source.img"), source).unwrap();
    let convert = ["img", "convert", "-c", "-O", "qcow2", "source.img", "copy.qcow2"];
    assert!(
        interrupt(interruptible(folder).args(convert), Duration::from_millis(60)),
        "the conversion takes longer"
    );
    if folder.join("copy.qcow2").exists() && fs::metadata(folder.join("copy.qcow2")).unwrap().len() > 0 {
        succeeds(folder, &["img", "check", "-r", "leaks", "copy.qcow2"]);
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeeds(folder, &["img", "create", "-q", "raw.img", "64M"]);
    for arguments in [
        &["io", "-f", "raw", "-c", "read -v 0 16M", "raw.img"][..],
        &["io", "-f", "raw", "-c", "help", "-c", "read -v 0 16M", "-c", "help", "raw.img"],
        &["img", "map", "--output=json", "-f", "raw", "raw.img"],
        &["img", "--help"],
        &["verify", "--help"],
    ] {
        let mut child =
            blk(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 1];
        let _ = child.stdout.take().expect("it is piped").read(&mut first);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "", "{arguments:?}");
    }
}
