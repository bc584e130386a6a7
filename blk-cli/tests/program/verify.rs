//! `blk verify` and `blk replay`: what they leave of the images, what they find, and what they make of it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.args(words).current_dir(folder);
    command
}

fn blk(folder: &Path, words: &str) -> Output {
    command(folder, &words.split_whitespace().collect::<Vec<_>>()).output().expect("the program starts")
}

fn ok(folder: &Path, words: &str) -> String {
    let output = blk(folder, words);
    assert!(output.status.success(), "blk {words}: {}", text(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Both streams of an output.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A qcow2 overlay with content of every kind over a raw backing file, and a raw image that shows the same.
fn images(folder: &Path) {
    fs::write(folder.join("base.raw"), vec![0xb5; 200 << 10]).unwrap();
    ok(folder, "img create -q -f qcow2 -o cluster_size=4k -b base.raw -F raw test.qcow2 256k");
    let commands = ["write -P 1 1000 20000", "write -z 64k 8k", "write -c -P 7 128k 4k"];
    for commands in commands {
        assert!(command(folder, &["io", "-c", commands, "test.qcow2"]).output().unwrap().status.success());
    }
    ok(folder, "img convert -O raw test.qcow2 raw.img");
}

/// Of each file: its name, a hash of its bytes, its size, and when it was changed.
fn state(folder: &Path) -> Vec<(String, u64, u64, (i64, i64))> {
    let mut files: Vec<_> = ["base.raw", "test.qcow2", "raw.img"]
        .iter()
        .map(|name| {
            let path = folder.join(name);
            let mut hasher = DefaultHasher::new();
            fs::read(&path).unwrap().hash(&mut hasher);
            let metadata = fs::metadata(&path).unwrap();
            let changed = (metadata.mtime(), metadata.mtime_nsec());
            ((*name).to_owned(), hasher.finish(), metadata.len(), changed)
        })
        .collect();
    files.sort();
    files
}

/// A driver that fails: the third write to a sector of the host file, once.
const RULES: &str = "[inject-error]\nevent = \"none\"\niotype = \"write\"\nsector = \"40\"\nerrno = \"5\"\n";

#[test]
fn every_byte_of_both_images_stays_in_every_mode() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    fs::write(folder.join("rules"), RULES).unwrap();
    fs::write(folder.join("trace"), "blk-scenario 1\nwrite 0 64k\ndiscard 0 256k\nreopen\nread 0 4k\n")
        .unwrap();
    let before = state(folder);
    let raw = "--reference-format raw";
    let modes = [
        format!("verify raw.img test.qcow2 --requests 3k {raw}"),
        format!("verify raw.img test.qcow2 --time 500ms {raw}"),
        format!("verify raw.img test.qcow2 --requests 2k --jobs 3 {raw}"),
        format!("verify raw.img test.qcow2 --requests 2k --resize {raw}"),
        format!("verify raw.img test.qcow2 --requests 1k --read-only {raw}"),
        format!("verify raw.img test.qcow2 --requests 2k --memory 64k {raw}"),
        "verify test.qcow2 raw.img --requests 1k --test-format raw".to_owned(),
        "verify test.qcow2 test.qcow2 --requests 1k".to_owned(),
        format!("verify raw.img test.qcow2 --crash --requests 100 {raw}"),
        format!("verify raw.img test.qcow2 --faults --requests 100 {raw}"),
        format!("verify raw.img test.qcow2 --race --requests 100 {raw}"),
        format!("replay trace --reference raw.img --test test.qcow2 {raw}"),
        format!("replay trace --reference raw.img --test test.qcow2 --crash --faults --race {raw}"),
    ];
    for mode in &modes {
        let output = blk(folder, mode);
        assert!(output.status.success(), "blk {mode}: {}", text(&output));
        assert_eq!(state(folder), before, "blk {mode}");
    }
    // With a finding: a write that fails on one side only.
    let broken = [
        format!("verify raw.img blkdebug:rules:test.qcow2 --requests 5k {raw}"),
        format!("verify raw.img blkdebug:rules:test.qcow2 --requests 5k --jobs 2 {raw}"),
        format!("replay trace --reference raw.img --test blkdebug:rules:test.qcow2 {raw}"),
    ];
    for mode in &broken {
        let output = blk(folder, mode);
        assert_eq!(output.status.code(), Some(1), "blk {mode}: {}", text(&output));
        assert_eq!(state(folder), before, "blk {mode}");
    }
    // And these two can fail: in place, the images change.
    ok(folder, &format!("verify raw.img test.qcow2 --requests 500 --in-place {raw}"));
    assert_ne!(state(folder), before);
}

#[test]
fn what_is_found_is_proven_shrunk_and_kept_with_the_line_that_replays_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    fs::write(folder.join("rules"), RULES).unwrap();
    let output = blk(folder, "verify raw.img blkdebug:rules:test.qcow2 --requests 5k --reference-format raw");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = |start: &str| {
        said.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {said}"))
    };
    assert!(line("proven: ").contains("3 replays"), "{said}");
    let shrunk: Vec<u64> = line("shrunk: ")
        .split_whitespace()
        .filter_map(|word| word.trim_end_matches(',').parse().ok())
        .collect();
    assert!(shrunk[1] <= 6, "{said}");
    let trace = line("wrote ").strip_prefix("wrote ").unwrap();
    assert!(fs::read_to_string(folder.join(trace)).unwrap().contains("blk-scenario 1"), "{said}");
    let page = fs::read_to_string(folder.join(trace.replace(".trace", ".finding.html"))).unwrap();
    for shown in ["L2 table", "blk replay", "aria-labelledby=\"blame\"", "The image file after"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let replay = line("replay: ").strip_prefix("replay: blk ").unwrap();
    let again = blk(folder, replay);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    let headline = line("blkverify: ");
    assert!(text(&again).contains(headline), "{}", text(&again));
    // The same finding again is the same file.
    blk(folder, "verify raw.img blkdebug:rules:test.qcow2 --requests 5k --reference-format raw");
    let traces = fs::read_dir(folder).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "trace")
    });
    assert_eq!(traces.count(), 1);
}

