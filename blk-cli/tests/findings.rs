//! `blk verify`: findings that are hard to prove. In place, after very many requests, and of threads.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn blk(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blk"));
    command.args(words.split_whitespace()).current_dir(folder);
    command.output().expect("the program starts")
}

/// Both streams of an output.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn ok(folder: &Path, words: &str) {
    let output = blk(folder, words);
    assert!(output.status.success(), "blk {words}: {}", text(&output));
}

/// The line of a report that starts so, without its start.
fn line<'a>(said: &'a str, start: &str) -> &'a str {
    let found = said.lines().find_map(|line| line.strip_prefix(start));
    found.unwrap_or_else(|| panic!("no line '{start}' in: {said}"))
}

/// The numbers of a line.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// Makes the finding of a report again, as the report says.
fn replay(folder: &Path, said: &str) -> String {
    let output = blk(folder, line(said, "replay: blk "));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    text(&output)
}

/// A write to one place of the host file fails, which the driver under test has not written at first.
const FAILS: &str = "[inject-error]\nevent = \"none\"\niotype = \"write\"\nsector = \"64\"\nerrno = \"5\"\n";

#[test]
fn what_is_found_in_place_is_proven_on_the_images_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("images")).unwrap();
    fs::write(folder.join("images/base.raw"), vec![0xb5; 200 << 10]).unwrap();
    fs::write(folder.join("rules"), FAILS).unwrap();
    ok(folder, "img create -q -f qcow2 -o cluster_size=4k -b base.raw -F raw images/test.qcow2 256k");
    ok(folder, "img convert -O raw images/test.qcow2 raw.img");
    let names = ["raw.img", "images/test.qcow2"];
    let read = || names.map(|name| fs::read(folder.join(name)).unwrap());
    let before = read();
    let words =
        "verify raw.img blkdebug:rules:images/test.qcow2 --requests 5k --reference-format raw --in-place";
    let output = blk(folder, words);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(line(&said, "proven: ").contains("3 replays"), "{said}");
    let [requests, shrunk, ..] = numbers(line(&said, "shrunk: "))[..] else { panic!("{said}") };
    assert!(shrunk < requests && shrunk <= 8, "{said}");
    assert!(said.contains("in place: the images are as the run has left them"), "{said}");
    let after = read();
    assert!(before[0] != after[0] && before[1] != after[1], "in place, both images change");
    // What they held at first stands beside the trace, and that is what the line replays.
    let trace = line(&said, "wrote ").strip_suffix(".trace").unwrap();
    for (name, before) in ["raw.img", "test.qcow2"].iter().zip(&before) {
        let kept = fs::read(folder.join(format!("{trace}.{name}.start"))).unwrap();
        assert!(kept == *before, "{name} as it was: {said}");
    }
    let headline = line(&said, "blkverify: ");
    for _ in 0..2 {
        let again = replay(folder, &said);
        assert!(again.contains(headline), "{again}");
    }
    assert!(read() == after, "a replay works on copies");
    // Without what they held at first, the images are not what the requests were made of.
    let (start, _) = line(&said, "replay: blk ").split_once(" --start").unwrap();
    assert!(!text(&blk(folder, start)).contains(headline), "the start makes no difference");
    // Another run begins with other images, and keeps those too.
    fs::write(folder.join("raw.img"), &before[0]).unwrap();
    fs::write(folder.join("images/test.qcow2"), &before[1]).unwrap();
    let again = text(&blk(folder, words));
    assert_ne!(line(&again, "wrote "), line(&said, "wrote "), "{again}");
}

/// Rules by which the last of so many events without a reopen fails.
fn chain(event: &str, count: u32) -> String {
    let mut rules = String::new();
    for state in 1..count {
        let next = state + 1;
        write!(rules, "[set-state]\nevent = \"{event}\"\nstate = \"{state}\"\nnew_state = \"{next}\"\n")
            .unwrap();
    }
    rules + &format!("[inject-error]\nevent = \"{event}\"\nstate = \"{count}\"\nerrno = \"5\"\n")
}

