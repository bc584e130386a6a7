//! Repairing what an inspection found.
//!
//! Write order: counts rise, then entries and flags are fixed, then counts fall, each durable before the
//! next; marks in the header go last. A crash in between leaves an image that the same repair finishes. The
//! plain repair (`fix_flags`) sets the dirty bit while a copied flag contradicts a count that is yet to fall:
//! after a crash, the next open for writing repairs all. Version 2 has no such bit; there the contradiction
//! stays until a repair.
//!
//! First the counts and flags are made to agree with what the plain inspection has counted; then, if
//! something is still wrong, entries are fixed as the strict inspection says.

use std::collections::HashSet;

use blk_core::{CheckReport, Error, Finding, RepairMode, Result, Severity, Storage};

use super::rebuild::Rebuilt;
use super::walk::{Walk, apply};
use super::{count_kept, inspect, inspect_strictly, unshare};
use crate::header::Header;
use crate::offset::HostCluster;
use crate::ondisk::AUTOCLEAR_BITMAPS;
use crate::refcount::{count_at, set_count_at};

/// Which way counts may go in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Broken entries can hide one another; a few rounds fix all that can be fixed.
const ROUNDS_MAX: usize = 8;

/// `RepairMode::Leaks`: lowers counts that are too high; where nothing is worse, copied flags are fixed too.
pub(super) fn leaks(storage: &dyn Storage, header: &Header) -> Result<CheckReport> {
    let mut walk = Walk::plain(storage, header, RepairMode::Leaks)?;
    if walk.refcounts_unusable {
        walk.step(0, || "ERROR need to rebuild refcount structures".to_owned());
        walk.report.check_errors += 1;
        return Ok(walk.report);
    }
    let fixes_flags = walk.report.corruptions == 0 && walk.report.check_errors == 0;
    report_counts(&mut walk, |stored, counted| stored > counted);
    let all = walk.differing.clone();
    let lowers = !walk.incomplete;
    walk.differing.retain(|cluster, stored| {
        !lowers || u64::from(walk.counts.get(cluster.index() as usize).copied().unwrap_or(0)) >= *stored
    });
    if walk.report.check_errors == 0 {
        walk.compare_plain_flags(fixes_flags)?;
    }
    let lowers = lowers && (!all.is_empty() || frees_past_end(&walk));
    let is_changed = lowers || !all.is_empty() || !walk.fixes.is_empty();
    fix_flags(&walk, &mut header.clone(), lowers)?;
    let report = std::mem::take(&mut walk.report);
    if is_changed { finish(storage, header, report, 0) } else { Ok(report) }
}

/// `RepairMode::All`: repairs all that can be.
pub(super) fn all(storage: &dyn Storage, header: &mut Header) -> Result<CheckReport> {
    let mut walk = Walk::plain(storage, header, RepairMode::All)?;
    fix_noted(&mut walk)?;
    let mut report = CheckReport::default();
    if walk.refcounts_unusable && !rebuild(&mut walk, header)? {
        report_counts(&mut walk, |_, _| true);
    } else if walk.refcounts_unusable {
        report = std::mem::take(&mut walk.report);
        walk = Walk::plain(storage, header, RepairMode::All)?;
        fix_noted(&mut walk)?;
        report_again(&mut report, &std::mem::take(&mut walk.report));
        report_counts(&mut walk, |stored, counted| stored > counted);
    } else {
        report_counts(&mut walk, |_, _| true);
    }
    level(&mut walk, header)?;
    let lowers_only = frees_past_end(&walk);
    merge(&mut report, std::mem::take(&mut walk.report));
    if report.is_clean() && !walk.is_suspicious && walk.fixes.is_empty() && !lowers_only {
        return Ok(report);
    }
    fix_strictly(storage, header, report)
}