#[test]
fn a_difference_names_the_places_in_guest_and_host() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    // The bytes of sector 8 of the reference are at 256 KiB less a cluster in the image.
    let mut raw = fs::read(folder.join("raw.img")).unwrap();
    let sector: Vec<u8> = (0..512_u32).map(|index| index.to_le_bytes()[0] ^ 0x5a).collect();
    raw[8 * 512..9 * 512].copy_from_slice(&sector);
    raw[252 << 10..(252 << 10) + 512].copy_from_slice(&sector);
    fs::write(folder.join("raw.img"), &raw).unwrap();
    fs::write(folder.join("sector"), &sector).unwrap();
    let write = ["io", "-c", "write -s sector 252k 512", "test.qcow2"];
    assert!(command(folder, &write).output().unwrap().status.success());
    let output = blk(folder, "verify raw.img test.qcow2 --reference-format raw");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "differ before the first request",
        "guest:     4096 to 4608 (512 bytes, from sector 8)",
        "clusters:  guest 4096: data at host offset ",
        "of test.qcow2",
        "check:     clean",
        "expected:  the bytes of sector 8 are at guest offset 258048, host offset 0x",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn an_image_that_is_not_clean_is_said_before_the_first_request() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    // One more cluster with a reference count, which nothing refers to: a leak.
    let mut image = fs::read(folder.join("test.qcow2")).unwrap();
    let table = u64::from_be_bytes(image[48..56].try_into().unwrap()) as usize;
    let block = u64::from_be_bytes(image[table..table + 8].try_into().unwrap()) as usize;
    let cluster = image.len().div_ceil(4096);
    image.resize((cluster + 1) * 4096, 0);
    image[block + 2 * cluster + 1] = 1;
    fs::write(folder.join("test.qcow2"), &image).unwrap();
    let before = state(folder);
    for mode in ["", " --crash", " --faults", " --race", " --read-only"] {
        let words = format!("verify raw.img test.qcow2 --requests 100 --reference-format raw{mode}");
        let output = blk(folder, &words);
        assert_eq!(output.status.code(), Some(1), "{mode}: {}", text(&output));
        assert!(
            text(&output).contains("'test.qcow2' is not clean, before the first request"),
            "{}",
            text(&output)
        );
        if mode != " --read-only" {
            ok(folder, &(words + " --repair"));
        }
    }
    assert_eq!(state(folder), before);
}

