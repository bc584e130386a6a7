//! What is known to be wrong with a driver, and which findings that explains.

mod crash;
mod fault;
mod killed;

use std::ops::Range;

use blk_core::Extent;
use blk_harness::finding::{Provoked, Source};
use blk_harness::journal::Entry;
use blk_harness::scenario::{Fill, Request, Scenario};
use blk_harness::stamp::{FOLLOW_UPS, Writer};
use blk_harness::{Finding, RequestKind};
use serde::Deserialize;

/// What is known to be wrong with the driver. Findings that it explains are counted, and not reported: those
/// of which the report has all its texts, and whose scenario is as it says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Deviation {
    /// What it is called in the report.
    pub name: String,
    /// Texts of the report of a finding.
    pub report: Vec<String>,
    /// What has to have happened in the scenario. Without it, the report alone decides: then another bug with
    /// the same symptom goes unseen.
    pub scenario: Option<Happened>,
    /// What is known of it.
    pub about: String,
}

/// What has happened in a scenario before a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// The unit of allocation that shows the wrong data was given back, by a discard or by zeroes that may
    /// unmap (of qcow2 version 2, by any zeroes), and then that data was written elsewhere, without a flush
    /// or a reopen in between. Data that has no stamp counts as that of the last write elsewhere, a byte,
    /// repeated, as that of the last one that wrote it, and zeroes as what is around a part of a sector, too.
    FreedThenReused,
    /// A part of the range that the finding is about was written, and neither flushed nor closed since. After
    /// a crash that is one of the requests that follow it.
    WrittenNotFlushed,
    /// The crash lost the end of what was appended to the storage, and kept a later write of 4 bytes, with no
    /// sync between the two: an entry of a table that refers past the end. The data of a request after the
    /// crash stands at the wrong address then; one of the two addresses was written before the crash, and
    /// neither flushed nor closed. Of data without a stamp, the address where it stands is one of the two,
    /// and a request after the crash has changed another unit, which has to be the other one. The crash may
    /// be one that follows a failed sync.
    EntryPastEnd,
    /// The crash lost a write to the first sector of the storage, where a driver marks the image as one that
    /// has to be checked, and after it the end of what was appended, and kept a later write of whole sectors:
    /// a table that refers past the end, and no mark. Something was written, and neither flushed nor closed.
    MarkAndEndLost,
    /// The same, and data stands at a wrong address, as for [`Happened::EntryPastEnd`].
    MarkAndEndLostShared,
    /// The crash lost a write to the first sector of the storage, where a driver counts the units in use, and
    /// kept a later write of whole sectors, the table. Data stands at a wrong address, as for
    /// [`Happened::EntryPastEnd`].
    CountLost,
    /// The image has lazy counts, and units were given back. The crash lost an operation as long as the unit
    /// that shows what it must not, or a part of it, and kept a later one. That unit was written as a whole
    /// and neither flushed nor closed; what it shows is not zero.
    LazyUnitLost,
    /// The image was left without a close twice, by kills, crashes or failures, and written to between the
    /// two.
    KilledTwice,
    /// The image was left without a close, and opened again, and the request that noticed is a discard or
    /// zeroes, or a write where the driver looks for zeroes in what is written.
    KilledThenFreed,
    /// The image was left without a close, by a kill, a crash or a failure, and opened again, and data stands
    /// where what was written since may stand if two units share their place: stamped data at a wrong address
    /// of another unit, where one of the two was written since; a byte, repeated, that was written to that
    /// place of another unit since; zeroes where a new unit took its place since, and no data was written to
    /// that part of it; data without a stamp, where it was.
    KilledThenShared,
    /// The first byte that differs was discarded, and not written since, or only by what a crash may have
    /// lost, and is zero.
    Discarded,
    /// A write was in flight with a discard, or with zeroes that may unmap, of the same unit of allocation.
    /// If it is not data of that write which shows at another address, what differs is in a unit that it
    /// wrote.
    FreedInFlight,
    /// The same, and what differs is zero.
    FreedInFlightZero,
    /// A read that shows wrong data was in flight with a discard, or with zeroes that may unmap, of the same
    /// unit of allocation.
    FreedUnderRead,
    /// The storage failed an operation that a write to a new unit of allocation needed, and what was written
    /// to that unit from then on is zeroes at a later open.
    NewUnitLost,
    /// The same, where zeroes before did not give the unit a place.
    NewDataUnitLost,
    /// The storage failed a write to the table that lies one unit into the image, and what was written from
    /// then on is zeroes at a later open.
    FirstTableLost,
    /// The storage failed an operation that a write to a new unit needed, and that unit shows what was
    /// written to another new one, or the other way round.
    NewUnitShared,
    /// The storage failed an operation that a write to a new unit needed, and what was written to that unit
    /// before a later open shows after it, once another part of the unit was written.
    LostUnitAppears,
    /// A unit of allocation was given back, and before that was flushed a sync of the storage failed, in a
    /// write or up to two requests before one. If bytes are wrong, they are data of another address.
    FreedThenSyncFailed,
    /// The storage failed a write of 4 bytes, an entry of a table, that a write of the guest needed; and the
    /// data of that write, which has failed, shows at a later open. Nothing was written to its unit since.
    FailedWriteAppears,
    /// The storage failed a sync, a question for its length, or an operation on what lies between 64 KiB and
    /// 2 MiB of the image, the headers and the log of VHDX, which a write to a new unit needed; and what was
    /// written to a new unit from then on is zeroes at a later open.
    LogUnwritten,
    /// A sync of the storage has failed.
    SyncFailed,
}

