//! Checking an image's metadata, and repairing it.
//!
//! Two inspections look at an image. The plain one ([`Walk::plain`]) counts references as `qemu-img check`
//! does, and reports in the same words: programs read them. What it does not look for, such as guest data on
//! a table, the strict one finds: where two structures claim a cluster, it keeps the one that guests and
//! snapshots depend on, and notes a fix for each broken entry. It is made only where the plain one has found
//! nothing wrong but something unusual, and after a plain repair.
//!
//! Both are a pipeline over one state, [`Walk`], and change nothing. A repair applies what they noted,
//! rewrites refcounts and flags, and inspects again: only an inspection that is clean makes a repair a
//! success.
//!
//! Works on the storage alone: the driver has written its caches back before, and reads everything again
//! after a repair.
//!
//! **Invariant:** time and memory are bounded by the length of the image file, whatever its tables say: every
//! table is read a fixed number of times, however often it is referred to.

mod bulk;
mod data_file;
mod entries;
mod flags;
mod layout;
mod plain;
mod plain_flags;
mod rebuild;
mod refcounts;
mod repair;
mod snapshots_and_bitmaps;
mod tables;
mod unshare;
mod walk;

use blk_core::{CheckReport, Finding, RepairMode, Result, Severity, Storage};

use crate::header::Header;
use walk::Walk;

pub(crate) use layout::layout;

/// Inspects the image, and repairs what `repair` allows.
///
/// # Errors
/// What the storage reports; `Unsupported` for an image of more clusters than can be counted. Whatever is
/// wrong with the image is no error but a finding.
pub(crate) fn check(storage: &dyn Storage, header: &Header, repair: RepairMode) -> Result<CheckReport> {
    match repair {
        RepairMode::None => inspect(storage, header),
        RepairMode::Leaks => repair::leaks(storage, header),
        RepairMode::All => {
            let mut header = header.clone();
            let report = repair::all(storage, &mut header)?;
            if report.is_repaired() {
                repair::clear_marks(storage, &mut header)?;
            }
            Ok(report)
        }
    }
}

/// Everything that is wrong with the image now.
fn inspect(storage: &dyn Storage, header: &Header) -> Result<CheckReport> {
    let mut plain = Walk::plain(storage, header, RepairMode::None)?;
    if plain.report.check_errors == 0 {
        plain.compare_plain_flags(false)?;
    }
    let mut report = plain.report;
    if plain.is_suspicious && report.corruptions == 0 && report.check_errors == 0 {
        let strict = inspect_strictly(storage, header)?.report;
        report.check_errors = strict.check_errors;
        for finding in strict.findings.into_iter().filter(|finding| finding.severity == Severity::Corruption)
        {
            report.add(Finding { message: format!("ERROR {}", finding.message), ..finding });
        }
        report.corruptions = strict.corruptions;
    }
    Ok(report)
}

/// Everything that contradicts something else.
fn inspect_strictly<'a>(storage: &'a dyn Storage, header: &Header) -> Result<Walk<'a>> {
    let mut walk = count_kept(storage, header)?;
    walk.count_refcount_structures()?;
    if !walk.refcounts_unusable {
        walk.compare_refcounts(false)?;
    }
    walk.compare_flags()?;
    Ok(walk)
}

/// The references that stay when the refcount structures are rebuilt: all but their own.
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
