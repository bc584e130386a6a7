//! The regression corpus, replayed by plain `cargo test`: nothing that was found once may come back.

use std::fs;
use std::path::PathBuf;

/// Fewer traces than this means that the corpus was not found.
const TRACES_MIN: usize = 24;

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