impl Deviation {
    /// Whether a finding is this one; `unit_bytes` is the unit of allocation.
    pub fn explains(&self, finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
        let report = finding.report();
        let is_seen = !self.report.is_empty() && self.report.iter().all(|text| report.contains(text));
        is_seen && self.scenario.is_none_or(|happened| happened.is_in(finding, scenario, unit_bytes))
    }
}

impl Happened {
    fn is_in(self, finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
        match self {
            Self::FreedThenReused => is_freed_then_reused(finding, scenario, unit_bytes.max(1)),
            Self::WrittenNotFlushed => is_written_not_flushed(finding, scenario),
            Self::EntryPastEnd => crash::is_entry_past_end(finding, scenario, unit_bytes.max(1)),
            Self::MarkAndEndLost => crash::is_mark_and_end_lost(finding, scenario),
            Self::MarkAndEndLostShared => {
                crash::is_mark_and_end_lost(finding, scenario)
                    && crash::shows_shared(finding, scenario, unit_bytes.max(1))
            }
            Self::CountLost => crash::is_count_lost(finding, scenario, unit_bytes.max(1)),
            Self::LazyUnitLost => crash::is_lazy_unit_lost(finding, scenario, unit_bytes.max(1)),
            Self::KilledTwice => killed::is_killed_twice(finding, scenario),
            Self::KilledThenFreed => killed::is_killed_then_freed(finding, scenario),
            Self::KilledThenShared => killed::is_shared(finding, scenario, unit_bytes.max(1)),
            Self::Discarded => is_discarded(finding, scenario),
            Self::FreedInFlight => is_freed_in_flight(finding, scenario, unit_bytes.max(1)),
            Self::FreedInFlightZero => {
                let differing = finding.difference.as_ref();
                differing.is_some_and(|difference| difference.found.source == Source::Zeroes)
                    && is_freed_in_flight(finding, scenario, unit_bytes.max(1))
            }
            Self::FreedUnderRead => is_freed_under_read(finding, scenario, unit_bytes.max(1)),
            Self::NewUnitLost => fault::is_new_unit_lost(finding, scenario, unit_bytes.max(1)),
            Self::NewDataUnitLost => fault::is_new_data_unit_lost(finding, scenario, unit_bytes.max(1)),
            Self::FirstTableLost => fault::is_first_table_lost(finding, scenario, unit_bytes.max(1)),
            Self::NewUnitShared => fault::is_new_unit_shared(finding, scenario, unit_bytes.max(1)),
            Self::LostUnitAppears => fault::is_lost_unit_there(finding, scenario, unit_bytes.max(1)),
            Self::FreedThenSyncFailed => {
                fault::is_freed_then_sync_failed(finding, scenario, unit_bytes.max(1))
            }
            Self::FailedWriteAppears => fault::is_failed_write_there(finding, scenario, unit_bytes.max(1)),
            Self::LogUnwritten => fault::is_log_unwritten(finding, scenario, unit_bytes.max(1)),
            Self::SyncFailed => fault::is_sync_failed(finding),
        }
    }
}

