//! Drivers that allocate past the end of their medium: the medium is a file that grows, and crashes like any
//! other.

mod common;

use blk_foreign::{Plant, description};
use blk_harness::generate::Limits;
use blk_harness::runner::{self, Purpose};
use common::{driver, finding, found, limits};

/// Fewer requests, on smaller disks: each is crashed at every operation.
fn few() -> Limits {
    let data_bytes_max = Limits::default().data_bytes_max;
    Limits { requests_max: 6, disk_bytes_max: 256 << 10, data_bytes_max, ..limits() }
}

#[test]
fn vhdx_grows_and_its_syncs_are_seen() {
    let Some(clean) = driver("qemu-vhdx", None) else { return };
    assert_eq!(found(runner::requests(clean, Purpose::Fuzz), clean, few(), 10), None);
    assert_eq!(found(runner::crashes(clean, Purpose::Fuzz), clean, few(), 5), None);
    let planted = driver("qemu-vhdx", Some(Plant::LostSyncs(1))).unwrap();
    let report = found(runner::crashes(planted, Purpose::Fuzz), planted, few(), 300);
    let report = report.expect("syncs were lost, and nobody noticed");
    // A crash shows it, or a flush that was answered while nothing was durable.
    assert!(report.contains("crash:") || report.contains("flush"), "{report}");
}

/// docs/findings/qemu-vmdk-entry-before-data.md
#[test]
fn entries_of_vmdk_before_their_data_are_found_and_known() {
    let Some(vmdk) = driver("qemu-vmdk", None) else { return };
    let found = finding(runner::crashes(vmdk, Purpose::Fuzz), vmdk, few(), 200);
    let (finding, scenario) = found.expect("it is known");
    let known = &description("qemu-vmdk").unwrap().deviations;
    assert!(known.iter().any(|known| known.explains(&finding, &scenario, 64 << 10)), "{}", finding.report());
}
