//! Images with subclusters, where QEMU's own tools cannot be asked: its `rebase -c` aborts on them.

use std::path::Path;
use std::process::Command;

use crate::nbd::BLK;

fn run(folder: &Path, line: &str) -> String {
    run_words(folder, &line.split(' ').collect::<Vec<_>>())
}

fn run_words(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(BLK).args(words).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What differs is kept compressed where it is a whole cluster, and plain where other subclusters of its
/// cluster are there.
#[test]
fn a_compressed_rebase_keeps_parts_of_clusters_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, other) in [("one.raw", None), ("two.raw", Some(8))] {
        let mut bytes = vec![9; 256 << 10];
        if let Some(byte) = other {
            bytes[70 << 10..73 << 10].fill(byte);
            bytes[200 << 10..201 << 10].fill(byte);
        }
        std::fs::write(path.join(name), bytes).unwrap();
    }
    run(path, "img create -q -f qcow2 -o extended_l2=on -b one.raw -F raw a.qcow2 256k");
    // The second cluster is there in part; the fourth is not.
    for (byte, at, length) in [(1, 3 << 10, 6 << 10), (2, 100 << 10, 2 << 10)] {
        run_words(path, &["io", "-c", &format!("write -P {byte} {at} {length}"), "a.qcow2"]);
    }
    run(path, "img rebase -c -b two.raw -F raw a.qcow2");
    run(path, "img convert -O raw a.qcow2 raw");
    let mut expected = vec![9; 256 << 10];
    expected[3 << 10..9 << 10].fill(1);
    expected[100 << 10..102 << 10].fill(2);
    assert!(std::fs::read(path.join("raw")).unwrap() == expected);
    let map = run(path, "img map --output=json a.qcow2");
    assert!(map.contains("\"compressed\": true"), "the fourth cluster: {map}");
    run(path, "img check -q a.qcow2");
}
