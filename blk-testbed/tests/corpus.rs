//! The regression corpus, replayed by plain `cargo test`: nothing that was found once may come back.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use blk_harness::scenario::Scenario;

/// Fewer traces than this means that the corpus was not found.
const TRACES_MIN: usize = 24;
/// Scripts read their whole disk.
const SCRIPT_BYTES_MAX: u64 = 64 << 20;

fn traces() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut traces: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    traces.retain(|path| path.extension().is_some_and(|extension| extension == "trace"));
    traces.sort();
    traces
}

#[test]
fn every_trace_of_the_corpus_passes() {
    let traces = traces();
    assert!(traces.len() >= TRACES_MIN, "{} traces", traces.len());
    for path in traces {
        let text = fs::read_to_string(&path).unwrap();
        let target = text.lines().find_map(|line| line.strip_prefix("# target: ")).unwrap_or("verify_qcow2");
        if let Err(report) = blk_testbed::replay_text(target, &text) {
            panic!("{}:\n{report}", path.display());
        }
    }
}

#[test]
fn every_trace_has_a_story() {
    for path in traces() {
        let story = fs::read_to_string(path.with_extension("md")).unwrap_or_default();
        assert!(story.len() > 150, "{} has no story", path.display());
        assert!(!story.contains("(tell it here)"), "{}: the story is not told", path.display());
    }
}

/// What QEMU's own driver fails, or refuses, to this day (`qemu-img` 10.0.2): the script shows it.
const QEMU_FAILS: [&str; 6] = [
    // The disk's entry claims a cluster that a snapshot has too.
    "amend-shared-zero-left-to-one",
    // A compressed write takes the rest of a cluster that was freed and is another's by then.
    "known-11-compressed-freed",
    // No image of version 2 that has snapshots is resized.
    "crash-apply-empty-leaks",
    // A new encrypted image whose metadata is preallocated shows noise.
    "fault-race-amend-succeeds",
    "fault-repair-flags-before-counts",
    // No disk beside an inconsistent bitmap is resized.
    "fault-shrink-comes-back",
];

/// The script that a finding comes with says the same of QEMU's own driver: it passes there, its patterns
/// included.
#[test]
fn scripts_for_qemu_s_tools_pass_on_qemu() {
    if !blk_testbed::has_qemu() {
        return;
    }
    let (mut patterns, mut failed) = (0, Vec::new());
    for path in traces() {
        let text = fs::read_to_string(&path).unwrap();
        let target = text.lines().find_map(|line| line.strip_prefix("# target: ")).unwrap_or("verify_qcow2");
        let scenario = Scenario::from_text(&text).unwrap();
        if blk_testbed::suite(target).unwrap().script().is_none()
            || scenario.config.size_bytes > SCRIPT_BYTES_MAX
        {
            continue;
        }
        let script = blk_testbed::qemu_io_script(&scenario);
        patterns += script.matches("read -P").count();
        let folder = tempfile::tempdir().unwrap();
        let images = concat!(env!("CARGO_MANIFEST_DIR"), "/images");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(folder.path()).env("BLK_IMAGES", images);
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let is_known = QEMU_FAILS.iter().any(|name| path.ends_with(format!("{name}.trace")));
        if !is_known && (!output.status.success() || said.contains("verification failed")) {
            failed.push(format!("{}:\n{script}\n{said}", path.display()));
        }
    }
    assert!(failed.is_empty(), "{} scripts fail on QEMU:\n{}", failed.len(), failed.join("\n"));
    assert!(patterns > 100, "{patterns} reads hold what they show against what was written");
}