/// Writes entries that were counted as they should be. What looks like an entry of an L2 table may be a field
/// of the header or an entry of another table: where two structures share a cluster, the strict inspection
/// says which one gives way.
fn fix_noted(walk: &mut Walk<'_>) -> Result<()> {
    let mut fixes = std::mem::take(&mut walk.fixes);
    let noted = fixes.len();
    fixes.retain(|fix| !walk.is_contested(fix.host_offset));
    // What was not fixed was not counted either.
    walk.incomplete |= fixes.len() < noted;
    walk.forget_l2();
    apply(walk.storage, &fixes)
}

/// Makes new refcount structures. `false` where the host has no room for them and the old ones will do.
fn rebuild(walk: &mut Walk<'_>, header: &mut Header) -> Result<bool> {
    if walk.incomplete {
        // What is not known to be free keeps its count.
        for (&cluster, &stored) in &walk.differing {
            if let Some(count) = walk.counts.get_mut(cluster.index() as usize) {
                *count = (*count).max(u32::try_from(stored).unwrap_or(u32::MAX));
            }
        }
    }
    walk.step(0, || "Rebuilding refcount structure".to_owned());
    match Rebuilt::lay_out(walk) {
        Ok(rebuilt) => rebuilt.activate(walk, header).map(|()| true),
        Err(Error::NoSpace { .. }) if !walk.blocks_unusable => Ok(false),
        Err(error) => Err(error),
    }
}

/// Brings stored counts and copied flags up to what was counted.
fn level(walk: &mut Walk<'_>, header: &mut Header) -> Result<()> {
    let is_wrong = !walk.differing.is_empty();
    if is_wrong {
        write_counts(walk, Direction::Up)?;
    }
    let lowers = (is_wrong || frees_past_end(walk)) && !walk.incomplete;
    let counts = &walk.counts;
    let max = walk.geometry.refcount_max();
    walk.differing.retain(|cluster, stored| {
        let counted = counts.get(cluster.index() as usize).map_or(0, |count| u64::from(*count));
        *stored = if *stored > counted && !lowers { *stored } else { counted.min(max) };
        *stored != counted
    });
    walk.compare_plain_flags(true)?;
    fix_flags(walk, header, lowers)
}

/// Writes the flags that are noted, and lowers counts, too, if it `lowers`. In between they contradict each
/// other.
fn fix_flags(walk: &Walk<'_>, header: &mut Header, lowers: bool) -> Result<()> {
    let is_marked = lowers && !walk.fixes.is_empty() && header.version >= 3 && !header.is_dirty();
    let mut mark = |is_dirty: bool| -> Result<()> {
        if is_marked {
            header.set_dirty(is_dirty);
            header.write_fixed(walk.storage)?;
            walk.storage.sync()?;
        }
        Ok(())
    };
    mark(true)?;
    apply(walk.storage, &walk.fixes)?;
    if lowers {
        write_counts(walk, Direction::Down)?;
    }
    mark(false)
}

/// Whether counts past the end of the file are lowered too: nobody else does, and once the file grows they
/// are leaks. Where anything is worse than a leak, an entry may refer to such a cluster.
fn frees_past_end(walk: &Walk<'_>) -> bool {
    let report = &walk.report;
    let is_sound = report.corruptions == 0 && report.check_errors == 0;
    // What looks like a block may be another structure.
    is_sound && !walk.is_suspicious && !walk.blocks_unusable && report.leaks_past_end > 0
}

/// Fixes what the plain repair has left.
fn fix_strictly(storage: &dyn Storage, header: &mut Header, mut report: CheckReport) -> Result<CheckReport> {
    let last = inspect(storage, header)?;
    if last.is_clean() {
        return finish(storage, header, report, 0);
    }
    let mut walk = inspect_strictly(storage, header)?;
    let mut copies_max = walk.clusters().get();
    // Most of it has been reported, as the plain inspection words it.
    let found = walk.report.corruptions.saturating_sub(last.corruptions);
    for _ in 0..ROUNDS_MAX {
        if walk.report.is_clean() {
            break;
        }
        round(&walk, header, &mut copies_max)?;
        let next = inspect_strictly(storage, header)?;
        if !report_fixed(&mut report, &walk.report, &next.report) {
            break;
        }
        walk = next;
    }
    finish(storage, header, report, found)
}