/// Whether all that was written before is durable after it.
fn makes_durable(request: &Request) -> bool {
    matches!(request, Request::Flush | Request::Reopen { .. } | Request::Check { .. })
}

/// Whether a request may give back units of allocation. Version 2 of qcow2 has no mark for zeroes: there all
/// zeroes give back, and so do data that are found to be zeroes.
fn is_freeing(request: &Request, scenario: &Scenario) -> bool {
    let is_given =
        |name, value| scenario.config.options.get(name).is_some_and(|given| given.to_string() == value);
    match request {
        Request::Discard { .. } | Request::WriteZeroes { unmap: true, .. } => true,
        Request::WriteZeroes { .. } => is_given("compat", "0.10"),
        Request::Write { fill: Fill::Byte(0), .. } => {
            is_given("compat", "0.10") && is_given("detect-zeroes", "on")
        }
        _ => false,
    }
}

fn is_freed_in_flight(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    // Data at a wrong place is that of the write that was in flight.
    let misplaced = finding.difference.as_ref().and_then(|difference| match difference.found.source {
        Source::Stamped { writer: Writer::Request(writer), is_here: false, .. } => Some(writer),
        _ => None,
    });
    let differing = finding.difference.as_ref().filter(|_| misplaced.is_none());
    let differing = differing.map(|difference| difference.offset / unit_bytes);
    let numbers = finding.history.iter().map(|begun| begun.number);
    numbers.filter(|number| misplaced.is_none_or(|it| it == *number)).any(|number| {
        let Some(write @ Request::Write { .. }) = request(scenario, number) else { return false };
        let is_there = differing.is_none_or(|unit| units(&write, unit_bytes).contains(&unit));
        is_there && meets_freeing(finding, scenario, number, unit_bytes)
    })
}

fn is_freed_under_read(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some((number, _)) = finding.request else { return false };
    let is_read = matches!(request(scenario, number), Some(Request::Read { .. }));
    let is_of_elsewhere = finding.difference.as_ref().is_some_and(|difference| {
        matches!(
            difference.found.source,
            Source::Stamped { is_here: false, .. } | Source::Repeated(_) | Source::Unknown
        )
    });
    is_read && is_of_elsewhere && meets_freeing(finding, scenario, number, unit_bytes)
}

/// The units of allocation that a request touches.
fn units(request: &Request, unit_bytes: u64) -> Range<u64> {
    match request.range() {
        Some((start, length)) if length > 0 => {
            start / unit_bytes..start.saturating_add(length).div_ceil(unit_bytes)
        }
        _ => 0..0,
    }
}

/// The request of this number, counted from 1.
fn request(scenario: &Scenario, number: u32) -> Option<Request> {
    scenario.requests.get((number as usize).checked_sub(1)?).copied()
}

/// Whether a request was in flight with one that gives back a unit of it.
fn meets_freeing(finding: &Finding, scenario: &Scenario, number: u32, unit_bytes: u64) -> bool {
    let Some(touched) = request(scenario, number) else { return false };
    let touched = units(&touched, unit_bytes);
    let frees_it = |other: Request| {
        let freed = units(&other, unit_bytes);
        is_freeing(&other, scenario) && freed.start < touched.end && touched.start < freed.end
    };
    let begun = finding.history.iter().filter(|begun| begun.number == number);
    begun.flat_map(|begun| &begun.met).filter_map(|number| request(scenario, *number)).any(frees_it)
}

