//! Failures during the repair of what an earlier failure has leaked.

use std::sync::Arc;

use blk_core::{Disk, MemoryStorage, RepairMode};
use blk_sim::fault::faults;
use blk_sim::{Fault, Host, Settings};

use super::sweep::Setting;
use crate::inspect;
use crate::promise::{Kept, Promise, Violation};
use crate::run::Run;
use crate::statistics::{Counter, Statistics};

/// Failures that are tried in one repair.
const FAULTS_MAX: usize = 2;

/// Repairs `image` with each of some operations failing: the next repair finishes, and the guest sees the
/// same throughout.
pub(super) fn sweep(
    setting: &Setting<'_>,
    run: &Run<'_>,
    image: &MemoryStorage,
    stats: &mut Statistics,
) -> Kept {
    let (host, disk) = open(setting, image, None)?;
    host.watch(true);
    let repaired = disk.check(RepairMode::All);
    host.watch(false);
    repaired.map_err(|error| Violation::failed(Promise::Repair, "a repair", &error))?;
    for fault in faults(setting.seed, &host.take_calls()).into_iter().take(FAULTS_MAX) {
        stats.add(Counter::RepairFaults, 1);
        with_fault(setting, run, image, fault).map_err(|violation| {
            violation.note(format!("operation {} of a repair failed: {fault}", fault.at + 1))
        })?;
    }
    Ok(())
}

fn open(setting: &Setting<'_>, image: &MemoryStorage, fault: Option<Fault>) -> Kept<(Arc<Host>, Disk)> {
    let settings = Settings::failing(fault, setting.images.geometry.unit_bytes);
    let host = Arc::new(Host::new(image.duplicate(), settings));
    let opened = setting.images.prepared.open(host.clone());
    let failed = |error| Violation::failed(Promise::Opens, "opening what is to be repaired", &error);
    opened.map_err(failed).map(|disk| (host, disk))
}

fn with_fault(setting: &Setting<'_>, run: &Run<'_>, image: &MemoryStorage, fault: Fault) -> Kept {
    let (host, disk) = open(setting, image, Some(fault))?;
    host.watch(true);
    let repaired = disk.check(RepairMode::All);
    host.watch(false);
    host.clear_fault();
    if repaired.is_ok() && host.failures() > 0 && host.is_lossy() {
        return Err(Violation::new(Promise::Surfaces, "a sync of a repair fails, and the repair does not"));
    }
    // The handle may be used further, or refuse.
    if disk.flush().is_ok() {
        inspect::leaks(&disk, Promise::Consistent, "after a repair in which something failed")?;
    }
    drop(disk);
    host.drop_page_cache().map_err(|error| Violation::memory(&error))?;
    let disk = setting.images.prepared.open(host);
    let disk = disk.map_err(|error| Violation::failed(Promise::Opens, "the open after a repair", &error))?;
    inspect::leaks(&disk, Promise::Consistent, "opened after a repair in which something failed")?;
    let changed = "a repair changes what the guest sees";
    run.compare(&disk, Promise::Repair, changed)?;
    inspect::repair(&disk)?;
    run.compare(&disk, Promise::Repair, changed)
}
