//! Failures during the repair of what an earlier failure has leaked.

use std::sync::Arc;

use blk_core::{Disk, MemoryStorage, RepairMode};

use super::FaultStats;
use super::host::Host;
use super::recover::checked;
use super::run::{Run, broken, held};
use super::variant::{self, Fault};
use super::violation::{Judged, Rule, Violation};
use crate::oracle::image::worst;
use crate::scenario::Scenario;

/// Failures that are tried in one repair.
const FAULTS_MAX: usize = 2;

/// Repairs `image` with each of some operations failing: the next repair finishes, and the guest sees the same throughout.
pub(super) fn sweep(run: &Run<'_>, image: &MemoryStorage, stats: &mut FaultStats) -> Judged {
    let (host, disk) = open(run, image, None)?;
    host.watch(true);
    let repaired = disk.check(RepairMode::All);
    host.watch(false);
    repaired.map_err(|error| Violation::failed(Rule::Repair, "a repair", &error))?;
    let (config, requests) = (run.setting.config.clone(), run.setting.requests.to_vec());
    let scenario = Scenario { config, requests, ..Scenario::default() };
    for fault in variant::faults(&scenario, &host.take_log()).into_iter().take(FAULTS_MAX) {
        stats.repair_faults += 1;
        with_fault(run, image, fault).map_err(|violation| Violation {
            what: format!("{} (operation {} of a repair failed: {fault})", violation.what, fault.at + 1),
            ..violation
        })?;
    }
    Ok(())
}

fn open(run: &Run<'_>, image: &MemoryStorage, fault: Option<Fault>) -> Judged<(Arc<Host>, Disk)> {
    let host = Arc::new(Host::new(image, fault, run.setting.geometry.unit_bytes));
    let opened = run.setting.prepared.open(host.clone());
    let disk =
        opened.map_err(|error| Violation::failed(Rule::Opens, "opening what is to be repaired", &error))?;
    Ok((host, disk))
}

fn with_fault(run: &Run<'_>, image: &MemoryStorage, fault: Fault) -> Judged {
    let (host, disk) = open(run, image, Some(fault))?;
    host.watch(true);
    let repaired = disk.check(RepairMode::All);
    host.watch(false);
    host.mend();
    if repaired.is_ok() && host.failed_count() > 0 && host.is_lossy() {
        return Err(Violation::new(Rule::Surfaces, "a sync of a repair fails, and the repair does not"));
    }
    // The handle may be used further, or refuse.
    if disk.flush().is_ok() {
        checked(&disk)?;
    }
    drop(disk);
    host.evict().map_err(|error| broken(&error))?;
    let disk = run.setting.prepared.open(host);
    let disk = disk.map_err(|error| Violation::failed(Rule::Opens, "the open after a repair", &error))?;
    checked(&disk)?;
    same(run, &disk)?;
    repair(&disk)?;
    same(run, &disk)
}

fn same(run: &Run<'_>, disk: &Disk) -> Judged {
    let compared = run.history.compare(disk, &run.parts());
    held(compared, "a repair changes what the guest sees").map_err(|violation| violation.of(Rule::Repair))
}

/// Repairs what has leaked: nothing is left.
pub(super) fn repair(disk: &Disk) -> Judged {
    let failed = |error| Violation::failed(Rule::Repair, "a repair, with no fault at work,", &error);
    disk.check(RepairMode::All).map_err(failed)?;
    let again = disk.check(RepairMode::None).map_err(failed)?;
    if again.is_clean() {
        return Ok(());
    }
    Err(Violation::new(Rule::Repair, format!("after a repair: {}", worst(&again))))
}
