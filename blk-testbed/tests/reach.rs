//! What generated scenarios reach, and how many of their requests are legal.

use blk_harness::driver::Driver;
use blk_harness::generate::{Generator, Limits, Template, template};
use blk_harness::mutate::mutate_within;
use blk_harness::runner::{self, Purpose};
use blk_harness::scenario::bounds::{FAR_BYTES_MAX, FAR_BYTES_MIN};
use blk_harness::scenario::{Backing, Config, Fill, Request, Scenario};
use blk_harness::space::Space;
use blk_harness::statistics::Counter;
use blk_harness::{Engine, Outcome, RunOptions};
use blk_testbed::{QCOW2, Qcow2Target, RAW, RawTarget};

/// How many of 1000 requests are accepted.
fn run_all(target: &dyn Driver, scenarios: impl Iterator<Item = Scenario>) -> u64 {
    let mut engine = Engine::new(RunOptions { track_kinds: false, ..RunOptions::default() });
    for scenario in scenarios {
        match engine.run(target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{scenario}\n{}", finding.report()),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
    let stats = engine.stats();
    stats.get(Counter::Accepted) * 1000 / stats.get(Counter::Requests)
}

/// Scenarios that are mutated again and again, as a fuzzer does it without looking.
fn mutants(space: &'static Space, count: u32) -> impl Iterator<Item = Scenario> {
    let limits = Limits::sequential();
    let (mut data, mut size) = (vec![0; 4096], 0);
    (0..count).map(move |seed| {
        size = mutate_within(space, &limits, &mut data, size, 4096, seed, |_, size, _| size);
        Scenario::decode(space, &data[..size])
    })
}

#[test]
fn most_requests_are_legal() {
    let generated = |space| Generator::new(space, 1, Limits::sequential());
    for (what, share) in [
        ("qcow2, generated", run_all(&Qcow2Target, generated(&QCOW2).take(400))),
        ("qcow2, mutated", run_all(&Qcow2Target, mutants(&QCOW2, 400))),
        ("raw, generated", run_all(&RawTarget, generated(&RAW).take(100))),
    ] {
        println!("{what}: {share} of 1000");
        assert!(share > 900 && share < 995, "{what}: {share} of 1000");
    }
}

#[test]
fn far_disks_come_and_are_written_far_out() {
    let (mut far, mut beyond, mut long) = (0, 0, 0);
    for scenario in Generator::new(&QCOW2, 2, Limits::sequential()).take(6000) {
        far += u32::from(scenario.config.size_bytes > FAR_BYTES_MIN);
        let ranges = || scenario.requests.iter().filter_map(Request::range);
        beyond += u32::from(ranges().any(|(offset, length)| length > 0 && offset >= 1 << 32));
        long += u32::from(ranges().any(|(_, length)| length >= 1 << 32));
    }
    assert!(far > 50 && beyond > 20 && long > 2, "{far} far, {beyond} beyond 4 GiB, {long} long");
}

/// Each template, on disks over every kind of backing, is legal, and does what it is there for.
#[test]
fn templates_are_legal_and_do_what_they_are_there_for() {
    for (at, which) in Template::ALL.into_iter().enumerate() {
        for (seed, backing) in (0..40).zip([Backing::None, Backing::Raw, Backing::Chain].into_iter().cycle())
        {
            if which == Template::FarGrowth && backing != Backing::None {
                // What is far has no backing file.
                continue;
            }
            let mut config = Config { size_bytes: 192 << 10, backing, ..Config::default() }
                .with("cluster_size", "512")
                .with("l2-cache-slices", "1");
            config.backing_bytes = if backing == Backing::None { 0 } else { 100 << 10 };
            let requests = template(&QCOW2, &config, &Limits::default(), which, seed);
            let count = |wanted: fn(&Request) -> bool| requests.iter().filter(|r| wanted(r)).count();
            let writes = count(|request| matches!(request, Request::Write { .. }));
            let reads = count(|request| matches!(request, Request::Read { .. }));
            let expected = match which {
                Template::FillUp => writes >= 3 && reads == 1,
                Template::LateHole => {
                    writes == 2 && reads == 2 && count(|r| matches!(r, Request::Discard { .. })) == 1
                }
                Template::ManyTables => writes >= 2 && reads == writes,
                Template::ZeroOverBacking => {
                    count(|r| matches!(r, Request::Reopen { .. })) == 1 && reads == 2
                }
                Template::LongWrite | Template::OverEdge => writes >= 1 && reads == 1,
                Template::TableReuse => writes >= 2 && reads >= 1,
                // Here no unit lies 4 GiB above another: the last is given back.
                Template::FarZeroes | Template::FarHole => writes == 1 && reads == 1,
                Template::Growth => count(|r| matches!(r, Request::Resize { .. })) >= 1 && reads == 1,
                Template::Shrink => {
                    writes == 2 && reads == 2 && count(|r| matches!(r, Request::Resize { .. })) == 2
                }
                Template::Snapshots => {
                    let snapshots = count(|r| matches!(r, Request::Snapshot { .. }));
                    (2..=3).contains(&snapshots) && writes == 3 && reads == 1
                }
                Template::Amended => {
                    let amendments = count(|r| matches!(r, Request::Amend { .. }));
                    // What excludes snapshots is drawn over many tables too, which are read back.
                    (1..=2).contains(&amendments) && writes >= 2 && reads >= 2
                }
                Template::Bitmaps => {
                    let bitmaps = count(|r| matches!(r, Request::Bitmap { .. }));
                    (4..=5).contains(&bitmaps) && requests.len() <= 13
                }
                Template::FarGrowth => {
                    writes == 1
                        && reads == 1
                        && matches!(requests[0], Request::Resize { size } if size >= 2 << 30)
                }
            };
            assert!(expected, "{which:?} {seed}: {requests:?}");
            let scenario = Scenario { config, requests, ..Scenario::default() };
            let accepted = run_all(&Qcow2Target, std::iter::once(scenario));
            // What an image has may forbid an amendment, and a kill leaves a bitmap that cannot be read.
            let least = match which {
                Template::Amended => 700,
                Template::Bitmaps => 500,
                _ => 1000,
            };
            assert!(accepted >= least, "template {at}, seed {seed}: {accepted} of 1000");
        }
    }
}

#[test]
fn every_image_of_others_and_every_growth_is_started_from() {
    let mut images = std::collections::BTreeSet::new();
    let wanted = |scenario: &Scenario| scenario.config.options.get("x-image").is_some();
    let generated = Generator::new(&QCOW2, 3, Limits::sequential()).filter(wanted).take(150);
    let scenarios: Vec<Scenario> = generated.collect();
    for scenario in &scenarios {
        images.insert(scenario.config.options.get("x-image").map(ToString::to_string));
    }
    assert_eq!(images.len(), 14, "{images:?}");
    assert!(run_all(&Qcow2Target, scenarios.into_iter()) > 900);
}

/// A finding on the largest disk that a fuzzer asks for would be lost if its replay refused it.
#[test]
fn the_largest_fuzzed_disk_replays() {
    let config = Config { size_bytes: FAR_BYTES_MAX, ..Config::default() }.with("cluster_size", "2097152");
    let extent = (FAR_BYTES_MAX - 8192, 4096);
    let requests = vec![
        Request::Write { offset: extent.0, length: extent.1, fill: Fill::Stamp, fua: false },
        Request::Read { offset: extent.0, length: extent.1 },
    ];
    let scenario = Scenario { config, requests, ..Scenario::default() };
    for purpose in [Purpose::Fuzz, Purpose::Replay, Purpose::Complete, Purpose::Minimise] {
        let outcome = runner::requests(&Qcow2Target, purpose).run(&scenario);
        assert!(matches!(outcome, Outcome::Clean), "{purpose:?}: {outcome:?}");
    }
}

/// The script that a finding comes with starts from the same image, and grows in the same way: QEMU's own
/// driver takes it.
#[test]
fn scripts_of_images_and_growth_run_on_qemu() {
    if !blk_testbed::has_qemu() {
        return;
    }
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/images");
    for (image, growth) in
        [("snapshots", "metadata"), ("compressed-zstd", "off"), ("off", "full"), ("wide", "falloc")]
    {
        let text = format!(
            "blk-scenario 1\nconfig size-bytes=2M x-image={image} x-growth={growth}\n\
             write -P 0x11 4k 8k\ntruncate 3M\nwrite -P 0x12 2M 4k\nread 2M 8k\n"
        );
        let script = blk_testbed::qemu_io_script(&Scenario::from_text(&text).unwrap());
        assert_eq!(script.contains("zstd -d"), image != "off", "{script}");
        assert_eq!(script.contains("truncate -m"), growth != "off", "{script}");
        let folder = tempfile::tempdir().unwrap();
        let mut shell = std::process::Command::new("sh");
        let output =
            shell.args(["-c", &script]).current_dir(folder.path()).env("BLK_IMAGES", images).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("verification failed"), "{script}\n{said}");
        assert!(script.contains("read -P"), "{script}");
    }
}

/// What the driver writes is right for QEMU's tools too: a share of all scenarios, those over images of
/// others and over backing files among them, is judged by them.
#[test]
fn what_is_written_is_right_for_qemu_too() {
    if !blk_testbed::has_qemu() {
        return;
    }
    let options = RunOptions { asks_others: true, ..RunOptions::default() };
    let mut engine = Engine::new(options);
    let scenarios = Generator::new(&QCOW2, 5, Limits::default());
    for scenario in scenarios.take(150) {
        match engine.run(&Qcow2Target, &scenario) {
            Outcome::Clean => {}
            Outcome::Finding(finding) => panic!("{scenario}\n{}", finding.report()),
            Outcome::Refused(why) => panic!("{why}\n{scenario}"),
        }
    }
}
