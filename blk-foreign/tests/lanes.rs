//! Several requests in flight in a driver in another process: they meet, in the order that the schedule says.

mod common;

use blk_harness::Outcome;
use blk_harness::generate::Limits;
use blk_harness::runner::{self, Purpose};
use blk_harness::scenario::Scenario;
use common::{driver, found, limits};

/// QEMU's write against a discard in flight: docs/findings/qemu-qcow2-write-against-discard.md.
const WRITE_AGAINST_DISCARD: &str = "\
blk-scenario 1
config size-bytes=256k lanes=2
write 0 64k
flush
@1 write 0 512
discard 0 64k
write 64k 64k
read 64k 64k
";

/// QEMU's zeroes against a write in flight: docs/findings/qemu-qcow2-zeroes-against-write.md. The write asks
/// for its cluster at point 1, and is late.
const ZEROES_AGAINST_WRITE: &str = "\
blk-scenario 1
config size-bytes=128k lanes=2 preallocation=metadata
write -z 64k 64k
@1 write 64k 512
write -z -u 66048 512
";

/// How many of ten replays find something without a crash.
fn found_in_ten(trace: &str) -> Option<usize> {
    let qemu = driver("qemu-qcow2", None)?;
    let scenario = Scenario::from_text(trace).unwrap();
    let mut runner = runner::races(qemu, Purpose::Minimise);
    let outcomes = (0..10).map(|_| runner.run(&scenario));
    Some(
        outcomes
            .filter(|outcome| match outcome {
                // A crash finds more.
                Outcome::Finding(finding) => finding.provoked.is_none(),
                Outcome::Clean => false,
                Outcome::Refused(why) => panic!("{why}"),
            })
            .count(),
    )
}

#[test]
fn the_order_of_completions_is_ours() {
    for (trace, in_order) in [(WRITE_AGAINST_DISCARD, "@1 "), (ZEROES_AGAINST_WRITE, "@1 ")] {
        let Some(found) = found_in_ten(trace) else { return };
        println!("{found} of 10");
        assert!(found >= 7, "{found} of 10: {trace}");
        // Without the turn nothing is in flight together.
        assert_eq!(found_in_ten(&trace.replace(in_order, "")), Some(0), "{trace}");
    }
}

#[test]
fn requests_meet_and_drivers_stand_that() {
    for name in ["qemu-vdi", "nbdkit"] {
        let Some(driver) = driver(name, None) else { continue };
        let limits = Limits { disk_bytes_max: limits().disk_bytes_max, ..Limits::racing() };
        if let Some(report) = found(runner::races(driver, Purpose::Fuzz), driver, limits, 30) {
            panic!("{name}: {report}");
        }
    }
}
