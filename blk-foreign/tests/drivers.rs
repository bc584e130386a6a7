//! Foreign drivers under the engines: each is clean, and a fault that is planted around it is found. What is
//! not installed is said, and fails in CI.

mod common;

use blk_foreign::Plant;
use blk_harness::runner::{self, Purpose};
use common::{driver, limits};

fn found(
    runner: Box<dyn runner::Runner>,
    driver: &dyn blk_harness::driver::Driver,
    count: usize,
) -> Option<String> {
    common::found(runner, driver, limits(), count)
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