#[test]
fn time_is_what_was_asked_for_and_counts_have_units() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, "img create -q raw.img 16G");
    ok(folder, "img create -q -f qcow2 test.qcow2 16G");
    let started = Instant::now();
    let said = ok(folder, "verify raw.img test.qcow2 --time 4s --output=json");
    let took = started.elapsed();
    // Without a time it is a minute. A busy machine takes its time for the last compare.
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(30), "{took:?}: {said}");
    let facts: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(facts["result"], "clean", "{said}");
    assert!(facts["requests"].as_u64().unwrap() > 100, "{said}");
    let said = ok(folder, "verify raw.img test.qcow2 --requests 1.5k");
    let made: u64 =
        said.lines().find_map(|line| line.strip_prefix("requests ")?.trim().parse().ok()).unwrap();
    assert!((1500..1700).contains(&made), "{said}");
    for wrong in ["--time 5x", "--requests 1q", "--memory 1.2.3"] {
        let output = blk(folder, &format!("verify raw.img test.qcow2 {wrong}"));
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(wrong.split(' ').nth(1).unwrap()), "{}", text(&output));
    }
}

#[test]
fn traces_without_requests_are_refused_and_pasted_reports_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    let replay = |trace: &str| {
        fs::write(folder.join("trace"), trace).unwrap();
        blk(folder, "replay trace --reference raw.img --test test.qcow2 --reference-format raw")
    };
    for (empty, why) in [
        ("blk-scenario 1\n", "no requests"),
        ("blk-scenario 1\n# write 0 4k\n", "no requests"),
        ("", "no requests"),
        ("blkverify: read offset=0 bytes=512 contents mismatch\n", "no requests"),
        ("blk-scenario 1\nflush #3 read 0 512\n", "line 2"),
    ] {
        let output = replay(empty);
        assert_eq!(output.status.code(), Some(2), "{empty}: {}", text(&output));
        assert!(text(&output).contains(why), "{empty}: {}", text(&output));
    }
    let report = "blkverify: read offset=0 bytes=512 contents mismatch at offset 0 (sector 0)
  request:   #513 read 0 512
the last 2 of 513 requests:
  #512 write 0 4k
  #513 read 0 512
";
    let output = replay(report);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("requests  2\n"), "{}", text(&output));
}

#[test]
fn a_temporary_file_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(folder);
    let words = [
        "verify",
        "raw.img",
        "test.qcow2",
        "--memory",
        "8k",
        "--reference-format",
        "raw",
        "--requests",
        "5k",
    ];
    let output = command(folder, &words).env("TMPDIR", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("/nonexistent") && text(&output).contains("TMPDIR"), "{}", text(&output));
}

#[test]
fn misspelt_words_get_the_near_one() {
    let folder = tempfile::tempdir().unwrap();
    for (words, meant) in [
        ("img creat x 1M", "create"),
        ("img covnert x y", "convert"),
        ("img create --fromat raw x 1M", "--format"),
        ("img convert --targte-is-zero x y", "--target-is-zero"),
        ("io --sanpshot x", "--snapshot"),
        ("verfy a b", "verify"),
        ("verify --cras a b", "--crash"),
        ("verify --output=jsn a b", "json"),
        ("replay --tset x", "--test"),
    ] {
        let output = blk(folder.path(), words);
        assert!(!output.status.success(), "{words}");
        assert!(text(&output).contains(&format!("'{meant}'")), "{words}: {}", text(&output));
    }
}
