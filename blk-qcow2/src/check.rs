//! Checking an image's metadata, and repairing it.
//!
//! An inspection is a pipeline over one state, [`Walk`]: what is fixed in place, then what the L1 tables refer to, then every
//! L2 table once, then the stored refcounts against the counted references, then the copied flags. Nothing in it changes the
//! image; what could be done about a broken entry is noted. A repair applies the notes, rewrites refcounts and flags, and
//! inspects again: only an inspection that is clean makes a repair a success.
//!
//! Works on the storage alone: the driver has written its caches back before, and reads everything again after a repair.
//!
//! **Invariant:** time and memory are bounded by the length of the image file, whatever its tables say: every table is read once,
//! however often it is referred to.

mod flags;
mod refcounts;
mod repair;
mod tables;
mod walk;

use blk_core::{CheckReport, RepairMode, Result, Storage};

use crate::header::Header;
use walk::Walk;

/// Inspects the image, and repairs what `repair` allows.
pub(crate) fn check(storage: &dyn Storage, header: &Header, repair: RepairMode) -> Result<CheckReport> {
    let first = inspect(storage, header)?;
    if repair == RepairMode::None {
        return Ok(first.report);
    }
    let mut header = header.clone();
    if !first.report.is_clean() {
        repair::repair(storage, &mut header, &first.fixes, repair)?;
    }
    let mut report = first.report;
    let last = inspect(storage, &header)?.report;
    account(&mut report, &last);
    if repair == RepairMode::All && report.is_repaired() {
        repair::clear_marks(storage, &mut header)?;
    }
    Ok(report)
}

/// Everything that is wrong with the image now.
fn inspect<'a>(storage: &'a dyn Storage, header: &'a Header) -> Result<Walk<'a>> {
    let mut walk = Walk::new(storage, header)?;
    walk.count_fixed_structures()?;
    walk.collect_tables()?;
    walk.count_tables()?;
    walk.compare_refcounts()?;
    walk.compare_flags()?;
    Ok(walk)
}

/// Marks in `report` what a later inspection no longer finds.
fn account(report: &mut CheckReport, last: &CheckReport) {
    report.leaks_fixed = report.leaks.saturating_sub(last.leaks);
    report.corruptions_fixed = report.corruptions.saturating_sub(last.corruptions);
    report.check_errors = last.check_errors;
    if last.is_clean() {
        for finding in &mut report.findings {
            finding.repaired = true;
        }
    } else {
        // A repair that turned one kind into another has not repaired it.
        report.leaks = report.leaks.max(last.leaks);
        report.corruptions = report.corruptions.max(last.corruptions);
        for finding in &mut report.findings {
            finding.repaired = !last.findings.contains(finding);
        }
    }
}
