//! What a flush answers for, without a crash: drivers do what they have to, and one that answers before its
//! medium has answered, or whose medium is never asked, is found at the flush.

mod common;

use blk_foreign::Plant;
use blk_harness::runner::{self, Purpose};
use common::{driver, found, limits};

/// Formats with metadata that has to be written first, and one without any.
const DRIVERS: [&str; 3] = ["qemu-qcow2", "qemu-vdi", "nbdkit"];

#[test]
fn a_flush_that_is_answered_early_is_found_and_so_is_one_that_is_lost() {
    for name in DRIVERS {
        let Some(clean) = driver(name, None) else { continue };
        let found_in = |driver| found(runner::requests(driver, Purpose::Fuzz), driver, limits(), 100);
        if let Some(report) = found(runner::requests(clean, Purpose::Fuzz), clean, limits(), 10) {
            panic!("{name}: {report}");
        }
        for plant in [Plant::EarlyFlushes(1), Plant::LostSyncs(2)] {
            let report = found_in(driver(name, Some(plant)).unwrap());
            let report = report.unwrap_or_else(|| panic!("{name}: {plant:?}, and nobody noticed"));
            assert!(report.contains("a flush succeeds"), "{name}: {plant:?}: {report}");
        }
    }
}