fn is_freed_then_reused(finding: &Finding, scenario: &Scenario, unit_bytes: u64) -> bool {
    let Some(difference) = &finding.difference else { return false };
    let unit = difference.offset / unit_bytes * unit_bytes;
    let unit_end = (unit + unit_bytes).min(scenario.config.size_bytes.max(unit + 1));
    let frees = |request: &Request| {
        let (start, length) = request.range().unwrap_or_default();
        is_freeing(request, scenario) && start <= unit && start.saturating_add(length) >= unit_end
    };
    let is_elsewhere = |request: &Request| {
        let (start, length) = request.range().unwrap_or_default();
        matches!(request, Request::Write { .. } | Request::WriteCompressed { .. })
            && (start >= unit_end || start.saturating_add(length) <= unit)
    };
    // The first write that may have taken the unit: the one whose data stands there, or, where that has no
    // stamp, the last one before the finding.
    let before = match difference.found.source {
        Source::Stamped { writer: Writer::Request(writer), is_here: false, .. } => {
            &scenario.requests[..scenario.requests.len().min((writer as usize).saturating_sub(1))]
        }
        source @ (Source::Unknown | Source::Zeroes | Source::Repeated(_)) => {
            let at = difference.offset % unit_bytes / SECTOR_BYTES;
            let last = match &finding.provoked {
                Some(Provoked::Crash(crash)) => crash.during.map_or(0, |(number, _)| number as usize),
                _ => finding.request.map_or(scenario.requests.len(), |(number, _)| number as usize),
            };
            let done = &scenario.requests[..scenario.requests.len().min(last)];
            let may_show = |request: &Request| match source {
                // The rest of a sector that is written in part is zeroes.
                Source::Zeroes => is_part_of(request, at, unit_bytes) || fills(request, 0, (at, unit_bytes)),
                Source::Repeated(byte) => fills(request, byte, (at, unit_bytes)),
                _ => true,
            };
            let reuse = done.iter().rposition(|request| is_elsewhere(request) && may_show(request));
            let Some(reuse) = reuse else { return false };
            &done[..reuse]
        }
        _ => return false,
    };
    before.iter().rev().take_while(|request| !makes_durable(request)).any(frees)
}

/// Whether a request fills the sector `at` of some unit of allocation with a byte, or a part of it.
fn fills(request: &Request, byte: u8, (at, unit_bytes): (u64, u64)) -> bool {
    let Request::Write { offset, length, fill: Fill::Byte(fill), .. } = *request else { return false };
    let touches = |unit: u64| {
        let sector = unit * unit_bytes + at * SECTOR_BYTES;
        offset < sector + SECTOR_BYTES && sector < offset.saturating_add(length)
    };
    fill == byte && units(request, unit_bytes).any(touches)
}

/// Whether a request is of a part of the sector `at` of some unit of allocation.
fn is_part_of(request: &Request, at: u64, unit_bytes: u64) -> bool {
    let (start, length) = request.range().unwrap_or_default();
    let ends = [start, start.saturating_add(length)].into_iter();
    let mut parts = ends.filter(|end| length > 0 && !end.is_multiple_of(SECTOR_BYTES));
    parts.any(|end| end % unit_bytes / SECTOR_BYTES == at)
}

fn is_discarded(finding: &Finding, scenario: &Scenario) -> bool {
    let Some(difference) = &finding.difference else { return false };
    let is_crashed = matches!(finding.provoked, Some(Provoked::Crash(_)));
    let last = finding.request.filter(|_| !is_crashed).map_or(u32::MAX, |(number, _)| number);
    // What reaches past the end is refused, and changes nothing.
    let size = disk_bytes(scenario);
    let covers = |entry: &Entry| {
        let of = |extent: Extent| extent.offset <= difference.offset && difference.offset < extent.end();
        changes(entry).is_some_and(|extent| of(extent) && extent.end() <= size)
    };
    let before = made(finding, scenario).filter(|(number, entry)| *number <= last && covers(entry));
    let before: Vec<(u32, Entry)> = before.collect();
    let is_lost = |(number, entry): &(u32, Entry)| {
        entry.kind() != RequestKind::Discard && may_be_lost(finding, scenario, *number)
    };
    let newest = before.iter().rev().find(|made| !is_lost(made));
    newest.is_some_and(|(_, entry)| entry.kind() == RequestKind::Discard)
        && difference.found.bytes.first() == Some(&0)
}

/// Whether a crash may have lost a request of the scenario: it is not durable by itself, and nothing that had
/// ended before the crash has made it durable.
fn may_be_lost(finding: &Finding, scenario: &Scenario, number: u32) -> bool {
    let Some(Provoked::Crash(crash)) = &finding.provoked else { return false };
    let (Some((crashed, _)), Some(asked)) = (crash.during, request(scenario, number)) else { return false };
    let is_durable =
        matches!(asked, Request::Write { fua: true, .. } | Request::WriteZeroes { fua: true, .. });
    let mut since = (number + 1..crashed).filter_map(|number| request(scenario, number));
    !is_durable && !since.any(|request| makes_durable(&request))
}

