//! Foreign drivers under the engines: each is clean, and a fault that is planted around it is found. What is
//! not installed is said, and fails in CI.

mod common;

use blk_foreign::{Description, EngineKind, Plant};
use blk_harness::Outcome;
use blk_harness::driver::Driver;
use blk_harness::generate::Generator;
use blk_harness::runner::{Purpose, Runner};
use blk_harness::scenario::Scenario;
use common::{driver, limits, of_description};

fn found(runner: Box<dyn Runner>, driver: &dyn Driver, count: usize) -> Option<String> {
    common::found(runner, driver, limits(), count)
}

/// A process for all opens, one for each, a medium of ours, a file, and none. The check of parallels takes an
/// image that is open for one that was not closed.
const CONTENT: [&str; 6] =
    ["qemu-qcow2", "qemu-vdi", "qemu-vmdk", "qemu-parallels", "qemu-nbd", "nbdkit-memory"];

#[test]
fn content_is_right_and_a_wrong_reply_is_found() {
    for name in CONTENT {
        let Some(clean) = driver(name, None) else { continue };
        if let Some(report) = found(EngineKind::Content.runner(clean, Purpose::Fuzz), clean, 20) {
            panic!("{name}: {report}");
        }
        let planted = driver(name, Some(Plant::WrongReply(3))).unwrap();
        let report = found(EngineKind::Content.runner(planted, Purpose::Fuzz), planted, 50);
        assert!(report.is_some(), "{name}: a reply was wrong, and nobody noticed");
    }
}

/// Syncs that were lost are found by crashes.
const CRASHED: [&str; 3] = ["qemu-qcow2", "qemu-vdi", "nbdkit"];
const CRASHED_SCENARIOS: usize = 40;

/// Runs go on past what is known, so that nothing known passes for what was planted: where nothing is
/// planted, the same scenarios find nothing.
#[test]
fn a_medium_that_is_wrong_or_loses_syncs_is_found() {
    for name in CRASHED {
        let Some(planted) = driver(name, Some(Plant::WrongMedium(9))) else { continue };
        let report = found(EngineKind::Content.runner(planted, Purpose::Fuzz), planted, 200);
        assert!(report.is_some(), "{name}: the medium was wrong, and nobody noticed");
        let clean = driver(name, None).unwrap();
        let report = found(EngineKind::Crash.runner(clean, Purpose::Fuzz), clean, CRASHED_SCENARIOS);
        assert_eq!(report, None, "{name}: nothing was planted");
        let planted = driver(name, Some(Plant::LostSyncs(2))).unwrap();
        let runner = EngineKind::Crash.runner(planted, Purpose::Fuzz);
        let report = found(runner, planted, CRASHED_SCENARIOS).expect("syncs were lost");
        println!("{name}: {report}");
    }
}

/// One process for all opens, and one for each; both with their image in a file of the host, here.
const KILLED: [&str; 2] =
    [include_str!("../drivers/qemu-vmdk.toml"), include_str!("../drivers/nbdkit-file.toml")];

#[test]
fn a_kill_ends_the_process() {
    for text in KILLED {
        let text = text.replace("kind = \"fuse\"", "kind = \"file\"").replace("{medium}", "{file}");
        let description = Description::parse(&text).unwrap();
        let Some(driver) = of_description(description, None) else { continue };
        let text =
            "blk-scenario 1\nconfig size-bytes=1M\nwrite 0 64k\nkill\nread 0 64k\nwrite 64k 4k\nkill\n";
        let mut runner = EngineKind::Content.runner(driver, Purpose::Replay);
        assert_eq!(runner.run(&Scenario::from_text(text).unwrap()), Outcome::Clean, "{}", driver.name());
        let started = driver.processes_started();
        assert!(started >= 3, "{}: {started} processes were started", driver.name());
    }
}

/// What it keeps is no longer what is counted: it is not what the next scenario is to meet.
#[test]
fn a_process_that_keeps_an_image_is_started_anew() {
    let mut description = blk_foreign::description("qemu-vdi").unwrap();
    let last = description.close.last_mut().unwrap();
    last.arguments.insert("node-name".to_owned(), "no-such".into());
    let Some(driver) = of_description(description, None) else { return };
    let text = "blk-scenario 1\nconfig size-bytes=1M\nwrite 0 64k\nreopen\nread 0 64k\n";
    let scenario = Scenario::from_text(text).unwrap();
    for round in 1..=3 {
        let mut runner = EngineKind::Content.runner(driver, Purpose::Replay);
        let Outcome::Finding(finding) = runner.run(&scenario) else { panic!("a close was refused") };
        assert!(finding.report().contains("no-such"), "{}", finding.report());
        assert_eq!(driver.processes_started(), round);
    }
    // What opens nothing keeps nothing.
    let mut description = blk_foreign::description("qemu-vdi").unwrap();
    description.open[0].arguments.insert("driver".to_owned(), "qed".into());
    let driver = of_description(description, None).unwrap();
    for _ in 0..3 {
        let mut runner = EngineKind::Content.runner(driver, Purpose::Replay);
        assert_ne!(runner.run(&scenario), Outcome::Clean);
        assert_eq!(driver.processes_started(), 1);
    }
}

#[test]
fn disks_that_are_crashed_have_several_units() {
    for name in ["qemu-vdi", "qemu-vpc", "qemu-qcow2"] {
        let Some(driver) = driver(name, None) else { continue };
        let limits = EngineKind::Crash.limits(*driver);
        let scenarios: Vec<_> = Generator::new(driver.space(), 1, limits).take(100).collect();
        let units = |scenario: &Scenario| {
            scenario.config.size_bytes.div_ceil(driver.space().geometry(&scenario.config).unit_bytes)
        };
        let several = scenarios.iter().filter(|scenario| units(scenario) >= 3).count();
        assert!(several > 20, "{name}: {several} of 100 disks have several units");
    }
}
