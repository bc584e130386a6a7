//! Chains of hundreds of images: they open, are read, and end by a commit.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Images of the chain, the base among them.
const LAYERS: usize = 251;

fn blk(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_blk")).args(words).current_dir(folder).output().unwrap()
}

fn run(folder: &Path, words: &[&str]) -> String {
    let started = Instant::now();
    let output = blk(folder, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{words:?} took {:?}", started.elapsed());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Images `0` to `count - 1`, each over the one before; every tenth holds 4 KiB of its own.
fn chain(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for number in 0..count {
        let name = number.to_string();
        let mut words = vec!["img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", &name, "8M"];
        let below = number.wrapping_sub(1).to_string();
        if number > 0 {
            words.extend(["-u", "-b", &below, "-F", "qcow2"]);
        }
        run(folder.path(), &words);
        if number % 10 == 0 {
            let command = format!("write -q -P {} {}k 4k", number % 251 + 1, number * 8);
            run(folder.path(), &["io", "-f", "qcow2", "-c", &command, &name]);
        }
    }
    folder
}

/// Whether the image shows what all images up to `top` have written.
fn check_content(folder: &Path, image: &str, top: usize) {
    let commands: Vec<String> = (0..=top)
        .step_by(10)
        .map(|number| format!("read -P {} {}k 4k", number % 251 + 1, number * 8))
        .collect();
    let mut words = vec!["io", "-r", "-f", "qcow2"];
    for command in &commands {
        words.extend(["-c", command]);
    }
    words.push(image);
    let said = run(folder, &words);
    assert!(!said.contains("failed"), "{image}: {said}");
}

#[test]
fn a_chain_of_250_overlays_is_read_and_committed() {
    let folder = chain(LAYERS);
    let folder = folder.path();
    assert!(run(folder, &["img", "info", "250"]).contains("backing file: 249"));
    let info = run(folder, &["img", "info", "--backing-chain", "250"]);
    assert_eq!(info.matches("image: ").count(), LAYERS);
    assert_eq!(run(folder, &["img", "map", "250"]).lines().count(), 1 + LAYERS.div_ceil(10));
    run(folder, &["img", "check", "-q", "250"]);
    run(folder, &["img", "convert", "-O", "qcow2", "250", "copy"]);
    check_content(folder, "copy", 250);
    check_content(folder, "250", 250);
    run(folder, &["img", "commit", "-d", "250"]);
    check_content(folder, "249", 250);
    let lowest = folder.join("0").display().to_string();
    run(folder, &["img", "commit", "-b", &lowest, "249"]);
    run(folder, &["img", "check", "-q", "0"]);
    check_content(folder, "0", 250);
}

#[test]
fn a_chain_that_is_too_long_is_refused_by_its_limit() {
    let folder = chain(1);
    let folder = folder.path();
    for number in 1..=500 {
        let below = (number - 1).to_string();
        let words =
            ["img", "create", "-q", "-u", "-f", "qcow2", "-o", "cluster_size=512", "-F", "qcow2", "-b"];
        run(folder, &[words.as_slice(), &[&below, &number.to_string(), "1M"]].concat());
    }
    for words in [
        ["img", "check", "500"].as_slice(),
        &["img", "info", "--backing-chain", "500"],
        &["io", "-c", "length", "500"],
    ] {
        let output = blk(folder, words);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && message.contains("longer than 500"),
            "{words:?}: {message}"
        );
    }
    run(folder, &["img", "check", "-q", "499"]);
    run(folder, &["img", "convert", "-O", "raw", "499", "copy"]);
}
