//! Drivers whose storage fails: what is known of them is found and named, and no other finding is made up.

#[expect(dead_code, reason = "other tests run scenarios by it too")]
mod common;

use blk_core::Result;
use blk_foreign::{EngineKind, ForeignDriver};
use blk_harness::driver::{Driver, ImageMaker};
use blk_harness::fault::{FaultEngine, FaultOptions};
use blk_harness::generate::Generator;
use blk_harness::runner::Purpose;
use blk_harness::scenario::{Config, Scenario};
use blk_harness::space::Space;

/// A flush over NBD that succeeds after one that failed would be our medium's lie, not QEMU's.
#[test]
fn a_sync_that_fails_is_no_finding_of_a_driver_that_says_so() {
    for name in ["qemu-qcow2", "qemu-nbd", "nbdkit"] {
        let Some(driver) = common::driver(name, None) else { return };
        let mut runner = EngineKind::Fault.runner(driver, Purpose::Fuzz);
        let limits = EngineKind::Fault.limits(*driver);
        for scenario in Generator::new(driver.space(), 1, limits).take(2) {
            let outcome = runner.run(&scenario);
            let report = outcome.finding().map(blk_harness::Finding::report);
            assert!(report.is_none(), "{name}: {}\n{scenario}", report.unwrap_or_default());
        }
        let summary = runner.summary();
        assert!(summary["surfaced"].as_u64() > Some(5), "{name}: {summary}");
    }
}

/// A driver of which nothing is known: the first finding ends a run.
#[derive(Debug)]
struct Naive(ForeignDriver);

impl Driver for Naive {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn space(&self) -> &'static Space {
        self.0.space()
    }

    fn images(&self, config: &Config) -> Result<Box<dyn ImageMaker>> {
        self.0.images(config)
    }
}

/// One write, or one flush, that fails, and the drivers that go on as if it had not: docs/findings has each.
#[test]
fn what_is_lost_after_a_failure_is_found_and_known() {
    for (name, requests) in [
        ("qemu-vpc", "config size-bytes=256k\nwrite 0 256k\nwrite 0 512"),
        ("qemu-qed", "config size-bytes=0\nwrite 0 512"),
        ("nbdkit-file", "config size-bytes=1k\nwrite 0 1k"),
    ] {
        let Some(driver) = common::driver(name, None) else { return };
        let scenario = Scenario::from_text(&format!("blk-scenario 1\n{requests}\n")).unwrap();
        let mut engine =
            FaultEngine::new(FaultOptions { long_follow_up_one_in: 64, ..FaultOptions::default() });
        let found = engine.run(&Naive(*driver), &scenario);
        let finding = found.finding().unwrap_or_else(|| panic!("{name}: {found:?}"));
        assert!(driver.known(finding, &scenario).is_some(), "{name}: {}", finding.report());
    }
}
