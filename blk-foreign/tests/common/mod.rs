//! Drivers for tests, where their programs are installed.

use blk_core::Format;
use blk_foreign::{Description, ForeignDriver, Plant, description};
use blk_harness::driver::Driver;
use blk_harness::generate::{Generator, Limits};
use blk_harness::runner::Runner;
use blk_harness::scenario::Scenario;
use blk_harness::{Finding, Outcome};

fn formats(name: &str) -> Option<&'static dyn Format> {
    (name == "qcow2").then_some(blk_qcow2::FORMAT as &'static dyn Format)
}

/// The driver, with what is planted; `None` where its programs are missing, which is a failure in CI.
pub(crate) fn driver(name: &str, plant: Option<Plant>) -> Option<&'static ForeignDriver> {
    of_description(description(name).unwrap(), plant)
}

/// The same for a description.
pub(crate) fn of_description(
    description: Description,
    plant: Option<Plant>,
) -> Option<&'static ForeignDriver> {
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

/// Small scenarios.
pub(crate) fn limits() -> Limits {
    Limits { requests_max: 12, disk_bytes_max: 512 << 10, data_bytes_max: 128 << 10, ..Limits::default() }
}

/// Runs scenarios until something is found, and reports it.
pub(crate) fn found(
    runner: Box<dyn Runner>,
    driver: &dyn Driver,
    limits: Limits,
    count: usize,
) -> Option<String> {
    let (finding, scenario) = finding(runner, driver, limits, count)?;
    Some(format!("{}\n{scenario}", finding.report()))
}

/// Runs scenarios until something is found; what they have reached is asserted.
pub(crate) fn finding(
    mut runner: Box<dyn Runner>,
    driver: &dyn Driver,
    limits: Limits,
    count: usize,
) -> Option<(Box<Finding>, Scenario)> {
    for scenario in Generator::new(driver.space(), 1, limits).take(count) {
        if let Outcome::Finding(finding) = runner.run(&scenario) {
            return Some((finding, scenario));
        }
    }
    assert_eq!(runner.missing(), None, "{}", runner.summary());
    println!("{}: {}", driver.name(), runner.summary());
    None
}