/// What is left after a repair, compared with what was found: `more` corruptions were found that `report`
/// does not count.
fn finish(storage: &dyn Storage, header: &Header, mut report: CheckReport, more: u64) -> Result<CheckReport> {
    let last = inspect(storage, header)?;
    report.corruptions += more;
    // A repair that turned one kind into another has not repaired it.
    report.leaks = report.leaks.max(last.leaks);
    report.corruptions = report.corruptions.max(last.corruptions);
    assert!(
        report.leaks >= last.leaks && report.corruptions >= last.corruptions,
        "no more is left than was found"
    );
    report.leaks_fixed = report.leaks - last.leaks;
    report.corruptions_fixed = report.corruptions - last.corruptions;
    report.check_errors = last.check_errors;
    report.leaks_past_end = last.leaks_past_end;
    mark_repaired(&mut report.findings, &last);
    Ok(report)
}

/// Marks the findings that are not there any more. Both reports may be as long as reports get: each is gone
/// through once.
fn mark_repaired(findings: &mut [Finding], last: &CheckReport) {
    let is_clean = last.is_clean();
    let left: HashSet<&Finding> = last.findings.iter().collect();
    for finding in findings {
        finding.repaired = is_clean || !left.contains(&*finding);
    }
}

/// Adds the findings and counts of `more`.
fn merge(report: &mut CheckReport, mut more: CheckReport) {
    more.leaks += report.leaks;
    more.corruptions += report.corruptions;
    std::mem::swap(&mut report.findings, &mut more.findings);
    let later = std::mem::take(&mut report.findings);
    let room = CheckReport::FINDINGS_MAX.saturating_sub(more.findings.len());
    more.findings.extend(later.into_iter().take(room));
    *report = more;
}

/// What was found again is reported again, and not counted again.
fn report_again(report: &mut CheckReport, again: &CheckReport) {
    // What is wrong with the counts is reported as it is repaired.
    let is_entry = |finding: &&Finding| !finding.message.contains(" reference=");
    for finding in again.findings.iter().filter(is_entry) {
        report.add(Finding { severity: Severity::Step, ..finding.clone() });
    }
}

/// Reports what was found and is no longer there. `false` if nothing has changed.
fn report_fixed(report: &mut CheckReport, found: &CheckReport, next: &CheckReport) -> bool {
    let key = |finding: &Finding| (finding.offset, finding.message.clone());
    let left: HashSet<_> = next.findings.iter().map(key).collect();
    let mut is_changed = found.findings.len() != next.findings.len();
    for finding in found.findings.iter().filter(|finding| !left.contains(&key(finding))) {
        let what = finding.message.trim_start_matches("Leaked ").trim_start_matches("ERROR ");
        report.add(Finding {
            severity: Severity::Step,
            message: format!("Repairing {what}"),
            ..finding.clone()
        });
        is_changed = true;
    }
    is_changed
}

/// Reports every stored count that differs, in order: as repaired where `is_repaired` of stored and counted
/// says so.
fn report_counts(walk: &mut Walk<'_>, is_repaired: impl Fn(u64, u64) -> bool) {
    let mut differing: Vec<(HostCluster, u64)> =
        walk.differing.iter().map(|(cluster, stored)| (*cluster, *stored)).collect();
    differing.sort_unstable();
    for (cluster, stored) in differing {
        let counted = walk.counts.get(cluster.index() as usize).map_or(0, |count| u64::from(*count));
        if stored > counted && walk.incomplete {
            continue;
        }
        let verb = if is_repaired(stored, counted) { "Repairing" } else { "ERROR" };
        walk.step(walk.geometry.offset_of(cluster).get(), || {
            let cluster = cluster.index();
            format!("{verb} cluster {cluster} refcount={stored} reference={counted}")
        });
    }
}

