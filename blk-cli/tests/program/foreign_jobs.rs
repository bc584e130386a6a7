//! `blk verify --driver NAME --jobs N`: several processes of a driver at a time, and one report.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A server that refuses a write now and then.
const FAILS: &str = r#"
name = "fails"
about = "A disk in memory that refuses writes now and then"
[programs]
nbdkit = "nbdkit"
[medium]
kind = "none"
[process]
argv = [
    "nbdkit", "--foreground", "--unix", "{export}", "--filter=error", "memory", "{size}",
    "error-pwrite=EIO", "error-pwrite-rate=5%",
]
"#;

fn has_nbdkit() -> bool {
    let is_there = Command::new("nbdkit").arg("--version").output().is_ok();
    assert!(is_there || std::env::var_os("BLK_REQUIRE_QEMU").is_none(), "nbdkit is missing");
    is_there
}

fn verify(folder: &Path, words: &str) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.current_dir(folder).args(["verify", "--output=json"]).args(words.split_whitespace());
    let output = command.output().expect("the program starts");
    let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, value)
}

/// The number of this name, wherever it stands.
fn number(value: &Value, name: &str) -> Option<u64> {
    let members = value.as_object()?;
    members.get(name).and_then(Value::as_u64).or_else(|| members.values().find_map(|it| number(it, name)))
}

#[test]
fn jobs_share_the_scenarios_of_a_seed_and_report_together() {
    if !has_nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let runs = ["1", "3"].map(|jobs| {
        let words = format!("--driver nbdkit-memory --requests 600 --jobs {jobs}");
        let (output, value) = verify(folder.path(), &words);
        assert!(output.status.success(), "{output:?}");
        value
    });
    let [one, three] = runs.each_ref().map(Value::to_string);
    assert_eq!(number(&runs[1], "jobs"), Some(3), "{three}");
    let sums = runs.each_ref().map(|run| number(run, "requests").unwrap());
    assert!(sums.iter().all(|sum| *sum >= 600), "{one}\n{three}");
}

#[test]
fn what_one_of_the_jobs_finds_is_the_one_report_of_all() {
    if !has_nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fails.toml"), FAILS).unwrap();
    let (output, value) = verify(folder.path(), "--driver fails.toml --time 60s --shrink 1s --jobs 3");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(value.to_string().contains("Input/output error"), "{value}");
    let traces = std::fs::read_dir(folder.path()).unwrap().flatten();
    let traces = traces.filter(|entry| entry.path().extension().is_some_and(|it| it == "trace"));
    assert_eq!(traces.count(), 1, "one report");
}