fn is_written_not_flushed(finding: &Finding, scenario: &Scenario) -> bool {
    let is_crashed = matches!(finding.provoked, Some(Provoked::Crash(_)));
    let Some((number, entry)) = noticed(finding) else { return false };
    let Some(asked) = entry.extent() else { return false };
    let before = made(finding, scenario).filter(|(before, _)| *before < number);
    // What was held back before a crash is gone.
    let before: Vec<Entry> = before
        .filter(|(number, _)| !is_crashed || FOLLOW_UPS.contains(number))
        .map(|(_, entry)| entry)
        .collect();
    let writes = |entry: &&Entry| {
        changes(entry).is_some_and(|extent| extent.offset < asked.end() && asked.offset < extent.end())
    };
    // A check makes nothing durable where the driver has none.
    let is_flushed = |entry: &&Entry| matches!(entry.kind(), RequestKind::Flush | RequestKind::Reopen);
    before.iter().rev().take_while(|entry| !is_flushed(entry)).any(|entry| writes(&entry))
}

fn is_write(kind: RequestKind) -> bool {
    matches!(kind, RequestKind::Write | RequestKind::WriteCompressed | RequestKind::WriteZeroes)
}

/// The request that noticed, of the scenario or one that follows it. A finding after a crash names the
/// request that was crashed: that has noticed nothing.
fn noticed(finding: &Finding) -> Option<(u32, Entry)> {
    let is_crashed = matches!(finding.provoked, Some(Provoked::Crash(_)));
    finding.followed.last().copied().or(finding.request.filter(|_| !is_crashed))
}

/// What was made of the disk: the requests of the scenario, and those after a crash or a fault. Of an image
/// that a crash has left, those up to the one that was crashed.
fn made(finding: &Finding, scenario: &Scenario) -> impl Iterator<Item = (u32, Entry)> {
    let last = match &finding.provoked {
        Some(Provoked::Crash(crash)) => crash.during.map_or(0, |(number, _)| number),
        _ => u32::MAX,
    };
    let requests = (1..=last).zip(scenario.requests.iter().map(|request| Entry::from(*request)));
    requests.chain(finding.followed.iter().copied())
}

/// Whether a request may have written this byte, and no other; of one that follows a crash or a fault, more
/// than its kind is not known.
fn is_filled(scenario: &Scenario, (number, entry): (u32, Entry), byte: u8) -> bool {
    if entry.kind() == RequestKind::WriteZeroes {
        return byte == 0;
    }
    match request(scenario, number) {
        Some(Request::Write { fill, .. } | Request::WriteCompressed { fill, .. }) => fill == Fill::Byte(byte),
        _ => FOLLOW_UPS.contains(&number) && entry.kind() == RequestKind::Write,
    }
}

/// What a request changes, if it changes some bytes.
fn changes(entry: &Entry) -> Option<Extent> {
    entry.extent().filter(|extent| entry.kind().changes_content() && !extent.is_empty())
}

const SECTOR_BYTES: u64 = 512;

/// How large the disk is: sectors, and one at least.
fn disk_bytes(scenario: &Scenario) -> u64 {
    scenario.config.size_bytes.max(1).next_multiple_of(SECTOR_BYTES)
}

/// Whether each driver takes a request of these bytes: some refuse what is not of whole sectors.
fn is_taken(extent: Extent, scenario: &Scenario) -> bool {
    let is_whole = extent.offset.is_multiple_of(SECTOR_BYTES) && extent.length.is_multiple_of(SECTOR_BYTES);
    is_whole && extent.checked_end().is_some_and(|end| end <= disk_bytes(scenario))
}

/// The units of allocation that some bytes touch.
fn units_of(extent: Extent, unit_bytes: u64) -> Range<u64> {
    extent.offset / unit_bytes..extent.end().div_ceil(unit_bytes)
}

#[cfg(test)]
pub(super) mod tests;
