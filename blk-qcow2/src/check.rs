//! Checking an image's metadata, and repairing it.
//!
//! An inspection is a pipeline over one state, [`Walk`]. What guests and snapshots depend on is walked first, so that it wins
//! every quarrel about a cluster: the header, the L1 tables, the L2 tables, what these refer to. Then come the bitmaps, which
//! can be given up, and the refcount structures, which can be made anew. Then stored refcounts are held against the
//! counted references, and the copied flags against both. Nothing in it changes the image; what could be done about a broken
//! entry is noted. A repair applies the notes, rewrites refcounts and flags, and inspects again: only an inspection that is
//! clean makes a repair a success.
//!
//! Works on the storage alone: the driver has written its caches back before, and reads everything again after a repair.
//!
//! **Invariant:** time and memory are bounded by the length of the image file, whatever its tables say: every table is read
//! a fixed number of times, however often it is referred to.

mod entries;
mod flags;
mod others;
mod rebuild;
mod refcounts;
mod repair;
mod separate;
mod tables;
mod walk;

use blk_core::{CheckReport, RepairMode, Result, Storage};

use crate::header::Header;
use walk::Walk;

/// Inspects the image, and repairs what `repair` allows.
///
/// # Errors
/// What the storage reports; `Unsupported` for an image of more clusters than can be counted. Whatever is wrong with the image
/// is no error but a finding.
pub(crate) fn check(storage: &dyn Storage, header: &Header, repair: RepairMode) -> Result<CheckReport> {
    let first = inspect(storage, header)?;
    if repair == RepairMode::None {
        return Ok(first.report);
    }
    let mut header = header.clone();
    let mut report = first.report.clone();
    if !report.is_clean() {
        let last = match repair {
            RepairMode::All => repair::all(storage, &mut header, first)?,
            _ => repair::leaks(storage, &header, &first)?,
        };
        account(&mut report, &last);
    }
    if repair == RepairMode::All && report.is_repaired() {
        repair::clear_marks(storage, &mut header)?;
    }
    Ok(report)
}

/// Everything that is wrong with the image now.
fn inspect<'a>(storage: &'a dyn Storage, header: &Header) -> Result<Walk<'a>> {
    let mut walk = count_kept(storage, header)?;
    walk.count_refcount_structures()?;
    walk.compare_refcounts()?;
    walk.compare_flags()?;
    Ok(walk)
}

/// The references that stay when the refcount structures are made anew: all but their own.
fn count_kept<'a>(storage: &'a dyn Storage, header: &Header) -> Result<Walk<'a>> {
    let mut walk = Walk::new(storage, header)?;
    walk.count_header();
    walk.count_snapshot_table()?;
    walk.collect_active_tables()?;
    walk.collect_snapshots()?;
    walk.count_tables()?;
    walk.count_bitmaps()?;
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