#[test]
fn what_needs_very_many_requests_is_proven_shrunk_and_written() {
    /// A reopen resets the state of the rules, so that these take some 30,000 requests.
    const EVENTS: u32 = 800;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["raw.img", "test.img"] {
        fs::write(folder.join(name), vec![0xb5; 256 << 10]).unwrap();
    }
    fs::write(folder.join("rules"), chain("pwritev_zero", EVENTS)).unwrap();
    let started = Instant::now();
    let output = blk(
        folder,
        "verify raw.img blkdebug:rules:test.img --requests 1M --seed 2 --reference-format raw --test-format raw --shrink 60s",
    );
    let (said, took) = (text(&output), started.elapsed());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(line(&said, "proven: ").contains("3 replays"), "{said}");
    let [requests, shrunk, ..] = numbers(line(&said, "shrunk: "))[..] else { panic!("{said}") };
    // How far it gets in its time is up to the machine.
    assert!(requests > 20_000 && (EVENTS.into()..=requests).contains(&shrunk), "{said}");
    assert!(said.contains("--shrink TIME gives it more") || shrunk == u64::from(EVENTS), "{said}");
    assert!(took < Duration::from_mins(4), "{took:?}");
    let trace = fs::read_to_string(folder.join(line(&said, "wrote "))).unwrap();
    assert!(trace.lines().count() as u64 > shrunk);
    assert!(replay(folder, &said).contains(line(&said, "blkverify: ")));
    // And where there is no time at all, that is said.
    let output = blk(
        folder,
        "verify raw.img blkdebug:rules:test.img --requests 1M --seed 2 --reference-format raw --test-format raw --shrink 1ms",
    );
    let said = text(&output);
    assert!(line(&said, "not proven: ").contains("--shrink TIME gives more"), "{said}");
    assert!(replay(folder, &said).contains(line(&said, "blkverify: ")));
}

/// A write fails that begins while another one is under way.
const RACE: &str = "[set-state]\nevent = \"pwritev\"\nstate = \"1\"\nnew_state = \"2\"\n\
    [inject-error]\nevent = \"pwritev\"\nstate = \"2\"\nerrno = \"5\"\niotype = \"write\"\n\
    [set-state]\nevent = \"pwritev_done\"\nstate = \"2\"\nnew_state = \"1\"\n";

#[test]
fn what_threads_find_is_counted_shrunk_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["raw.img", "test.img"] {
        fs::write(folder.join(name), vec![0xb5; 16 << 20]).unwrap();
    }
    fs::write(folder.join("rules"), RACE).unwrap();
    let words =
        "verify raw.img blkdebug:rules:test.img --reference-format raw --test-format raw --shrink 15s";
    let one = blk(folder, &format!("{words} --requests 5k"));
    assert!(one.status.success(), "one thread finds nothing: {}", text(&one));
    let output = blk(folder, &format!("{words} --requests 200k --jobs 4 --output=json"));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let proven = line(&said, "proven: with 4 threads, ");
    let [found, replays, ..] = numbers(proven)[..] else { panic!("{said}") };
    assert!(found > 0 && found <= replays, "{said}");
    assert!(proven.contains("in order, by one, none does"), "{said}");
    let json = said.lines().find(|line| line.starts_with('{')).unwrap();
    let facts: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(facts["proven"], true, "{said}");
    assert!(facts["replays_that_found_it"].as_u64().unwrap() > 0, "{said}");
    let [requests, shrunk, ..] = numbers(line(&said, "shrunk: "))[..] else { panic!("{said}") };
    // Chance may have found it within the first requests.
    assert!(shrunk <= requests, "{said}");
    let trace = fs::read_to_string(folder.join(line(&said, "wrote "))).unwrap();
    assert!(trace.contains("lanes="), "the trace says how many threads: {trace}");
    let again = replay(folder, &said);
    assert!(numbers(line(&again, "threads "))[0] >= 2 && again.contains("replays "), "{again}");
}

#[test]
fn a_finding_is_told_as_data_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("rules"), FAILS).unwrap();
    ok(folder, "img create -q -f qcow2 -o cluster_size=4k test.qcow2 256k");
    ok(folder, "img convert -O raw test.qcow2 raw.img");
    let words = "verify raw.img blkdebug:rules:test.qcow2 --requests 5k --reference-format raw --output=json";
    let output = blk(folder, words);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = &told["finding"];
    assert_eq!(told["result"], "finding", "{told}");
    assert!(finding["request"]["number"].as_u64().is_some_and(|number| number > 0), "{finding}");
    assert!(
        finding["signature"]["kind"].is_string() && finding["scenario"]["requests"].is_array(),
        "{finding}"
    );
    let report = finding["report"].as_str().unwrap();
    assert!(told["report"].as_str().unwrap().starts_with(report), "{told}");
}

#[test]
fn the_folder_for_traces_is_made_before_anything_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["raw.img", "test.img"] {
        fs::write(folder.join(name), [0xb5; 4096]).unwrap();
    }
    let words = "verify raw.img test.img --requests 1 --reference-format raw --test-format raw --traces";
    ok(folder, &format!("{words} found/here"));
    assert!(folder.join("found/here").is_dir());
    let output = blk(folder, &format!("{words} raw.img/found"));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("--traces: raw.img/found"), "{}", text(&output));
}
