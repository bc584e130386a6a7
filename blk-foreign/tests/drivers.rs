//! Foreign drivers under the engines: each is clean, and a fault that is planted around it is found. What is
//! not installed is said, and fails in CI.

use blk_core::Format;
use blk_foreign::{ForeignDriver, Plant, description};
use blk_harness::Outcome;
use blk_harness::driver::Driver;
use blk_harness::generate::{Generator, Limits};
use blk_harness::runner::{self, Purpose, Runner};

fn formats(name: &str) -> Option<&'static dyn Format> {
    (name == "qcow2").then_some(blk_qcow2::FORMAT as &'static dyn Format)
}

/// The driver, with what is planted; `None` where its programs are missing.
fn driver(name: &str, plant: Option<Plant>) -> Option<&'static ForeignDriver> {
    let description = description(name).unwrap();
    let driver = match plant {
        Some(plant) => ForeignDriver::planted(description, formats, plant),
        None => ForeignDriver::judged_by(description, formats),
    };
    match driver {
        Ok(driver) => Some(driver),
        Err(error) => {
            assert!(std::env::var_os("BLK_REQUIRE_QEMU").is_none(), "{error}");
            println!("{error}: nothing is tested");
            None
        }
    }
}

fn limits() -> Limits {
    Limits { requests_max: 12, disk_bytes_max: 512 << 10, data_bytes_max: 128 << 10, ..Limits::default() }
}

/// Runs scenarios until something is found.
fn found(mut runner: Box<dyn Runner>, driver: &dyn Driver, count: usize) -> Option<String> {
    for scenario in Generator::new(driver.space(), 1, limits()).take(count) {
        if let Outcome::Finding(finding) = runner.run(&scenario) {
            return Some(format!("{}\n{scenario}", finding.report()));
        }
    }
    assert_eq!(runner.missing(), None, "{}", runner.summary());
    println!("{}: {}", driver.name(), runner.summary());
    None
}

/// A process for all opens, one for each, a medium of ours, a file, and none.
const CONTENT: [&str; 5] = ["qemu-qcow2", "qemu-vdi", "qemu-vmdk", "qemu-nbd", "nbdkit-memory"];

#[test]
fn content_is_right_and_a_wrong_reply_is_found() {
    for name in CONTENT {
        let Some(clean) = driver(name, None) else { continue };
        if let Some(report) = found(runner::requests(clean, Purpose::Fuzz), clean, 20) {
            panic!("{name}: {report}");
        }
        let planted = driver(name, Some(Plant::WrongReply(3))).unwrap();
        let report = found(runner::requests(planted, Purpose::Fuzz), planted, 50);
        assert!(report.is_some(), "{name}: a reply was wrong, and nobody noticed");
    }
}

/// Syncs that were lost are found by crashes.
const CRASHED: [&str; 3] = ["qemu-qcow2", "qemu-vdi", "nbdkit"];

#[test]
fn a_medium_that_is_wrong_or_loses_syncs_is_found() {
    for name in CRASHED {
        let Some(planted) = driver(name, Some(Plant::WrongMedium(9))) else { continue };
        let report = found(runner::requests(planted, Purpose::Fuzz), planted, 200);
        assert!(report.is_some(), "{name}: the medium was wrong, and nobody noticed");
        let planted = driver(name, Some(Plant::LostSyncs(2))).unwrap();
        let report = found(runner::crashes(planted, Purpose::Fuzz), planted, 60).expect("syncs were lost");
        println!("{name}: {report}");
    }
}
