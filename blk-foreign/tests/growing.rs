//! Drivers that allocate past the end of their medium: the medium is a file that grows, and crashes like any
//! other.

use blk_foreign::{ForeignDriver, Plant, description};
use blk_harness::driver::Driver;
use blk_harness::generate::{Generator, Limits};
use blk_harness::runner::{self, Purpose, Runner};
use blk_harness::scenario::Scenario;
use blk_harness::{Finding, Outcome};

/// The driver; `None` where its programs are missing, or the kernel's FUSE.
fn driver(name: &str, plant: Option<Plant>) -> Option<&'static ForeignDriver> {
    let description = description(name).unwrap();
    let driver = match plant {
        Some(plant) => ForeignDriver::planted(description, |_| None, plant),
        None => ForeignDriver::new(description),
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

/// Runs scenarios until something is found; what each run has reached is asserted.
fn found(mut runner: Box<dyn Runner>, driver: &dyn Driver, count: usize) -> Option<(Box<Finding>, Scenario)> {
    let limits = Limits { requests_max: 6, disk_bytes_max: 256 << 10, ..Limits::default() };
    for scenario in Generator::new(driver.space(), 1, limits).take(count) {
        if let Outcome::Finding(finding) = runner.run(&scenario) {
            return Some((finding, scenario));
        }
    }
    assert_eq!(runner.missing(), None, "{}", runner.summary());
    None
}

#[test]
fn vhdx_grows_and_its_syncs_are_seen() {
    let Some(clean) = driver("qemu-vhdx", None) else { return };
    let report = |found: Option<(Box<Finding>, Scenario)>| found.map(|(finding, _)| finding.report());
    assert_eq!(report(found(runner::requests(clean, Purpose::Fuzz), clean, 10)), None);
    assert_eq!(report(found(runner::crashes(clean, Purpose::Fuzz), clean, 5)), None);
    let planted = driver("qemu-vhdx", Some(Plant::LostSyncs(1))).unwrap();
    let report = report(found(runner::crashes(planted, Purpose::Fuzz), planted, 300));
    let report = report.expect("syncs were lost, and nobody noticed");
    // A crash shows it, or a flush that was answered while nothing was durable.
    assert!(report.contains("crash:") || report.contains("flush"), "{report}");
}

/// docs/findings/qemu-vmdk-entry-before-data.md
#[test]
fn entries_of_vmdk_before_their_data_are_found_and_known() {
    let Some(vmdk) = driver("qemu-vmdk", None) else { return };
    let (finding, scenario) = found(runner::crashes(vmdk, Purpose::Fuzz), vmdk, 200).expect("it is known");
    let known = &description("qemu-vmdk").unwrap().deviations;
    assert!(known.iter().any(|known| known.explains(&finding, &scenario, 64 << 10)), "{}", finding.report());
}
