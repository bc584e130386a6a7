//! Checks of an open image, with what each must find. A format that cannot be checked passes.

use blk_core::{Disk, RepairMode};

use crate::journal::Journal;
use crate::promise::{Kept, Promise, Violation};
use crate::report::Finding;

/// Flushes and checks the image, with a repair that has nothing to do if all is right. Leaks count: between
/// requests there is no reason for one.
pub(crate) fn clean(disk: &Disk, promise: Promise, repair: RepairMode) -> Kept {
    disk.flush().map_err(|error| Violation::failed(promise, "flushing at the end", &error))?;
    if disk.as_check().is_none() {
        return Ok(());
    }
    let checked = disk.check(repair);
    let checked = checked.map_err(|error| Violation::failed(promise, "checking the image", &error))?;
    if checked.is_clean() {
        return Ok(());
    }
    Err(Violation::image(promise, "the check of the image is not clean", &checked))
}

/// As [`clean`], for an engine that has a reference disk in place of a model.
pub(crate) fn check(disk: &Disk, repair: RepairMode) -> Result<(), Box<Finding>> {
    clean(disk, Promise::Answers, repair).map_err(|violation| {
        let journal = Journal::new();
        crate::explain::finding(&violation, crate::explain::Scene::plain(&journal, disk.size()))
    })
}

/// Checks the image; returns how many clusters have leaked, which is allowed.
pub(crate) fn leaks(disk: &Disk, promise: Promise, when: &str) -> Kept<u64> {
    if disk.as_check().is_none() {
        return Ok(0);
    }
    let report = disk
        .check(RepairMode::None)
        .map_err(|error| Violation::new(promise, format!("{when}, the check fails: {error}")))?;
    if report.corruptions == 0 && report.check_errors == 0 {
        return Ok(report.leaks + report.leaks_past_end);
    }
    Err(Violation::image(promise, when, &report))
}

/// Repairs what has leaked: nothing is left.
pub(crate) fn repair(disk: &Disk) -> Kept {
    let failed = |error| Violation::failed(Promise::Repair, "a repair, with no fault at work,", &error);
    disk.check(RepairMode::All).map_err(failed)?;
    let again = disk.check(RepairMode::None).map_err(failed)?;
    if again.is_clean() && again.leaks_past_end == 0 {
        Ok(())
    } else {
        Err(Violation::image(Promise::Repair, "after a repair", &again))
    }
}