/// Does what can be done about the findings of one strict inspection.
fn round(walk: &Walk<'_>, header: &mut Header, copies_max: &mut u64) -> Result<()> {
    if walk.bitmaps_unusable {
        // Without this bit all bitmaps are out of date, and their clusters leaks.
        header.autoclear &= !AUTOCLEAR_BITMAPS;
        header.write_fixed(walk.storage)?;
        return walk.storage.sync();
    }
    if unshare::relocate_overlapping_l1(walk, copies_max)? || unshare::unshare(walk, copies_max)? {
        return Ok(());
    }
    if !walk.refcounts_unusable {
        write_counts(walk, Direction::Up)?;
        apply(walk.storage, &walk.fixes)?;
        return if walk.incomplete { Ok(()) } else { write_counts(walk, Direction::Down) };
    }
    if !walk.incomplete {
        Rebuilt::write(&count_kept(walk.storage, header)?, header)?;
    }
    apply(walk.storage, &walk.fixes)
}

/// Clears the dirty and corrupt bits: nothing is wrong any more.
pub(super) fn clear_marks(storage: &dyn Storage, header: &mut Header) -> Result<()> {
    if !header.is_dirty() && !header.is_corrupt() {
        return Ok(());
    }
    header.set_dirty(false);
    header.set_corrupt(false);
    assert!(!header.is_dirty() && !header.is_corrupt(), "a repaired image bears no mark");
    storage.sync()?;
    header.write_fixed(storage)?;
    storage.sync()
}

/// Writes counted references over stored counts, durably, as far as they go in one direction.
fn write_counts(walk: &Walk<'_>, direction: Direction) -> Result<()> {
    let mut is_changed = false;
    let mut bytes = vec![0; walk.geometry.cluster_bytes() as usize];
    // One outside the file counts nothing, and must not become part of it.
    let is_inside = |block: &u64| *block != 0 && *block < walk.file_bytes;
    for (index, &block) in walk.blocks.iter().enumerate().filter(|(_, block)| is_inside(block)) {
        walk.storage.read_at(block, &mut bytes)?;
        if correct_block(walk, index as u64, &mut bytes, direction) {
            walk.storage.write_at(block, &bytes)?;
            is_changed = true;
        }
    }
    if is_changed { walk.storage.sync() } else { Ok(()) }
}

fn correct_block(walk: &Walk<'_>, index: u64, block: &mut [u8], direction: Direction) -> bool {
    let geometry = walk.geometry;
    let order = geometry.refcount_order();
    let first = geometry.block_start(index).index();
    let mut is_changed = false;
    let past_end = if frees_past_end(walk) { geometry.block_entries() as usize } else { 0 };
    let counts = walk.counts.iter().copied().skip(first as usize).chain(std::iter::repeat_n(0, past_end));
    for (entry, counted) in (0..geometry.block_entries()).zip(counts) {
        let wanted = u64::from(counted).min(geometry.refcount_max());
        let stored = count_at(block, entry, order);
        let is_wrong = match direction {
            Direction::Up => stored < wanted,
            Direction::Down => stored > wanted,
        };
        if is_wrong {
            set_count_at(block, entry, order, wanted);
            is_changed = true;
        }
    }
    is_changed
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn long(count: u64) -> CheckReport {
        let mut report = CheckReport::default();
        for at in 0..count {
            let message = format!("ERROR offset={at:x}: cluster is not inside the image");
            report.add(Finding { severity: Severity::Corruption, offset: at, message, repaired: false });
        }
        report
    }

    #[test]
    fn what_is_left_is_looked_up_once_for_each_finding() {
        let count = CheckReport::FINDINGS_MAX as u64;
        let (mut report, last) = (long(count), long(count / 2));
        let started = Instant::now();
        mark_repaired(&mut report.findings, &last);
        // Comparing each finding with each takes minutes.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        let repaired = report.findings.iter().filter(|finding| finding.repaired).count() as u64;
        assert_eq!(repaired, count - count / 2);
        assert!(!report.findings[0].repaired);
    }
}
